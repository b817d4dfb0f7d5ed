package dynamo

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker"
)

// The attributes of a retained set's item beside its primary key, its fence and what it shares with a record.
const (
	fieldRetainedSet field = ":retained_set"
	fieldRetainedAt  field = ":retained_at"
)

// retainedPrefix begins the sort keys of a connection's retained sets: "#set:" and the connection's own, which '#' ends.
func retainedPrefix(of address) string { return "#set:" + of.conn + "#" }

const fenceBytes = 3 * 8

// retainedAddress is where the set of that fence lies: the fence in hex sorts as fences do.
func retainedAddress(of address, f tokenworker.Fence) address {
	b := make([]byte, 0, fenceBytes)
	b = binary.BigEndian.AppendUint64(b, f.Stamp.Epoch)
	b = binary.BigEndian.AppendUint64(b, f.Stamp.Sequence)
	b = binary.BigEndian.AppendUint64(b, f.Generation)
	return address{of.org, retainedPrefix(of) + hex.EncodeToString(b)}
}

// Retained returns the sets that are kept beside a record, the newest first, reading consistently.
func (t *Table) Retained(ctx context.Context, k tokenworker.Key) ([]tokenworker.RetainedSet, error) {
	of := addressOf(k)
	input := partition("org = :org AND begins_with(conn, :conn)", address{of.org, retainedPrefix(of)})
	input.ScanIndexForward = aws.Bool(false)
	var sets []tokenworker.RetainedSet
	for found, err := range t.query(ctx, input) {
		if err != nil {
			return nil, err
		}
		d := decoder{item: found}
		set := tokenworker.RetainedSet{
			Fence: tokenworker.Fence{
				Stamp:      tokenworker.Stamp{Epoch: d.number(fieldEpoch), Sequence: d.number(fieldSequence)},
				Generation: d.number(fieldGeneration),
			},
			Sealed: d.bytes(fieldRetainedSet), ExpiresAt: d.time(fieldExpires), Scope: d.text(fieldScope), At: d.time(fieldRetainedAt),
		}
		if d.err != nil {
			return nil, d.err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// RewrapRetained replaces a retained set by what it is since its data key was wrapped again, unless it is no longer as it was.
func (t *Table) RewrapRetained(ctx context.Context, k tokenworker.Key, f tokenworker.Fence, set tokenworker.Rewrapped) error {
	if err := checkSize(set.New); err != nil {
		return err
	}
	_, err := t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: aws.String(t.name), Key: retainedAddress(addressOf(k), f).attributes(),
		UpdateExpression: aws.String("SET retained_set = :new"), ConditionExpression: aws.String("retained_set = :old"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":new": blob(set.New), ":old": blob(set.Old)},
	})
	var failed *types.ConditionalCheckFailedException
	if err != nil && !errors.As(err, &failed) {
		return classify(ctx, "updating a retained set", err)
	}
	return nil
}

// DropRetained removes those of the sets kept beside a record that are not newer than a stamp.
func (t *Table) DropRetained(ctx context.Context, k tokenworker.Key, until tokenworker.Stamp) error {
	of := addressOf(k)
	last := retainedAddress(of, tokenworker.Fence{Stamp: until, Generation: math.MaxUint64})
	input := partition("org = :org AND conn BETWEEN :conn AND :last", address{of.org, retainedPrefix(of)})
	input.ExpressionAttributeValues[":last"], input.ProjectionExpression = str(last.conn), aws.String("org, conn")
	for found, err := range t.query(ctx, input) {
		if err != nil {
			return err
		}
		_, err := t.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: aws.String(t.name), Key: found})
		if err != nil {
			return classify(ctx, "removing a retained set", err)
		}
	}
	return nil
}

// retains says what must be written beside the record that becomes next, in the same step: its new set, where that is to be
// kept, and the removal of what is too old, or of all that a tombstone leaves behind. For a record that keeps nothing it
// asks for nothing. Of two steps at once each removes what it has seen, so a set too many may stay until the next.
func (t *Table) retains(
	ctx context.Context, at address, current, next *tokenworker.Record,
) ([]types.TransactWriteItem, error) {
	var beside []types.TransactWriteItem
	keep := 0
	switch {
	case next.Retain > 0:
		it := retainedItem(at, next.RetainedSet())
		beside, keep = append(beside, types.TransactWriteItem{Put: &types.Put{TableName: aws.String(t.name), Item: it}}), next.Retain-1
	case next.Status != tokenworker.Disconnected || current == nil || !current.Retained:
		return nil, nil
	}
	input := partition("org = :org AND begins_with(conn, :conn)", address{at.org, retainedPrefix(at)})
	input.ScanIndexForward, input.ProjectionExpression = aws.Bool(false), aws.String("org, conn")
	for found, err := range t.query(ctx, input) {
		if err != nil {
			return nil, err
		}
		if keep--; keep < 0 {
			d := decoder{item: found}
			old := address{d.textIn(found, attrOrg), d.textIn(found, attrConn)}
			if d.err != nil {
				return nil, d.err
			}
			beside = append(beside, types.TransactWriteItem{
				Delete: &types.Delete{TableName: aws.String(t.name), Key: old.attributes()},
			})
		}
	}
	return beside, nil
}

func retainedItem(of address, s tokenworker.RetainedSet) item {
	it := retainedAddress(of, s.Fence).attributes()
	v := fields{
		fieldEpoch: number(s.Stamp.Epoch), fieldSequence: number(s.Stamp.Sequence), fieldGeneration: number(s.Generation),
		fieldRetainedSet: blob(s.Sealed),
	}
	v.time(fieldExpires, s.ExpiresAt)
	v.text(fieldScope, s.Scope)
	v.time(fieldRetainedAt, s.At)
	for f, value := range v {
		it[f.name()] = value
	}
	return it
}

// applyTogether is apply for a change that other items change with.
func (t *Table) applyTogether(ctx context.Context, at address, c *change) (done bool, found *tokenworker.Record, err error) {
	_, err = t.client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
		TransactItems: append([]types.TransactWriteItem{{Update: &types.Update{
			TableName:                           aws.String(t.name),
			Key:                                 at.attributes(),
			UpdateExpression:                    aws.String(c.expression()),
			ConditionExpression:                 aws.String(c.condition),
			ExpressionAttributeValues:           c.values,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		}}}, c.beside...),
	})
	if err == nil {
		return true, nil, nil
	}
	var canceled *types.TransactionCanceledException
	if !errors.As(err, &canceled) || len(canceled.CancellationReasons) == 0 {
		return false, nil, classify(ctx, "updating items", err)
	}
	switch reason := canceled.CancellationReasons[0]; aws.ToString(reason.Code) {
	case "ConditionalCheckFailed":
		found, err = decodeIfAny(reason.Item)
	case "TransactionConflict", "None": // of the record, or of what lies beside it
		found, err = t.record(ctx, at)
	default:
		return false, nil, fmt.Errorf("updating items: %w: %s", tokenworker.ErrUnavailable, aws.ToString(reason.Code))
	}
	return found != nil && found.Revision == c.attempt, found, err
}
