package kmsenc

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/smithy-go"
	"github.com/tokenworker/tokenworker"
)

// kmsCodes says what KMS's error codes mean for the worker (API reference, GenerateDataKey and Decrypt, and "Common
// errors"). Every other code, and no answer at all, is [tokenworker.ErrUnavailable]: throttling, limits, time-outs and
// internal errors pass, and so do credentials that have expired or are wrong for everything alike.
var kmsCodes = map[string]error{
	"IncorrectKeyException":      tokenworker.ErrSealBroken,
	"InvalidCiphertextException": tokenworker.ErrSealBroken,

	"AccessDeniedException":    tokenworker.ErrKeyRefused,
	"DisabledException":        tokenworker.ErrKeyRefused,
	"InvalidKeyUsageException": tokenworker.ErrKeyRefused,
	"KMSInvalidStateException": tokenworker.ErrKeyRefused, // pending deletion, or its material is gone
	"NotFoundException":        tokenworker.ErrKeyRefused,
	"InvalidArnException":      tokenworker.ErrKeyRefused,
}

// kmsError turns an error of the SDK into one of the worker's. The words of KMS stay, which never see a plaintext key;
// the SDK's error value goes, because it may hold the answer that it could not decode.
func kmsError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var undecoded *smithy.DeserializationError
	if errors.As(err, &undecoded) {
		return errAnswer
	}
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		return fmt.Errorf("%w: %s", tokenworker.ErrUnavailable, err.Error())
	}
	meaning, known := kmsCodes[answer.ErrorCode()]
	if !known {
		meaning = tokenworker.ErrUnavailable
	}
	return fmt.Errorf("%w: %s: %s", meaning, answer.ErrorCode(), answer.ErrorMessage())
}
