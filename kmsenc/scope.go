package kmsenc

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"github.com/tokenworker/tokenworker"
)

// MaxPools is the largest N of the scope pool:N.
const MaxPools = 4096

// scopeKind is a scope as a header spells it.
type scopeKind byte

const (
	orgKind   scopeKind = 1
	tokenKind scopeKind = 2
	poolKind  scopeKind = 3
)

// Scope says who shares a data key; doc.go says what each costs in calls and isolation. The zero Scope is "org".
// Changing it leaves what is already sealed readable, because a sealed token set names its own.
type Scope struct {
	kind  scopeKind // zero: orgKind
	pools uint16    // poolKind only: 1 to [MaxPools]
}

var errScope = errors.New("invalid data key scope: want org, token or pool:N, N from 1 to " + strconv.Itoa(MaxPools))

// ParseScope reads "org" (one data key for each organization), "token" (one for each seal) or "pool:N" (N data keys,
// each organization assigned to one by hash).
func ParseScope(s string) (Scope, error) {
	switch s {
	case "org":
		return Scope{}, nil
	case "token":
		return Scope{kind: tokenKind}, nil
	}
	number, ok := strings.CutPrefix(s, "pool:")
	if !ok {
		return Scope{}, errScope
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n < 1 || n > MaxPools || strconv.FormatUint(n, 10) != number {
		return Scope{}, errScope
	}
	return Scope{kind: poolKind, pools: uint16(n)}, nil
}

// String is the spelling that [ParseScope] reads.
func (s Scope) String() string {
	switch s.kind {
	case tokenKind:
		return "token"
	case poolKind:
		return "pool:" + strconv.Itoa(int(s.pools))
	default:
		return "org"
	}
}

// keyScope is what one data key is for, as the header of a sealed token set names it.
type keyScope struct {
	kind scopeKind
	pool uint16 // poolKind only
}

// of is the scope of the data key that an organization's token sets are sealed under.
func (s Scope) of(orgID string) keyScope {
	switch s.kind {
	case tokenKind:
		return keyScope{kind: tokenKind}
	case poolKind:
		sum := sha256.Sum256([]byte("tokenworker/kmsenc/pool/v1\n" + orgID))
		// 16 bits are enough: with 4,096 pools the largest is expected to be 1/16 above the smallest, with fewer less.
		return keyScope{kind: poolKind, pool: binary.BigEndian.Uint16(sum[:]) % s.pools}
	default:
		return keyScope{kind: orgKind}
	}
}

// orgContext is the name in an encryption context of the organization that a data key is for.
const orgContext = "org"

// encryptionContext is what the key service binds a data key of the scope to. It shows in its audit log.
func (k keyScope) encryptionContext(orgID string) map[string]string {
	if k.kind == poolKind {
		return map[string]string{"app": "tokenworker", "pool": strconv.Itoa(int(k.pool))}
	}
	return map[string]string{"app": "tokenworker", orgContext: orgID}
}

// name is the name in the store of the scope's current key. The scope "token" has none.
func (k keyScope) name(orgID string) string {
	if k.kind == poolKind {
		return "pool/" + strconv.Itoa(int(k.pool))
	}
	return "org/" + tokenworker.EscapePart(orgID)
}

// scopeNamed undoes name. It is false for keys of other kinds.
func scopeNamed(name string) (scope keyScope, orgID string, ok bool) {
	kind, rest, _ := strings.Cut(name, "/")
	switch kind {
	case "org":
		orgID, err := tokenworker.UnescapePart(rest)
		return keyScope{kind: orgKind}, orgID, err == nil
	case "pool":
		pool, err := strconv.ParseUint(rest, 10, 16)
		return keyScope{kind: poolKind, pool: uint16(pool)}, "", err == nil
	}
	return keyScope{}, "", false
}
