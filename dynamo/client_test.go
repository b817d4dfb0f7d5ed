package dynamo_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go/logging"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/dynamo"
)

// standIn is a configuration of clients that talk to handler.
func standIn(t *testing.T, handler http.HandlerFunc) aws.Config {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client := awshttp.NewBuildableClient().WithTransportOptions(func(transport *http.Transport) {
		transport.DisableKeepAlives = true
	})
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(server.URL), HTTPClient: client,
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	}
}

func TestTheClientTriesThreeTimesAndThenGivesUp(t *testing.T) {
	var tries atomic.Int32
	config := standIn(t, func(w http.ResponseWriter, _ *http.Request) {
		tries.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprint(w, `{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"no luck"}`)
	})
	_, err := dynamo.Open(t.Context(), dynamo.NewClient(config), dynamo.Config{})
	if !errors.Is(err, tokenworker.ErrUnavailable) || tries.Load() != 3 {
		t.Errorf("error %v after %d tries, want ErrUnavailable after 3", err, tries.Load())
	}
}

func TestTheClientHasTimeLimitsAndRoomForABurst(t *testing.T) {
	o := dynamo.NewClient(aws.Config{HTTPClient: awshttp.NewBuildableClient()}).Options()
	client, ok := o.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		t.Fatalf("HTTP client is a %T", o.HTTPClient)
	}
	transport := client.GetTransport()
	for what, limit := range map[string]time.Duration{
		"connecting": client.GetDialer().Timeout, "TLS": transport.TLSHandshakeTimeout,
		"response headers": transport.ResponseHeaderTimeout, "the whole try": client.GetTimeout(),
	} {
		if limit <= 0 || limit > 10*time.Second {
			t.Errorf("the time limit of %s is %s", what, limit)
		}
	}
	if transport.MaxIdleConnsPerHost < 100 {
		t.Errorf("%d idle connections are kept", transport.MaxIdleConnsPerHost)
	}
}

func TestTheClientNeverLogsABody(t *testing.T) {
	config := standIn(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{}`) })
	var log bytes.Buffer
	config.ClientLogMode = aws.LogRequestWithBody | aws.LogResponseWithBody | aws.LogRequest
	config.Logger = logging.NewStandardLogger(&log)
	_, err := dynamo.Open(t.Context(), dynamo.NewClient(config), dynamo.Config{TableName: "canary"})
	if !errors.Is(err, tokenworker.ErrMisconfigured) {
		t.Errorf("error %v, want ErrMisconfigured", err)
	}
	if log.Len() == 0 || strings.Contains(log.String(), "canary") {
		t.Errorf("the log must be there, without the body:\n%s", log.String())
	}
}

func TestAHTTPClientOfOnesOwnIsLeftAlone(t *testing.T) {
	own := &http.Client{}
	if got := dynamo.NewClient(aws.Config{HTTPClient: own}).Options().HTTPClient; got != own {
		t.Errorf("HTTP client is %v, want one's own", got)
	}
}
