package dynamo

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	for range maxPasses {
		findings, err := inspect(ctx, client, config)
		if err != nil {
			return fmt.Errorf("setting up table %s: %w", config.TableName, err)
		}
		findings = slices.DeleteFunc(findings, func(f finding) bool { return f.mend == nil })
		if len(findings) == 0 {
			break
		}
		for _, f := range findings {
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
	// maxPasses: what only an existing table can be told shows in the second pass, and so does an index that was being
	// deleted in the first. LocalStack 4.9 forgets deletion protection over an index, which takes a third.
	maxPasses = 3

	changeTimeout = 10 * time.Minute       // for one change to the table to become active
	pollInterval  = 250 * time.Millisecond // DescribeTable is free
)

// create makes the table and waits until it can be used.
func (i *inspection) create(ctx context.Context) error {
	_, err := i.client.CreateTable(ctx, createTable(i.config.TableName))
	var exists *types.ResourceInUseException // another Setup was first
	if err != nil && !errors.As(err, &exists) {
		return classify(ctx, "creating the table", err)
	}
	return i.settle(ctx)
}

// update returns what makes a change to the table and waits until it has taken effect. A table takes one at a time.
func (i *inspection) update(request *dynamodb.UpdateTableInput) func(context.Context) error {
	request.TableName = aws.String(i.config.TableName)
	return func(ctx context.Context) error {
		if err := i.settle(ctx); err != nil {
			return err
		}
		if _, err := i.client.UpdateTable(ctx, request); err != nil {
			return classify(ctx, "changing the table", err)
		}
		return i.settle(ctx)
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

// enableRecovery waits while backups of a new table are not ready to be told so.
func (i *inspection) enableRecovery(ctx context.Context) error {
	return poll(ctx, func() (bool, error) {
		_, err := i.client.UpdateContinuousBackups(ctx, &dynamodb.UpdateContinuousBackupsInput{
			TableName: aws.String(i.config.TableName),
			PointInTimeRecoverySpecification: &types.PointInTimeRecoverySpecification{
				PointInTimeRecoveryEnabled: aws.Bool(true),
			},
		})
		var notReady *types.ContinuousBackupsUnavailableException
		if err != nil && !errors.As(err, &notReady) {
			return false, classify(ctx, "turning on point-in-time recovery", err)
		}
		return err == nil, nil
	})
}

func (i *inspection) putSettings(ctx context.Context) error {
	return putSettings(ctx, i.client, i.config)
}

// settle returns when no change to the table is under way any more.
func (i *inspection) settle(ctx context.Context) error {
	return poll(ctx, func() (bool, error) {
		table, err := i.describe(ctx)
		return table != nil && isSettled(table), err
	})
}

// poll asks again and again until done, or until changeTimeout has passed.
func poll(ctx context.Context, ask func() (done bool, err error)) error {
	deadline := time.NewTimer(changeTimeout)
	defer deadline.Stop()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		if done, err := ask(); done || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			return fmt.Errorf("%w: a change is still under way after %s; run setup again to wait on",
				tokenworker.ErrUnavailable, changeTimeout)
		case <-ctx.Done():
			return fmt.Errorf("waiting for the table: %w", ctx.Err())
		}
	}
}

func isSettled(table *types.TableDescription) bool {
	return table.TableStatus == types.TableStatusActive &&
		!slices.ContainsFunc(table.GlobalSecondaryIndexes, func(ix types.GlobalSecondaryIndexDescription) bool {
			return ix.IndexStatus != types.IndexStatusActive
		})
}
