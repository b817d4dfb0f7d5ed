package dynamo

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/smithy-go"

	"github.com/tokenworker/tokenworker"
)

// classify turns an error of the SDK into one of the worker's. DynamoDB's words are kept only where they cannot quote a
// request, and the SDK's error value is not, because it may hold the answer.
func classify(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	var undecoded *smithy.DeserializationError
	if errors.As(err, &undecoded) {
		return fmt.Errorf("%s: %w: DynamoDB's answer cannot be read", doing, tokenworker.ErrUnavailable)
	}
	var answer smithy.APIError
	if !errors.As(err, &answer) { // no connection, no answer in time, no credentials to be had
		return fmt.Errorf("%s: %w: %s", doing, tokenworker.ErrUnavailable, err.Error())
	}
	code := answer.ErrorCode()
	switch code {
	case "ResourceNotFoundException":
		return fmt.Errorf("%s: %w: there is no such table: run `tokenworker setup`", doing, tokenworker.ErrMisconfigured)
	case "AccessDeniedException":
		return fmt.Errorf("%s: %w: access denied: %s", doing, tokenworker.ErrMisconfigured, answer.ErrorMessage())
	case "ValidationException":
		return fmt.Errorf("%s: %w: DynamoDB calls the request invalid: compare the table by `tokenworker setup --check`",
			doing, tokenworker.ErrMisconfigured)
	case "UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignatureException",
		"MissingAuthenticationTokenException", "OptInRequired":
		return fmt.Errorf("%s: %w: credentials refused: %s", doing, tokenworker.ErrMisconfigured, code)
	}
	// Throttles, conflicts with a transaction, expired credentials, internal errors: they pass.
	return fmt.Errorf("%s: %w: %s", doing, tokenworker.ErrUnavailable, code)
}
