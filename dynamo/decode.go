package dynamo

import (
	"fmt"
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
		},
		DueAt:       d.time(fieldDue),
		RevokeAt:    d.time(fieldRevokeAt),
		Revoke:      d.list(fieldRevoke),
		Claim:       d.claim(),
		Seen:        d.ids(),
		Spent:       d.prints(),
		AcquiredAt:  d.time(fieldAcquired),
		RefreshedAt: d.time(fieldRefreshed),
		RemoveAt:    d.time(fieldRemove),
	}
	if sealed := d.list(fieldSealed); len(sealed) > 0 {
		r.Sealed = sealed[0]
	}
	return r, d.err
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

func (d *decoder) text(f field) string {
	if s := member[*types.AttributeValueMemberS](d, d.item, f.name()); s != nil {
		return s.Value
	}
	return ""
}

func (d *decoder) number(f field) uint64 {
	n := member[*types.AttributeValueMemberN](d, d.item, f.name())
	if n == nil {
		return 0
	}
	v, err := strconv.ParseUint(n.Value, 10, 64)
	if err != nil {
		d.fail(f.name())
	}
	return v
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

func (d *decoder) claim() *tokenworker.Claim {
	m := member[*types.AttributeValueMemberM](d, d.item, fieldClaim.name())
	if m == nil {
		return nil
	}
	c := &tokenworker.Claim{Until: d.timeIn(m.Value, claimUntil)}
	if owner := member[*types.AttributeValueMemberS](d, m.Value, claimOwner); owner != nil {
		c.Owner = owner.Value
	}
	if attempt := member[*types.AttributeValueMemberB](d, m.Value, claimAttempt); attempt != nil {
		copy(c.Attempt[:], attempt.Value)
	}
	return c
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

func (d *decoder) prints() []tokenworker.Fingerprint {
	var prints []tokenworker.Fingerprint
	for _, b := range d.list(fieldSpent) {
		if len(b) != len(tokenworker.Fingerprint{}) {
			d.fail(fieldSpent.name())
			return nil
		}
		prints = append(prints, tokenworker.Fingerprint(b))
	}
	return prints
}

// writtenBy is the attempt that wrote the item last.
func writtenBy(it item) []byte {
	if b, ok := it[fieldWrittenBy.name()].(*types.AttributeValueMemberB); ok {
		return b.Value
	}
	return nil
}
