package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"
)

// concurrency is how many puts are under way, and how many events the worker handles at once: its default.
const concurrency = 64

// tableConfig names a table of a DynamoDB that asks for no real credentials.
type tableConfig struct {
	Endpoint, Table string
}

func (c tableConfig) aws() aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(c.Endpoint),
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}
}

// putConfig is the role "put", the baseline of the whole path: a loop of conditional puts of sealed token sets, as one
// would write it first.
type putConfig struct {
	tableConfig

	SealedBytes int
	Profile     string
}

func performPuts(ctx context.Context, config []byte, requests *json.Decoder, answers *json.Encoder) error {
	var c putConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	// The SDK's defaults, but for one: it keeps ten idle connections, so that with more puts under way most of its time
	// would go into opening others.
	connections := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = concurrency, concurrency
	})
	client := dynamodb.NewFromConfig(c.aws(), func(o *dynamodb.Options) { o.HTTPClient = connections })
	sealed := make([]byte, c.SealedBytes)
	var stamp uint64
	return perform(c.Profile, requests, answers, func(operations int) error {
		stamps := make(chan uint64)
		g, ctx := errgroup.WithContext(ctx)
		for range concurrency {
			g.Go(func() error {
				for stamp := range stamps {
					if err := put(ctx, client, c.Table, stamp, sealed); err != nil {
						return err
					}
				}
				return nil
			})
		}
		g.Go(func() error {
			defer close(stamps)
			for range operations {
				stamp++
				select {
				case stamps <- stamp:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
		return g.Wait()
	})
}

// put stores a token set unless there is a newer one.
func put(ctx context.Context, client *dynamodb.Client, table string, stamp uint64, sealed []byte) error {
	k := connection(stamp)
	number := &types.AttributeValueMemberN{Value: strconv.FormatUint(stamp, 10)}
	_, err := client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: aws.String(table),
		Item: map[string]types.AttributeValue{
			"org":        &types.AttributeValueMemberS{Value: "bare-" + k.OrgID},
			"conn":       &types.AttributeValueMemberS{Value: k.ProviderID + ":" + k.CompanyID},
			"stamp":      number,
			"sealed":     &types.AttributeValueMemberB{Value: sealed},
			"expires_at": &types.AttributeValueMemberN{Value: strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)},
		},
		ConditionExpression:       aws.String("attribute_not_exists(org) OR stamp < :stamp"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":stamp": number},
	})
	return err
}
