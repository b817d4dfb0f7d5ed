package kmsenc

import (
	"encoding/binary"
	"fmt"

	"github.com/tokenworker/tokenworker"
)

const (
	formatVersion = 1

	saltBytes       = 32
	commitmentBytes = 32
	gcmOverhead     = 12 + 16 // nonce and tag

	// Limits of AWS KMS: KeyId and CiphertextBlob in its API reference, Decrypt.
	maxKeyIDBytes   = 2048
	maxWrappedBytes = 6144

	boundBytes = 28 // the part of the header that is additional data
	fixedBytes = boundBytes + saltBytes + commitmentBytes
)

// envelope is a sealed token set, format version 1. Integers are unsigned and big-endian.
//
//	offset  bytes  field
//	     0      1  format version: 1
//	     1      1  scope of the data key: 1 organization, 2 token, 3 pool
//	     2      2  number of the pool; 0 unless the scope is a pool
//	     4      8  epoch      \
//	    12      8  sequence    } the fence
//	    20      8  generation /
//	    28     32  salt
//	    60     32  key commitment
//	    92      2  k, 1 to 2,048
//	    94      k  id of the key that wraps the data key
//	  94+k      2  w, 1 to 6,144
//	  96+k      w  wrapped data key
//	96+k+w      4  c, at least 28
//	   ...      c  AES-256-GCM: 12 bytes of nonce, the ciphertext, 16 bytes of tag
//
// The whole is at most [tokenworker.MaxSealedBytes] long and nothing follows it. Each envelope has one spelling: what
// parses encodes to the same bytes.
//
// The additional data is bytes 0 to 27 of the header followed by organization, provider and company, each as its length
// in 2 bytes and then its bytes: fixed fields first, every other one with its length, so no two connections or fences
// share one. Key id and wrapped data key are left out so that a data key can be wrapped again under another key;
// they are bound all the same, because no other data key meets the commitment.
type envelope struct {
	scope      keyScope
	fence      tokenworker.Fence
	salt       [saltBytes]byte
	commitment [commitmentBytes]byte
	keyID      []byte
	wrapped    []byte
	ciphertext []byte
}

// size is the length of the envelope with a ciphertext of n bytes.
func (e *envelope) size(n int) int { return fixedBytes + 2 + len(e.keyID) + 2 + len(e.wrapped) + 4 + n }

// appendBound appends the part of the header that is additional data.
func (e *envelope) appendBound(b []byte) []byte {
	b = append(b, formatVersion, byte(e.scope.kind))
	b = binary.BigEndian.AppendUint16(b, e.scope.pool)
	b = binary.BigEndian.AppendUint64(b, e.fence.Stamp.Epoch)
	b = binary.BigEndian.AppendUint64(b, e.fence.Stamp.Sequence)
	return binary.BigEndian.AppendUint64(b, e.fence.Generation)
}

// additionalData is what the seal is bound to besides the data key.
func (e *envelope) additionalData(key tokenworker.Key) []byte {
	b := make([]byte, 0, boundBytes+2+len(key.OrgID)+2+len(key.ProviderID)+2+len(key.CompanyID))
	b = e.appendBound(b)
	for _, part := range [...]string{key.OrgID, key.ProviderID, key.CompanyID} {
		b = append(appendLength(b, 2, len(part)), part...)
	}
	return b
}

// appendHeader appends everything up to a ciphertext of n bytes.
func (e *envelope) appendHeader(b []byte, n int) []byte {
	b = e.appendBound(b)
	b = append(b, e.salt[:]...)
	b = append(b, e.commitment[:]...)
	b = append(appendLength(b, 2, len(e.keyID)), e.keyID...)
	b = append(appendLength(b, 2, len(e.wrapped)), e.wrapped...)
	return appendLength(b, 4, n)
}

// parseEnvelope reads a whole envelope; its slices point into b. The error matches [tokenworker.ErrSealBroken].
func parseEnvelope(b []byte) (*envelope, error) {
	if len(b) > tokenworker.MaxSealedBytes {
		return nil, broken("longer than any envelope")
	}
	if len(b) < fixedBytes {
		return nil, broken("cut off")
	}
	if b[0] != formatVersion {
		return nil, broken("unknown format version")
	}
	e := &envelope{
		scope: keyScope{kind: scopeKind(b[1]), pool: binary.BigEndian.Uint16(b[2:])},
		fence: tokenworker.Fence{
			Stamp: tokenworker.Stamp{
				Epoch:    binary.BigEndian.Uint64(b[4:]),
				Sequence: binary.BigEndian.Uint64(b[12:]),
			},
			Generation: binary.BigEndian.Uint64(b[20:]),
		},
		salt:       [saltBytes]byte(b[boundBytes:]),
		commitment: [commitmentBytes]byte(b[boundBytes+saltBytes:]),
	}
	switch e.scope.kind {
	case orgKind, tokenKind:
		if e.scope.pool != 0 {
			return nil, broken("pool number without a pool")
		}
	case poolKind:
	default:
		return nil, broken("unknown scope")
	}

	rest := b[fixedBytes:]
	var ok bool
	if e.keyID, rest, ok = cutField(rest, 2, 1, maxKeyIDBytes); !ok {
		return nil, broken("key id does not fit")
	}
	if e.wrapped, rest, ok = cutField(rest, 2, 1, maxWrappedBytes); !ok {
		return nil, broken("wrapped data key does not fit")
	}
	if e.ciphertext, rest, ok = cutField(rest, 4, gcmOverhead, tokenworker.MaxSealedBytes); !ok || len(rest) > 0 {
		return nil, broken("ciphertext does not fit")
	}
	return e, nil
}

// appendLength appends the length n of a field in the given number of bytes, which hold it.
func appendLength(b []byte, lengthBytes, n int) []byte {
	for i := lengthBytes - 1; i >= 0; i-- {
		b = append(b, byte(n>>(8*i)))
	}
	return b
}

// cutField cuts a field of least to most bytes off b, where its length stands first in the given number of bytes.
func cutField(b []byte, lengthBytes, least, most int) (field, rest []byte, ok bool) {
	if len(b) < lengthBytes {
		return nil, nil, false
	}
	n := 0
	for _, c := range b[:lengthBytes] {
		n = n<<8 | int(c)
	}
	b = b[lengthBytes:]
	if n < least || n > most || n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// FenceOf reads which token set a sealed blob claims to hold, for blobs that stand outside their row's own fence, such
// as those of a revoke list. The claim is worth nothing until [Sealer.Open] has succeeded with it. The error matches
// [tokenworker.ErrSealBroken].
func FenceOf(sealed []byte) (tokenworker.Fence, error) {
	e, err := parseEnvelope(sealed)
	if err != nil {
		return tokenworker.Fence{}, err
	}
	return e.fence, nil
}

// broken says why a blob does not open, in fixed words.
func broken(why string) error { return fmt.Errorf("%w: %s", tokenworker.ErrSealBroken, why) }
