package dynamo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker"
)

// fieldProviders is the set of the providers that there are, or were, connections of.
const fieldProviders field = ":provider_ids"

// maxProviders bounds the settings item, and how many shards a tick looks at.
const maxProviders = 1000

// NoteProvider remembers that there are connections of a provider. Repeating it is harmless. The error matches
// [tokenworker.ErrMisconfigured] when there are too many.
func (t *Table) NoteProvider(ctx context.Context, id string) error {
	_, err := t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:        aws.String(t.name),
		Key:              settingsAddress().attributes(),
		UpdateExpression: aws.String("ADD provider_ids :ids"),
		ConditionExpression: aws.String("attribute_exists(org) AND " +
			"(attribute_not_exists(provider_ids) OR size(provider_ids) < :max OR contains(provider_ids, :id))"),
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":ids": &types.AttributeValueMemberSS{Value: []string{id}}, ":id": str(id), ":max": limit(maxProviders),
		},
	})
	var failed *types.ConditionalCheckFailedException
	switch {
	case errors.As(err, &failed):
		return fmt.Errorf("%w: the table has no settings item, or knows %d providers already", tokenworker.ErrMisconfigured, maxProviders)
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
