package localstack

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// Region is where everything in LocalStack lives: it keeps regions apart as AWS does.
const Region = "us-east-1"

const (
	healthTimeout  = 5 * time.Second
	requestTimeout = 30 * time.Second // a first DynamoDB call takes about 3 s
)

// Endpoint returns the URL of a healthy LocalStack: LOCALSTACK_ENDPOINT, else the one that `make localstack` started
// in this checkout. It fails the test when there is none.
func Endpoint(tb testing.TB) string {
	tb.Helper()
	endpoint, err := find()
	if err == nil {
		err = checkHealth(tb.Context(), endpoint)
	}
	if err != nil {
		tb.Fatalf("this test needs LocalStack; run `make localstack` first, or `make test` for all tests: %v", err)
	}
	return endpoint
}

// Config returns the configuration of AWS clients that talk to LocalStack, with a connection pool that ends with the
// test. It fails the test when there is no healthy LocalStack.
func Config(tb testing.TB) aws.Config {
	tb.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	tb.Cleanup(transport.CloseIdleConnections)
	return aws.Config{
		Region:       Region,
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		BaseEndpoint: aws.String(Endpoint(tb)),
		HTTPClient:   &http.Client{Transport: transport, Timeout: requestTimeout},
	}
}

// Key creates a symmetric KMS key for the test and returns its ARN.
func Key(tb testing.TB) string {
	tb.Helper()
	created, err := kms.NewFromConfig(Config(tb)).CreateKey(tb.Context(), &kms.CreateKeyInput{})
	if err != nil {
		tb.Fatalf("creating a KMS key: %v", err)
	}
	return aws.ToString(created.KeyMetadata.Arn)
}

// UniqueName returns a table name that begins with prefix and that no other test has, in this run or another.
func UniqueName(tb testing.TB, prefix string) string {
	tb.Helper()
	return prefix + "-" + rand.Text()
}

// find names the endpoint without asking whether it answers.
func find() (string, error) {
	if endpoint := os.Getenv("LOCALSTACK_ENDPOINT"); endpoint != "" {
		return endpoint, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the checkout: %w", err)
	}
	// Tests run in their package's folder, somewhere below the checkout's root.
	for ; ; dir = filepath.Dir(dir) {
		endpoint, err := os.ReadFile(filepath.Join(dir, "localstack", ".run", "endpoint"))
		if err == nil {
			return strings.TrimSpace(string(endpoint)), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("reading the endpoint: %w", err)
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("LOCALSTACK_ENDPOINT is not set and none was started in this checkout")
		}
	}
}

// checkHealth returns nil when KMS and DynamoDB answer at the endpoint.
func checkHealth(ctx context.Context, endpoint string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/_localstack/health", nil)
	if err != nil {
		return fmt.Errorf("asking for its health: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: healthTimeout}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("asking for its health: %w", err)
	}
	defer response.Body.Close()
	var health struct{ Services map[string]string }
	if err := json.NewDecoder(response.Body).Decode(&health); err != nil {
		return fmt.Errorf("reading its health from %s: %w", endpoint, err)
	}
	for _, service := range []string{"kms", "dynamodb"} {
		switch state := health.Services[service]; state {
		case "running", "available":
		default:
			return fmt.Errorf("%s at %s is %q, not running", service, endpoint, state)
		}
	}
	return nil
}
