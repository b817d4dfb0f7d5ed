package embedded

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tokenworker/tokenworker"
)

// recordJSON is the stored form of a record, its key and its sealed set aside, which are columns. JSON, so that
// `sqlite3 store.db` shows what a row says; measured, coding it takes a sixth of an operation's CPU time. Times are Unix
// seconds, byte strings base64, absent means zero.
type recordJSON struct {
	Status       tokenworker.Status `json:"status"`
	Stamp        [2]uint64          `json:"stamp"` // epoch, sequence
	Generation   uint64             `json:"generation,omitzero"`
	Entered      unixTime           `json:"entered,omitzero"`
	Disconnected [2]uint64          `json:"disconnected,omitzero"`

	ExpiresAt            unixTime `json:"expires_at,omitzero"`
	GrantExpiresAt       unixTime `json:"grant_expires_at,omitzero"`
	Scope                string   `json:"scope,omitzero"`
	Subject              string   `json:"subject,omitzero"`
	Issuer               string   `json:"issuer,omitzero"`
	ProviderConnectionID string   `json:"provider_connection_id,omitzero"`
	ConsentRef           string   `json:"consent_ref,omitzero"`
	Refreshable          bool     `json:"refreshable,omitzero"`

	Token   idJSON `json:"token,omitzero"`
	Rotated bool   `json:"rotated,omitzero"`

	DueAt       unixTime     `json:"due_at,omitzero"`
	RevokeAt    unixTime     `json:"revoke_at,omitzero"`
	RevokeSince unixTime     `json:"revoke_since,omitzero"`
	Revoke      []listedJSON `json:"revoke,omitempty"`

	Siblings *siblingsJSON `json:"siblings,omitempty"`

	Claim    *claimJSON `json:"claim,omitempty"`
	Revoking *claimJSON `json:"revoking,omitempty"`
	Seen     []byte     `json:"seen,omitempty"`           // for each id its hash, 16 bytes, and time, 8 bytes, big endian
	Acquired []byte     `json:"spent_acquired,omitempty"` // 16 bytes each
	Spent    []byte     `json:"spent,omitempty"`          // 16 bytes each
	Attempts []tryJSON  `json:"attempts,omitempty"`

	Failures    int        `json:"failures,omitzero"`
	FailureCode string     `json:"failure_code,omitzero"`
	Warned      bool       `json:"warned,omitzero"`
	Retained    bool       `json:"retained,omitzero"`
	Owed        []owedJSON `json:"owed,omitempty"`

	AcquiredAt  unixTime `json:"acquired_at,omitzero"`
	RefreshedAt unixTime `json:"refreshed_at,omitzero"`
	RemoveAt    unixTime `json:"remove_at,omitzero"`
}

type claimJSON struct {
	Owner      string   `json:"owner"`
	Attempt    idJSON   `json:"attempt"`
	At         unixTime `json:"at,omitzero"`
	Until      unixTime `json:"until"`
	LastResort bool     `json:"last_resort,omitzero"`
}

type tryJSON struct {
	ID    idJSON   `json:"id"`
	Token idJSON   `json:"token"`
	Sole  bool     `json:"sole,omitzero"`
	Until unixTime `json:"until"`
}

type listedJSON struct {
	Sealed []byte `json:"sealed"`
	Token  idJSON `json:"token"`
}

type siblingsJSON struct {
	Stamp   [2]uint64 `json:"stamp"`
	Entered unixTime  `json:"entered"`
	At      unixTime  `json:"at,omitzero"`
	Until   unixTime  `json:"until,omitzero"`
	Ask     bool      `json:"ask,omitzero"`
}

type owedJSON struct {
	Attempt    idJSON    `json:"attempt"`
	By         string    `json:"by"`
	Kinds      []string  `json:"kinds"`
	Stamp      [2]uint64 `json:"stamp"`
	Generation uint64    `json:"generation,omitzero"`
	Code       string    `json:"code,omitzero"`
	At         unixTime  `json:"at"`
}

// idJSON is an attempt's id, or a fingerprint, as a byte string.
type idJSON [16]byte

func (a idJSON) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, a[:]), nil
}

func (a *idJSON) UnmarshalText(text []byte) error {
	b, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil || len(b) != len(a) {
		return errID
	}
	copy(a[:], b)
	return nil
}

var errID = errors.New("not 16 bytes")

// unixTime is a time as Unix seconds; the zero time is left out, by omitzero.
type unixTime struct{ time.Time }

func (t unixTime) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, t.Unix(), 10), nil
}

func (t *unixTime) UnmarshalJSON(b []byte) error {
	s, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return fmt.Errorf("reading a time: %w", err)
	}
	t.Time = time.Unix(s, 0).UTC()
	return nil
}

const (
	hashBytes        = len(tokenworker.EventID{}.Hash)
	eventIDBytes     = hashBytes + 8
	fingerprintBytes = len(tokenworker.Fingerprint{})
)

func encodeRecord(r *tokenworker.Record) ([]byte, error) {
	w := recordJSON{
		Status: r.Status, Stamp: pair(r.Stamp), Generation: r.Generation,
		Entered: unixTime{r.Entered}, Disconnected: pair(r.Disconnected),
		ExpiresAt: unixTime{r.ExpiresAt}, GrantExpiresAt: unixTime{r.GrantExpiresAt},
		Scope: r.Scope, Subject: r.Subject, Issuer: r.Issuer,
		ProviderConnectionID: r.ProviderConnectionID, ConsentRef: r.ConsentRef, Refreshable: r.Refreshable,
		DueAt: unixTime{r.DueAt}, RevokeAt: unixTime{r.RevokeAt}, RevokeSince: unixTime{r.RevokeSince},
		Token: idJSON(r.Token), Rotated: r.Rotated,
		Claim: encodeClaim(r.Claim), Revoking: encodeClaim(r.Revoking),
		Failures: r.Failures, FailureCode: r.FailureCode, Warned: r.Warned, Retained: r.Retained,
		AcquiredAt: unixTime{r.AcquiredAt}, RefreshedAt: unixTime{r.RefreshedAt}, RemoveAt: unixTime{r.RemoveAt},
	}
	if s := r.Siblings; s != nil {
		w.Siblings = &siblingsJSON{pair(s.Stamp), unixTime{s.Entered}, unixTime{s.At}, unixTime{s.Until}, s.Ask}
	}
	for _, o := range r.Owed {
		w.Owed = append(w.Owed, owedJSON{
			idJSON(o.Attempt), o.By, o.Kinds, pair(o.Fence.Stamp), o.Fence.Generation, o.Code, unixTime{o.At},
		})
	}
	w.Seen = make([]byte, 0, len(r.Seen)*eventIDBytes)
	for _, id := range r.Seen {
		w.Seen = append(w.Seen, id.Hash[:]...)
		w.Seen = binary.BigEndian.AppendUint64(w.Seen, uint64(id.Time)) //nolint:gosec // two's complement both ways
	}
	w.Acquired, w.Spent = encodePrints(r.Acquired), encodePrints(r.Spent)
	for _, a := range r.Attempts {
		w.Attempts = append(w.Attempts, tryJSON{idJSON(a.ID), idJSON(a.Token), a.Sole, unixTime{a.Until}})
	}
	for _, l := range r.Revoke {
		w.Revoke = append(w.Revoke, listedJSON{l.Sealed, idJSON(l.Token)})
	}
	b, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	return b, nil
}

// decodeRecord reads what encodeRecord wrote. Anything else means that the store is damaged; the error does not quote it.
func decodeRecord(k tokenworker.Key, sealed, record []byte) (tokenworker.Record, error) {
	damaged := fmt.Errorf("%w: the store's row of %s is damaged", tokenworker.ErrMisconfigured, k)
	var w recordJSON
	if json.Unmarshal(record, &w) != nil || len(w.Seen)%eventIDBytes != 0 || len(w.Acquired)%fingerprintBytes != 0 ||
		len(w.Spent)%fingerprintBytes != 0 {
		return tokenworker.Record{}, damaged
	}
	r := tokenworker.Record{
		Key: k, Status: w.Status, Fence: tokenworker.Fence{Stamp: stamp(w.Stamp), Generation: w.Generation},
		Entered: w.Entered.Time, Disconnected: stamp(w.Disconnected), Sealed: sealed,
		Details: tokenworker.Details{
			ExpiresAt: w.ExpiresAt.Time, GrantExpiresAt: w.GrantExpiresAt.Time,
			Scope: w.Scope, Subject: w.Subject, Issuer: w.Issuer,
			ProviderConnectionID: w.ProviderConnectionID, ConsentRef: w.ConsentRef, Refreshable: w.Refreshable,
		},
		DueAt: w.DueAt.Time, RevokeAt: w.RevokeAt.Time, RevokeSince: w.RevokeSince.Time,
		Token: tokenworker.Fingerprint(w.Token), Rotated: w.Rotated,
		Acquired: decodePrints(w.Acquired), Spent: decodePrints(w.Spent),
		Claim: w.Claim.decode(), Revoking: w.Revoking.decode(),
		Failures: w.Failures, FailureCode: w.FailureCode, Warned: w.Warned, Retained: w.Retained,
		AcquiredAt: w.AcquiredAt.Time, RefreshedAt: w.RefreshedAt.Time, RemoveAt: w.RemoveAt.Time,
	}
	if s := w.Siblings; s != nil {
		r.Siblings = &tokenworker.Siblings{Stamp: stamp(s.Stamp), Entered: s.Entered.Time, At: s.At.Time, Until: s.Until.Time, Ask: s.Ask}
	}
	for _, o := range w.Owed {
		r.Owed = append(r.Owed, o.decode())
	}
	for b := w.Seen; len(b) > 0; b = b[eventIDBytes:] {
		r.Seen = append(r.Seen, tokenworker.EventID{
			Hash: [hashBytes]byte(b), Time: int64(binary.BigEndian.Uint64(b[hashBytes:])), //nolint:gosec // as above
		})
	}
	for _, a := range w.Attempts {
		r.Attempts = append(r.Attempts, tokenworker.Attempt{
			ID: tokenworker.AttemptID(a.ID), Token: tokenworker.Fingerprint(a.Token), Sole: a.Sole, Until: a.Until.Time,
		})
	}
	for _, l := range w.Revoke {
		r.Revoke = append(r.Revoke, tokenworker.Listed{Sealed: l.Sealed, Token: tokenworker.Fingerprint(l.Token)})
	}
	return r, nil
}

func encodePrints(all []tokenworker.Fingerprint) []byte {
	b := make([]byte, 0, len(all)*fingerprintBytes)
	for _, f := range all {
		b = append(b, f[:]...)
	}
	return b
}

func decodePrints(b []byte) (all []tokenworker.Fingerprint) {
	for ; len(b) > 0; b = b[fingerprintBytes:] {
		all = append(all, tokenworker.Fingerprint(b[:fingerprintBytes]))
	}
	return all
}

func encodeClaim(c *tokenworker.Claim) *claimJSON {
	if c == nil {
		return nil
	}
	return &claimJSON{c.Owner, idJSON(c.Attempt), unixTime{c.At}, unixTime{c.Until}, c.LastResort}
}

func (c *claimJSON) decode() *tokenworker.Claim {
	if c == nil {
		return nil
	}
	return &tokenworker.Claim{
		Owner: c.Owner, Attempt: tokenworker.AttemptID(c.Attempt), At: c.At.Time, Until: c.Until.Time, LastResort: c.LastResort,
	}
}

func (o owedJSON) decode() tokenworker.Owed {
	return tokenworker.Owed{
		Attempt: tokenworker.AttemptID(o.Attempt), By: o.By, Kinds: o.Kinds,
		Fence: tokenworker.Fence{Stamp: stamp(o.Stamp), Generation: o.Generation}, Code: o.Code, At: o.At.Time,
	}
}

func pair(s tokenworker.Stamp) [2]uint64 { return [2]uint64{s.Epoch, s.Sequence} }

func stamp(p [2]uint64) tokenworker.Stamp { return tokenworker.Stamp{Epoch: p[0], Sequence: p[1]} }
