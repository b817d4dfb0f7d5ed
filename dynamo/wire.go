package dynamo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/auth"
)

// wire makes the one request of the worker's main path, UpdateItem, without the SDK's middleware: a request is written,
// signed by the SDK's signer with its credentials, sent by its HTTP client to its endpoint, and the answer read. That
// halves its CPU time (doc.go has the figures).
//
// It tries once, and knows two answers: done, and a condition that failed. Whatever else happens is the SDK's to deal
// with, which makes the same request again. That does no harm, because a write carries its attempt id.
type wire struct {
	http        dynamodb.HTTPClient
	url         string
	region      string
	credentials aws.CredentialsProvider
	signer      *v4.Signer
}

// newWire returns nil where the SDK does something on the way that a wire does not: middleware or interceptors of the
// caller's, request logs, endpoint discovery, a region of an older spelling, an endpoint that is signed for otherwise.
func newWire(ctx context.Context, o dynamodb.Options) *wire {
	plain := len(o.APIOptions) == 0 && o.ClientLogMode == 0 &&
		o.EndpointDiscovery.EnableEndpointDiscovery != aws.EndpointDiscoveryEnabled &&
		o.Credentials != nil && o.HTTPClient != nil && o.Region != "" && !strings.Contains(o.Region, "fips")
	for _, interceptors := range reflect.ValueOf(o.Interceptors).Fields() { // a list for each stage of a request
		plain = plain && interceptors.Len() == 0
	}
	if !plain {
		return nil
	}
	endpoint, err := o.EndpointResolverV2.ResolveEndpoint(ctx, dynamodb.EndpointParameters{
		Region:       aws.String(o.Region),
		Endpoint:     o.BaseEndpoint,
		UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
	})
	if err != nil || len(endpoint.Headers) > 0 {
		return nil
	}
	if _, signedOtherwise := auth.GetAuthOptions(&endpoint.Properties); signedOtherwise {
		return nil
	}
	return &wire{
		http: o.HTTPClient, url: endpoint.URI.JoinPath("/").String(), region: o.Region, credentials: o.Credentials, signer: v4.NewSigner(),
	}
}

// The answers that a wire knows.
type answer int

const (
	unclear answer = iota // anything may have happened
	written
	refused // the condition failed
)

// maxAnswer bounds an answer: an item is at most 400 KB, and a third more in base64.
const maxAnswer = 1 << 20

// usualBody is how large a request rarely is: 2.5 KB of expressions and 1.5 KB of token set, in base64.
const usualBody = 5 << 10

// update makes the request, whose body is given. When it is refused, the item is the one that was found, nil for none.
func (w *wire) update(ctx context.Context, body []byte) (answer, item) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return unclear, nil
	}
	request.Header = http.Header{
		"Accept-Encoding": {"identity"},
		"Content-Type":    {"application/x-amz-json-1.0"},
		"User-Agent":      {"tokenworker"},
		"X-Amz-Target":    {"DynamoDB_20120810.UpdateItem"},
	}
	credentials, err := w.credentials.Retrieve(ctx)
	if err != nil {
		return unclear, nil
	}
	hash := sha256.Sum256(body)
	err = w.signer.SignHTTP(ctx, credentials, request, hex.EncodeToString(hash[:]), "dynamodb", w.region, time.Now())
	if err != nil {
		return unclear, nil
	}
	response, err := w.http.Do(request)
	if err != nil {
		return unclear, nil
	}
	defer func() { _ = response.Body.Close() }()
	reply, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	switch {
	case err != nil:
		return unclear, nil
	case response.StatusCode == http.StatusOK:
		return written, nil
	case response.StatusCode == http.StatusBadRequest:
		return readRefusal(reply)
	}
	return unclear, nil
}
