package main

import (
	"encoding/binary"
	"errors"

	"github.com/tokenworker/tokenworker"
)

// envelope is a sealed token set taken apart, by the documented format (kmsenc, version 1), with code of the attack's own:
//
//	version, scope, pool (4 bytes), fence (3 × 8), salt (32), commitment (32), key id (2+k), wrapped key (2+w), rest
type envelope struct {
	version, fence, salted, keyID, wrapped, rest []byte
}

var errEnvelope = errors.New("not a sealed token set of version 1")

// takeApart copies its parts.
func takeApart(sealed []byte) (envelope, error) {
	b := append([]byte(nil), sealed...)
	cut := func(n int) []byte {
		if n > len(b) {
			n = len(b)
		}
		part := b[:n:n]
		b = b[n:]
		return part
	}
	field := func() []byte {
		length := cut(2)
		if len(length) < 2 {
			return nil
		}
		return append(length, cut(int(binary.BigEndian.Uint16(length)))...)
	}
	e := envelope{version: cut(4), fence: cut(24), salted: cut(64), keyID: field(), wrapped: field(), rest: b}
	if len(e.rest) < 4 || e.version[0] != 1 {
		return envelope{}, errEnvelope
	}
	return e, nil
}

// put puts it together again.
func (e envelope) put() []byte {
	var b []byte
	for _, part := range [][]byte{e.version, e.fence, e.salted, e.keyID, e.wrapped, e.rest} {
		b = append(b, part...)
	}
	return b
}

// keyOf is the id of the key that wraps the data key of a sealed token set.
func keyOf(sealed []byte) (string, error) {
	e, err := takeApart(sealed)
	if err != nil {
		return "", err
	}
	return string(e.keyID[2:]), nil
}

// fenceOf is the fence that a sealed token set names in its header.
func fenceOf(sealed []byte) (tokenworker.Fence, error) {
	e, err := takeApart(sealed)
	if err != nil {
		return tokenworker.Fence{}, err
	}
	return tokenworker.Fence{
		Stamp: tokenworker.Stamp{
			Epoch: binary.BigEndian.Uint64(e.fence), Sequence: binary.BigEndian.Uint64(e.fence[8:]),
		},
		Generation: binary.BigEndian.Uint64(e.fence[16:]),
	}, nil
}
