package localstack_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/tokenworker/tokenworker/localstack"
)

func TestKMSUnwrapsADataKeyUnderItsOwnContextOnly(t *testing.T) {
	keys := kms.NewFromConfig(localstack.Config(t))
	arn := localstack.Key(t)
	generated, err := keys.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{
		KeyId:             aws.String(arn),
		KeySpec:           kmstypes.DataKeySpecAes256,
		EncryptionContext: map[string]string{"org": "a"},
	})
	if err != nil {
		t.Fatalf("generating a data key: %v", err)
	}
	unwrap := func(org string) ([]byte, error) {
		decrypted, err := keys.Decrypt(t.Context(), &kms.DecryptInput{
			KeyId:             aws.String(arn),
			CiphertextBlob:    generated.CiphertextBlob,
			EncryptionContext: map[string]string{"org": org},
		})
		if err != nil {
			return nil, err
		}
		return decrypted.Plaintext, nil
	}

	if plaintext, err := unwrap("a"); err != nil || string(plaintext) != string(generated.Plaintext) {
		t.Errorf("under its own context the data key did not come back: %v", err)
	}
	var refused *kmstypes.InvalidCiphertextException
	if _, err := unwrap("b"); !errors.As(err, &refused) {
		t.Errorf("under another context: got %v, want InvalidCiphertextException", err)
	}
}

func TestDynamoDBReturnsTheOldItemWhenAConditionFails(t *testing.T) {
	db := dynamodb.NewFromConfig(localstack.Config(t))
	table := aws.String(localstack.UniqueName(t, "harness"))
	_, err := db.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName:   table,
		BillingMode: dynamodbtypes.BillingModePayPerRequest,
		KeySchema:   []dynamodbtypes.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: dynamodbtypes.KeyTypeHash}},
		AttributeDefinitions: []dynamodbtypes.AttributeDefinition{
			{AttributeName: aws.String("id"), AttributeType: dynamodbtypes.ScalarAttributeTypeS},
		},
	})
	if err != nil {
		t.Fatalf("creating a table: %v", err)
	}
	put := func(value string) error {
		_, err := db.PutItem(t.Context(), &dynamodb.PutItemInput{
			TableName: table,
			Item: map[string]dynamodbtypes.AttributeValue{
				"id":    &dynamodbtypes.AttributeValueMemberS{Value: "1"},
				"value": &dynamodbtypes.AttributeValueMemberS{Value: value},
			},
			ConditionExpression:                 aws.String("attribute_not_exists(id)"),
			ReturnValuesOnConditionCheckFailure: dynamodbtypes.ReturnValuesOnConditionCheckFailureAllOld,
		})
		return err
	}

	if err := put("first"); err != nil {
		t.Fatalf("first put: %v", err)
	}
	var failed *dynamodbtypes.ConditionalCheckFailedException
	if err := put("second"); !errors.As(err, &failed) {
		t.Fatalf("second put: got %v, want ConditionalCheckFailedException", err)
	}
	if value, ok := failed.Item["value"].(*dynamodbtypes.AttributeValueMemberS); !ok || value.Value != "first" {
		t.Errorf("the refused put returned %v, want the first item", failed.Item)
	}
}

func TestEndpointFailsTheTestAndSaysWhatToRun(t *testing.T) {
	serve := func(health string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(health))
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()

	for name, endpoint := range map[string]string{
		"when nothing listens":                    closed.URL,
		"when DynamoDB is not among its services": serve(`{"services": {"kms": "running", "dynamodb": "disabled"}}`),
		"when KMS has failed":                     serve(`{"services": {"kms": "error", "dynamodb": "running"}}`),
		"when it is something else":               serve(`hello`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("LOCALSTACK_ENDPOINT", endpoint)
			checkFails(t)
		})
	}
	t.Run("when none was started in this checkout", func(t *testing.T) {
		t.Setenv("LOCALSTACK_ENDPOINT", "")
		t.Chdir(t.TempDir())
		checkFails(t)
	})
}

func checkFails(t *testing.T) {
	t.Helper()
	recorder := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		localstack.Endpoint(recorder)
	}()
	<-done
	if !strings.Contains(recorder.fatal, "make localstack") {
		t.Errorf("got failure %q, want one that says what to run", recorder.fatal)
	}
}

// recorder is a test that keeps the message it failed with to itself.
type recorder struct {
	testing.TB
	fatal string
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.fatal = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
