package main

import (
	"context"
	"crypto/rand"
	"errors"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/tokenworker/tokenworker/dynamo"
)

// localStackEndpoint is where LocalStack is found. `make bench` starts one.
const localStackEndpoint = "LOCALSTACK_ENDPOINT"

// localStackRows are pathRows with LocalStack's DynamoDB, whose table really holds what is written. It takes
// milliseconds for each write, so they are for orientation.
func localStackRows(ctx context.Context, o options) (rows []row, err error) {
	table := tableConfig{Endpoint: os.Getenv(localStackEndpoint), Table: "tokenworker-bench-" + rand.Text()}
	client := dynamo.NewClient(table.aws())
	defer func() { err = errors.Join(err, deleteTable(context.WithoutCancel(ctx), client, table.Table)) }()
	if err := dynamo.Setup(ctx, client, dynamo.Config{TableName: table.Table}); err != nil {
		return nil, err
	}
	e, err := measurePath(ctx, options{}, natsConfig{}, table, o.size(3, 7), o.size(200, 1_000))
	if err != nil {
		return nil, err
	}
	return e.rows(", LocalStack", [...]target{{}, {}, {}}), nil
}

func deleteTable(ctx context.Context, client *dynamodb.Client, table string) error {
	_, err := client.UpdateTable(ctx, &dynamodb.UpdateTableInput{
		TableName: aws.String(table), DeletionProtectionEnabled: aws.Bool(false),
	})
	if err != nil {
		return err
	}
	_, err = client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: aws.String(table)})
	return err
}
