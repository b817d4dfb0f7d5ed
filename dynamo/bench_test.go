package dynamo_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker/dynamo"
)

// instant is an HTTP client whose DynamoDB answers at once: what remains is the cost of making a request.
type instant struct{}

func (instant) Do(r *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err //nolint:wrapcheck // it stands in for the client
	}
	body := `{}`
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetItem") { // the settings, at opening
		body = `{"Item":{"layout_version":{"N":"1"},"due_shards":{"N":"16"}}}`
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}, nil
}

func instantConfig() aws.Config {
	return aws.Config{
		Region: "us-east-1", HTTPClient: instant{}, BaseEndpoint: aws.String("http://127.0.0.1:1"),
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	}
}

// The baseline of BenchmarkAcquire is a conditional put of the same token set, as one would write it first.
func BenchmarkBarePut(b *testing.B) {
	client := dynamodb.NewFromConfig(instantConfig())
	sealed := bytes.Repeat([]byte{7}, 1500)
	b.ReportAllocs()
	for b.Loop() {
		_, err := client.PutItem(b.Context(), &dynamodb.PutItemInput{
			TableName: aws.String("tokenworker"),
			Item: map[string]types.AttributeValue{
				"pk":     &types.AttributeValueMemberS{Value: "org"},
				"sk":     &types.AttributeValueMemberS{Value: "acme:company"},
				"stamp":  &types.AttributeValueMemberN{Value: "17"},
				"sealed": &types.AttributeValueMemberB{Value: sealed},
			},
			ConditionExpression: aws.String("attribute_not_exists(pk) OR stamp < :stamp"),
			ExpressionAttributeValues: map[string]types.AttributeValue{
				":stamp": &types.AttributeValueMemberN{Value: "17"},
			},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAcquire(b *testing.B) {
	table, err := dynamo.Open(b.Context(), dynamo.NewClient(instantConfig()), dynamo.Config{})
	if err != nil {
		b.Fatal(err)
	}
	a := acquisition("company", 17)
	a.Sealed = bytes.Repeat([]byte{7}, 1500)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := table.Acquire(b.Context(), a); err != nil {
			b.Fatal(err)
		}
	}
}
