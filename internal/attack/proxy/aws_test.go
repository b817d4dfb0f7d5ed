package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
)

// service is an endpoint that performs every call, and counts.
type service struct{ performed atomic.Int64 }

func (s *service) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.performed.Add(1)
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	_, _ = fmt.Fprint(w, `{"KeyId":"k"}`)
}

func newAWS(t *testing.T) (*AWS, *service, aws.Config) {
	t.Helper()
	s := &service{}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	p, err := NewAWS(t.Context(), server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return p, s, aws.Config{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
		BaseEndpoint: aws.String(p.URL()), HTTPClient: &http.Client{Transport: transport}, RetryMaxAttempts: 1,
	}
}

func put(t *testing.T, c aws.Config) error {
	t.Helper()
	_, err := dynamodb.NewFromConfig(c).PutItem(t.Context(), &dynamodb.PutItemInput{
		TableName: aws.String("t"),
		Item:      map[string]dynamodbtypes.AttributeValue{"a": &dynamodbtypes.AttributeValueMemberS{Value: "b"}},
	})
	return err
}

func decrypt(ctx context.Context, c aws.Config, org string) error {
	_, err := kms.NewFromConfig(c).Decrypt(ctx, &kms.DecryptInput{
		CiphertextBlob: []byte("x"), EncryptionContext: map[string]string{"org": org},
	})
	return err
}

func isCode(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}

func TestEachFaultIsWhatTheClientSeesAndSaysWhetherTheCallWasPerformed(t *testing.T) {
	for name, c := range map[string]struct {
		fault     Fault
		performed int64
		seen      func(error) bool
	}{
		"none":                 {None, 1, func(err error) bool { return err == nil }},
		"a late reply":         {Late, 1, func(err error) bool { return err == nil }},
		"a dropped reply":      {DropReply, 1, func(err error) bool { return err != nil }},
		"a throttle":           {Throttle, 0, func(err error) bool { return isCode(err, "ProvisionedThroughputExceededException") }},
		"a denial":             {Deny, 0, func(err error) bool { return isCode(err, "AccessDeniedException") }},
		"a connection's reset": {Reset, 0, func(err error) bool { return err != nil }},
	} {
		t.Run(name, func(t *testing.T) {
			p, s, config := newAWS(t)
			p.SetFault(Always(c.fault))
			err := put(t, config)
			if !c.seen(err) {
				t.Errorf("the client saw %v", err)
			}
			if n := s.performed.Load(); n != c.performed {
				t.Errorf("performed %d times, want %d", n, c.performed)
			}
			if n := p.Calls("PutItem"); n != 1 {
				t.Errorf("counted %d calls, want 1", n)
			}
		})
	}
}

func TestAHangingCallEndsWithItsCallerOnly(t *testing.T) {
	p, _, config := newAWS(t)
	p.SetFault(Always(Hang))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := decrypt(ctx, config, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the client saw %v, want its own deadline", err)
	}
}

func TestCallsOfOneEncryptionContextCanBeDeniedAlone(t *testing.T) {
	p, _, config := newAWS(t)
	p.SetFault(func(c Call) Fault {
		if c.EncryptionContext()["org"] == "bad" {
			return Deny
		}
		return None
	})
	if err := decrypt(t.Context(), config, "bad"); !isCode(err, "AccessDeniedException") {
		t.Errorf("the denied organization saw %v", err)
	}
	if err := decrypt(t.Context(), config, "good"); err != nil {
		t.Errorf("the other organization saw %v", err)
	}
	if n := p.Calls(); n != 2 {
		t.Errorf("counted %d calls, want 2", n)
	}
}
