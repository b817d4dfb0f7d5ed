package dynamo

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker"
)

// The attributes of a wrapped key's item beside its primary key.
const (
	fieldKeyID   field = ":key_id"
	fieldWrapped field = ":wrapped_key"
	fieldSuite   field = ":hpke_suite"
	fieldPublic  field = ":public_key"
	fieldCreated field = ":created_at"
)

// WrappedKey returns the key of that name, by a consistent read. The error matches [tokenworker.ErrNotFound] when there
// is none.
func (t *Table) WrappedKey(ctx context.Context, name string) (tokenworker.WrappedKey, error) {
	at, err := addressOfWrapped(name)
	if err != nil {
		return tokenworker.WrappedKey{}, err
	}
	found, err := t.item(ctx, at)
	if err != nil {
		return tokenworker.WrappedKey{}, err
	}
	if found == nil {
		return tokenworker.WrappedKey{}, fmt.Errorf("wrapped key %s: %w", name, tokenworker.ErrNotFound)
	}
	return decodeWrapped(name, found)
}

// PutWrappedKey writes k if the key stored under its name has replaces as its Wrapped, or, with replaces nil, if there is
// none, and returns the one that is stored afterwards. The error matches [tokenworker.ErrNotFound] when there is none to
// replace.
func (t *Table) PutWrappedKey(
	ctx context.Context, k tokenworker.WrappedKey, replaces []byte,
) (tokenworker.WrappedKey, error) {
	at, err := addressOfWrapped(k.Name)
	if err != nil {
		return tokenworker.WrappedKey{}, err
	}
	put := &dynamodb.PutItemInput{
		TableName:                           aws.String(t.name),
		Item:                                encodeWrapped(at, k),
		ConditionExpression:                 aws.String("attribute_not_exists(org)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	if replaces != nil {
		put.ConditionExpression = aws.String("wrapped_key = :replaces")
		put.ExpressionAttributeValues = map[string]types.AttributeValue{":replaces": blob(replaces)}
	}
	_, err = t.client.PutItem(ctx, put)
	var failed *types.ConditionalCheckFailedException
	switch {
	case err == nil:
		return k, nil
	case !errors.As(err, &failed):
		return tokenworker.WrappedKey{}, classify(ctx, "putting a wrapped key", err)
	case failed.Item == nil:
		return tokenworker.WrappedKey{}, fmt.Errorf("wrapped key %s: %w", k.Name, tokenworker.ErrNotFound)
	}
	return decodeWrapped(k.Name, failed.Item) // the winner's, or ours, put by a try whose reply was lost
}

// WrappedKeys returns the keys whose names begin with prefix, by name, reading consistently. The prefix is at least a kind
// and its slash. Keys of organizations lie in a partition each and cannot be listed.
func (t *Table) WrappedKeys(ctx context.Context, prefix string) ([]tokenworker.WrappedKey, error) {
	kind, rest, err := cutName(prefix)
	if err != nil {
		return nil, err
	}
	if kind == orgKind {
		return nil, fmt.Errorf("listing wrapped keys: %w: those of organizations are not listed", tokenworker.ErrInvalidKey)
	}
	condition := "org = :org AND begins_with(conn, :conn)"
	if rest == "" {
		condition, rest = "org = :org AND conn > :conn", firstConn
	}
	var keys []tokenworker.WrappedKey
	for found, err := range t.query(ctx, partition(condition, address{org: "#" + kind, conn: rest})) {
		if err != nil {
			return nil, err
		}
		d := decoder{item: found}
		k, err := decodeWrapped(kind+"/"+d.text(":"+attrConn), found)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// AllWrappedKeys yields every wrapped key, those of organizations included, at the cost of [Table.AllRecords].
func (t *Table) AllWrappedKeys(ctx context.Context) iter.Seq2[tokenworker.WrappedKey, error] {
	return func(yield func(tokenworker.WrappedKey, error) bool) {
		for found, err := range t.scan(ctx, fieldWrapped) {
			var k tokenworker.WrappedKey
			if err == nil {
				d := decoder{item: found}
				name := nameAt(address{org: d.textIn(found, attrOrg), conn: d.textIn(found, attrConn)})
				if err = d.err; err == nil {
					k, err = decodeWrapped(name, found)
				}
			}
			if !yield(k, err) || err != nil {
				return
			}
		}
	}
}

// DeleteWrappedKey forgets a key. That there is none is no error.
func (t *Table) DeleteWrappedKey(ctx context.Context, name string) error {
	at, err := addressOfWrapped(name)
	if err != nil {
		return err
	}
	_, err = t.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: aws.String(t.name), Key: at.attributes()})
	if err != nil {
		return classify(ctx, "deleting a wrapped key", err)
	}
	return nil
}

func encodeWrapped(at address, k tokenworker.WrappedKey) item {
	it := at.attributes()
	it[fieldKeyID.name()] = str(k.KeyID)
	it[fieldWrapped.name()] = blob(k.Wrapped)
	it[fieldCreated.name()] = unix(k.CreatedAt)
	if k.Suite != "" {
		it[fieldSuite.name()] = str(k.Suite)
		it[fieldPublic.name()] = blob(k.Public)
	}
	return it
}

func decodeWrapped(name string, it item) (tokenworker.WrappedKey, error) {
	d := decoder{item: it}
	k := tokenworker.WrappedKey{
		Name: name, KeyID: d.text(fieldKeyID), Wrapped: d.bytes(fieldWrapped),
		Suite: d.text(fieldSuite), Public: d.bytes(fieldPublic), CreatedAt: d.time(fieldCreated),
	}
	return k, d.err
}

func (d *decoder) bytes(f field) []byte {
	if b := member[*types.AttributeValueMemberB](d, d.item, f.name()); b != nil {
		return b.Value
	}
	return nil
}
