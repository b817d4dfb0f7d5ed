package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/tokenworker/tokenworker"
)

// StateHash is the lower-case hex SHA-256 over what order decides of every record of the organizations, by organization
// as given and then by key: key, status, stamp, generation and token set. Two runs of one log must agree on it.
//
// A seal is different every time, so set returns what stands for a record's token set, the plaintext, say; nil takes the
// sealed bytes themselves. It is called for records with a set only.
func StateHash(ctx context.Context, s Store, orgs []string, set func(tokenworker.Record) ([]byte, error)) (string, error) {
	h := sha256.New()
	for _, org := range orgs {
		for r, err := range s.Records(ctx, org) {
			if err != nil {
				return "", fmt.Errorf("listing records: %w", err)
			}
			held := r.Sealed
			if set != nil && held != nil {
				if held, err = set(r); err != nil {
					return "", fmt.Errorf("reading the set of %s: %w", r.Key, err)
				}
			}
			_, _ = fmt.Fprintf(h, "%s %s %s %d %x\n", r.Key, r.Status, r.Stamp, r.Generation, held)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
