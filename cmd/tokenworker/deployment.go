package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/goccy/go-yaml"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/dynamo"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/provider"
)

// Names of what is in AWS, where the flags give none.
const (
	defaultTable  = "tokenworker"
	defaultKMSKey = "alias/tokenworker"
)

// awsTimeout bounds one attempt of a call to AWS.
const awsTimeout = 10 * time.Second

// deployment is NATS, DynamoDB and KMS. AWS is configured where the SDK looks for it; AWS_ENDPOINT_URL is honoured.
type deployment struct {
	flags *targetFlags
	log   *slog.Logger
}

func (d *deployment) String() string {
	return fmt.Sprintf("NATS at %s, table %s, key %s", d.flags.natsURL, d.table().TableName, d.keyIDs()[0])
}

func (d *deployment) table() dynamo.Config {
	return dynamo.Config{TableName: cmp.Or(d.flags.table, defaultTable)}
}

// keyIDs are the KMS keys; the first wraps new data keys.
func (d *deployment) keyIDs() []string {
	if len(d.flags.kmsKeys) == 0 {
		return []string{defaultKMSKey}
	}
	return d.flags.kmsKeys
}

// ownKeys are the KMS keys of the organizations that have one of their own.
func (d *deployment) ownKeys() (map[string]string, error) {
	if d.flags.orgKMSKeys == "" {
		return nil, nil
	}
	content, err := os.ReadFile(d.flags.orgKMSKeys)
	if err != nil {
		return nil, wrongUse("--org-kms-keys: %v", err)
	}
	var own map[string]string
	if err := yaml.Unmarshal(content, &own); err != nil {
		return nil, wrongUse("--org-kms-keys: %s is no YAML that maps organizations to KMS keys, each once", d.flags.orgKMSKeys)
	}
	for org, key := range own {
		if err := tokenworker.ValidatePart(org); err != nil {
			return nil, wrongUse("--org-kms-keys: organization %q: %v", org, err)
		}
		if key == "" {
			return nil, wrongUse("--org-kms-keys: organization %s has no key", org)
		}
	}
	return own, nil
}

// allKeyIDs are all KMS keys: the shared ones, then organizations' own.
func (d *deployment) allKeyIDs() ([]string, error) {
	own, err := d.ownKeys()
	if err != nil {
		return nil, err
	}
	return append(slices.Clone(d.keyIDs()), slices.Compact(slices.Sorted(maps.Values(own)))...), nil
}

func awsConfig(ctx context.Context) (aws.Config, error) {
	// Where the packages that own the clients set no limits of their own, this one keeps a command from hanging.
	c, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(awsTimeout)))
	if err != nil {
		return aws.Config{}, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	if c.Region == "" {
		return aws.Config{}, fmt.Errorf("%w: no AWS region: set AWS_REGION", tokenworker.ErrMisconfigured)
	}
	c.Credentials = aws.NewCredentialsCache(freshCredentials{})
	return c, nil
}

func (d *deployment) dynamoDB(ctx context.Context) (*dynamodb.Client, error) {
	c, err := awsConfig(ctx)
	if err != nil {
		return nil, err
	}
	return dynamo.NewClient(c), nil
}

// openStore opens the table.
func (d *deployment) openStore(ctx context.Context) (store, func() error, error) {
	client, err := d.dynamoDB(ctx)
	if err != nil {
		return nil, nil, err
	}
	t, err := dynamo.Open(ctx, client, d.table())
	if err != nil {
		return nil, nil, err
	}
	return t, func() error { return nil }, nil
}

// knownProviders are none: a deployment has no provider of its own.
func (d *deployment) knownProviders() ([]provider.Source, error) { return nil, nil }

// openKeyService resolves the KMS keys.
func (d *deployment) openKeyService(ctx context.Context) (keyService, error) {
	c, err := awsConfig(ctx)
	if err != nil {
		return nil, err
	}
	own, err := d.ownKeys()
	if err != nil {
		return nil, err
	}
	return kmsenc.OpenKMS(ctx, c, kmsenc.KMSKeys{Shared: d.keyIDs(), Own: own})
}
