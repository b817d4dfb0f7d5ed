package dynamo_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/dynamo"
	"github.com/tokenworker/tokenworker/localstack"
)

func TestSetupMakesATableWithoutDifferencesAndThenLeavesItAlone(t *testing.T) {
	client := dynamo.NewClient(localstack.Config(t))
	config := dynamo.Config{TableName: localstack.UniqueName(t, "dynamo"), Shards: 4}
	requireDifferences(t, client, config, "missing, want present")
	if _, err := dynamo.Open(t.Context(), client, config); !errors.Is(err, tokenworker.ErrMisconfigured) {
		t.Errorf("opening no table: error %v, want ErrMisconfigured", err)
	}

	t.Cleanup(func() { remove(t, client, config.TableName) })
	for range 2 {
		if err := dynamo.Setup(t.Context(), client, config); err != nil {
			t.Fatalf("Setup: %v", err)
		}
		requireDifferences(t, client, config)
	}

	table := open(t, client, config.TableName)
	if epoch, err := table.TakeEpoch(t.Context()); err != nil || epoch != 1 {
		t.Errorf("the first epoch is %d, error %v; want 1", epoch, err)
	}
	if err := dynamo.Setup(t.Context(), client, config); err != nil {
		t.Fatalf("Setup: %v", err)
	}
	if mark, err := table.HighWater(t.Context()); err != nil || mark.Epoch != 1 {
		t.Errorf("after another Setup the epoch is %d, error %v; want 1 still", mark.Epoch, err)
	}
}

// The table as somebody else might have made it, and what is to be said and done about it.
func TestCheckNamesWhatDiffersAndSetupMendsWhatItCan(t *testing.T) {
	client := dynamo.NewClient(localstack.Config(t))
	for _, c := range []struct {
		name   string
		create func(*dynamodb.CreateTableInput) // changes a request for what Setup would make
		change func(t *testing.T, name string)  // changes the table that Setup made
		want   []string                         // parts of the differences, in order
		left   bool                             // they cannot be mended
	}{
		{
			name: "a bare table is given everything",
			create: func(r *dynamodb.CreateTableInput) {
				r.GlobalSecondaryIndexes, r.AttributeDefinitions = nil, r.AttributeDefinitions[:2]
				r.DeletionProtectionEnabled = aws.Bool(false)
				r.BillingMode = types.BillingModeProvisioned
				r.ProvisionedThroughput = &types.ProvisionedThroughput{ReadCapacityUnits: aws.Int64(1), WriteCapacityUnits: aws.Int64(1)}
			},
			want: []string{
				"billing mode is PROVISIONED, want PAY_PER_REQUEST", "deletion protection is off, want on",
				"index due is missing", "index connection is missing", "index subject is missing",
				"time to live is off, want on remove_at", "point-in-time recovery is off, want on", "settings item is missing",
			},
		}, {
			name: "deletion protection is turned on again",
			change: func(t *testing.T, name string) {
				t.Helper()
				_, err := client.UpdateTable(t.Context(), &dynamodb.UpdateTableInput{
					TableName: aws.String(name), DeletionProtectionEnabled: aws.Bool(false),
				})
				requireNoError(t, err)
			},
			want: []string{"deletion protection is off, want on"},
		}, {
			name: "an index that is missing is made",
			create: func(r *dynamodb.CreateTableInput) {
				r.GlobalSecondaryIndexes = r.GlobalSecondaryIndexes[:2]
				r.AttributeDefinitions = slices.DeleteFunc(r.AttributeDefinitions, func(d types.AttributeDefinition) bool {
					return aws.ToString(d.AttributeName) == "subject_hash"
				})
			},
			want: []string{
				"index subject is missing, want present", "time to live is off", "point-in-time recovery is off", "settings item is missing",
			},
		}, {
			name: "point-in-time recovery is turned on again",
			change: func(t *testing.T, name string) {
				t.Helper()
				_, err := client.UpdateContinuousBackups(t.Context(), &dynamodb.UpdateContinuousBackupsInput{
					TableName: aws.String(name), PointInTimeRecoverySpecification: &types.PointInTimeRecoverySpecification{
						PointInTimeRecoveryEnabled: aws.Bool(false),
					},
				})
				requireNoError(t, err)
			},
			want: []string{"point-in-time recovery is off, want on"},
		}, {
			name: "another primary key can only be reported",
			create: func(r *dynamodb.CreateTableInput) {
				r.GlobalSecondaryIndexes, r.AttributeDefinitions = nil, r.AttributeDefinitions[:1]
				r.KeySchema = r.KeySchema[:1]
			},
			want: []string{"primary key is org (S), want org (S), conn (S)"},
			left: true,
		}, {
			name: "an index of another key can only be reported",
			create: func(r *dynamodb.CreateTableInput) {
				r.GlobalSecondaryIndexes[0].KeySchema[1].AttributeName = aws.String("expires_at")
				for i := range r.AttributeDefinitions {
					if aws.ToString(r.AttributeDefinitions[i].AttributeName) == "due_at" {
						r.AttributeDefinitions[i].AttributeName = aws.String("expires_at")
					}
				}
			},
			want: []string{"index due: key is due_shard (S), expires_at (N), want due_shard (S), due_at (N)"},
			left: true,
		}, {
			name: "an index of whole items can only be reported",
			create: func(r *dynamodb.CreateTableInput) {
				r.GlobalSecondaryIndexes[0].Projection.ProjectionType = types.ProjectionTypeAll
			},
			want: []string{"index due: projection is ALL, want KEYS_ONLY"},
			left: true,
		}, {
			name:   "time to live on another attribute can only be reported",
			create: func(*dynamodb.CreateTableInput) {},
			change: func(t *testing.T, name string) {
				t.Helper()
				_, err := client.UpdateTimeToLive(t.Context(), &dynamodb.UpdateTimeToLiveInput{
					TableName: aws.String(name),
					TimeToLiveSpecification: &types.TimeToLiveSpecification{
						AttributeName: aws.String("expires_at"), Enabled: aws.Bool(true),
					},
				})
				requireNoError(t, err)
			},
			want: []string{"time to live is on expires_at, want on remove_at"},
			left: true,
		}, {
			name: "the layout of another version can only be reported",
			change: func(t *testing.T, name string) {
				t.Helper()
				_, err := client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
					TableName: aws.String(name),
					Key: map[string]types.AttributeValue{
						"org": &types.AttributeValueMemberS{Value: "#"}, "conn": &types.AttributeValueMemberS{Value: "#settings"},
					},
					UpdateExpression: aws.String("SET layout_version = :v, due_shards = :s"),
					ExpressionAttributeValues: map[string]types.AttributeValue{
						":v": &types.AttributeValueMemberN{Value: "2"}, ":s": &types.AttributeValueMemberN{Value: "0"},
					},
				})
				requireNoError(t, err)
			},
			want: []string{"layout version is 2, want 1", "shards is 0, want 1 to 1000"},
			left: true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := dynamo.Config{TableName: localstack.UniqueName(t, "dynamo"), Shards: 4}
			t.Cleanup(func() { remove(t, client, config.TableName) })
			if c.create != nil {
				request := dynamo.CreateTable(config.TableName)
				c.create(request)
				_, err := client.CreateTable(t.Context(), request)
				requireNoError(t, err)
			} else if err := dynamo.Setup(t.Context(), client, config); err != nil {
				t.Fatalf("Setup: %v", err)
			}
			if c.change != nil {
				c.change(t, config.TableName)
			}

			if c.left && c.create != nil {
				_ = dynamo.Setup(t.Context(), client, config) // what can be mended is not the question here
			}
			requireDifferences(t, client, config, c.want...)
			err := dynamo.Setup(t.Context(), client, config)
			if !c.left {
				requireNoError(t, err)
				requireDifferences(t, client, config)
				return
			}
			if !errors.Is(err, tokenworker.ErrMisconfigured) || !strings.Contains(err.Error(), c.want[0]) {
				t.Errorf("Setup: error %v, want ErrMisconfigured that names what is left", err)
			}
			requireDifferences(t, client, config, c.want...)
		})
	}
}

func TestSetupMakesAnIndexAgainThatIsBeingDeleted(t *testing.T) {
	client, name := setUp(t, localstack.Config(t))
	_, err := client.UpdateTable(t.Context(), &dynamodb.UpdateTableInput{
		TableName: aws.String(name), GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{{
			Delete: &types.DeleteGlobalSecondaryIndexAction{IndexName: aws.String("subject")},
		}},
	})
	requireNoError(t, err)
	requireNoError(t, dynamo.Setup(t.Context(), client, dynamo.Config{TableName: name}))
	requireDifferences(t, client, dynamo.Config{TableName: name})
}

func TestATableOfAnotherLayoutIsNotOpened(t *testing.T) {
	client, name := setUp(t, localstack.Config(t))
	settings := map[string]types.AttributeValue{
		"org": &types.AttributeValueMemberS{Value: "#"}, "conn": &types.AttributeValueMemberS{Value: "#settings"},
		"layout_version": &types.AttributeValueMemberN{Value: "2"}, "due_shards": &types.AttributeValueMemberN{Value: "4"},
	}
	_, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(name), Item: settings})
	requireNoError(t, err)
	if _, err := dynamo.Open(t.Context(), client, dynamo.Config{TableName: name}); !errors.Is(err, tokenworker.ErrMisconfigured) {
		t.Errorf("error %v, want ErrMisconfigured", err)
	}

	_, err = client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{
		TableName: aws.String(name), Key: map[string]types.AttributeValue{"org": settings["org"], "conn": settings["conn"]},
	})
	requireNoError(t, err)
	_, err = dynamo.Open(t.Context(), client, dynamo.Config{TableName: name})
	if !errors.Is(err, tokenworker.ErrMisconfigured) || !strings.Contains(err.Error(), "tokenworker setup") {
		t.Errorf("error %v, want ErrMisconfigured that names the remedy", err)
	}
}

func TestShardsOutOfRangeAreRefused(t *testing.T) {
	for _, shards := range []int{-1, 1001} {
		if err := (dynamo.Config{Shards: shards}).Validate(); !errors.Is(err, tokenworker.ErrMisconfigured) {
			t.Errorf("%d shards: error %v, want ErrMisconfigured", shards, err)
		}
	}
}

// requireDifferences fails unless Check finds as many differences, each with the words wanted and a reason.
func requireDifferences(t *testing.T, client *dynamodb.Client, config dynamo.Config, want ...string) {
	t.Helper()
	got, err := dynamo.Check(t.Context(), client, config)
	if err != nil {
		t.Fatalf("Check: %v", err)
	}
	if len(got) != len(want) {
		t.Fatalf("differences: %v\nwant %v", got, want)
	}
	for i, d := range got {
		if !strings.Contains(d.String(), want[i]) || d.Why == "" {
			t.Errorf("difference %d is %q, want %q and why", i, d, want[i])
		}
	}
}

func requireNoError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
