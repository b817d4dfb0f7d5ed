package dynamo

import (
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

const (
	// DynamoDB answers within tens of milliseconds. The SDK alone would wait for an answer for ever.
	connectTimeout = 2 * time.Second
	headerTimeout  = 4 * time.Second
	attemptTimeout = 8 * time.Second // of one try: connection, request, and an answer of up to 1 MB

	// idleConnections is how many connections are kept. The SDK's default of 10 would make each burst of events pay for
	// TLS handshakes.
	idleConnections = 256

	maxAttempts = 3
)

// NewClient returns a client of DynamoDB that gives up: each try has a time limit, and there are three, with a random
// delay between them. The config's HTTP client is replaced by one with these limits if it is the SDK's own; a custom one
// is left alone. Bodies are never logged, whatever the config says.
func NewClient(config aws.Config) *dynamodb.Client {
	return dynamodb.NewFromConfig(config, func(o *dynamodb.Options) {
		if client, ok := o.HTTPClient.(*awshttp.BuildableClient); ok {
			o.HTTPClient = client.WithTimeout(attemptTimeout).
				WithDialerOptions(func(d *net.Dialer) { d.Timeout = connectTimeout }).
				WithTransportOptions(func(t *http.Transport) {
					t.ResponseHeaderTimeout = headerTimeout
					t.MaxIdleConns = idleConnections
					t.MaxIdleConnsPerHost = idleConnections
				})
		}
		o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
			r.MaxAttempts = maxAttempts
			r.Backoff = retry.BackoffDelayerFunc(backoff)
		})
		o.ClientLogMode &^= aws.LogRequestWithBody | aws.LogResponseWithBody
	})
}

// backoff is the delay after a failed attempt, the first being 1: random, up to 100 ms, then 200 ms. The SDK's own takes
// 2 s and 4 s, and loses its randomness when it is capped below that. A longer wait is the consumer's to make, without a
// request under way.
func backoff(attempt int, _ error) (time.Duration, error) {
	return rand.N(100 * time.Millisecond << (attempt - 1)), nil //nolint:gosec // spreads load, guards nothing
}
