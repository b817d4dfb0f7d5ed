package dynamo_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/dynamo"
	"github.com/tokenworker/tokenworker/localstack"
)

// retained is an acquisition whose set is kept.
func retained(company string) *tokenworker.Acquisition {
	a := acquisition(company, 1)
	a.Retain = 3
	return a
}

func TestOnlyWhatKeepsSetsPaysForIt(t *testing.T) {
	_, name := setUp(t, localstack.Config(t))
	table, w := wired(t, name)
	count := func(what string, want int, do op) {
		t.Helper()
		w.requests = 0
		if got, err := do(t.Context(), table); err != nil || got != "applied" || w.requests != want {
			t.Errorf("%s: %s, %v with %d requests, want %d", what, got, err, w.requests, want)
		}
	}
	count("an acquisition", 1, acquire(acquisition("plain", 1)))
	count("a refresh", 2, update(&tokenworker.Record{}, "plain", tokenworker.Committing(refresh("plain", 1))))
	count("an acquisition whose set is kept", 2, acquire(retained("kept")))
	kept := refresh("kept", 1)
	kept.Retain = 3
	count("a refresh whose set is kept", 3, update(&tokenworker.Record{}, "kept", tokenworker.Committing(kept)))
	count("a disconnect", 1, disconnect(disconnection("kept", 2)))
}

func TestALostReplyOfATransactionIsNoSecondOne(t *testing.T) {
	_, name := setUp(t, localstack.Config(t))
	table, w := wired(t, name)
	w.lose = 2 // the first is the look at what is kept
	if v, err := table.Acquire(t.Context(), retained("lost")); err != nil || v != tokenworker.Applied {
		t.Errorf("verdict %s, %v", v, err)
	}
	if kept, err := table.Retained(t.Context(), event("lost", 1).Key); err != nil || len(kept) != 1 {
		t.Errorf("%d sets kept, %v", len(kept), err)
	}
}

// conflicts is an HTTP client that answers the first requests of one kind as DynamoDB does while a transaction on the same
// item is under way. LocalStack has no such conflicts.
type conflicts struct {
	aws.HTTPClient
	of, answer string
	times      int
}

func (c *conflicts) Do(r *http.Request) (*http.Response, error) {
	if c.times > 0 && strings.HasSuffix(r.Header.Get("X-Amz-Target"), "."+c.of) {
		c.times--
		return &http.Response{
			StatusCode: http.StatusBadRequest, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
			Body: io.NopCloser(strings.NewReader(c.answer)), Request: r,
		}, nil
	}
	return c.HTTPClient.Do(r) //nolint:wrapcheck // it stands in for the client
}

func TestATransactionInTheWayIsMetAgain(t *testing.T) {
	const prefix = `{"__type":"com.amazonaws.dynamodb.v20120810#`
	for _, c := range []struct {
		name, of, answer string
		acquire          *tokenworker.Acquisition
	}{
		{"of a plain write", "UpdateItem", prefix + `TransactionConflictException","message":"words"}`, acquisition("plain", 1)},
		{"on the record", "TransactWriteItems", prefix + `TransactionCanceledException","Message":"words",
			"CancellationReasons":[{"Code":"TransactionConflict"},{"Code":"None"}]}`, retained("record")},
		{"on what lies beside it", "TransactWriteItems", prefix + `TransactionCanceledException","Message":"words",
			"CancellationReasons":[{"Code":"None"},{"Code":"TransactionConflict"}]}`, retained("beside")},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := localstack.Config(t)
			_, name := setUp(t, config)
			met := &conflicts{HTTPClient: config.HTTPClient, of: c.of, answer: c.answer}
			config.HTTPClient = met
			table := open(t, dynamo.NewClient(config), name)
			met.times = 3
			if v, err := table.Acquire(t.Context(), c.acquire); err != nil || v != tokenworker.Applied || met.times != 0 {
				t.Errorf("verdict %s, %v, %d conflicts not met", v, err, met.times)
			}
		})
	}
}
