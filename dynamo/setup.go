package dynamo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker"
)

// Setup creates the table, or mends what can be mended in place: indexes that are missing, time to live, point-in-time
// recovery, deletion protection, billing mode. It may be called at any time, also while workers run, and does nothing
// where there is nothing to do.
//
// The error matches [tokenworker.ErrMisconfigured] and names every difference that is left, when some cannot be mended;
// [tokenworker.ErrUnavailable] when DynamoDB takes longer than ten minutes over one change, as it does over an index of a
// large table: calling Setup again then waits on.
func Setup(ctx context.Context, client *dynamodb.Client, config Config) error {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return err
	}
	// Two passes: what only an existing table can be told shows in the second one.
	for range 2 {
		findings, err := inspect(ctx, client, config)
		if err != nil {
			return fmt.Errorf("setting up table %s: %w", config.TableName, err)
		}
		for _, f := range findings {
			if f.mend == nil {
				continue
			}
			if err := f.mend(ctx); err != nil {
				return fmt.Errorf("setting up %s: %w", f.What, err)
			}
		}
	}
	left, err := Check(ctx, client, config)
	if err != nil || len(left) == 0 {
		return err
	}
	lines := make([]string, len(left))
	for i, d := range left {
		lines[i] = d.String()
	}
	return fmt.Errorf("%w: %s", tokenworker.ErrMisconfigured, strings.Join(lines, "; "))
}

const (
	changeTimeout = 10 * time.Minute // for one change to the table to become active
	pollInterval  = time.Second      // DescribeTable is free, but limited
)

// create makes the table and waits until it can be used.
func (i *inspection) create(ctx context.Context) error {
	_, err := i.client.CreateTable(ctx, createTable(i.config.TableName))
	var exists *types.ResourceInUseException // another Setup was first
	if err != nil && !errors.As(err, &exists) {
		return classify(ctx, "creating the table", err)
	}
	return i.wait(ctx, func(*types.TableDescription) bool { return true })
}

// update returns what makes a change to the table.
func (i *inspection) update(request *dynamodb.UpdateTableInput) func(context.Context) error {
	request.TableName = aws.String(i.config.TableName)
	return func(ctx context.Context) error {
		if _, err := i.client.UpdateTable(ctx, request); err != nil {
			return classify(ctx, "changing the table", err)
		}
		return i.wait(ctx, func(*types.TableDescription) bool { return true })
	}
}

// createIndex returns what adds an index and waits until it is filled. A table takes one at a time.
func (i *inspection) createIndex(ix index) func(context.Context) error {
	create, wait := i.update(createIndex(i.config.TableName, ix)), i.waitForIndex(ix.name)
	return func(ctx context.Context) error {
		if err := create(ctx); err != nil {
			return err
		}
		return wait(ctx)
	}
}

func (i *inspection) waitForIndex(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		return i.wait(ctx, func(table *types.TableDescription) bool {
			for _, ix := range table.GlobalSecondaryIndexes {
				if aws.ToString(ix.IndexName) == name {
					return ix.IndexStatus == types.IndexStatusActive
				}
			}
			return false
		})
	}
}

func (i *inspection) enableTimeToLive(ctx context.Context) error {
	_, err := i.client.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName: aws.String(i.config.TableName),
		TimeToLiveSpecification: &types.TimeToLiveSpecification{
			AttributeName: aws.String(fieldRemove.name()), Enabled: aws.Bool(true),
		},
	})
	if err != nil {
		return classify(ctx, "turning on time to live", err)
	}
	return nil
}

func (i *inspection) enableRecovery(ctx context.Context) error {
	_, err := i.client.UpdateContinuousBackups(ctx, &dynamodb.UpdateContinuousBackupsInput{
		TableName: aws.String(i.config.TableName),
		PointInTimeRecoverySpecification: &types.PointInTimeRecoverySpecification{
			PointInTimeRecoveryEnabled: aws.Bool(true),
		},
	})
	if err != nil {
		return classify(ctx, "turning on point-in-time recovery", err)
	}
	return nil
}

func (i *inspection) putSettings(ctx context.Context) error {
	return putSettings(ctx, i.client, i.config)
}

// wait returns when the table is active and done says yes. It asks once a second.
func (i *inspection) wait(ctx context.Context, done func(*types.TableDescription) bool) error {
	deadline := time.NewTimer(changeTimeout)
	defer deadline.Stop()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		table, err := i.describe(ctx)
		if err != nil {
			return err
		}
		if table != nil && table.TableStatus == types.TableStatusActive && done(table) {
			return nil
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			return fmt.Errorf("%w: the change is not active after %s; run setup again to wait on", tokenworker.ErrUnavailable,
				changeTimeout)
		case <-ctx.Done():
			return fmt.Errorf("waiting for the table: %w", ctx.Err())
		}
	}
}
