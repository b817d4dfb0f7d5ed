package kmsenc

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/tokenworker/tokenworker"
)

const (
	// attemptTimeout bounds one attempt of a call, of which the SDK makes three. KMS answers within tens of
	// milliseconds; the SDK alone would wait for ever.
	attemptTimeout = 5 * time.Second

	// idleConnections is how many connections are kept. The SDK's default of 10 makes a burst of cache misses pay for
	// as many TLS handshakes.
	idleConnections = 64
)

// kmsAPI is what [KMS] needs of the SDK's client.
type kmsAPI interface {
	DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error)
	GenerateDataKey(context.Context, *kms.GenerateDataKeyInput, ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error)
	Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error)
}

// KMS is the [tokenworker.KeyService] of AWS KMS. It needs the rights kms:DescribeKey, kms:GenerateDataKey and
// kms:Decrypt on its keys; each organization's can be fenced by the condition kms:EncryptionContext:org.
type KMS struct {
	api  kmsAPI
	pins []string // ARNs; the first wraps new data keys
}

var _ tokenworker.KeyService = (*KMS)(nil)

// OpenKMS connects to AWS KMS. Each key id is a key's ARN, id or alias; the first wraps new data keys, the others only
// unwrap what they once wrapped. Ids are resolved to ARNs here, once, so that an alias moved later changes nothing
// until the next start.
//
// The config's HTTP client gets timeouts and a larger pool, unless it is a custom one, which is left alone.
//
// The error matches [tokenworker.ErrMisconfigured] when there are no key ids, [tokenworker.ErrKeyRefused] when KMS
// does not know or show a key, or [tokenworker.ErrUnavailable], or is ctx's own.
func OpenKMS(ctx context.Context, config aws.Config, keyIDs ...string) (*KMS, error) {
	return openKMS(ctx, kms.NewFromConfig(config, boundClient), keyIDs)
}

func openKMS(ctx context.Context, api kmsAPI, keyIDs []string) (*KMS, error) {
	if len(keyIDs) == 0 {
		return nil, fmt.Errorf("%w: no KMS key id", tokenworker.ErrMisconfigured)
	}
	k := &KMS{api: api}
	for _, id := range keyIDs {
		described, err := api.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(id)})
		if err != nil {
			return nil, fmt.Errorf("resolving key id %s: %w", id, kmsError(ctx, err))
		}
		if described.KeyMetadata == nil || aws.ToString(described.KeyMetadata.Arn) == "" {
			return nil, fmt.Errorf("resolving key id %s: %w", id, errAnswer)
		}
		k.pins = append(k.pins, aws.ToString(described.KeyMetadata.Arn))
	}
	return k, nil
}

// boundClient gives the SDK's own HTTP client timeouts and a pool for bursts.
func boundClient(o *kms.Options) {
	if client, ok := o.HTTPClient.(*awshttp.BuildableClient); ok {
		o.HTTPClient = client.WithTimeout(attemptTimeout).WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConnsPerHost = idleConnections
		})
	}
}

// errAnswer: KMS, or what answers in its place, said something that KMS never says.
var errAnswer = fmt.Errorf("%w: KMS's answer lacks what was asked for", tokenworker.ErrUnavailable)

// GenerateDataKey implements [tokenworker.KeyService].
func (k *KMS) GenerateDataKey(ctx context.Context, encryptionContext map[string]string) (tokenworker.DataKey, error) {
	out, err := k.api.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
		KeyId:             aws.String(k.pins[0]),
		KeySpec:           types.DataKeySpecAes256,
		EncryptionContext: encryptionContext,
	})
	if err != nil {
		return tokenworker.DataKey{}, fmt.Errorf("KMS GenerateDataKey: %w", kmsError(ctx, err))
	}
	plain := tokenworker.NewSecret(out.Plaintext)
	if len(out.Plaintext) != dataKeyBytes || len(out.CiphertextBlob) == 0 || aws.ToString(out.KeyId) != k.pins[0] {
		plain.Wipe()
		return tokenworker.DataKey{}, fmt.Errorf("KMS GenerateDataKey: %w", errAnswer)
	}
	return tokenworker.DataKey{Plain: plain, Wrapped: out.CiphertextBlob, KeyID: k.pins[0]}, nil
}

// Decrypt implements [tokenworker.KeyService]. It names the key to KMS, which alone would take whichever key the
// wrapped bytes name, be it one of another account that an attacker owns.
func (k *KMS) Decrypt(
	ctx context.Context, keyID string, wrapped []byte, encryptionContext map[string]string,
) (tokenworker.Secret, error) {
	if !slices.Contains(k.pins, keyID) {
		return tokenworker.Secret{}, broken("wrapped under a key that is not configured")
	}
	if len(wrapped) == 0 || len(wrapped) > maxWrappedBytes {
		return tokenworker.Secret{}, broken("no wrapped key has this length")
	}
	out, err := k.api.Decrypt(ctx, &kms.DecryptInput{
		KeyId:             aws.String(keyID),
		CiphertextBlob:    wrapped,
		EncryptionContext: encryptionContext,
	})
	if err != nil {
		return tokenworker.Secret{}, fmt.Errorf("KMS Decrypt: %w", kmsError(ctx, err))
	}
	plain := tokenworker.NewSecret(out.Plaintext)
	if plain.IsEmpty() || aws.ToString(out.KeyId) != keyID {
		plain.Wipe()
		return tokenworker.Secret{}, fmt.Errorf("KMS Decrypt: %w", errAnswer)
	}
	return plain, nil
}
