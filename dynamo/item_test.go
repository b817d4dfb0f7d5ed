package dynamo

import (
	"bytes"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"pgregory.net/rapid"

	"github.com/tokenworker/tokenworker"
)

func updateGolden() bool { return flag.Lookup("update").Value.String() == "true" }

// fullRecord has every field set.
func fullRecord() tokenworker.Record {
	at := func(hours int) time.Time {
		return time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC).Add(time.Duration(hours) * time.Hour)
	}
	return tokenworker.Record{
		Key:          tokenworker.Key{OrgID: "org:1", ProviderID: "acme", CompanyID: "ü"},
		Status:       tokenworker.Active,
		Fence:        tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 3, Sequence: 1<<64 - 1}, Generation: 7},
		Entered:      at(0),
		Disconnected: tokenworker.Stamp{Epoch: 2, Sequence: 41},
		Sealed:       []byte("sealed set"), Token: tokenworker.Fingerprint{11}, Rotated: true,
		Details: tokenworker.Details{
			ExpiresAt: at(1), GrantExpiresAt: at(2), Scope: "read write", Subject: "subject", Issuer: "https://issuer.example",
			ProviderConnectionID: "connection", ConsentRef: "consent", Refreshable: true,
		},
		DueAt: at(5), RevokeAt: at(4), RevokeSince: at(3), Revoke: []tokenworker.Listed{
			{Sealed: []byte("older set"), Token: tokenworker.Fingerprint{12}}, {Sealed: []byte("newer set")},
		},
		Claim: &tokenworker.Claim{
			Owner: "replica", Attempt: tokenworker.AttemptID{1, 2, 3}, At: at(4), Until: at(5), LastResort: true,
		},
		Siblings: &tokenworker.Siblings{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 40}, Entered: at(10), At: at(11), Until: at(12), Ask: true},
		Revoking: &tokenworker.Claim{Owner: "replica 2", Attempt: tokenworker.AttemptID{4, 5}, At: at(6), Until: at(7)},
		Failures: 3, FailureCode: "temporarily_unavailable", Warned: true, Retained: true,
		Owed: []tokenworker.Owed{{
			Attempt: tokenworker.AttemptID{6}, By: "replica", Kinds: []string{"refreshed", "recovered"},
			Fence: tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 3, Sequence: 1<<64 - 1}, Generation: 8}, Code: "because", At: at(8),
		}, {By: "another", Kinds: []string{"revoked"}, At: at(10)}},
		Seen:     []tokenworker.EventID{tokenworker.NewEventID("source", "id", at(-1))},
		Acquired: []tokenworker.Fingerprint{{3}, {4}},
		Spent:    []tokenworker.Fingerprint{{1}, {2}},
		Attempts: []tokenworker.Attempt{
			{ID: tokenworker.AttemptID{1}, Token: tokenworker.Fingerprint{3}, Sole: true, Until: at(9)}, {Token: tokenworker.Fingerprint{4}, Until: at(10)},
		},
		AcquiredAt: at(-1), RefreshedAt: at(6), RemoveAt: at(7), Revision: tokenworker.AttemptID{7, 8, 9},
	}
}

// asItem is the item that holds the record, as DynamoDB would return it.
func asItem(r *tokenworker.Record) item {
	at := addressOf(r.Key)
	it := at.attributes()
	for f, v := range encode(r, at.dueShard(16)) {
		it[f.name()] = v
	}
	it[fieldWrittenBy.name()] = blob(r.Revision[:])
	return it
}

func TestTheFullRecordIsFull(t *testing.T) {
	v := reflect.ValueOf(fullRecord())
	for i := range v.NumField() {
		if v.Field(i).IsZero() && v.Type().Field(i).Name != "Retain" { // which is not stored
			t.Errorf("it lacks %s", v.Type().Field(i).Name)
		}
	}
}

func TestItemsAreLaidOutAsTheGoldenFileSays(t *testing.T) {
	r := fullRecord()
	var b strings.Builder
	it := asItem(&r)
	for _, name := range slices.Sorted(maps.Keys(it)) {
		fmt.Fprintf(&b, "%s = %s\n", name, spell(it[name]))
	}
	golden := filepath.Join("testdata", "item.golden")
	if updateGolden() {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the layout changed, and tables with it (-update rewrites the file):\n%s\nwant\n%s", b.String(), want)
	}
}

// spell writes a value as DynamoDB's JSON does.
func spell(v types.AttributeValue) string {
	quote := func(b []byte) string { return fmt.Sprintf("%q", base64.StdEncoding.EncodeToString(b)) }
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return fmt.Sprintf(`{"S": %q}`, v.Value)
	case *types.AttributeValueMemberN:
		return fmt.Sprintf(`{"N": %q}`, v.Value)
	case *types.AttributeValueMemberBOOL:
		return fmt.Sprintf(`{"BOOL": %t}`, v.Value)
	case *types.AttributeValueMemberB:
		return fmt.Sprintf(`{"B": %s}`, quote(v.Value))
	case *types.AttributeValueMemberBS:
		return fmt.Sprintf(`{"BS": [%s]}`, quote(bytes.Join(v.Value, nil)))
	case *types.AttributeValueMemberL:
		var parts []string
		for _, e := range v.Value {
			parts = append(parts, spell(e))
		}
		return fmt.Sprintf(`{"L": [%s]}`, strings.Join(parts, ", "))
	case *types.AttributeValueMemberM:
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(v.Value)) {
			parts = append(parts, fmt.Sprintf("%q: %s", k, spell(v.Value[k])))
		}
		return fmt.Sprintf(`{"M": {%s}}`, strings.Join(parts, ", "))
	}
	return fmt.Sprintf("%T", v)
}

func TestARecordComesBackFromItsItem(t *testing.T) {
	full := fullRecord()
	rapid.Check(t, func(rt *rapid.T) {
		// Any part of the full record may be missing.
		r := tokenworker.Record{Key: full.Key, Status: full.Status}
		from, to := reflect.ValueOf(full), reflect.ValueOf(&r).Elem()
		for i := range from.NumField() {
			if rapid.Bool().Draw(rt, from.Type().Field(i).Name) {
				to.Field(i).Set(from.Field(i))
			}
		}
		if r.Sealed == nil {
			r.Token = tokenworker.Fingerprint{} // which goes with the set
		}
		got, err := decode(asItem(&r))
		if err != nil {
			rt.Fatalf("decode: %v", err)
		}
		if !reflect.DeepEqual(got, r) {
			rt.Errorf("record is\n\t%+v, want\n\t%+v", got, r)
		}
	})
}

func TestAnItemThatThisVersionDidNotWriteIsRefusedWithoutAPanicOrAWordOfIt(t *testing.T) {
	const canary = "canary"
	odd := []types.AttributeValue{
		str(canary), blob([]byte(canary)), &types.AttributeValueMemberN{Value: canary},
		&types.AttributeValueMemberL{Value: []types.AttributeValue{str(canary)}},
		&types.AttributeValueMemberBS{Value: [][]byte{[]byte(canary)}},
		&types.AttributeValueMemberM{Value: map[string]types.AttributeValue{claimUntil: str(canary)}},
		&types.AttributeValueMemberNULL{Value: true},
	}
	full := fullRecord()
	for name := range asItem(&full) {
		refused := 0
		for _, v := range odd {
			it := asItem(&full)
			it[name] = v
			_, err := decode(it)
			if err == nil {
				continue
			}
			refused++
			if !errors.Is(err, tokenworker.ErrMisconfigured) || strings.Contains(err.Error(), canary) {
				t.Errorf("%s: error %v, want ErrMisconfigured without the value", name, err)
			}
		}
		// A text may be any text, and what is only written for an index is not read.
		want := len(odd) - 1
		if name == "due_shard" || name == "subject_hash" {
			want = 0
		}
		switch name {
		case "conn", "claim", "revoking", "siblings", "owed", "warned", "retained", "rotated", "refreshable", "seen_ids", "acquired_prints",
			"spent_prints", "attempts", "revoke_list", "sealed", "written_by":
			want = len(odd)
		}
		if _, isNumber := asItem(&full)[name].(*types.AttributeValueMemberN); isNumber {
			want = len(odd)
		}
		if refused != want {
			t.Errorf("%s: %d of %d odd values are refused, want %d", name, refused, len(odd), want)
		}
	}
}

func TestConnectionsSpreadOverTheShardsOfTheirProvider(t *testing.T) {
	const shards, connections = 8, 8000
	held := make(map[string]int)
	for i := range connections {
		a := addressOf(tokenworker.Key{OrgID: fmt.Sprintf("org-%d", i%100), ProviderID: "a b", CompanyID: fmt.Sprint(i)})
		held[a.dueShard(shards)]++
	}
	for n := range shards {
		shard := fmt.Sprintf("a%%20b#%d", n)
		if got := held[shard]; got < connections/shards*9/10 || got > connections/shards*11/10 {
			t.Errorf("shard %s holds %d of %d connections", shard, got, connections)
		}
	}
}

func TestNamesOfWrappedKeysAreChecked(t *testing.T) {
	for _, name := range []string{"", "org", "org/", "/acme", "Org/acme", "o#/acme", "org/a b", "org/a/b", "pool/%2f", "pool/\n"} {
		if _, err := addressOfWrapped(name); !errors.Is(err, tokenworker.ErrInvalidKey) {
			t.Errorf("%q: error %v, want ErrInvalidKey", name, err)
		}
	}
}

func TestSubjectsOfDifferentIssuersAreApart(t *testing.T) {
	pairs := [][2]string{{"a", "bc"}, {"ab", "c"}, {"", "abc"}, {"1:a", "b"}, {"a1:", "b"}}
	seen := make(map[string][2]string)
	for _, p := range pairs {
		h := spell(subjectHash(p[0], p[1]))
		if other, known := seen[h]; known {
			t.Errorf("%q and %q have the same hash", p, other)
		}
		seen[h] = p
	}
}
