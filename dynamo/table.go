package dynamo

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker"
)

// Table is the store of a fleet of workers: one DynamoDB table. It keeps the contract of internal/storetest. All of its
// methods are safe for concurrent use, by any number of processes.
type Table struct {
	client *dynamodb.Client
	name   string
	shards uint64
	clock  clock
}

// Open returns the table that Setup has left, after one read. The client is best one of [NewClient]. The error matches
// [tokenworker.ErrMisconfigured] when there is no such table, or none of this layout.
func Open(ctx context.Context, client *dynamodb.Client, config Config) (*Table, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	t := &Table{client: client, name: config.TableName}
	s, err := t.settings(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening table %s: %w", t.name, err)
	}
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("opening table %s: %w", t.name, err)
	}
	t.shards = s.shards
	return t, nil
}

// Get returns the record of a connection, by a consistent read. The error matches [tokenworker.ErrNotFound] when there
// is none.
func (t *Table) Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error) {
	found, err := t.record(ctx, addressOf(k))
	if err != nil {
		return tokenworker.Record{}, err
	}
	if found == nil {
		return tokenworker.Record{}, fmt.Errorf("record: %w", tokenworker.ErrNotFound)
	}
	return *found, nil
}

// record reads a record consistently; nil when there is none.
func (t *Table) record(ctx context.Context, at address) (*tokenworker.Record, error) {
	found, err := t.item(ctx, at)
	if err != nil {
		return nil, err
	}
	return decodeIfAny(found)
}

// item reads an item consistently; nil when there is none.
func (t *Table) item(ctx context.Context, at address) (item, error) {
	began := time.Now()
	out, err := t.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: aws.String(t.name), Key: at.attributes(), ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return nil, classify(ctx, "reading an item", err)
	}
	t.clock.look(out.ResultMetadata, began, time.Now())
	return out.Item, nil
}

// Records yields the records of one organization by provider and company, reading consistently and a page at a time. It
// stops after the first error.
func (t *Table) Records(ctx context.Context, orgID string) iter.Seq2[tokenworker.Record, error] {
	return func(yield func(tokenworker.Record, error) bool) {
		for found, err := range t.query(ctx, partition("org = :org AND conn > :conn", address{
			org: tokenworker.EscapePart(orgID), conn: firstConn,
		})) {
			var r tokenworker.Record
			if err == nil {
				r, err = decode(found)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// AllRecords yields every record, of one organization after the other, reading consistently and a page at a time: it costs
// a read of the whole table. One that is written meanwhile is yielded as it was or as it is. It stops after the first error.
func (t *Table) AllRecords(ctx context.Context) iter.Seq2[tokenworker.Record, error] {
	return func(yield func(tokenworker.Record, error) bool) {
		for found, err := range t.scan(ctx, fieldStatus) {
			var r tokenworker.Record
			if err == nil {
				r, err = decode(found)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// partition asks for the items that meet a key condition on :org and :conn, consistently.
func partition(condition string, at address) *dynamodb.QueryInput {
	return &dynamodb.QueryInput{
		ConsistentRead:         aws.Bool(true),
		KeyConditionExpression: aws.String(condition),
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":org": str(at.org), ":conn": str(at.conn),
		},
	}
}

// scan yields all items that have an attribute, those of a partition together.
func (t *Table) scan(ctx context.Context, has field) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		pages := dynamodb.NewScanPaginator(t.client, &dynamodb.ScanInput{
			TableName: aws.String(t.name), ConsistentRead: aws.Bool(true),
			FilterExpression: aws.String("attribute_exists(" + has.name() + ")"),
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(nil, classify(ctx, "scanning the table", err))
				return
			}
			for _, found := range page.Items {
				if !yield(found, nil) {
					return
				}
			}
		}
	}
}

// query yields the items that are asked for, in the order of their sort keys.
func (t *Table) query(ctx context.Context, input *dynamodb.QueryInput) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		input.TableName = aws.String(t.name)
		pages := dynamodb.NewQueryPaginator(t.client, input)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(nil, classify(ctx, "listing items", err))
				return
			}
			for _, found := range page.Items {
				if !yield(found, nil) {
					return
				}
			}
		}
	}
}
