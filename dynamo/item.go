package dynamo

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker"
)

// field is an attribute of a record's item, spelled as the placeholder that stands for its value in expressions: a colon
// and the attribute's name. None of the names is a reserved word, so expressions need no second set of placeholders.
type field string

// The attributes of a record's item; doc.go says what they hold.
const (
	fieldStatus         field = ":conn_status"
	fieldEpoch          field = ":stamp_epoch"
	fieldSequence       field = ":stamp_seq"
	fieldGeneration     field = ":generation"
	fieldEntered        field = ":entered_at"
	fieldDiscEpoch      field = ":disc_epoch"
	fieldDiscSequence   field = ":disc_seq"
	fieldSealed         field = ":sealed"
	fieldExpires        field = ":expires_at"
	fieldGrantExpires   field = ":grant_expires_at"
	fieldScope          field = ":granted_scope"
	fieldSubject        field = ":subject"
	fieldIssuer         field = ":issuer"
	fieldSubjectHash    field = ":subject_hash"
	fieldProviderConnID field = ":provider_conn_id"
	fieldConsent        field = ":consent_ref"
	fieldRefreshable    field = ":refreshable"
	fieldDue            field = ":due_at"
	fieldDueShard       field = ":due_shard"
	fieldSetDue         field = ":set_due_at"
	fieldRevokeAt       field = ":revoke_at"
	fieldRevokeSince    field = ":revoke_since"
	fieldRevoke         field = ":revoke_list"
	fieldClaim          field = ":claim"
	fieldSiblings       field = ":siblings"
	fieldRevoking       field = ":revoking"
	fieldFailures       field = ":failures"
	fieldFailureCode    field = ":failure_code"
	fieldWarned         field = ":warned"
	fieldRetained       field = ":retained"
	fieldOwed           field = ":owed"
	fieldSeen           field = ":seen_ids"
	fieldSpentAcquired  field = ":acquired_prints"
	fieldSpent          field = ":spent_prints"
	fieldAttempts       field = ":attempts"
	fieldRotated        field = ":rotated"
	fieldAcquired       field = ":acquired_at"
	fieldRefreshed      field = ":refreshed_at"
	fieldRemove         field = ":remove_at"
	fieldWrittenBy      field = ":written_by"
)

// name is the attribute's name.
func (f field) name() string { return string(f[1:]) }

// The attributes of a claim, which is a map.
const (
	claimOwner      = "owner"
	claimAttempt    = "attempt"
	claimAt         = "at"
	claimUntil      = "until"
	claimLastResort = "last_resort"
)

// The attributes of what is to be done about siblings, which is a map. Its stamp is spelled as the record's is.
const (
	siblingsEntered = "entered"
	siblingsAt      = "at"
	siblingsUntil   = "until"
	siblingsAsk     = "ask"
)

// The attributes of one thing that is owed, which is a map. Its fence is spelled as the record's is.
const (
	owedAttempt = "attempt"
	owedBy      = "by"
	owedKinds   = "kinds"
	owedCode    = "code"
	owedAt      = "at"
)

const (
	printBytes   = len(tokenworker.Fingerprint{})
	eventIDBytes = len(tokenworker.EventID{}.Hash) + 8
	attemptBytes = len(tokenworker.AttemptID{}) + printBytes + 8 + 1
)

// usualFields is how many attributes a record rarely exceeds: as many as a map of 32 slots takes before it grows.
const usualFields = 28

// fields is a record as attributes. What a record does not have is not there.
type fields map[field]types.AttributeValue

// encode returns the record's attributes but for written_by, which each write gives anew.
func encode(r *tokenworker.Record, dueShard string) fields {
	v := make(fields, usualFields)
	v[fieldStatus] = str(string(r.Status))
	v[fieldEpoch] = number(r.Stamp.Epoch)
	v[fieldSequence] = number(r.Stamp.Sequence)
	v[fieldGeneration] = number(r.Generation)
	v.time(fieldEntered, r.Entered)
	if !r.Disconnected.IsZero() {
		v[fieldDiscEpoch] = number(r.Disconnected.Epoch)
		v[fieldDiscSequence] = number(r.Disconnected.Sequence)
	}
	if r.Sealed != nil {
		v[fieldSealed] = sets(tokenworker.Listed{Sealed: r.Sealed, Token: r.Token})
	}
	v.time(fieldExpires, r.ExpiresAt)
	v.time(fieldGrantExpires, r.GrantExpiresAt)
	v.text(fieldScope, r.Scope)
	v.text(fieldSubject, r.Subject)
	v.text(fieldIssuer, r.Issuer)
	if r.Subject != "" {
		v[fieldSubjectHash] = subjectHash(r.Issuer, r.Subject)
	}
	v.text(fieldProviderConnID, r.ProviderConnectionID)
	v.text(fieldConsent, r.ConsentRef)
	v.flag(fieldRefreshable, r.Refreshable)
	v.time(fieldDue, r.Due())
	if !r.Due().IsZero() {
		v[fieldDueShard] = str(dueShard)
	}
	if !r.RevokeAt.IsZero() || r.Siblings != nil {
		v.time(fieldSetDue, r.DueAt)
	}
	v.siblings(r.Siblings)
	v.time(fieldRevokeAt, r.RevokeAt)
	v.time(fieldRevokeSince, r.RevokeSince)
	if len(r.Revoke) > 0 {
		v[fieldRevoke] = sets(r.Revoke...)
	}
	v.claim(fieldClaim, r.Claim)
	v.claim(fieldRevoking, r.Revoking)
	if r.Failures > 0 {
		v[fieldFailures] = limit(r.Failures)
	}
	v.text(fieldFailureCode, r.FailureCode)
	v.flag(fieldWarned, r.Warned)
	v.flag(fieldRetained, r.Retained)
	v.owed(r.Owed)
	if len(r.Seen) > 0 {
		v[fieldSeen] = idSet(r.Seen)
	}
	v.prints(fieldSpentAcquired, r.Acquired)
	v.prints(fieldSpent, r.Spent)
	v.attempts(r.Attempts)
	v.flag(fieldRotated, r.Rotated)
	v.time(fieldAcquired, r.AcquiredAt)
	v.time(fieldRefreshed, r.RefreshedAt)
	v.time(fieldRemove, r.RemoveAt)
	return v
}

func (v fields) flag(f field, b bool) {
	if b {
		v[f] = yes()
	}
}

func (v fields) text(f field, s string) {
	if s != "" {
		v[f] = str(s)
	}
}

func (v fields) time(f field, t time.Time) {
	if !t.IsZero() {
		v[f] = unix(t)
	}
}

func (v fields) claim(f field, c *tokenworker.Claim) {
	if c == nil {
		return
	}
	m := map[string]types.AttributeValue{
		claimOwner:   str(c.Owner),
		claimAttempt: blob(c.Attempt[:]),
		claimUntil:   unix(c.Until),
	}
	if !c.At.IsZero() {
		m[claimAt] = unix(c.At)
	}
	if c.LastResort {
		m[claimLastResort] = yes()
	}
	v[f] = &types.AttributeValueMemberM{Value: m}
}

func (v fields) siblings(s *tokenworker.Siblings) {
	if s == nil {
		return
	}
	m := map[string]types.AttributeValue{
		fieldEpoch.name(): number(s.Stamp.Epoch), fieldSequence.name(): number(s.Stamp.Sequence), siblingsEntered: unix(s.Entered),
	}
	if !s.At.IsZero() {
		m[siblingsAt] = unix(s.At)
	}
	if !s.Until.IsZero() {
		m[siblingsUntil] = unix(s.Until)
	}
	if s.Ask {
		m[siblingsAsk] = yes()
	}
	v[fieldSiblings] = &types.AttributeValueMemberM{Value: m}
}

func (v fields) prints(f field, all []tokenworker.Fingerprint) {
	if len(all) == 0 {
		return
	}
	prints := make([][]byte, len(all))
	for i := range all {
		prints[i] = all[i][:]
	}
	v[f] = list(prints)
}

// attempts are spelled as their ids, the fingerprints, the ends of their claims in Unix seconds, big-endian, and 1 for the
// sole one at its token.
func (v fields) attempts(all []tokenworker.Attempt) {
	if len(all) == 0 {
		return
	}
	spelled := make([][]byte, len(all))
	for i, a := range all {
		b := append(append(make([]byte, 0, attemptBytes), a.ID[:]...), a.Token[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(a.Until.Unix())) //nolint:gosec // two's complement, undone by attempts
		if a.Sole {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
		spelled[i] = b
	}
	v[fieldAttempts] = list(spelled)
}

func (v fields) owed(all []tokenworker.Owed) {
	if len(all) == 0 {
		return
	}
	l := make([]types.AttributeValue, len(all))
	for i, o := range all {
		l[i] = owed(o)
	}
	v[fieldOwed] = &types.AttributeValueMemberL{Value: l}
}

func owed(o tokenworker.Owed) types.AttributeValue {
	kinds := make([]types.AttributeValue, len(o.Kinds))
	for i, kind := range o.Kinds {
		kinds[i] = str(kind)
	}
	m := map[string]types.AttributeValue{
		owedAttempt:            blob(o.Attempt[:]),
		owedBy:                 str(o.By),
		owedKinds:              &types.AttributeValueMemberL{Value: kinds},
		fieldEpoch.name():      number(o.Fence.Stamp.Epoch),
		fieldSequence.name():   number(o.Fence.Stamp.Sequence),
		fieldGeneration.name(): number(o.Fence.Generation),
		owedAt:                 unix(o.At),
	}
	if o.Code != "" {
		m[owedCode] = str(o.Code)
	}
	return &types.AttributeValueMemberM{Value: m}
}

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

// yes is the only value that a flag has: false is absent.
func yes() types.AttributeValue { return &types.AttributeValueMemberBOOL{Value: true} }

func blob(b []byte) types.AttributeValue { return &types.AttributeValueMemberB{Value: b} }

func number(n uint64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatUint(n, 10)}
}

// unix is a time in whole seconds, rounded down.
func unix(t time.Time) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(t.Unix(), 10)}
}

func list(blobs [][]byte) types.AttributeValue {
	l := make([]types.AttributeValue, len(blobs))
	for i, b := range blobs {
		l[i] = blob(b)
	}
	return &types.AttributeValueMemberL{Value: l}
}

// sets is a list of sealed sets, each after the fingerprint of its token.
func sets(all ...tokenworker.Listed) types.AttributeValue {
	blobs := make([][]byte, len(all))
	for i, s := range all {
		blobs[i] = append(append(make([]byte, 0, printBytes+len(s.Sealed)), s.Token[:]...), s.Sealed...)
	}
	return list(blobs)
}

func idSet(ids []tokenworker.EventID) types.AttributeValue {
	set := make([][]byte, len(ids))
	for i, id := range ids {
		set[i] = idBytes(id)
	}
	return &types.AttributeValueMemberBS{Value: set}
}

// idBytes is an event id as an element of a set: its hash, then its time in Unix seconds, big-endian.
func idBytes(id tokenworker.EventID) []byte {
	b := make([]byte, 0, eventIDBytes)
	b = append(b, id.Hash[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(id.Time)) //nolint:gosec // two's complement, undone by idFrom
}

func idFrom(b []byte) (id tokenworker.EventID, ok bool) {
	if len(b) != eventIDBytes {
		return id, false
	}
	copy(id.Hash[:], b)
	id.Time = int64(binary.BigEndian.Uint64(b[len(id.Hash):])) //nolint:gosec // undoes idBytes
	return id, true
}

// subjectHash is the partition of the index "subject": the first 16 bytes of SHA-256 over a label, the issuer and the
// subject, each after its length. Issuers and subjects have no length that is safe for an index key.
func subjectHash(issuer, subject string) types.AttributeValue {
	sum := sha256.Sum256(fmt.Appendf(nil, "tokenworker/subject/v1\n%d:%s%d:%s", len(issuer), issuer, len(subject), subject))
	return blob(sum[:16])
}
