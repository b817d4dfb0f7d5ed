package events

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// Suite names an HPKE suite (RFC 9180 section 7). A key id names one suite, so a message cannot ask for a weaker one.
type Suite string

// The suites of v1. Both derive with HKDF-SHA256 (KDF 0x0001) and encrypt with AES-256-GCM (AEAD 0x0002).
const (
	// SuiteHybrid is MLKEM768-X25519, also called X-Wing (KEM 0x647a). A recording of today's traffic stays closed to
	// the quantum computers of tomorrow, and if ML-KEM fell, X25519 would still stand.
	SuiteHybrid Suite = "MLKEM768-X25519,HKDF-SHA256,AES-256-GCM"

	// SuiteX25519 is DHKEM(X25519, HKDF-SHA256) (KEM 0x0020), for publishers whose language has no hybrid yet.
	SuiteX25519 Suite = "X25519,HKDF-SHA256,AES-256-GCM"
)

// kem is nil for an unknown suite.
func (s Suite) kem() hpke.KEM {
	switch s {
	case SuiteHybrid:
		return hpke.MLKEM768X25519()
	case SuiteX25519:
		return hpke.DHKEM(ecdh.X25519())
	}
	return nil
}

// Sealed is an HPKE ciphertext of single use: base mode, no additional data.
type Sealed struct {
	KeyID      string // the worker's key that it is sealed to
	Enc        []byte // the encapsulated key
	Ciphertext []byte
}

// sealedJSON is the wire form, in base64url without padding.
type sealedJSON struct {
	KeyID      string `json:"kid"`
	Enc        string `json:"enc"`
	Ciphertext string `json:"ct"`
}

func (s *Sealed) wire() sealedJSON {
	return sealedJSON{s.KeyID, base64url.EncodeToString(s.Enc), base64url.EncodeToString(s.Ciphertext)}
}

// MarshalJSON writes {kid, enc, ct}.
func (s *Sealed) MarshalJSON() ([]byte, error) { return json.Marshal(s.wire()) }

// base64url refuses trailing bits, so that a byte sequence has one spelling.
var base64url = base64.RawURLEncoding.Strict()

const (
	maxKeyIDBytes = 64
	gcmTagBytes   = 16
)

// looksSealed reports whether an object is meant to be a [Sealed].
func looksSealed(v jsonValue) bool {
	for _, m := range v.members {
		switch string(m.name) {
		case "kid", "enc", "ct":
			return true
		}
	}
	return false
}

// readSealed reads the wire form of a [Sealed]. The error is [CodeUnknownField] or [CodeInvalidData].
func readSealed(v jsonValue) (s Sealed, err error) {
	for _, m := range v.members {
		ok := m.value.kind == jsonString
		switch string(m.name) {
		case "kid":
			s.KeyID = string(m.value.text)
			ok = ok && validKeyID(s.KeyID)
		case "enc":
			s.Enc, err = decodeBase64url(m.value.text)
			ok = ok && err == nil
		case "ct":
			s.Ciphertext, err = decodeBase64url(m.value.text)
			ok = ok && err == nil
		default:
			return Sealed{}, CodeUnknownField
		}
		if !ok {
			return Sealed{}, CodeInvalidData
		}
	}
	if s.KeyID == "" || len(s.Enc) == 0 || len(s.Ciphertext) < gcmTagBytes {
		return Sealed{}, CodeInvalidData
	}
	return s, nil
}

func decodeBase64url(text []byte) ([]byte, error) {
	if bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0 { // which the library would skip
		return nil, CodeInvalidData
	}
	b := make([]byte, base64url.DecodedLen(len(text)))
	n, err := base64url.Decode(b, text)
	return b[:n], err
}

// validKeyID accepts letters, digits, _, - and ~, as in a subject token.
func validKeyID(s string) bool {
	if s == "" || len(s) > maxKeyIDBytes {
		return false
	}
	for i := range len(s) {
		if s[i] == '%' || !isTokenRune(rune(s[i])) {
			return false
		}
	}
	return true
}

// infoLabel begins every HPKE info of the contract.
const infoLabel = "tokenworker/v1"

// sealInfo is the HPKE info of a seal: the 14 bytes of infoLabel, then for each field its length in bytes as four bytes,
// most significant first, and its bytes in UTF-8. For an event the fields are type, subject (the text form of the
// key), source, id and time, each exactly as the event spells it.
func sealInfo(fields ...string) []byte {
	n := len(infoLabel)
	for _, f := range fields {
		n += 4 + len(f)
	}
	info := append(make([]byte, 0, n), infoLabel...)
	for _, f := range fields {
		info = binary.BigEndian.AppendUint32(info, uint32(len(f))) //nolint:gosec // fields are parts of a message of 64 KiB
		info = append(info, f...)
	}
	return info
}

// seal encrypts plaintext to k.
func (k PublicKey) seal(info, plaintext []byte) (Sealed, error) {
	if k.key == nil {
		return Sealed{}, fmt.Errorf("%w: none given", ErrInvalidPublicKey)
	}
	enc, sender, err := hpke.NewSender(k.key, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		return Sealed{}, err
	}
	ct, err := sender.Seal(nil, plaintext)
	if err != nil {
		return Sealed{}, err
	}
	return Sealed{KeyID: k.KeyID, Enc: enc, Ciphertext: ct}, nil
}

// open undoes seal. The error is [CodeSealBroken].
func open(key hpke.PrivateKey, s *Sealed, info []byte) ([]byte, error) {
	recipient, err := hpke.NewRecipient(s.Enc, key, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		return nil, CodeSealBroken
	}
	plaintext, err := recipient.Open(nil, s.Ciphertext)
	if err != nil {
		return nil, CodeSealBroken
	}
	return plaintext, nil
}
