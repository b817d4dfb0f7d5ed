package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"github.com/tokenworker/tokenworker"
)

// awsSecrets reads secrets from AWS Secrets Manager. AWS is configured when the first is asked for.
type awsSecrets struct{}

// Secret returns the current value of the named secret. The error matches [tokenworker.ErrMisconfigured] when AWS refuses the
// request, and [tokenworker.ErrUnavailable] when it could not be made. It does not repeat the name, which may be a secret in
// the wrong place.
func (awsSecrets) Secret(ctx context.Context, name string) (tokenworker.Secret, error) {
	config, err := awsConfig(ctx)
	if err != nil {
		return tokenworker.Secret{}, err
	}
	out, err := secretsmanager.NewFromConfig(config).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
	if err != nil {
		return tokenworker.Secret{}, secretError(err)
	}
	if out.SecretString != nil {
		return tokenworker.SecretString(aws.ToString(out.SecretString)), nil
	}
	return tokenworker.NewSecret(out.SecretBinary), nil
}

func secretError(err error) error {
	var refused smithy.APIError
	switch {
	case !errors.As(err, &refused):
		return fmt.Errorf("%w: Secrets Manager does not answer", tokenworker.ErrUnavailable)
	case refused.ErrorFault() == smithy.FaultServer, refused.ErrorCode() == "ThrottlingException":
		return fmt.Errorf("%w: Secrets Manager answers %s", tokenworker.ErrUnavailable, refused.ErrorCode())
	default:
		return fmt.Errorf("%w: Secrets Manager answers %s", tokenworker.ErrMisconfigured, refused.ErrorCode())
	}
}
