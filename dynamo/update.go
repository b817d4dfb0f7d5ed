package dynamo

import (
	"context"
	"iter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker"
)

// Update makes the record what the rule says of it, and returns the record as it then is and the rule's verdict. rec is the
// record as it was read, or returned here, and then Update is one write, provided that nobody has written the record
// since; with its key alone the record is read first. Whatever rec said, the rule has its way with the record as it is by
// then. The error is the rule's own, or matches [tokenworker.ErrTooLarge].
//
// Should the reply to the write be lost, and another write come before the SDK's next try, then the rule is asked about a
// record that it has changed already.
func (t *Table) Update(
	ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule,
) (tokenworker.Record, tokenworker.Verdict, error) {
	at, d := addressOf(rec.Key), decision{rule: rule, attempt: tokenworker.NewAttemptID(), current: &rec, old: true}
	if rec.Revision == (tokenworker.AttemptID{}) {
		var err error
		if d.current, err = t.record(ctx, at); err != nil {
			return tokenworker.Record{}, 0, err
		}
		d.old = false
	}
	return t.decide(ctx, at, d)
}

// Shards is how many shards the due connections of a provider are spread over.
func (t *Table) Shards() int { return int(t.shards) } //nolint:gosec // at most maxShards

// Due yields the keys of one provider's connections that are due at a time, soonest first, from one shard: 0 and up to
// [Table.Shards]. It asks the index "due", a page at a time. The index follows the table within a second or so, so a
// connection may be named that is no longer due, and one be missed that is due only now. It stops after the first error.
func (t *Table) Due(ctx context.Context, providerID string, shard int, at time.Time) iter.Seq2[tokenworker.Key, error] {
	return t.keys(ctx, &dynamodb.QueryInput{
		IndexName:              aws.String(dueIndex),
		KeyConditionExpression: aws.String("due_shard = :due_shard AND due_at <= :due_at"),
		ExpressionAttributeValues: map[string]types.AttributeValue{
			string(fieldDueShard): str(dueShard(tokenworker.EscapePart(providerID), shard)),
			string(fieldDue):      unix(at),
		},
	})
}
