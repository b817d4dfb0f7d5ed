package embedded_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/embedded"
)

// insertDue adds connections to a store behind its back: a record is not looked at, only when it is due.
func insertDue(t *testing.T, path, prefix string, n int, due string) {
	t.Helper()
	execSQL(t, path, fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO connections (org, conn, due_at, record) SELECT 'acme', 'finch:%s' || i, %s, x'00' FROM n`, n, prefix, due))
}

func TestALongListOfWhatIsDueIsWholeAndInOrder(t *testing.T) {
	path := storePath(t)
	s := openStore(t, path)
	const same, apart = 2500, 1500 // several pages, the borders of which part what is due at one time
	insertDue(t, path, "same", same, "1000")
	insertDue(t, path, "apart", apart, "1000 + i")
	listed := make(map[string]bool)
	for k, err := range s.Due(t.Context(), "finch", 0, time.Unix(1000+apart, 0)) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint("apart", len(listed)-same+1); len(listed) >= same && k.CompanyID != want {
			t.Fatalf("%s is listed in the place of %s", k.CompanyID, want)
		}
		listed[k.CompanyID] = true
	}
	if len(listed) != same+apart {
		t.Errorf("%d listed, want %d", len(listed), same+apart)
	}
	for k, err := range s.Due(t.Context(), "finch", 1, time.Unix(1<<40, 0)) {
		t.Fatalf("shard 1, which there is none of, lists %s, error %v", k, err)
	}
}

// A search between two ends of the index looks at nothing that is not listed.
func TestASweepSearchesTheIndexOfDueRows(t *testing.T) {
	path := storePath(t)
	openStore(t, path)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var id, parent, unused int
	var plan string
	row := db.QueryRowContext(t.Context(), "EXPLAIN QUERY PLAN "+embedded.SelectDue, "finch", 0, 0, "", "", 1)
	if err := row.Scan(&id, &parent, &unused, &plan); err != nil {
		t.Fatal(err)
	}
	const want = "SEARCH connections USING INDEX connections_due (provider=? AND (due_at,org,conn)>(?,?,?) AND due_at<?)"
	if !strings.Contains(plan, want) {
		t.Errorf("plan %q, want %q", plan, want)
	}
}
