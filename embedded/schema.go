package embedded

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tokenworker/tokenworker"
)

const (
	// applicationID marks a file as ours in SQLite's header (https://www.sqlite.org/fileformat.html, offset 68): "tkwk".
	applicationID = 0x746b776b

	// schemaVersion is what this program reads and writes, kept in the header's user version (offset 60).
	schemaVersion = 1
)

// schema creates an empty store.
//
// A connection's row is its sealed set, and everything else as the JSON of [recordJSON]. due_at, subject and the conn
// index only find rows; what they find is read from record. org and conn are escaped as in [tokenworker.Key.String], so
// both together are a key's text form, and rows of one org sort by conn as DynamoDB's do. Rows that are never due are not
// in the index that a sweep reads. A retained set's fence is its epoch, sequence and generation, 8 bytes each, big endian,
// which sort as fences do.
const schema = `
CREATE TABLE connections (
	org      TEXT NOT NULL,
	conn     TEXT NOT NULL,
	provider TEXT GENERATED ALWAYS AS (substr(conn, 1, instr(conn, ':') - 1)) VIRTUAL,
	due_at   INTEGER,
	subject  TEXT,
	sealed   BLOB,
	record   BLOB NOT NULL,
	PRIMARY KEY (org, conn)
);
CREATE INDEX connections_conn ON connections (conn);
CREATE INDEX connections_due ON connections (provider, due_at, org, conn) WHERE due_at IS NOT NULL;
CREATE INDEX connections_subject ON connections (subject) WHERE subject IS NOT NULL;
CREATE TABLE retained_sets (
	org        TEXT NOT NULL,
	conn       TEXT NOT NULL,
	fence      BLOB NOT NULL,
	sealed     BLOB NOT NULL,
	expires_at INTEGER,
	scope      TEXT NOT NULL,
	at         INTEGER,
	PRIMARY KEY (org, conn, fence)
) WITHOUT ROWID;
CREATE TABLE providers (
	id TEXT PRIMARY KEY
) WITHOUT ROWID;
CREATE TABLE wrapped_keys (
	name       TEXT PRIMARY KEY,
	key_id     TEXT NOT NULL,
	wrapped    BLOB NOT NULL,
	suite      TEXT NOT NULL,
	public     BLOB,
	created_at INTEGER
) WITHOUT ROWID;
CREATE TABLE audit_checkpoints (
	chain     INTEGER NOT NULL,
	sequence  INTEGER NOT NULL,
	hash      BLOB NOT NULL,
	recorded  INTEGER NOT NULL,
	links     BLOB,
	signature BLOB NOT NULL,
	PRIMARY KEY (chain, sequence)
) WITHOUT ROWID;
CREATE TABLE high_water (
	id       INTEGER PRIMARY KEY CHECK (id = 1),
	epoch    INTEGER NOT NULL,
	sequence INTEGER NOT NULL
);
`

// ensureSchema creates the schema in an empty file and refuses every other file that is not a store of this version,
// before anything is changed in it.
func ensureSchema(ctx context.Context, conn *sql.Conn) error {
	empty, err := checkSchema(ctx, conn)
	if err != nil {
		return err
	}
	// Kept in the file, so it is set only now that the file is known to be ours.
	if _, err := conn.ExecContext(ctx, "PRAGMA journal_mode = WAL"); err != nil {
		return dbError("turning on the write-ahead log", err)
	}
	if !empty {
		return nil
	}
	if err := createSchema(ctx, conn); err != nil {
		_, _ = conn.ExecContext(ctx, rollback) // what failed is the error to report
		return err
	}
	return nil
}

// createSchema leaves its transaction open when it fails.
func createSchema(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, beginImmediate); err != nil {
		return dbError("locking the new store", err)
	}
	empty, err := checkSchema(ctx, conn) // another process may have been first
	if err != nil {
		return err
	}
	if empty {
		version := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d;", applicationID, schemaVersion)
		if _, err := conn.ExecContext(ctx, schema+version); err != nil {
			return dbError("creating the schema", err)
		}
	}
	_, err = conn.ExecContext(ctx, commit)
	return dbError("committing the schema", err)
}

// checkSchema reports whether the file is empty; a file that is neither empty nor a store of this version is an error.
func checkSchema(ctx context.Context, conn *sql.Conn) (empty bool, err error) {
	var app, version, objects int
	row := conn.QueryRowContext(ctx, `SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id, pragma_user_version`)
	if err := row.Scan(&app, &version, &objects); err != nil {
		return false, dbError("reading the store's version", err)
	}
	switch {
	case app == 0 && version == 0 && objects == 0:
		return true, nil
	case app != applicationID:
		return false, fmt.Errorf("%w: the file is a database of another program", tokenworker.ErrMisconfigured)
	case version != schemaVersion:
		return false, fmt.Errorf("%w: the store has schema %d, this program knows %d: use the version that wrote it, or newer",
			tokenworker.ErrMisconfigured, version, schemaVersion)
	}
	return false, nil
}
