package events

import (
	"crypto/hpke"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tokenworker/tokenworker"
)

// Bounds of a request for a token.
const (
	// MaxGetBytes is the largest body of a request. The largest public key takes 1.6 KiB of it.
	MaxGetBytes = 4 << 10

	// MaxMinLifetime is the longest remaining lifetime that may be asked for.
	MaxMinLifetime = 24 * time.Hour
)

// GetCode says why a request for a token was not met. It is an error, and the only thing that a reply ever says in clear.
type GetCode string

// Why there is no token. docs/reading.md explains each to readers; a test keeps the two lists equal.
const (
	GetBadRequest     GetCode = "bad_request"     // not a request of the contract
	GetRateLimited    GetCode = "rate_limited"    // the caller asks more often than it may
	GetNotFound       GetCode = "not_found"       // there is no such connection
	GetDisconnected   GetCode = "disconnected"    // it was disconnected
	GetReauthRequired GetCode = "reauth_required" // the grant is dead: the customer must log in again
	GetUnavailable    GetCode = "unavailable"     // no token that works can be had now; later perhaps
)

// GetCodes lists every code of this version.
func GetCodes() []GetCode {
	return []GetCode{GetBadRequest, GetRateLimited, GetNotFound, GetDisconnected, GetReauthRequired, GetUnavailable}
}

// Error implements error.
func (c GetCode) Error() string { return "no token: " + string(c) }

// GetRequest asks for the access token of one connection.
type GetRequest struct {
	Caller string // as NATS's permissions pin it
	Key    tokenworker.Key
	ID     string // made by the reader: names the request in the audit trail

	// MinLifetime is how long the token should still live, in whole seconds up to MaxMinLifetime. Zero: any time at all.
	MinLifetime time.Duration

	// Refused names the set whose token the provider's API has refused: it is not served, but refreshed unless a newer one
	// has taken its place. The zero fence names none.
	Refused tokenworker.Fence

	subject string
	to      PublicKey // of the reader, for this reply alone
}

// getJSON is the wire form of a request. Its subject says the rest.
type getJSON struct {
	ID          string     `json:"id"`
	Suite       Suite      `json:"suite"`
	PublicKey   string     `json:"public_key"`
	MinLifetime int64      `json:"min_lifetime,omitempty"` // seconds
	Refused     *fenceJSON `json:"refused,omitempty"`
}

type fenceJSON struct {
	Epoch      uint64 `json:"epoch"`
	Sequence   uint64 `json:"sequence"`
	Generation uint64 `json:"generation"`
}

// DecodeGet reads a request, strictly. The error is [GetBadRequest].
func DecodeGet(subject string, body []byte) (*GetRequest, error) {
	caller, key, err := ParseGetSubject(subject)
	if err != nil || len(body) > MaxGetBytes {
		return nil, GetBadRequest
	}
	v, err := parseJSON(body)
	if err != nil || v.kind != jsonObject {
		return nil, GetBadRequest
	}
	q := &GetRequest{Caller: caller, Key: key, subject: subject}
	var suite Suite
	var public []byte
	for _, m := range v.members {
		ok := false
		switch string(m.name) {
		case "id":
			q.ID, ok = readText(m.value, maxIDBytes)
		case "suite":
			ok = m.value.kind == jsonString
			suite = Suite(m.value.text)
		case "public_key":
			public, err = decodeBase64url(m.value.text)
			ok = err == nil && m.value.kind == jsonString
		case "min_lifetime":
			q.MinLifetime, ok = readSeconds(m.value)
		case "refused":
			q.Refused, ok = readFence(m.value)
		}
		if !ok {
			return nil, GetBadRequest
		}
	}
	if q.to, err = oneTimeKey(suite, public); err != nil || len(q.ID) < minIDBytes {
		return nil, GetBadRequest
	}
	return q, nil
}

// oneTimeKey is a reader's public key.
func oneTimeKey(suite Suite, serialized []byte) (PublicKey, error) {
	const kid = "reader" // which never travels
	return NewPublicKey(kid, suite, serialized, time.Time{})
}

func readSeconds(v jsonValue) (time.Duration, bool) {
	n, ok := readUint(v)
	if !ok || n > uint64(MaxMinLifetime/time.Second) {
		return 0, false
	}
	return time.Duration(n) * time.Second, true
}

func readFence(v jsonValue) (f tokenworker.Fence, ok bool) {
	if v.kind != jsonObject || len(v.members) != 3 {
		return f, false
	}
	for _, m := range v.members {
		n, ok := readUint(m.value)
		if !ok {
			return f, false
		}
		switch string(m.name) {
		case "epoch":
			f.Stamp.Epoch = n
		case "sequence":
			f.Stamp.Sequence = n
		case "generation":
			f.Generation = n
		default:
			return f, false
		}
	}
	return f, true
}

// AccessToken is what a reader is given of a token set.
type AccessToken struct {
	Value     tokenworker.Secret
	Scheme    string            // of the Authorization header that the provider's API wants it in; empty means Bearer
	Type      string            // as the provider spells it, which need not be a scheme
	Scope     string            // space-separated, RFC 6749 section 3.3
	ExpiresAt time.Time         // zero: unknown or never
	Fence     tokenworker.Fence // names the set, should its token be refused
}

// accessTokenJSON is the plaintext of a reply.
type accessTokenJSON struct {
	AccessToken string    `json:"access_token"`
	Scheme      string    `json:"scheme,omitempty"`
	TokenType   string    `json:"token_type,omitempty"`
	Scope       string    `json:"scope,omitempty"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	fenceJSON
}

// replyJSON is the wire form of a reply: an HPKE ciphertext of single use, in base64url without padding.
type replyJSON struct {
	Enc        string `json:"enc"`
	Ciphertext string `json:"ct"`
}

// getType is to replies what the type is to events: the first field of what their seal is bound to.
const getType = typePrefix + "get" + typeSuffix

// info is what the seal of a reply is bound to, in the form of every info of the contract (sealInfo): type, NATS subject and
// id of the request. HPKE itself binds it to the one-time key.
func (q *GetRequest) info() []byte { return sealInfo(getType, q.subject, q.ID) }

// Reply seals a token to whoever made the request. The error matches [GetBadRequest] where nothing can be sealed to the reader's
// key: a point of low order decodes, and nothing is encapsulated to it (RFC 9180 section 7.1.4).
func (q *GetRequest) Reply(t AccessToken) ([]byte, error) {
	f := t.Fence
	plaintext, err := json.Marshal(accessTokenJSON{
		AccessToken: string(t.Value.Reveal()), Scheme: t.Scheme, TokenType: t.Type, Scope: t.Scope, ExpiresAt: t.ExpiresAt,
		fenceJSON: fenceJSON{f.Stamp.Epoch, f.Stamp.Sequence, f.Generation},
	})
	if err != nil {
		return nil, errors.New("encoding a token") // the library's own error might quote it
	}
	defer clear(plaintext)
	s, err := q.to.seal(q.info(), plaintext)
	if err != nil {
		return nil, fmt.Errorf("%w: sealing a token: %w", GetBadRequest, err)
	}
	return json.Marshal(replyJSON{base64url.EncodeToString(s.Enc), base64url.EncodeToString(s.Ciphertext)})
}

// Get is a request as a reader makes it, with the key that opens its reply.
type Get struct {
	GetRequest
	suite   Suite
	private hpke.PrivateKey
}

// NewGet completes a request: its ID is made here, and so is the key, of the suite.
func NewGet(q GetRequest, suite Suite) (*Get, error) {
	kem := suite.kem()
	switch {
	case kem == nil:
		return nil, fmt.Errorf("%w: unknown suite", ErrInvalidPublicKey)
	case q.MinLifetime < 0 || q.MinLifetime > MaxMinLifetime:
		return nil, fmt.Errorf("a token is asked to live between 0 and %s", MaxMinLifetime)
	}
	if err := tokenworker.ValidatePart(q.Caller); err != nil {
		return nil, fmt.Errorf("caller: %w", err)
	}
	if err := q.Key.Validate(); err != nil {
		return nil, err
	}
	private, err := kem.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("making a one-time key: %w", err)
	}
	q.ID, q.subject = newID(), GetSubject(q.Caller, q.Key)
	return &Get{q, suite, private}, nil
}

// Subject is where the request is published.
func (g *Get) Subject() string { return g.subject }

// Body encodes the request. A fraction of a second of the lifetime asked for counts as a whole one.
func (g *Get) Body() ([]byte, error) {
	w := getJSON{
		ID: g.ID, Suite: g.suite, PublicKey: base64url.EncodeToString(g.private.PublicKey().Bytes()),
		MinLifetime: int64((g.MinLifetime + time.Second - 1) / time.Second),
	}
	if f := g.Refused; f != (tokenworker.Fence{}) {
		w.Refused = &fenceJSON{f.Stamp.Epoch, f.Stamp.Sequence, f.Generation}
	}
	return json.Marshal(w)
}

// Open opens the reply. The error is [CodeSealBroken] where it is not the reply to this request.
func (g *Get) Open(reply []byte) (AccessToken, error) {
	var w replyJSON
	if json.Unmarshal(reply, &w) != nil {
		return AccessToken{}, CodeSealBroken
	}
	enc, err1 := decodeBase64url([]byte(w.Enc))
	ct, err2 := decodeBase64url([]byte(w.Ciphertext))
	if err1 != nil || err2 != nil {
		return AccessToken{}, CodeSealBroken
	}
	plaintext, err := open(g.private, &Sealed{Enc: enc, Ciphertext: ct}, g.info())
	if err != nil {
		return AccessToken{}, err
	}
	defer clear(plaintext)
	var t accessTokenJSON
	if json.Unmarshal(plaintext, &t) != nil || t.AccessToken == "" {
		return AccessToken{}, CodeSealBroken
	}
	return AccessToken{
		Value: tokenworker.SecretString(t.AccessToken), Scheme: t.Scheme, Type: t.TokenType, Scope: t.Scope, ExpiresAt: t.ExpiresAt,
		Fence: tokenworker.Fence{
			Stamp: tokenworker.Stamp{Epoch: t.Epoch, Sequence: t.Sequence}, Generation: t.Generation,
		},
	}, nil
}
