package dynamo

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// keyPart is one attribute of a primary key or an index key.
type keyPart struct {
	name string
	kind types.ScalarAttributeType
}

// index is a secondary index: KEYS_ONLY, and sparse, because an item without its key attributes is not in it.
type index struct {
	name            string
	partition, sort keyPart
	why             string // what cannot be found without it
}

// tableKey is the table's primary key.
func tableKey() (partition, sort keyPart) {
	return keyPart{attrOrg, types.ScalarAttributeTypeS}, keyPart{attrConn, types.ScalarAttributeTypeS}
}

// The names of the indexes.
const (
	dueIndex        = "due"
	connectionIndex = "connection"
	subjectIndex    = "subject"
)

// indexes are the table's secondary indexes.
func indexes() []index {
	org, conn := tableKey()
	return []index{
		{
			name:      dueIndex,
			partition: keyPart{fieldDueShard.name(), types.ScalarAttributeTypeS},
			sort:      keyPart{fieldDue.name(), types.ScalarAttributeTypeN},
			why:       "no sweep finds what is to be refreshed or revoked",
		}, {
			name:      connectionIndex,
			partition: conn,
			sort:      org,
			why:       "a disconnect does not find its siblings in other organizations",
		}, {
			name:      subjectIndex,
			partition: keyPart{fieldSubjectHash.name(), types.ScalarAttributeTypeB},
			sort:      org,
			why:       "a person's connections are not found for an export or an erasure",
		},
	}
}

func keySchema(partition, sort keyPart) []types.KeySchemaElement {
	return []types.KeySchemaElement{
		{AttributeName: aws.String(partition.name), KeyType: types.KeyTypeHash},
		{AttributeName: aws.String(sort.name), KeyType: types.KeyTypeRange},
	}
}

// definitions are the types of key attributes, each named once.
func definitions(parts ...keyPart) []types.AttributeDefinition {
	var defined []types.AttributeDefinition
	for i, p := range parts {
		if !slices.Contains(parts[:i], p) {
			defined = append(defined, types.AttributeDefinition{AttributeName: aws.String(p.name), AttributeType: p.kind})
		}
	}
	return defined
}

// createTable is the request that makes the table as it should be, but for what only a table that is active can be
// told (time to live, point-in-time recovery).
func createTable(name string) *dynamodb.CreateTableInput {
	partition, sort := tableKey()
	parts := []keyPart{partition, sort}
	request := &dynamodb.CreateTableInput{
		TableName:                 aws.String(name),
		KeySchema:                 keySchema(partition, sort),
		BillingMode:               types.BillingModePayPerRequest,
		DeletionProtectionEnabled: aws.Bool(true),
	}
	for _, ix := range indexes() {
		parts = append(parts, ix.partition, ix.sort)
		request.GlobalSecondaryIndexes = append(request.GlobalSecondaryIndexes, types.GlobalSecondaryIndex{
			IndexName:  aws.String(ix.name),
			KeySchema:  keySchema(ix.partition, ix.sort),
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
		})
	}
	request.AttributeDefinitions = definitions(parts...)
	return request
}

// createIndex is the request that adds an index to a table.
func createIndex(ix index) *dynamodb.UpdateTableInput {
	return &dynamodb.UpdateTableInput{
		AttributeDefinitions: definitions(ix.partition, ix.sort),
		GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{{Create: &types.CreateGlobalSecondaryIndexAction{
			IndexName:  aws.String(ix.name),
			KeySchema:  keySchema(ix.partition, ix.sort),
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
		}}},
	}
}
