package kmsenc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/internal/keytest"
	"github.com/tokenworker/tokenworker/localstack"
)

func openLocalKMS(t *testing.T, keyIDs ...string) *KMS {
	t.Helper()
	k, err := OpenKMS(t.Context(), localstack.Config(t), KMSKeys{Shared: keyIDs})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKMSKeepsTheContractOfKeyServices(t *testing.T) {
	keytest.Test(t, func(t *testing.T) tokenworker.KeyService { return openLocalKMS(t, localstack.Key(t)) })
}

func TestKMSKeepsTheContractOfWrappingAgain(t *testing.T) {
	keytest.TestReEncrypt(t, func(t *testing.T) (former, current tokenworker.KeyService) {
		old, next := localstack.Key(t), localstack.Key(t)
		return openLocalKMS(t, old), openLocalKMS(t, next, old)
	})
}

func TestAnOrganizationsOwnKeyWrapsWhatIsItsAlone(t *testing.T) {
	shared, own := localstack.Key(t), localstack.Key(t)
	service, err := OpenKMS(t.Context(), localstack.Config(t), KMSKeys{
		Shared: []string{shared}, Own: map[string]string{"acme": own},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name              string
		encryptionContext map[string]string
		want              string
	}{
		{"its data keys", keyScope{kind: orgKind}.encryptionContext("acme"), own},
		{"another organization's", keyScope{kind: orgKind}.encryptionContext("globex"), shared},
		{"a pool's", keyScope{kind: poolKind}.encryptionContext("acme"), shared},
		{"an event key", map[string]string{"app": "tokenworker", "event_key": "acme"}, shared},
	} {
		t.Run(c.name, func(t *testing.T) {
			made, err := service.GenerateDataKey(t.Context(), c.encryptionContext)
			if err != nil || made.KeyID != c.want {
				t.Errorf("wrapped under %s, %v; want %s", made.KeyID, err, c.want)
			}
			opened, err := service.Decrypt(t.Context(), made.KeyID, made.Wrapped, c.encryptionContext)
			if err != nil || !opened.Equal(made.Plain) {
				t.Errorf("it does not come back: %v", err)
			}
		})
	}
	t.Run("what the shared key wrapped before is wrapped again under its own", func(t *testing.T) {
		encryptionContext := keyScope{kind: orgKind}.encryptionContext("acme")
		made, err := openLocalKMS(t, shared).GenerateDataKey(t.Context(), encryptionContext)
		if err != nil {
			t.Fatal(err)
		}
		again, err := service.ReEncrypt(t.Context(), made.KeyID, made.Wrapped, encryptionContext)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := openLocalKMS(t, own).Decrypt(t.Context(), own, again, encryptionContext)
		if err != nil || !opened.Equal(made.Plain) {
			t.Errorf("it does not come back: %v", err)
		}
	})
}

func TestKMSSealsAndOpens(t *testing.T) {
	sealer := New(openLocalKMS(t, localstack.Key(t)), newMemoryStore(), Config{})
	sealed := mustSeal(t, sealer, acme, first, "plaintext")
	cold := New(sealer.keys.service, newMemoryStore(), Config{})
	got, err := cold.Open(t.Context(), acme, first, sealed)
	if err != nil || string(got) != "plaintext" {
		t.Errorf("opened %q, %v", got, err)
	}
}

func TestAnAliasIsPinnedToItsKeyWhenKMSIsOpened(t *testing.T) {
	client := kms.NewFromConfig(localstack.Config(t))
	one, two := localstack.Key(t), localstack.Key(t)
	alias := "alias/" + localstack.UniqueName(t, "kmsenc")
	if _, err := client.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &one}); err != nil {
		t.Fatal(err)
	}
	service := openLocalKMS(t, alias)
	if _, err := client.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: &alias, TargetKeyId: &two}); err != nil {
		t.Fatal(err)
	}
	made, err := service.GenerateDataKey(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if made.KeyID != one {
		t.Errorf("wrapped under %s, want the alias's key at the start, %s", made.KeyID, one)
	}
}

func TestAnEarlierKeyStillUnwrapsAndTheFirstWraps(t *testing.T) {
	old, current := localstack.Key(t), localstack.Key(t)
	made, err := openLocalKMS(t, old).GenerateDataKey(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	service := openLocalKMS(t, current, old)
	if got, err := service.Decrypt(t.Context(), made.KeyID, made.Wrapped, nil); err != nil || !got.Equal(made.Plain) {
		t.Errorf("under the earlier key: %v", err)
	}
	if _, err := service.Decrypt(t.Context(), current, made.Wrapped, nil); !errors.Is(err, tokenworker.ErrSealBroken) {
		t.Errorf("under the other pinned key: %v, want ErrSealBroken", err)
	}
	made, err = service.GenerateDataKey(t.Context(), nil)
	if err != nil || made.KeyID != current {
		t.Errorf("wrapped under %s, %v; want %s", made.KeyID, err, current)
	}
}

func TestAKeyThatIsTurnedOffIsRefused(t *testing.T) {
	client := kms.NewFromConfig(localstack.Config(t))
	for name, turnOff := range map[string]func(key string) error{
		"disabled": func(key string) error {
			_, err := client.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &key})
			return err
		},
		"pending deletion": func(key string) error {
			_, err := client.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &key})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			service := openLocalKMS(t, localstack.Key(t))
			made, err := service.GenerateDataKey(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := turnOff(made.KeyID); err != nil {
				t.Fatal(err)
			}
			if _, err := service.GenerateDataKey(t.Context(), nil); !errors.Is(err, tokenworker.ErrKeyRefused) {
				t.Errorf("GenerateDataKey: %v, want ErrKeyRefused", err)
			}
			_, err = service.Decrypt(t.Context(), made.KeyID, made.Wrapped, nil)
			if !errors.Is(err, tokenworker.ErrKeyRefused) {
				t.Errorf("Decrypt: %v, want ErrKeyRefused", err)
			}
		})
	}
}

func TestKMSDoesNotOpenWithoutAKeyThatExists(t *testing.T) {
	if _, err := OpenKMS(t.Context(), localstack.Config(t), KMSKeys{}); !errors.Is(err, tokenworker.ErrMisconfigured) {
		t.Errorf("no key ids: %v, want ErrMisconfigured", err)
	}
	none := "alias/" + localstack.UniqueName(t, "none")
	for name, keys := range map[string]KMSKeys{
		"among the shared":  {Shared: []string{localstack.Key(t), none}},
		"an organization's": {Shared: []string{localstack.Key(t)}, Own: map[string]string{"acme": none}},
	} {
		if _, err := OpenKMS(t.Context(), localstack.Config(t), keys); !errors.Is(err, tokenworker.ErrKeyRefused) {
			t.Errorf("an unknown alias %s: %v, want ErrKeyRefused", name, err)
		}
	}
}

// answering returns a KMS behind which every call after the first DescribeKey gets the given answer. LocalStack does
// not give these; the SDK's own client reads them.
func answering(t *testing.T, status int, body string) *KMS {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), "DescribeKey") {
			_, _ = fmt.Fprintf(w, `{"KeyMetadata":{"KeyId":"k","Arn":%q}}`, testARN)
			return
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	service, err := OpenKMS(t.Context(), aws.Config{
		Region:       localstack.Region,
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		BaseEndpoint: aws.String(server.URL),
		HTTPClient:   server.Client(),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	}, KMSKeys{Shared: []string{"alias/any"}})
	if err != nil {
		t.Fatal(err)
	}
	return service
}

const testARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

func TestEachErrorOfKMSMeansOneThing(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   error
	}{
		{400, "AccessDeniedException", tokenworker.ErrKeyRefused},
		{400, "DisabledException", tokenworker.ErrKeyRefused},
		{400, "KMSInvalidStateException", tokenworker.ErrKeyRefused},
		{400, "InvalidKeyUsageException", tokenworker.ErrKeyRefused},
		{400, "NotFoundException", tokenworker.ErrKeyRefused},
		{400, "InvalidArnException", tokenworker.ErrKeyRefused},
		{400, "IncorrectKeyException", tokenworker.ErrSealBroken},
		{400, "InvalidCiphertextException", tokenworker.ErrSealBroken},
		{400, "ThrottlingException", tokenworker.ErrUnavailable},
		{400, "LimitExceededException", tokenworker.ErrUnavailable},
		{400, "ExpiredTokenException", tokenworker.ErrUnavailable},
		{400, "UnrecognizedClientException", tokenworker.ErrUnavailable},
		{500, "KMSInternalException", tokenworker.ErrUnavailable},
		{500, "KeyUnavailableException", tokenworker.ErrUnavailable},
		{503, "DependencyTimeoutException", tokenworker.ErrUnavailable},
		{418, "SomethingNew", tokenworker.ErrUnavailable},
	} {
		t.Run(c.code, func(t *testing.T) {
			service := answering(t, c.status, fmt.Sprintf(`{"__type":%q,"message":"in KMS's own words"}`, c.code))
			_, generating := service.GenerateDataKey(t.Context(), nil)
			_, decrypting := service.Decrypt(t.Context(), testARN, []byte("wrapped"), nil)
			for _, err := range []error{generating, decrypting} {
				if !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				if !strings.Contains(err.Error(), c.code) || !strings.Contains(err.Error(), "in KMS's own words") {
					t.Errorf("%q does not say what KMS said", err)
				}
			}
		})
	}
}

func TestAnAnswerThatCannotBeUsedIsUnavailableAndDoesNotLeak(t *testing.T) {
	const key = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LWNhbmE=" // base64 of 32 bytes
	for name, body := range map[string]string{
		"cut off":          `{"KeyId":"` + testARN + `","Plaintext":"` + key,
		"not base64":       `{"KeyId":"` + testARN + `","CiphertextBlob":"AAAA","Plaintext":"` + key + `!"}`,
		"not an object":    `"` + key + `"`,
		"empty":            `{}`,
		"no key id":        `{"CiphertextBlob":"AAAA","Plaintext":"` + key + `"}`,
		"another key's id": `{"KeyId":"arn:other","CiphertextBlob":"AAAA","Plaintext":"` + key + `"}`,
		"HTML":             `<html>` + key + `</html>`,
	} {
		t.Run(name, func(t *testing.T) {
			service := answering(t, http.StatusOK, body)
			made, generating := service.GenerateDataKey(t.Context(), nil)
			plain, decrypting := service.Decrypt(t.Context(), testARN, []byte("wrapped"), nil)
			if !made.Plain.IsEmpty() || !plain.IsEmpty() {
				t.Error("a key came back with the error")
			}
			for _, err := range []error{generating, decrypting} {
				if !errors.Is(err, tokenworker.ErrUnavailable) {
					t.Fatalf("%v, want ErrUnavailable", err)
				}
				for ; err != nil; err = errors.Unwrap(err) {
					if shown := fmt.Sprintf("%+v %#v", err, err); strings.Contains(shown, "Y2FuYXJ5") ||
						strings.Contains(shown, "canary") || strings.Contains(shown, "0x63, 0x61, 0x6e") {
						t.Errorf("the error shows the key: %s", shown)
					}
				}
			}
		})
	}
}

func TestKMSThatIsNotThereIsUnavailable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	config := aws.Config{
		Region:       localstack.Region,
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		BaseEndpoint: aws.String(server.URL),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	}
	server.Close()
	if _, err := OpenKMS(t.Context(), config, KMSKeys{Shared: []string{"alias/any"}}); !errors.Is(err, tokenworker.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if _, err := OpenKMS(ctx, config, KMSKeys{Shared: []string{"alias/any"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("past its deadline: %v, want context.DeadlineExceeded", err)
	}
}

func TestOnlyTheSDKsOwnHTTPClientIsBounded(t *testing.T) {
	client, ok := kms.New(kms.Options{}, boundClient).Options().HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		t.Fatal("not the SDK's client")
	}
	if got := client.GetTimeout(); got != attemptTimeout {
		t.Errorf("timeout %s, want %s", got, attemptTimeout)
	}
	if got := client.GetTransport().MaxIdleConnsPerHost; got != idleConnections {
		t.Errorf("%d idle connections, want %d", got, idleConnections)
	}
	custom := &http.Client{}
	if got := kms.New(kms.Options{HTTPClient: custom}, boundClient).Options().HTTPClient; got != custom {
		t.Error("a custom client was replaced")
	}
}
