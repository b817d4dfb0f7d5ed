package dynamo

import (
	"fmt"

	"github.com/tokenworker/tokenworker"
)

// Config names the table. The zero value is the default.
type Config struct {
	// TableName defaults to "tokenworker".
	TableName string

	// Shards is into how many partitions of the index "due" the connections of one provider are spread, 1 to 1,000;
	// it defaults to 16. A partition takes 1,000 writes/s, and a throttled index throttles the table. A refresh is two
	// writes to the index (it leaves one due time for another), so 16 partitions take 28 million refreshes an hour; a
	// sweep asks each in turn. Only Setup reads it, when it creates the
	// table: it cannot change afterwards, and the table knows it.
	Shards int
}

const (
	defaultTableName = "tokenworker"
	defaultShards    = 16
	maxShards        = 1_000
)

// WithDefaults returns c with its zero fields filled in.
func (c Config) WithDefaults() Config {
	if c.TableName == "" {
		c.TableName = defaultTableName
	}
	if c.Shards == 0 {
		c.Shards = defaultShards
	}
	return c
}

// Validate reports a setting out of range, as an error that matches [tokenworker.ErrMisconfigured].
func (c Config) Validate() error {
	if c.Shards < 0 || c.Shards > maxShards {
		return fmt.Errorf("%w: %d shards, want 1 to %d", tokenworker.ErrMisconfigured, c.Shards, maxShards)
	}
	return nil
}
