package dynamo_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/localstack"
)

// Who is in which index, as it changes with the records.
func TestAnIndexHoldsTheRecordsItIsFor(t *testing.T) {
	client, name := setUp(t, localstack.Config(t))
	table := open(t, client, name)
	never := acquisition("idle", 1)
	never.DueAt, never.Subject = time.Time{}, ""
	mustDo(t, table, acquire(never))
	mustDo(t, table, acquire(acquisition("due", 1)))
	mustDo(t, table, acquire(acquisition("refreshed", 1)))
	mustDo(t, table, commit(refresh("refreshed", 1))) // has no next due time and no subject
	mustDo(t, table, acquire(acquisition("disconnected", 1)))
	mustDo(t, table, disconnect(disconnection("disconnected", 2)))
	late := acquisition("late", 1)
	late.DueAt = time.Time{}
	mustDo(t, table, disconnect(disconnection("late", 2)))
	mustDo(t, table, acquire(late))
	elsewhere := acquisition("due", 1)
	elsewhere.Key.OrgID = "another org"
	mustDo(t, table, acquire(elsewhere))
	k := tokenworker.WrappedKey{Name: "org/org", KeyID: "key", Wrapped: []byte("wrapped"), CreatedAt: day}
	if _, err := table.PutWrappedKey(t.Context(), k, nil); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		index string
		in    func(item map[string]types.AttributeValue) bool
		want  []string
	}{
		{
			index: "due", in: func(map[string]types.AttributeValue) bool { return true },
			want: []string{"another%20org acme:due", "org acme:disconnected", "org acme:due", "org acme:late"},
		}, {
			index: "subject", in: func(map[string]types.AttributeValue) bool { return true },
			want: []string{"another%20org acme:due", "org acme:disconnected", "org acme:due"},
		}, {
			index: "connection", in: func(item map[string]types.AttributeValue) bool { return text(item["conn"]) == "acme:due" },
			want: []string{"another%20org acme:due", "org acme:due"},
		},
	} {
		t.Run(c.index, func(t *testing.T) {
			var got []string
			pages := dynamodb.NewScanPaginator(client, &dynamodb.ScanInput{TableName: aws.String(name), IndexName: aws.String(c.index)})
			for pages.HasMorePages() {
				page, err := pages.NextPage(t.Context())
				requireNoError(t, err)
				for _, item := range page.Items {
					if c.in(item) {
						got = append(got, text(item["org"])+" "+text(item["conn"]))
					}
					for attribute := range item {
						if slices.Contains([]string{"sealed", "revoke_list", "subject", "issuer"}, attribute) {
							t.Errorf("the index carries %s", attribute)
						}
					}
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("the index holds %q, want %q", got, c.want)
			}
		})
	}
}

func TestASweepAsksOnceAShardHoweverMuchIsStored(t *testing.T) {
	_, name := setUp(t, localstack.Config(t))
	table, w := wired(t, name)
	sweep := func() (listed []string) {
		w.requests = 0
		for shard := range table.Shards() {
			for k, err := range table.Due(t.Context(), "acme", shard, day.Add(time.Hour)) {
				requireNoError(t, err)
				listed = append(listed, k.CompanyID)
			}
		}
		slices.Sort(listed)
		return listed
	}
	store := func(company string, due time.Time) {
		a := acquisition(company, 1)
		a.DueAt = due
		mustDo(t, table, acquire(a))
	}
	for i := range 5 {
		store(fmt.Sprint("due ", i), day.Add(time.Duration(i)*time.Minute))
	}
	want := []string{"due 0", "due 1", "due 2", "due 3", "due 4"}
	for range 2 {
		if got := sweep(); !slices.Equal(got, want) || w.requests != table.Shards() {
			t.Errorf("%q listed by %d requests, want %q by %d", got, w.requests, want, table.Shards())
		}
		for i := range 20 {
			store(fmt.Sprint("never ", i), time.Time{})
			store(fmt.Sprint("later ", i), day.Add(time.Hour+time.Second))
		}
	}
}

func TestARecordThatSomebodyElseWroteIsRefused(t *testing.T) {
	client, name := setUp(t, localstack.Config(t))
	table := open(t, client, name)
	_, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(name), Item: map[string]types.AttributeValue{
		"org": &types.AttributeValueMemberS{Value: "org"}, "conn": &types.AttributeValueMemberS{Value: "acme:odd"},
		"conn_status": &types.AttributeValueMemberN{Value: "1"},
	}})
	requireNoError(t, err)
	for name, call := range map[string]func() error{
		"Get":     func() error { _, err := table.Get(t.Context(), event("odd", 1).Key); return err },
		"Acquire": func() error { _, err := table.Acquire(t.Context(), acquisition("odd", 1)); return err },
		"Update": func() error {
			_, _, err := table.Update(t.Context(), tokenworker.Record{Key: event("odd", 1).Key}, claiming(1))
			return err
		},
		"Records": func() error {
			for _, err := range table.Records(t.Context(), "org") {
				return err
			}
			return nil
		},
	} {
		requireMisconfigured(t, name, call())
	}
}

func text(v types.AttributeValue) string {
	if s, ok := v.(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

func requireMisconfigured(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, tokenworker.ErrMisconfigured) {
		t.Errorf("%s: error %v, want ErrMisconfigured", what, err)
	}
}
