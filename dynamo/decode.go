package dynamo

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker"
)

// item is an item as DynamoDB returns it, by attribute name. A nil item is none.
type item = map[string]types.AttributeValue

// decode reads the record of an item. The error matches [tokenworker.ErrMisconfigured]: this version did not write it.
func decode(it item) (tokenworker.Record, error) {
	d := decoder{item: it}
	r := tokenworker.Record{
		Key:    d.key(),
		Status: tokenworker.Status(d.text(fieldStatus)),
		Fence: tokenworker.Fence{
			Stamp:      tokenworker.Stamp{Epoch: d.number(fieldEpoch), Sequence: d.number(fieldSequence)},
			Generation: d.number(fieldGeneration),
		},
		Entered:      d.time(fieldEntered),
		Disconnected: tokenworker.Stamp{Epoch: d.number(fieldDiscEpoch), Sequence: d.number(fieldDiscSequence)},
		Details: tokenworker.Details{
			ExpiresAt:            d.time(fieldExpires),
			GrantExpiresAt:       d.time(fieldGrantExpires),
			Scope:                d.text(fieldScope),
			Subject:              d.text(fieldSubject),
			Issuer:               d.text(fieldIssuer),
			ProviderConnectionID: d.text(fieldProviderConnID),
			ConsentRef:           d.text(fieldConsent),
			Refreshable:          d.flag(d.item, fieldRefreshable.name()),
		},
		DueAt:       d.time(fieldDue),
		RevokeAt:    d.time(fieldRevokeAt),
		RevokeSince: d.time(fieldRevokeSince),
		Revoke:      d.sets(fieldRevoke),
		Siblings:    d.siblings(),
		Claim:       d.claim(fieldClaim),
		Revoking:    d.claim(fieldRevoking),
		Seen:        d.ids(),
		Acquired:    d.prints(fieldSpentAcquired),
		Spent:       d.prints(fieldSpent),
		Attempts:    d.attempts(),
		Rotated:     d.flag(d.item, fieldRotated.name()),
		Failures:    d.count(fieldFailures),
		FailureCode: d.text(fieldFailureCode),
		Warned:      d.flag(d.item, fieldWarned.name()),
		Retained:    d.flag(d.item, fieldRetained.name()),
		Owed:        d.owed(),
		AcquiredAt:  d.time(fieldAcquired),
		RefreshedAt: d.time(fieldRefreshed),
		RemoveAt:    d.time(fieldRemove),
		Revision:    d.attempt(d.item, fieldWrittenBy.name()),
	}
	if !r.RevokeAt.IsZero() || r.Siblings != nil {
		r.DueAt = d.time(fieldSetDue)
	}
	if current := d.sets(fieldSealed); len(current) > 0 {
		r.Sealed, r.Token = current[0].Sealed, current[0].Token
	}
	return r, d.err
}

// decodeIfAny is decode for an item that may be none.
func decodeIfAny(it item) (*tokenworker.Record, error) {
	if it == nil {
		return nil, nil
	}
	r, err := decode(it)
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// decoder reads attributes and keeps the first error. A missing attribute gives the zero value.
type decoder struct {
	item item
	err  error
}

// fail says which attribute is wrong, never what it holds.
func (d *decoder) fail(attribute string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: attribute %s of an item is not as this version writes it", tokenworker.ErrMisconfigured, attribute)
	}
}

// member returns the attribute as the type of value that it must be; nil when it is missing.
func member[T types.AttributeValue](d *decoder, in item, name string) (value T) {
	v, found := in[name]
	if !found {
		return value
	}
	value, ok := v.(T)
	if !ok {
		d.fail(name)
	}
	return value
}

func (d *decoder) key() tokenworker.Key {
	org, conn := member[*types.AttributeValueMemberS](d, d.item, attrOrg), member[*types.AttributeValueMemberS](d, d.item, attrConn)
	if org == nil || conn == nil {
		d.fail(attrOrg)
		return tokenworker.Key{}
	}
	k, err := address{org.Value, conn.Value}.key()
	if err != nil {
		d.fail(attrConn)
	}
	return k
}

func (d *decoder) text(f field) string { return d.textIn(d.item, f.name()) }

func (d *decoder) textIn(in item, name string) string {
	if s := member[*types.AttributeValueMemberS](d, in, name); s != nil {
		return s.Value
	}
	return ""
}

func (d *decoder) flag(in item, name string) bool {
	b := member[*types.AttributeValueMemberBOOL](d, in, name)
	return b != nil && b.Value
}

func (d *decoder) number(f field) uint64 { return d.numberIn(d.item, f.name()) }

func (d *decoder) numberIn(in item, name string) uint64 {
	n := member[*types.AttributeValueMemberN](d, in, name)
	if n == nil {
		return 0
	}
	v, err := strconv.ParseUint(n.Value, 10, 64)
	if err != nil {
		d.fail(name)
	}
	return v
}

// count reads a number that an int holds.
func (d *decoder) count(f field) int {
	n := d.number(f)
	if n > math.MaxInt32 {
		d.fail(f.name())
	}
	return int(n) //nolint:gosec // bounded just above
}

func (d *decoder) time(f field) time.Time { return d.timeIn(d.item, f.name()) }

func (d *decoder) timeIn(in item, name string) time.Time {
	n := member[*types.AttributeValueMemberN](d, in, name)
	if n == nil {
		return time.Time{}
	}
	seconds, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil {
		d.fail(name)
	}
	return time.Unix(seconds, 0).UTC()
}

func (d *decoder) list(f field) [][]byte {
	l := member[*types.AttributeValueMemberL](d, d.item, f.name())
	if l == nil || len(l.Value) == 0 {
		return nil
	}
	blobs := make([][]byte, len(l.Value))
	for i, v := range l.Value {
		b, ok := v.(*types.AttributeValueMemberB)
		if !ok {
			d.fail(f.name())
			return nil
		}
		blobs[i] = b.Value
	}
	return blobs
}

func (d *decoder) claim(f field) *tokenworker.Claim {
	m := member[*types.AttributeValueMemberM](d, d.item, f.name())
	if m == nil {
		return nil
	}
	return &tokenworker.Claim{
		Owner:      d.textIn(m.Value, claimOwner),
		Attempt:    d.attempt(m.Value, claimAttempt),
		At:         d.timeIn(m.Value, claimAt),
		Until:      d.timeIn(m.Value, claimUntil),
		LastResort: d.flag(m.Value, claimLastResort),
	}
}

func (d *decoder) siblings() *tokenworker.Siblings {
	m := member[*types.AttributeValueMemberM](d, d.item, fieldSiblings.name())
	if m == nil {
		return nil
	}
	return &tokenworker.Siblings{
		Stamp: tokenworker.Stamp{
			Epoch: d.numberIn(m.Value, fieldEpoch.name()), Sequence: d.numberIn(m.Value, fieldSequence.name()),
		},
		Entered: d.timeIn(m.Value, siblingsEntered), At: d.timeIn(m.Value, siblingsAt), Until: d.timeIn(m.Value, siblingsUntil),
		Ask: d.flag(m.Value, siblingsAsk),
	}
}

func (d *decoder) owed() []tokenworker.Owed {
	l := member[*types.AttributeValueMemberL](d, d.item, fieldOwed.name())
	if l == nil {
		return nil
	}
	var all []tokenworker.Owed
	for _, v := range l.Value {
		m, ok := v.(*types.AttributeValueMemberM)
		if !ok {
			d.fail(fieldOwed.name())
			return nil
		}
		all = append(all, d.owedIn(m))
	}
	return all
}

func (d *decoder) owedIn(m *types.AttributeValueMemberM) tokenworker.Owed {
	o := tokenworker.Owed{
		Attempt: d.attempt(m.Value, owedAttempt),
		By:      d.textIn(m.Value, owedBy),
		Fence: tokenworker.Fence{
			Stamp: tokenworker.Stamp{
				Epoch: d.numberIn(m.Value, fieldEpoch.name()), Sequence: d.numberIn(m.Value, fieldSequence.name()),
			},
			Generation: d.numberIn(m.Value, fieldGeneration.name()),
		},
		Code: d.textIn(m.Value, owedCode),
		At:   d.timeIn(m.Value, owedAt),
	}
	kinds := member[*types.AttributeValueMemberL](d, m.Value, owedKinds)
	if kinds == nil {
		return o
	}
	for _, v := range kinds.Value {
		kind, ok := v.(*types.AttributeValueMemberS)
		if !ok {
			d.fail(owedKinds)
			return o
		}
		o.Kinds = append(o.Kinds, kind.Value)
	}
	return o
}

// attempt reads what is never missing: an attempt's id.
func (d *decoder) attempt(in item, name string) (a tokenworker.AttemptID) {
	b := member[*types.AttributeValueMemberB](d, in, name)
	if b == nil || len(b.Value) != len(a) {
		d.fail(name)
		return a
	}
	return tokenworker.AttemptID(b.Value)
}

func (d *decoder) ids() []tokenworker.EventID {
	set := member[*types.AttributeValueMemberBS](d, d.item, fieldSeen.name())
	if set == nil {
		return nil
	}
	ids := make([]tokenworker.EventID, 0, len(set.Value))
	for _, b := range set.Value {
		id, ok := idFrom(b)
		if !ok {
			d.fail(fieldSeen.name())
			return nil
		}
		ids = append(ids, id)
	}
	return ids
}

func (d *decoder) prints(f field) []tokenworker.Fingerprint {
	var prints []tokenworker.Fingerprint
	for _, b := range d.list(f) {
		if len(b) != printBytes {
			d.fail(f.name())
			return nil
		}
		prints = append(prints, tokenworker.Fingerprint(b))
	}
	return prints
}

func (d *decoder) attempts() []tokenworker.Attempt {
	var all []tokenworker.Attempt
	for _, b := range d.list(fieldAttempts) {
		if len(b) != attemptBytes {
			d.fail(fieldAttempts.name())
			return nil
		}
		id, rest := b[:len(tokenworker.AttemptID{})], b[len(tokenworker.AttemptID{}):]
		token, rest := rest[:printBytes], rest[printBytes:]
		all = append(all, tokenworker.Attempt{
			ID: tokenworker.AttemptID(id), Token: tokenworker.Fingerprint(token), Sole: rest[8] == 1,
			Until: time.Unix(int64(binary.BigEndian.Uint64(rest)), 0).UTC(), //nolint:gosec // undoes attempts of item.go
		})
	}
	return all
}

func (d *decoder) sets(f field) []tokenworker.Listed {
	var all []tokenworker.Listed
	for _, b := range d.list(f) {
		if len(b) < printBytes {
			d.fail(f.name())
			return nil
		}
		all = append(all, tokenworker.Listed{Token: tokenworker.Fingerprint(b[:printBytes]), Sealed: b[printBytes:]})
	}
	return all
}
