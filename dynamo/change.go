package dynamo

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker"
)

// change is one conditional UpdateItem being put together. It names the attributes that it changes and no other.
type change struct {
	next      fields // the record as it must become
	attempt   tokenworker.AttemptID
	values    map[string]types.AttributeValue // of the placeholders used
	set       []byte
	remove    []byte
	add       string
	condition string
	beside    []types.TransactWriteItem // what is written together with it; usually nothing
}

// newChange begins a change that leads to next and carries the attempt's id.
func newChange(next fields, attempt tokenworker.AttemptID) *change {
	next[fieldWrittenBy] = blob(attempt[:])
	c := &change{
		next: next, attempt: attempt, values: make(map[string]types.AttributeValue, usualFields),
		set: make([]byte, 0, 1024), remove: make([]byte, 0, 256),
	}
	c.write(fieldWrittenBy)
	return c
}

// write sets the attributes to what next holds, and removes those that it does not hold.
func (c *change) write(attributes ...field) {
	for _, f := range attributes {
		if v, held := c.next[f]; held {
			c.assign(f, string(f), v)
		} else {
			c.drop(f)
		}
	}
}

// assign sets an attribute to an expression, in which the attribute's own placeholder stands for v.
func (c *change) assign(f field, expression string, v types.AttributeValue) {
	if len(c.set) > 0 {
		c.set = append(c.set, ", "...)
	}
	c.set = append(append(append(c.set, f.name()...), " = "...), expression...)
	c.values[string(f)] = v
}

// drop removes an attribute.
func (c *change) drop(f field) {
	if len(c.remove) > 0 {
		c.remove = append(c.remove, ", "...)
	}
	c.remove = append(c.remove, f.name()...)
}

// expression is the update expression.
func (c *change) expression() string {
	e := make([]byte, 0, len(c.set)+len(c.remove)+len(c.add)+16)
	e = append(append(e, "SET "...), c.set...)
	if len(c.remove) > 0 {
		e = append(append(e, " REMOVE "...), c.remove...)
	}
	if c.add != "" {
		e = append(append(e, " ADD "...), c.add...)
	}
	return string(e)
}

// limit is the value of a bound in a condition.
func limit(n int) types.AttributeValue { return &types.AttributeValueMemberN{Value: strconv.Itoa(n)} }

// apply makes the change. When it took place, now or at an earlier try whose reply was lost, done is true. Otherwise
// the condition failed, or a transaction on the same item was under way, and found is the record as it is.
func (t *Table) apply(ctx context.Context, at address, c *change) (done bool, found *tokenworker.Record, err error) {
	if len(c.beside) > 0 {
		return t.applyTogether(ctx, at, c)
	}
	_, err = t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                           aws.String(t.name),
		Key:                                 at.attributes(),
		UpdateExpression:                    aws.String(c.expression()),
		ConditionExpression:                 aws.String(c.condition),
		ExpressionAttributeValues:           c.values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if err == nil {
		return true, nil, nil
	}
	var failed *types.ConditionalCheckFailedException
	var conflict *types.TransactionConflictException
	switch {
	case errors.As(err, &conflict):
		found, err = t.record(ctx, at)
	case errors.As(err, &failed):
		found, err = decodeIfAny(failed.Item)
	default:
		return false, nil, classify(ctx, "updating an item", err)
	}
	return found != nil && found.Revision == c.attempt, found, err
}

// maxRounds bounds how often a decision is made anew because the record changed under it. Each time somebody else's
// write has succeeded, so more than this many at once on one connection is a flood, which ErrUnavailable slows down.
const maxRounds = 32

// decision is a rule that is being asked about one record.
type decision struct {
	rule    tokenworker.Rule
	attempt tokenworker.AttemptID
	current *tokenworker.Record // what the rule is asked about; nil: there is no record
	old     bool                // current was read before the call, and somebody may have written the record since
}

// decide makes the record what the rule says, provided that nobody has written it since it was read; otherwise it asks
// again. It returns the record and the rule's verdict. That there is nothing to write, or an error, is only said of the
// record as it was during the call.
func (t *Table) decide(ctx context.Context, at address, d decision) (tokenworker.Record, tokenworker.Verdict, error) {
	for range maxRounds {
		next, verdict, err := d.rule(d.current)
		var c *change
		if err == nil {
			c = t.difference(at, d, &next)
		}
		switch {
		case c == nil && d.old:
			if d.current, err = t.record(ctx, at); err != nil {
				return tokenworker.Record{}, 0, err
			}
			d.old = false
			continue
		case err != nil:
			return tokenworker.Record{}, 0, err
		case c == nil:
			return next, verdict, nil
		}
		if err := checkSizes(&next); err != nil {
			return tokenworker.Record{}, 0, err
		}
		if c.beside, err = t.retains(ctx, at, d.current, &next); err != nil {
			return tokenworker.Record{}, 0, err
		}
		done, found, err := t.apply(ctx, at, c)
		if err != nil {
			return tokenworker.Record{}, 0, err
		}
		if done {
			next.Revision, next.Retain = d.attempt, 0
			return next, verdict, nil
		}
		d.current, d.old = found, false
	}
	return tokenworker.Record{}, 0, fmt.Errorf("%w: the record changed %d times while it was being decided on",
		tokenworker.ErrUnavailable, maxRounds)
}

// difference is the change that leads from the record that was decided on to the next one, unless that was written
// meanwhile; nil when there is none to make.
func (t *Table) difference(at address, d decision, next *tokenworker.Record) *change {
	if next.Status == "" {
		return nil // what was not there is not there
	}
	var before fields
	shard := at.dueShard(t.shards)
	if d.current != nil {
		before = encode(d.current, shard)
	}
	after := encode(next, shard)
	var changed []field
	for f := range after {
		if !reflect.DeepEqual(before[f], after[f]) {
			changed = append(changed, f)
		}
	}
	for f := range before {
		if after[f] == nil {
			changed = append(changed, f)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	c := newChange(after, d.attempt)
	c.write(changed...)
	c.condition = "attribute_not_exists(org)"
	if d.current != nil {
		c.condition = "written_by = :read"
		c.values[":read"] = blob(d.current.Revision[:])
	}
	return c
}
