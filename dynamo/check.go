package dynamo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker"
)

// Check compares the table with what Setup leaves behind and changes nothing. Without a difference the table is right.
// The error matches [tokenworker.ErrUnavailable] or, when the caller may not look, [tokenworker.ErrMisconfigured].
func Check(ctx context.Context, client *dynamodb.Client, config Config) ([]tokenworker.Difference, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	findings, err := inspect(ctx, client, config)
	if err != nil {
		return nil, fmt.Errorf("checking table %s: %w", config.TableName, err)
	}
	var differences []tokenworker.Difference
	for _, f := range findings {
		differences = append(differences, f.Difference)
	}
	return differences, nil
}

// finding is a difference and, where it can be mended in place, how.
type finding struct {
	tokenworker.Difference
	mend func(context.Context) error
}

// inspect compares everything. That there is no table, or one with another key, is the only finding where it is made.
func inspect(ctx context.Context, client *dynamodb.Client, config Config) ([]finding, error) {
	i := inspection{client: client, config: config}
	table, err := i.describe(ctx)
	if err != nil {
		return nil, err
	}
	if table == nil {
		i.add("table", "missing", "present", "there is nowhere to store a token", i.create)
		return i.findings, nil
	}
	if !i.checkKey(table) {
		return i.findings, nil
	}
	i.checkTable(table)
	i.checkIndexes(table)
	for _, check := range []func(context.Context) error{i.checkTimeToLive, i.checkBackups, i.checkSettings} {
		if err := check(ctx); err != nil {
			return nil, err
		}
	}
	return i.findings, nil
}

type inspection struct {
	client   *dynamodb.Client
	config   Config
	findings []finding
}

// add notes a finding about the table.
func (i *inspection) add(what, have, want, why string, mend func(context.Context) error) {
	i.findings = append(i.findings, finding{tokenworker.Difference{
		What: "table " + i.config.TableName + ": " + what, Have: have, Want: want, Why: why,
	}, mend})
}

// describe returns the table, or nil when there is none.
func (i *inspection) describe(ctx context.Context) (*types.TableDescription, error) {
	out, err := i.client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(i.config.TableName)})
	var missing *types.ResourceNotFoundException
	switch {
	case errors.As(err, &missing):
		return nil, nil //nolint:nilnil // that there is no table is an answer
	case err != nil:
		return nil, classify(ctx, "describing the table", err)
	}
	return out.Table, nil
}

func (i *inspection) checkKey(table *types.TableDescription) (ok bool) {
	have, want := describeKey(table.KeySchema, table.AttributeDefinitions), describeParts(tableKey())
	if have != want {
		i.add("primary key", have, want, "no record can be found; only a new table can have another key", nil)
	}
	return have == want
}

func (i *inspection) checkTable(table *types.TableDescription) {
	if table.TableStatus != types.TableStatusActive {
		i.add("status", string(table.TableStatus), string(types.TableStatusActive), "a change is under way; Setup waits for its end", i.settle)
	}
	if table.BillingModeSummary == nil || table.BillingModeSummary.BillingMode != types.BillingModePayPerRequest {
		i.add("billing mode", string(types.BillingModeProvisioned), string(types.BillingModePayPerRequest),
			"a burst of events is throttled at the provisioned capacity", i.update(&dynamodb.UpdateTableInput{
				BillingMode: types.BillingModePayPerRequest,
			}))
	}
	if !aws.ToBool(table.DeletionProtectionEnabled) {
		i.add("deletion protection", "off", "on", "one call deletes every customer's tokens", i.update(&dynamodb.UpdateTableInput{
			DeletionProtectionEnabled: aws.Bool(true),
		}))
	}
	if len(table.Replicas) > 0 {
		i.add("replicas", fmt.Sprintf("in %d regions", len(table.Replicas)), "none",
			"writes in two regions break the order of events and compare-and-swap", nil)
	}
}

func (i *inspection) checkIndexes(table *types.TableDescription) {
	for _, want := range indexes() {
		n := slices.IndexFunc(table.GlobalSecondaryIndexes, func(have types.GlobalSecondaryIndexDescription) bool {
			return aws.ToString(have.IndexName) == want.name
		})
		what := "index " + want.name
		if n < 0 {
			i.add(what, "missing", "present", want.why, i.update(createIndex(want)))
			continue
		}
		have := table.GlobalSecondaryIndexes[n]
		if have.IndexStatus == types.IndexStatusDeleting {
			i.add(what, "being deleted", "present", want.why, i.settle)
			continue
		}
		key, wantKey := describeKey(have.KeySchema, table.AttributeDefinitions), describeParts(want.partition, want.sort)
		if key != wantKey {
			i.add(what+": key", key, wantKey, want.why+"; delete the index and run setup again", nil)
		}
		if have.Projection != nil && have.Projection.ProjectionType != types.ProjectionTypeKeysOnly {
			i.add(what+": projection", string(have.Projection.ProjectionType), string(types.ProjectionTypeKeysOnly),
				"every write is paid for twice; delete the index and run setup again", nil)
		}
		if have.IndexStatus != types.IndexStatusActive {
			i.add(what+": status", string(have.IndexStatus), string(types.IndexStatusActive), want.why, i.settle)
		}
	}
}

func (i *inspection) checkTimeToLive(ctx context.Context) error {
	out, err := i.client.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: aws.String(i.config.TableName)})
	if err != nil {
		return classify(ctx, "describing time to live", err)
	}
	const why = "tombstones of disconnected connections stay for ever"
	want := fieldRemove.name()
	switch ttl := cmp.Or(out.TimeToLiveDescription, &types.TimeToLiveDescription{}); ttl.TimeToLiveStatus {
	case types.TimeToLiveStatusEnabled, types.TimeToLiveStatusEnabling:
		if have := aws.ToString(ttl.AttributeName); have != want {
			i.add("time to live", "on "+have, "on "+want, why+"; turn it off and run setup again an hour later", nil)
		}
	case types.TimeToLiveStatusDisabling:
		i.add("time to live", "being turned off", "on "+want, why+"; run setup again an hour later", nil)
	default:
		i.add("time to live", "off", "on "+want, why, i.enableTimeToLive)
	}
	return nil
}

func (i *inspection) checkBackups(ctx context.Context) error {
	out, err := i.client.DescribeContinuousBackups(ctx, &dynamodb.DescribeContinuousBackupsInput{
		TableName: aws.String(i.config.TableName),
	})
	if err != nil {
		return classify(ctx, "describing continuous backups", err)
	}
	backups := cmp.Or(out.ContinuousBackupsDescription, &types.ContinuousBackupsDescription{})
	recovery := cmp.Or(backups.PointInTimeRecoveryDescription, &types.PointInTimeRecoveryDescription{})
	if recovery.PointInTimeRecoveryStatus != types.PointInTimeRecoveryStatusEnabled {
		i.add("point-in-time recovery", "off", "on",
			"tokens lost to a mistake are lost, and every customer must log in again", i.enableRecovery)
	}
	return nil
}

func (i *inspection) checkSettings(ctx context.Context) error {
	s, err := (&Table{client: i.client, name: i.config.TableName}).settings(ctx)
	switch {
	case errors.Is(err, errNoSettings):
		i.add("settings item", "missing", "present", "no worker starts", i.putSettings)
		return nil
	case err != nil:
		return err
	}
	if s.version != layoutVersion {
		i.add("layout version", fmt.Sprint(s.version), fmt.Sprint(layoutVersion), "no worker of this version starts", nil)
	}
	if s.shards < 1 || s.shards > maxShards {
		i.add("shards", fmt.Sprint(s.shards), fmt.Sprintf("1 to %d", maxShards), "no worker starts", nil)
	}
	return nil
}

// describeKey spells a key schema as describeParts does.
func describeKey(schema []types.KeySchemaElement, defined []types.AttributeDefinition) string {
	var parts []keyPart
	for _, kind := range []types.KeyType{types.KeyTypeHash, types.KeyTypeRange} {
		for _, e := range schema {
			if e.KeyType != kind {
				continue
			}
			p := keyPart{name: aws.ToString(e.AttributeName)}
			for _, d := range defined {
				if aws.ToString(d.AttributeName) == p.name {
					p.kind = d.AttributeType
				}
			}
			parts = append(parts, p)
		}
	}
	return describeParts(parts...)
}

// describeParts is "org (S), conn (S)".
func describeParts(parts ...keyPart) string {
	spelled := make([]string, len(parts))
	for i, p := range parts {
		spelled[i] = fmt.Sprintf("%s (%s)", p.name, p.kind)
	}
	return strings.Join(spelled, ", ")
}
