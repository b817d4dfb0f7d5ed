package demoprovider

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// The prefixes by which a scan finds tokens that leaked. 32 hex digits follow, different for every token.
const (
	AccessPrefix  = "tw-demo-at-"
	RefreshPrefix = "tw-demo-rt-"
)

// tokenID says which token it is.
type tokenID struct {
	prefix string
	family int
	number int // counted from 0 within the family, access and refresh tokens apart
}

// mint makes tokens and knows them again. A token is one AES block over its family and number, so it looks random and
// cannot be guessed, and yet the server remembers none of them.
//
//	family (4 bytes) | number (4 bytes) | 0 access, 1 refresh (1 byte) | zero (7 bytes, which a made-up token fails)
type mint struct{ block cipher.Block }

func newMint() (mint, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		return mint{}, fmt.Errorf("making the key of the tokens: %w", err)
	}
	return mint{block}, nil
}

func (m mint) token(id tokenID) string {
	var b [aes.BlockSize]byte
	id.encode(&b)
	m.block.Encrypt(b[:], b[:])
	return id.prefix + hex.EncodeToString(b[:])
}

func (id tokenID) encode(b *[aes.BlockSize]byte) {
	binary.BigEndian.PutUint32(b[:4], uint32(id.family))  //nolint:gosec // families and tokens do not get that many
	binary.BigEndian.PutUint32(b[4:8], uint32(id.number)) //nolint:gosec // as above
	if id.prefix == RefreshPrefix {
		b[8] = 1
	}
}

// parse reports false for what was not minted under this key.
func (m mint) parse(token string) (tokenID, bool) {
	for _, prefix := range []string{AccessPrefix, RefreshPrefix} {
		digits, ok := strings.CutPrefix(token, prefix)
		if !ok {
			continue
		}
		sealed, err := hex.DecodeString(digits)
		if err != nil || len(sealed) != aes.BlockSize {
			return tokenID{}, false
		}
		m.block.Decrypt(sealed, sealed)
		id := tokenID{prefix, int(binary.BigEndian.Uint32(sealed[:4])), int(binary.BigEndian.Uint32(sealed[4:8]))}
		var want [aes.BlockSize]byte
		id.encode(&want)
		// Hex digits have two spellings; only the one that was handed out is the token.
		return id, want == [aes.BlockSize]byte(sealed) && digits == strings.ToLower(digits)
	}
	return tokenID{}, false
}
