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

// indexLag is how far an index is assumed to be behind the table at most. AWS gives no bound: "within a fraction of a
// second, under normal conditions" (Developer Guide, "Using Global Secondary Indexes").
const indexLag = 10 * time.Second

// IndexLag is how far behind the table what [Table.Siblings], [Table.BySubject] and [Table.Due] say may be.
func (t *Table) IndexLag() time.Duration { return indexLag }

// Siblings yields the keys of the same company at the same provider in other organizations. It asks the index
// "connection".
func (t *Table) Siblings(ctx context.Context, k tokenworker.Key) iter.Seq2[tokenworker.Key, error] {
	all := t.keys(ctx, &dynamodb.QueryInput{
		IndexName:                 aws.String(connectionIndex),
		KeyConditionExpression:    aws.String("conn = :conn"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":conn": str(addressOf(k).conn)},
	})
	return func(yield func(tokenworker.Key, error) bool) {
		for found, err := range all {
			if found != k && !yield(found, err) {
				return
			}
		}
	}
}

// BySubject yields the keys of the connections that a person has granted: the subject as its issuer names it, which may be
// empty. It asks the index "subject".
func (t *Table) BySubject(ctx context.Context, issuer, subject string) iter.Seq2[tokenworker.Key, error] {
	return t.keys(ctx, &dynamodb.QueryInput{
		IndexName:                 aws.String(subjectIndex),
		KeyConditionExpression:    aws.String("subject_hash = :subject_hash"),
		ExpressionAttributeValues: map[string]types.AttributeValue{string(fieldSubjectHash): subjectHash(issuer, subject)},
	})
}

// keys yields the keys of the records that are asked for. It stops after the first error.
func (t *Table) keys(ctx context.Context, input *dynamodb.QueryInput) iter.Seq2[tokenworker.Key, error] {
	return func(yield func(tokenworker.Key, error) bool) {
		for found, err := range t.query(ctx, input) {
			var k tokenworker.Key
			if err == nil {
				d := decoder{item: found}
				k = d.key()
				err = d.err
			}
			if !yield(k, err) || err != nil {
				return
			}
		}
	}
}
