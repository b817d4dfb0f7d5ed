package dynamo_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/dynamo"
	"github.com/tokenworker/tokenworker/localstack"
)

// slowWire is an HTTP client that can keep requests on their way: the caller hears that the connection broke, and they arrive later.
type slowWire struct {
	aws.HTTPClient
	slow bool
	late []*http.Request
}

func (w *slowWire) Do(r *http.Request) (*http.Response, error) {
	if !w.slow {
		return w.HTTPClient.Do(r) //nolint:wrapcheck // it stands in for the client
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("keeping a request: %w", err)
	}
	late := r.Clone(r.Context())
	late.Body = io.NopCloser(bytes.NewReader(body))
	w.late = append(w.late, late)
	return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
}

// arrive lets the requests arrive, and returns how many took place.
func (w *slowWire) arrive(t *testing.T) (took int) {
	t.Helper()
	for _, r := range w.late {
		reply, err := w.HTTPClient.Do(r.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		_ = reply.Body.Close() // what it says is known by its status
		if reply.StatusCode == http.StatusOK {
			took++
		}
	}
	return took
}

// A claim whose reply is lost may arrive at any time: before it is given back, or after.
func TestAClaimThatArrivesLateIsKeptOut(t *testing.T) {
	config := localstack.Config(t)
	client, name := setUp(t, config)
	other := open(t, client, name)
	unclaimed := func(company string) op {
		return update(&tokenworker.Record{}, company, tokenworker.Unclaimed(tokenworker.Fence{Stamp: event("", 1).Stamp},
			tokenworker.Failure{Attempt: tokenworker.AttemptID{7}, Code: "claim_unanswered", DueAt: day.Add(time.Hour)}, nil))
	}
	for _, c := range []struct {
		name   string
		first  bool // it arrives before it is given back
		takes  int  // how many of its tries take place
		failed int
	}{{"after it was given back", false, 0, 1}, {"before that", true, 1, 1}} {
		t.Run(c.name, func(t *testing.T) {
			company := "late"
			if c.first {
				company = "early"
			}
			mustDo(t, other, acquire(acquisition(company, 1)))
			cfg := localstack.Config(t)
			wire := &slowWire{HTTPClient: cfg.HTTPClient}
			cfg.HTTPClient = wire
			table := open(t, dynamo.NewClient(cfg), name)
			var rec tokenworker.Record
			mustDo(t, table, read(&rec, company))
			wire.slow = true
			if _, err := update(&rec, company, claiming(1))(t.Context(), table); !errors.Is(err, tokenworker.ErrUnavailable) || len(wire.late) < 2 {
				t.Fatalf("error %v after %d tries", err, len(wire.late))
			}
			took := 0
			if c.first {
				took = wire.arrive(t)
			}
			mustDo(t, other, unclaimed(company))
			if !c.first {
				took = wire.arrive(t)
			}
			r, err := other.Get(t.Context(), event(company, 1).Key)
			if err != nil || took != c.takes || r.Claim != nil || len(r.Acquired) != 0 || r.Failures != c.failed {
				t.Errorf("%d tries took place; claim %+v, %d tokens spent, %d failures, error %v", took, r.Claim, len(r.Acquired), r.Failures, err)
			}
		})
	}
}
