package dynamo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker"
)

// chainOrg is the partition of the audit trail's checkpoints. No kind of wrapped key has a '-'.
const chainOrg = "#audit-chain"

// The attributes of a checkpoint's item beside its primary key.
const (
	fieldChain      field = ":chain_number"
	fieldChainSeq   field = ":chain_seq"
	fieldChainHash  field = ":chain_hash"
	fieldChainLinks field = ":chain_links"
	fieldRecorded   field = ":recorded_nanos"
	fieldSignature  field = ":signature"
)

// addressOfCheckpoint is where a checkpoint lies. Numbers of 20 digits sort as text does.
func addressOfCheckpoint(chain, sequence uint64) address {
	return address{org: chainOrg, conn: fmt.Sprintf("%020d:%020d", chain, sequence)}
}

// PutCheckpoint stores c unless there is one of its chain and sequence, and returns the one that is there afterwards.
func (t *Table) PutCheckpoint(ctx context.Context, c tokenworker.AuditCheckpoint) (tokenworker.AuditCheckpoint, error) {
	_, err := t.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: aws.String(t.name), Item: encodeCheckpoint(c), ConditionExpression: aws.String("attribute_not_exists(org)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	var failed *types.ConditionalCheckFailedException
	switch {
	case err == nil:
		return c, nil
	case errors.As(err, &failed):
		return decodeCheckpoint(failed.Item)
	}
	return tokenworker.AuditCheckpoint{}, classify(ctx, "putting a checkpoint", err)
}

// LastCheckpoint returns the newest checkpoint, by a consistent read. The error matches [tokenworker.ErrNotFound] when
// there is none.
func (t *Table) LastCheckpoint(ctx context.Context) (tokenworker.AuditCheckpoint, error) {
	newest := partition("org = :org AND conn > :conn", address{org: chainOrg, conn: firstConn})
	newest.ScanIndexForward, newest.Limit = aws.Bool(false), aws.Int32(1)
	for found, err := range t.query(ctx, newest) {
		if err != nil {
			return tokenworker.AuditCheckpoint{}, err
		}
		return decodeCheckpoint(found)
	}
	return tokenworker.AuditCheckpoint{}, fmt.Errorf("checkpoint: %w", tokenworker.ErrNotFound)
}

// Checkpoints yields the checkpoints of a chain by sequence, reading consistently. It stops after the first error.
func (t *Table) Checkpoints(ctx context.Context, chain uint64) iter.Seq2[tokenworker.AuditCheckpoint, error] {
	return func(yield func(tokenworker.AuditCheckpoint, error) bool) {
		for found, err := range t.query(ctx, partition("org = :org AND begins_with(conn, :conn)", address{
			org: chainOrg, conn: fmt.Sprintf("%020d:", chain),
		})) {
			var c tokenworker.AuditCheckpoint
			if err == nil {
				c, err = decodeCheckpoint(found)
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

func encodeCheckpoint(c tokenworker.AuditCheckpoint) item {
	it := addressOfCheckpoint(c.Chain, c.Sequence).attributes()
	it[fieldChain.name()], it[fieldChainSeq.name()] = number(c.Chain), number(c.Sequence)
	it[fieldChainHash.name()], it[fieldSignature.name()] = blob(c.Hash[:]), blob(c.Signature)
	it[fieldRecorded.name()] = number(uint64(c.Recorded.UnixNano()))
	if len(c.Links) > 0 {
		it[fieldChainLinks.name()] = blob(c.Links)
	}
	return it
}

func decodeCheckpoint(it item) (tokenworker.AuditCheckpoint, error) {
	d := decoder{item: it}
	c := tokenworker.AuditCheckpoint{
		Chain: d.number(fieldChain), Sequence: d.number(fieldChainSeq), Links: d.bytes(fieldChainLinks),
		Recorded:  time.Unix(0, int64(d.number(fieldRecorded))).UTC(), //nolint:gosec // what does not fit was never signed
		Signature: d.bytes(fieldSignature),
	}
	if copy(c.Hash[:], d.bytes(fieldChainHash)) != len(c.Hash) {
		d.fail(fieldChainHash.name())
	}
	return c, d.err
}
