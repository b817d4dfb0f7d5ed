package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/dynamo"
)

// sweepAmongItems compares the requests of a sweep of a large table with those of one of a small table.
func sweepAmongItems(ctx context.Context, e *env, n int) error {
	few := max(2*sweepDue, n/100)
	var requests [2]int
	for i, stored := range []int{few, max(n/10, few)} {
		inner, err := e.below(fmt.Sprint("items-", i))
		if err != nil {
			return err
		}
		if requests[i], err = sweepTable(ctx, inner, stored); err != nil {
			return err
		}
	}
	ratio := float64(requests[1]) / float64(requests[0])
	if ratio > 1.2 {
		e.broke("a sweep among %d items takes %.2f times the requests of one among %d", n/10, ratio, few)
	}
	e.did("%d due among %d and %d: %d and %d requests (%.2f)", sweepDue, few, n/10, requests[0], requests[1], ratio)
	return nil
}

// sweepTable sweeps all shards of a table in which so many items are stored, and counts the requests.
func sweepTable(ctx context.Context, e *env, stored int) (requests int, err error) {
	clock := &simClock{at: time.Now().Truncate(time.Second)}
	s, err := openSite(ctx, e, siteConfig{settings: "    rotation: strict\n", now: clock.now})
	if err != nil {
		return 0, err
	}
	defer s.close()
	c, err := openCloud(ctx)
	if err != nil {
		return 0, err
	}
	defer c.close()
	through, direct, err := c.newTable(ctx)
	if err != nil {
		return 0, err
	}
	for i := range sweepDue {
		if err := s.acquireInto(ctx, direct, s.key(i)); err != nil {
			return 0, err
		}
	}
	rows := dynamoRows{dynamodb.NewFromConfig(c.direct), c.tables[0]}
	if err := rows.fill(ctx, s.key(0), stored-sweepDue, clock.now().Add(365*24*time.Hour)); err != nil {
		return 0, err
	}
	r, err := s.rotator(through, slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, err
	}
	clock.advance(50 * time.Minute)
	before, looked := c.dynamoDB.Calls(), 0
	for shard := range through.Shards() {
		n, err := r.Sweep(ctx, siteProvider(0), shard)
		if err != nil {
			return 0, fmt.Errorf("sweeping: %w", err)
		}
		looked += n
	}
	if looked != sweepDue {
		return 0, fmt.Errorf("the sweeps looked at %d connections, want %d", looked, sweepDue)
	}
	return c.dynamoDB.Calls() - before, nil
}

// acquireInto makes a grant at the provider and stores it in a table.
func (s *site) acquireInto(ctx context.Context, table *dynamo.Table, k tokenworker.Key) error {
	tokens, err := s.server.Grant(siteClient, k.String(), "")
	if err != nil {
		return fmt.Errorf("granting: %w", err)
	}
	a, err := s.acquisition(ctx, k, tokens)
	if err != nil {
		return err
	}
	if v, err := table.Acquire(ctx, a); err != nil || v != tokenworker.Applied {
		return fmt.Errorf("storing a grant: it was %s: %w", v, err)
	}
	return nil
}

// fill copies an item n times, due at a time.
func (d dynamoRows) fill(ctx context.Context, k tokenworker.Key, n int, due time.Time) error {
	got, err := d.db.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String(d.table), Key: itemKey(k)})
	if err != nil {
		return fmt.Errorf("reading an item: %w", err)
	}
	const batch = 25 // as many as one request may have
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for from := 0; from < n; from += batch {
		g.Go(func() error {
			var puts []types.WriteRequest
			for i := from; i < min(from+batch, n); i++ {
				item := maps.Clone(got.Item)
				item["conn"] = &types.AttributeValueMemberS{Value: fmt.Sprintf("%s:filler-%d", siteProvider(0), i)}
				item["due_at"] = &types.AttributeValueMemberN{Value: fmt.Sprint(due.Unix() + int64(i))}
				puts = append(puts, types.WriteRequest{PutRequest: &types.PutRequest{Item: item}})
			}
			out, err := d.db.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{d.table: puts}})
			if err == nil && len(out.UnprocessedItems) > 0 {
				err = errItem
			}
			if err != nil {
				return fmt.Errorf("filling the table: %w", err)
			}
			return nil
		})
	}
	return g.Wait() //nolint:wrapcheck // our own
}
