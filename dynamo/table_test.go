package dynamo_test

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"go.uber.org/goleak"

	"github.com/tokenworker/tokenworker/dynamo"
	"github.com/tokenworker/tokenworker/internal/storetest"
	"github.com/tokenworker/tokenworker/localstack"
)

var _ storetest.Store = (*dynamo.Table)(nil)

// update rewrites golden files.
var _ = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) {
	// LocalStack takes about 200 writes/s; `go test ./dynamo -rapid.checks=1000` takes its time.
	if err := flag.Set("rapid.checks", "20"); err != nil {
		panic(err)
	}
	flag.Parse()
	goleak.VerifyTestMain(m)
}

func TestTableKeepsTheContractOfStores(t *testing.T) {
	table := newTable(t, localstack.Config(t))
	storetest.Test(t, func(*testing.T) storetest.Store { return table })
}

func TestTableOutlivesItsWorker(t *testing.T) {
	config := localstack.Config(t)
	client, name := setUp(t, config)
	storetest.TestReopen(t, open(t, client, name), func() storetest.Store { return open(t, dynamo.NewClient(config), name) })
}

// setUp makes a table of the test's own.
func setUp(t *testing.T, config aws.Config) (client *dynamodb.Client, name string) {
	t.Helper()
	client, name = dynamo.NewClient(config), localstack.UniqueName(t, "dynamo")
	if err := dynamo.Setup(t.Context(), client, dynamo.Config{TableName: name, Shards: 4}); err != nil {
		t.Fatalf("Setup: %v", err)
	}
	t.Cleanup(func() { remove(t, client, name) })
	return client, name
}

// remove deletes a table, against which Setup protects it.
func remove(t *testing.T, client *dynamodb.Client, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	unprotect := &dynamodb.UpdateTableInput{TableName: aws.String(name), DeletionProtectionEnabled: aws.Bool(false)}
	if _, err := client.UpdateTable(ctx, unprotect); err != nil {
		t.Errorf("removing deletion protection: %v", err)
	}
	if _, err := client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: aws.String(name)}); err != nil {
		t.Errorf("deleting the table: %v", err)
	}
}

func open(t *testing.T, client *dynamodb.Client, name string) *dynamo.Table {
	t.Helper()
	table, err := dynamo.Open(t.Context(), client, dynamo.Config{TableName: name})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return table
}

func newTable(t *testing.T, config aws.Config) *dynamo.Table {
	t.Helper()
	client, name := setUp(t, config)
	return open(t, client, name)
}
