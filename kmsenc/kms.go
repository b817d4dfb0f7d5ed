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
	ReEncrypt(context.Context, *kms.ReEncryptInput, ...func(*kms.Options)) (*kms.ReEncryptOutput, error)
}

// KMS is the [tokenworker.KeyService] of AWS KMS. It needs the rights kms:DescribeKey, kms:GenerateDataKey and
// kms:Decrypt on its keys, and for ReEncrypt kms:ReEncryptFrom on the former and kms:ReEncryptTo on the current ones; each
// organization's can be fenced by the condition kms:EncryptionContext:org.
type KMS struct {
	api  kmsAPI
	pins []string          // ARNs of all keys
	own  map[string]string // ARNs of organizations' own keys, by organization
}

// KMSKeys says which KMS keys there are, each by ARN, id or alias.
type KMSKeys struct {
	// Shared are at least one: the first wraps new data keys, the others only unwrap what they once wrapped.
	Shared []string

	// Own are keys of organizations that have one of their own: it wraps the data keys that are the organization's alone,
	// which under the scope pool:N there are none of.
	Own map[string]string
}

var _ tokenworker.KeyService = (*KMS)(nil)

// OpenKMS connects to AWS KMS. Ids are resolved to ARNs here, once, so that an alias moved later changes nothing until the
// next start.
//
// The config's HTTP client gets timeouts and a larger pool, unless it is a custom one, which is left alone.
//
// The error matches [tokenworker.ErrMisconfigured] when there are no shared keys, [tokenworker.ErrKeyRefused] when KMS
// does not know or show a key, or [tokenworker.ErrUnavailable], or is ctx's own.
func OpenKMS(ctx context.Context, config aws.Config, keys KMSKeys) (*KMS, error) {
	return openKMS(ctx, kms.NewFromConfig(config, boundClient), keys)
}

func openKMS(ctx context.Context, api kmsAPI, keys KMSKeys) (*KMS, error) {
	if len(keys.Shared) == 0 {
		return nil, fmt.Errorf("%w: no KMS key id", tokenworker.ErrMisconfigured)
	}
	k := &KMS{api: api, own: make(map[string]string, len(keys.Own))}
	for _, id := range keys.Shared {
		if _, err := k.pin(ctx, id); err != nil {
			return nil, err
		}
	}
	for org, id := range keys.Own {
		arn, err := k.pin(ctx, id)
		if err != nil {
			return nil, err
		}
		k.own[org] = arn
	}
	return k, nil
}

// pin resolves a key's id and adds it to those that may unwrap.
func (k *KMS) pin(ctx context.Context, id string) (arn string, err error) {
	described, err := k.api.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(id)})
	if err != nil {
		return "", fmt.Errorf("resolving key id %s: %w", id, kmsError(ctx, err))
	}
	if described.KeyMetadata == nil || aws.ToString(described.KeyMetadata.Arn) == "" {
		return "", fmt.Errorf("resolving key id %s: %w", id, errAnswer)
	}
	arn = aws.ToString(described.KeyMetadata.Arn)
	k.pins = append(k.pins, arn)
	return arn, nil
}

// KeyIDs are the ARNs of all keys that it unwraps with.
func (k *KMS) KeyIDs() []string { return slices.Clone(k.pins) }

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

// WrappingKey implements [tokenworker.KeyService]: the organization's own key, or the first shared one.
func (k *KMS) WrappingKey(encryptionContext map[string]string) string {
	if arn, ok := k.own[encryptionContext[orgContext]]; ok {
		return arn
	}
	return k.pins[0]
}

// GenerateDataKey implements [tokenworker.KeyService].
func (k *KMS) GenerateDataKey(ctx context.Context, encryptionContext map[string]string) (tokenworker.DataKey, error) {
	keyID := k.WrappingKey(encryptionContext)
	out, err := k.api.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
		KeyId:             aws.String(keyID),
		KeySpec:           types.DataKeySpecAes256,
		EncryptionContext: encryptionContext,
	})
	if err != nil {
		return tokenworker.DataKey{}, fmt.Errorf("KMS GenerateDataKey: %w", kmsError(ctx, err))
	}
	plain := tokenworker.NewSecret(out.Plaintext)
	if len(out.Plaintext) != dataKeyBytes || len(out.CiphertextBlob) == 0 || aws.ToString(out.KeyId) != keyID {
		plain.Wipe()
		return tokenworker.DataKey{}, fmt.Errorf("KMS GenerateDataKey: %w", errAnswer)
	}
	return tokenworker.DataKey{Plain: plain, Wrapped: out.CiphertextBlob, KeyID: keyID}, nil
}

// Decrypt implements [tokenworker.KeyService]. It names the key to KMS, which alone would take whichever key the
// wrapped bytes name, be it one of another account that an attacker owns.
func (k *KMS) Decrypt(
	ctx context.Context, keyID string, wrapped []byte, encryptionContext map[string]string,
) (tokenworker.Secret, error) {
	if err := k.check(keyID, wrapped); err != nil {
		return tokenworker.Secret{}, err
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

// ReEncrypt implements [tokenworker.KeyService]. The encryption context stays, so a data key cannot change its organization
// on the way.
func (k *KMS) ReEncrypt(
	ctx context.Context, keyID string, wrapped []byte, encryptionContext map[string]string,
) ([]byte, error) {
	if err := k.check(keyID, wrapped); err != nil {
		return nil, err
	}
	wrapping := k.WrappingKey(encryptionContext)
	out, err := k.api.ReEncrypt(ctx, &kms.ReEncryptInput{
		SourceKeyId: aws.String(keyID), SourceEncryptionContext: encryptionContext, CiphertextBlob: wrapped,
		DestinationKeyId: aws.String(wrapping), DestinationEncryptionContext: encryptionContext,
	})
	if err != nil {
		return nil, fmt.Errorf("KMS ReEncrypt: %w", kmsError(ctx, err))
	}
	if len(out.CiphertextBlob) == 0 || aws.ToString(out.SourceKeyId) != keyID || aws.ToString(out.KeyId) != wrapping {
		return nil, fmt.Errorf("KMS ReEncrypt: %w", errAnswer)
	}
	return out.CiphertextBlob, nil
}

// check refuses what KMS need not be asked about.
func (k *KMS) check(keyID string, wrapped []byte) error {
	if !slices.Contains(k.pins, keyID) {
		return broken("wrapped under a key that is not configured")
	}
	if len(wrapped) == 0 || len(wrapped) > maxWrappedBytes {
		return broken("no wrapped key has this length")
	}
	return nil
}
