package dynamo

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// fieldProviders is the set of the providers that there are, or were, connections of.
const fieldProviders field = ":provider_ids"

// NoteProvider remembers that there are connections of a provider. Repeating it is harmless. Only ids that a configuration
// knows come here, so the settings item stays small, and a tick looks at few shards.
func (t *Table) NoteProvider(ctx context.Context, id string) error {
	_, err := t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:           aws.String(t.name),
		Key:                 settingsAddress().attributes(),
		UpdateExpression:    aws.String("ADD provider_ids :ids"),
		ConditionExpression: aws.String("attribute_exists(org)"),
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":ids": &types.AttributeValueMemberSS{Value: []string{id}},
		},
	})
	var failed *types.ConditionalCheckFailedException
	switch {
	case errors.As(err, &failed):
		return errNoSettings
	case err != nil:
		return classify(ctx, "noting a provider", err)
	}
	return nil
}

// Providers lists the providers that were noted, sorted.
func (t *Table) Providers(ctx context.Context) ([]string, error) {
	found, err := t.item(ctx, settingsAddress())
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, errNoSettings
	}
	d := decoder{item: found}
	ids := member[*types.AttributeValueMemberSS](&d, found, fieldProviders.name())
	if ids == nil {
		return nil, d.err
	}
	return slices.Sorted(slices.Values(ids.Value)), d.err
}
