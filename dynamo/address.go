package dynamo

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker"
)

// The primary key. Parts of connection keys are escaped, so none of them holds a '#', and whatever has one in its
// primary key is not a connection.
const (
	attrOrg  = "org"
	attrConn = "conn"

	orgKeyConn   = "#key" // sort key of an organization's wrapped key
	tableOrg     = "#"    // partition of what concerns the table as a whole; a kind of wrapped key is never empty
	settingsConn = "#settings"

	firstConn = "$" // '$' is the byte after '#': no connection sorts below it
)

// address is the primary key of an item.
type address struct{ org, conn string }

func addressOf(k tokenworker.Key) address {
	return address{
		org:  tokenworker.EscapePart(k.OrgID),
		conn: tokenworker.EscapePart(k.ProviderID) + ":" + tokenworker.EscapePart(k.CompanyID),
	}
}

// key undoes addressOf.
func (a address) key() (tokenworker.Key, error) {
	k, err := tokenworker.ParseKey(a.org + ":" + a.conn)
	if err != nil {
		return tokenworker.Key{}, fmt.Errorf("reading a primary key: %w", err)
	}
	return k, nil
}

// attributes is the address as a request names it.
func (a address) attributes() map[string]types.AttributeValue {
	return map[string]types.AttributeValue{attrOrg: str(a.org), attrConn: str(a.conn)}
}

// dueShard is the partition of the index "due" that the connection is in. Its number is FNV-1a (64 bits) of the key's text
// form, modulo the number of shards.
func (a address) dueShard(shards uint64) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(a.org + ":" + a.conn))
	provider, _, _ := strings.Cut(a.conn, ":")
	return dueShard(provider, int(h.Sum64()%shards)) //nolint:gosec // less than maxShards
}

// dueShard is a partition of the index "due": the escaped provider, '#' and the number of the shard.
func dueShard(provider string, number int) string { return provider + "#" + strconv.Itoa(number) }

// addressOfWrapped is where the wrapped key of that name lies: an organization's in the organization's own partition,
// so that whoever may read the one may read the other, all other kinds in a partition for each.
func addressOfWrapped(name string) (address, error) {
	kind, rest, err := cutName(name)
	if err != nil {
		return address{}, err
	}
	if _, err := tokenworker.UnescapePart(rest); err != nil {
		return address{}, fmt.Errorf("name of a wrapped key: %w", err)
	}
	if kind == orgKind {
		return address{org: rest, conn: orgKeyConn}, nil
	}
	return address{org: "#" + kind, conn: rest}, nil
}

// nameAt undoes addressOfWrapped.
func nameAt(a address) string {
	if kind, ok := strings.CutPrefix(a.org, "#"); ok {
		return kind + "/" + a.conn
	}
	return orgKind + "/" + a.org
}

const orgKind = "org"

// cutName splits the name of a wrapped key, or a prefix of one, into its kind and the rest.
func cutName(name string) (kind, rest string, err error) {
	kind, rest, found := strings.Cut(name, "/")
	if !found || kind == "" || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz") != "" {
		return "", "", fmt.Errorf("name of a wrapped key: %w: it begins with no kind and slash", tokenworker.ErrInvalidKey)
	}
	return kind, rest, nil
}
