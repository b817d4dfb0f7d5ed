package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/tokenworker/tokenworker/dynamo"
	"github.com/tokenworker/tokenworker/internal/attack/proxy"
)

// cloud is LocalStack, as an attack's worker sees it: DynamoDB and KMS, each behind a proxy. What the attack itself
// reads, it reads past the proxies.
type cloud struct {
	dynamoDB, kms *proxy.AWS

	direct aws.Config
	tables []string
}

// region and credentials are what LocalStack takes for good.
const (
	region      = "us-east-1"
	accessKey   = "test"
	accessToken = "test"
)

var errNoLocalStack = errors.New("this attack needs LocalStack: run it by `make attack`, or set LOCALSTACK_ENDPOINT to " +
	"what `make localstack` prints")

// openCloud finds LocalStack and puts the proxies before it. Close it.
func openCloud(ctx context.Context) (*cloud, error) {
	endpoint := os.Getenv("LOCALSTACK_ENDPOINT")
	if endpoint == "" {
		return nil, errNoLocalStack
	}
	c := &cloud{direct: awsConfig(endpoint)}
	if _, err := kms.NewFromConfig(c.direct).ListKeys(ctx, &kms.ListKeysInput{}); err != nil {
		return nil, fmt.Errorf("%w (nothing answers at %s: %w)", errNoLocalStack, endpoint, err)
	}
	var err error
	if c.dynamoDB, err = proxy.NewAWS(ctx, endpoint, nil); err != nil {
		return nil, fmt.Errorf("starting a proxy: %w", err)
	}
	if c.kms, err = proxy.NewAWS(ctx, endpoint, nil); err != nil {
		c.dynamoDB.Close()
		return nil, fmt.Errorf("starting a proxy: %w", err)
	}
	return c, nil
}

func awsConfig(endpoint string) aws.Config {
	return aws.Config{
		Region:       region,
		Credentials:  credentials.NewStaticCredentialsProvider(accessKey, accessToken, ""),
		BaseEndpoint: aws.String(endpoint),
	}
}

// env are the variables that make a program use the proxies.
func (c *cloud) env() []string {
	return []string{
		"AWS_REGION=" + region, "AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + accessToken,
		"AWS_ENDPOINT_URL_DYNAMODB=" + c.dynamoDB.URL(), "AWS_ENDPOINT_URL_KMS=" + c.kms.URL(),
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// newTableName names a table that Close deletes.
func (c *cloud) newTableName() string {
	name := "attack-" + rand.Text()
	c.tables = append(c.tables, name)
	return name
}

// newTable sets up a table and returns it twice: through the proxy, and direct.
func (c *cloud) newTable(ctx context.Context) (through, direct *dynamo.Table, err error) {
	config := dynamo.Config{TableName: c.newTableName()}
	client := dynamo.NewClient(c.direct)
	if err := dynamo.Setup(ctx, client, config); err != nil {
		return nil, nil, fmt.Errorf("setting up a table: %w", err)
	}
	if direct, err = dynamo.Open(ctx, client, config); err != nil {
		return nil, nil, fmt.Errorf("opening a table: %w", err)
	}
	through, err = dynamo.Open(ctx, dynamo.NewClient(awsConfig(c.dynamoDB.URL())), config)
	if err != nil {
		return nil, nil, fmt.Errorf("opening a table: %w", err)
	}
	return through, direct, nil
}

// newKey makes a KMS key and returns its ARN.
func (c *cloud) newKey(ctx context.Context) (string, error) {
	made, err := kms.NewFromConfig(c.direct).CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		return "", fmt.Errorf("creating a KMS key: %w", err)
	}
	return aws.ToString(made.KeyMetadata.Arn), nil
}

// disableKey makes KMS refuse whatever is wrapped under a key.
func (c *cloud) disableKey(ctx context.Context, arn string) error {
	if _, err := kms.NewFromConfig(c.direct).DisableKey(ctx, &kms.DisableKeyInput{KeyId: aws.String(arn)}); err != nil {
		return fmt.Errorf("disabling a KMS key: %w", err)
	}
	return nil
}

// close stops the proxies and deletes the tables: others may use the same LocalStack.
func (c *cloud) close() {
	c.dynamoDB.Close()
	c.kms.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	client := dynamodb.NewFromConfig(c.direct)
	for _, name := range c.tables {
		// A table that was never made, or stays, is no reason to fail.
		_, _ = client.UpdateTable(ctx, &dynamodb.UpdateTableInput{
			TableName: aws.String(name), DeletionProtectionEnabled: aws.Bool(false),
		})
		_, _ = client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: aws.String(name)})
	}
}
