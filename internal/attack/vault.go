package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/kmsenc"
)

// recordStore is what P7 needs of a store.
type recordStore interface {
	kmsenc.KeyStore
	Acquire(ctx context.Context, a *tokenworker.Acquisition) (tokenworker.Verdict, error)
	Update(ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule) (tokenworker.Record, tokenworker.Verdict, error)
	Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error)
}

// vault is a store with its key service, and a way to write its rows behind the worker's back, as somebody does who may
// write the table.
type vault struct {
	store   recordStore
	service tokenworker.KeyService
	rows    rowWriter
	close   func()
}

// row is a stored row: its sealed set, and everything else but its key.
type row struct {
	sealed []byte
	rest   any
}

// rowWriter reads and writes rows as the database has them.
type rowWriter interface {
	load(ctx context.Context, k tokenworker.Key) (row, error)
	save(ctx context.Context, k tokenworker.Key, r row) error
}

// openSQLiteVault makes an empty one below dir.
func openSQLiteVault(ctx context.Context, dir string) (*vault, error) {
	path := filepath.Join(dir, "store.db")
	store, err := embedded.OpenStore(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	service, err := embedded.CreateKeyFile(filepath.Join(dir, "key.json"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a key file: %w", err), store.Close())
	}
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)&_pragma=synchronous(OFF)")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the store's file: %w", err), store.Close())
	}
	return &vault{store, service, sqliteRows{db}, func() {
		_ = db.Close() // nothing is kept
		_ = store.Close()
	}}, nil
}

// sqliteRows are the rows of the embedded store. What of a row is not its sealed set is one JSON text.
type sqliteRows struct{ db *sql.DB }

func connOf(k tokenworker.Key) (org, conn string) {
	return tokenworker.EscapePart(k.OrgID), tokenworker.EscapePart(k.ProviderID) + ":" + tokenworker.EscapePart(k.CompanyID)
}

func (s sqliteRows) load(ctx context.Context, k tokenworker.Key) (row, error) {
	org, conn := connOf(k)
	var sealed, record []byte
	err := s.db.QueryRowContext(ctx, "SELECT sealed, record FROM connections WHERE org = ? AND conn = ?", org, conn).
		Scan(&sealed, &record)
	if err != nil {
		return row{}, fmt.Errorf("reading a row: %w", err)
	}
	return row{sealed, record}, nil
}

func (s sqliteRows) save(ctx context.Context, k tokenworker.Key, r row) error {
	org, conn := connOf(k)
	result, err := s.db.ExecContext(ctx, "UPDATE connections SET sealed = ?, record = ? WHERE org = ? AND conn = ?",
		r.sealed, r.rest, org, conn)
	if err != nil {
		return fmt.Errorf("writing a row: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("writing a row: %d rows were written, %w", n, err)
	}
	return nil
}

// openDynamoDBVault makes an empty one in a table of its own. It uses the cloud directly, without the proxies.
func openDynamoDBVault(ctx context.Context) (*vault, error) {
	c, err := openCloud(ctx)
	if err != nil {
		return nil, err
	}
	_, table, err := c.newTable(ctx)
	if err != nil {
		c.close()
		return nil, err
	}
	arn, err := c.newKey(ctx)
	if err != nil {
		c.close()
		return nil, err
	}
	service, err := kmsenc.OpenKMS(ctx, c.direct, kmsenc.KMSKeys{Shared: []string{arn}})
	if err != nil {
		c.close()
		return nil, fmt.Errorf("opening KMS: %w", err)
	}
	return &vault{table, service, dynamoRows{dynamodb.NewFromConfig(c.direct), c.tables[0]}, c.close}, nil
}

// dynamoRows are the items of the table. The sealed set is a list of one, in which the fingerprint of its token comes first.
type dynamoRows struct {
	db    *dynamodb.Client
	table string
}

type attributes = map[string]types.AttributeValue

const sealedAttribute = "sealed"

func itemKey(k tokenworker.Key) attributes {
	org, conn := connOf(k)
	return attributes{"org": &types.AttributeValueMemberS{Value: org}, "conn": &types.AttributeValueMemberS{Value: conn}}
}

var errItem = errors.New("the item is not what the documented layout says")

func (d dynamoRows) load(ctx context.Context, k tokenworker.Key) (row, error) {
	out, err := d.db.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: aws.String(d.table), Key: itemKey(k), ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return row{}, fmt.Errorf("reading an item: %w", err)
	}
	_, sealed, err := cutFingerprint(out.Item)
	if err != nil {
		return row{}, err
	}
	for name := range itemKey(k) {
		delete(out.Item, name)
	}
	return row{sealed, out.Item}, nil
}

// cutFingerprint returns what an item holds as its sealed set, in its two parts.
func cutFingerprint(item attributes) (fingerprint, sealed []byte, err error) {
	list, ok := item[sealedAttribute].(*types.AttributeValueMemberL)
	if !ok || len(list.Value) != 1 {
		return nil, nil, errItem
	}
	both, ok := list.Value[0].(*types.AttributeValueMemberB)
	const length = len(tokenworker.Fingerprint{})
	if !ok || len(both.Value) < length {
		return nil, nil, errItem
	}
	return both.Value[:length], both.Value[length:], nil
}

func (d dynamoRows) save(ctx context.Context, k tokenworker.Key, r row) error {
	item := itemKey(k)
	rest, ok := r.rest.(attributes)
	if !ok {
		return errItem
	}
	fingerprint, _, err := cutFingerprint(rest)
	if err != nil {
		return err
	}
	maps.Copy(item, rest)
	item[sealedAttribute] = &types.AttributeValueMemberL{
		Value: []types.AttributeValue{&types.AttributeValueMemberB{Value: slices.Concat(fingerprint, r.sealed)}},
	}
	if _, err := d.db.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String(d.table), Item: item}); err != nil {
		return fmt.Errorf("writing an item: %w", err)
	}
	return nil
}
