package dynamo

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker"
)

// layoutVersion is the version of the layout in doc.go. A worker opens no table of another.
const layoutVersion = 1

// settings is the item that says what the table is. Setup writes it once.
type settings struct {
	version uint64
	shards  uint64
	mark    tokenworker.Stamp // the highest epoch ever given, and the highest sequence known of its stream
}

const (
	fieldVersion  field = ":layout_version"
	fieldShards   field = ":due_shards"
	fieldMaxEpoch field = ":max_epoch"
	fieldMaxSeq   field = ":max_seq"
)

// settingsAddress is where the settings lie.
func settingsAddress() address { return address{org: tableOrg, conn: settingsConn} }

// settings reads the table's settings. The error matches [tokenworker.ErrMisconfigured] when it has none.
func (t *Table) settings(ctx context.Context) (settings, error) {
	found, err := t.item(ctx, settingsAddress())
	if err != nil {
		return settings{}, err
	}
	if found == nil {
		return settings{}, errNoSettings
	}
	d := decoder{item: found}
	s := settings{
		version: d.number(fieldVersion), shards: d.number(fieldShards),
		mark: tokenworker.Stamp{Epoch: d.number(fieldMaxEpoch), Sequence: d.number(fieldMaxSeq)},
	}
	return s, d.err
}

var errNoSettings = fmt.Errorf("%w: the table has no settings item: run `tokenworker setup`", tokenworker.ErrMisconfigured)

// validate reports a table that this version cannot work with.
func (s settings) validate() error {
	switch {
	case s.version != layoutVersion:
		return fmt.Errorf("%w: the table has layout version %d, this worker knows %d", tokenworker.ErrMisconfigured,
			s.version, layoutVersion)
	case s.shards < 1 || s.shards > maxShards:
		return fmt.Errorf("%w: the table's settings say %d shards", tokenworker.ErrMisconfigured, s.shards)
	}
	return nil
}

// putSettings writes the settings of a new table, unless there are some.
func putSettings(ctx context.Context, client *dynamodb.Client, config Config) error {
	it := settingsAddress().attributes()
	it[fieldVersion.name()] = number(layoutVersion)
	it[fieldShards.name()] = limit(config.Shards)
	it[fieldMaxEpoch.name()] = number(0)
	it[fieldMaxSeq.name()] = number(0)
	_, err := client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: aws.String(config.TableName), Item: it, ConditionExpression: aws.String("attribute_not_exists(org)"),
	})
	var failed *types.ConditionalCheckFailedException
	if err != nil && !errors.As(err, &failed) {
		return classify(ctx, "writing the table's settings", err)
	}
	return nil
}

// HighWater returns the high-water mark of the stream of events: the highest epoch ever given, 0 when none was, and the highest
// sequence known of its stream.
func (t *Table) HighWater(ctx context.Context) (tokenworker.Stamp, error) {
	s, err := t.settings(ctx)
	return s.mark, err
}

// RaiseHighWater raises the sequence of the mark. A lower one, or one of another epoch, changes nothing.
func (t *Table) RaiseHighWater(ctx context.Context, to tokenworker.Stamp) error {
	_, err := t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:           aws.String(t.name),
		Key:                 settingsAddress().attributes(),
		UpdateExpression:    aws.String("SET max_seq = :max_seq"),
		ConditionExpression: aws.String("max_epoch = :max_epoch AND max_seq < :max_seq"),
		ExpressionAttributeValues: map[string]types.AttributeValue{
			string(fieldMaxEpoch): number(to.Epoch), string(fieldMaxSeq): number(to.Sequence),
		},
	})
	var failed *types.ConditionalCheckFailedException
	if err != nil && !errors.As(err, &failed) {
		return classify(ctx, "raising the mark", err)
	}
	return nil
}

// TakeEpoch gives an epoch that is higher than every one given before; of its stream no sequence is known yet. A lost reply
// loses the epoch too: they have gaps.
func (t *Table) TakeEpoch(ctx context.Context) (uint64, error) {
	out, err := t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                 aws.String(t.name),
		Key:                       settingsAddress().attributes(),
		UpdateExpression:          aws.String("ADD max_epoch :one SET max_seq = :none"),
		ConditionExpression:       aws.String("attribute_exists(org)"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":one": number(1), ":none": number(0)},
		ReturnValues:              types.ReturnValueUpdatedNew,
	})
	var failed *types.ConditionalCheckFailedException
	switch {
	case errors.As(err, &failed):
		return 0, errNoSettings
	case err != nil:
		return 0, classify(ctx, "taking an epoch", err)
	}
	d := decoder{item: out.Attributes}
	epoch := d.number(fieldMaxEpoch)
	return epoch, d.err
}
