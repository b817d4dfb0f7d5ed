package provider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/tokenworker/tokenworker"
)

// SecretsManager answers for secretsmanager:NAME in a file of providers. It returns the secret's current value. Its
// errors carry no secret.
type SecretsManager interface {
	Secret(ctx context.Context, name string) (tokenworker.Secret, error)
}

// maxSecretBytes bounds a secret, a private key with its comments included.
const maxSecretBytes = 64 << 10

var (
	errReference = errors.New("not of the form env:NAME, file:PATH or secretsmanager:NAME")
	errNoSecret  = errors.New("the secret is empty, or too large")
	errEnv       = errors.New("the environment variable is not set")
	errFile      = errors.New("the file cannot be read")
	errNoManager = errors.New("no secrets manager is configured")
)

// resolveSecret reads what a reference names, without the line break that editors leave at the end. Its errors do not
// repeat the reference: it may be the secret itself, in the wrong place.
func resolveSecret(ctx context.Context, manager SecretsManager, reference string) (tokenworker.Secret, error) {
	scheme, name, _ := strings.Cut(reference, ":")
	var value []byte
	switch {
	case name == "":
		return tokenworker.Secret{}, errReference
	case scheme == "env":
		text, ok := os.LookupEnv(name)
		if !ok {
			return tokenworker.Secret{}, errEnv
		}
		value = []byte(text)
	case scheme == "file":
		text, err := readFile(name)
		if err != nil {
			return tokenworker.Secret{}, errFile
		}
		value = text
	case scheme == "secretsmanager" && manager == nil:
		return tokenworker.Secret{}, errNoManager
	case scheme == "secretsmanager":
		secret, err := manager.Secret(ctx, name)
		if err != nil {
			return tokenworker.Secret{}, fmt.Errorf("reading the secret: %w", err)
		}
		value = bytes.Clone(secret.Reveal())
	default:
		return tokenworker.Secret{}, errReference
	}
	value = bytes.TrimRight(value, "\r\n")
	if len(value) == 0 || len(value) > maxSecretBytes {
		return tokenworker.Secret{}, errNoSecret
	}
	return tokenworker.NewSecret(value), nil
}

// readFile reads no more than one byte too many.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // G304: the operator's own file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // what was read is read
	return io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
}
