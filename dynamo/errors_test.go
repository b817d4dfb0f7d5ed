package dynamo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/tokenworker/tokenworker"
)

func TestErrorsAreToldApartAndKeepTheRequestToThemselves(t *testing.T) {
	const canary = "c2VhbGVkIHNldA"
	answer := func(code string) error {
		return &smithy.OperationError{ServiceID: "DynamoDB", OperationName: "UpdateItem", Err: &smithy.GenericAPIError{
			Code: code, Message: "one of the values was " + canary,
		}}
	}
	for _, c := range []struct {
		name string
		err  error
		want error
		says string
	}{
		{"a throttled table", answer("ProvisionedThroughputExceededException"), tokenworker.ErrUnavailable, "ProvisionedThroughput"},
		{"a throttled account", answer("RequestLimitExceeded"), tokenworker.ErrUnavailable, "RequestLimitExceeded"},
		{"a throttled control plane", answer("ThrottlingException"), tokenworker.ErrUnavailable, "ThrottlingException"},
		{"a transaction in the way", answer("TransactionConflictException"), tokenworker.ErrUnavailable, "TransactionConflict"},
		{"an internal error", answer("InternalServerError"), tokenworker.ErrUnavailable, "InternalServerError"},
		{"credentials that have expired", answer("ExpiredTokenException"), tokenworker.ErrUnavailable, "ExpiredToken"},
		{"no connection", &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}, tokenworker.ErrUnavailable, "refused"},
		{"a time limit of the client's own", fmt.Errorf("awaiting headers: %w", context.DeadlineExceeded), tokenworker.ErrUnavailable, "awaiting"},
		{
			"an answer that cannot be read",
			&smithy.DeserializationError{Err: errors.New(canary), Snapshot: []byte(canary)}, tokenworker.ErrUnavailable, "cannot be read",
		},
		{"no table", answer("ResourceNotFoundException"), tokenworker.ErrMisconfigured, "tokenworker setup"},
		{"another schema", answer("ValidationException"), tokenworker.ErrMisconfigured, "setup --check"},
		{"unknown credentials", answer("UnrecognizedClientException"), tokenworker.ErrMisconfigured, "credentials refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := classify(t.Context(), "updating an item", c.err)
			if !errors.Is(got, c.want) || !strings.Contains(got.Error(), c.says) {
				t.Errorf("%v, want one that matches %q and says %q", got, c.want, c.says)
			}
			if errors.Is(got, context.DeadlineExceeded) {
				t.Errorf("%v matches the caller's deadline, which has not passed", got)
			}
			if strings.Contains(got.Error(), canary) {
				t.Errorf("%v quotes the answer", got)
			}
		})
	}

	t.Run("a caller without rights is told which", func(t *testing.T) {
		denied := &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "not authorized to perform: dynamodb:UpdateItem"}
		got := classify(t.Context(), "updating an item", denied)
		if !errors.Is(got, tokenworker.ErrMisconfigured) || !strings.Contains(got.Error(), "access denied: not authorized to perform") {
			t.Errorf("%v, want ErrMisconfigured with AWS's words", got)
		}
	})

	t.Run("a context that ended is not an outage", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		got := classify(ctx, "updating an item", answer("InternalServerError"))
		if !errors.Is(got, context.Canceled) || errors.Is(got, tokenworker.ErrUnavailable) {
			t.Errorf("%v, want the context's own error", got)
		}
	})
}
