package dynamo_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/dynamo"
	"github.com/tokenworker/tokenworker/localstack"
)

// shifted makes DynamoDB's answers bear another time; without one, none.
type shifted struct {
	aws.HTTPClient
	by   time.Duration
	none bool
}

func (s *shifted) Do(r *http.Request) (*http.Response, error) {
	reply, err := s.HTTPClient.Do(r)
	if err != nil {
		return reply, err //nolint:wrapcheck // it stands in for the client
	}
	if s.none {
		reply.Header.Del("Date")
	} else {
		reply.Header.Set("Date", time.Now().Add(s.by).UTC().Format(http.TimeFormat))
	}
	return reply, nil
}

func TestEachReadShowsHowFarTheClockIsOff(t *testing.T) {
	config := localstack.Config(t)
	_, name := setUp(t, config)
	clock := &shifted{HTTPClient: config.HTTPClient}
	config.HTTPClient = clock
	table := open(t, dynamo.NewClient(config), name)
	off := func() time.Duration {
		_, err := table.Get(t.Context(), tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: "none"})
		if !errors.Is(err, tokenworker.ErrNotFound) {
			t.Fatal(err)
		}
		return table.ClockOff()
	}
	// The Date header is in whole seconds, and the request takes a moment: an hour is a bound that no machine is too slow for.
	if got := off(); got <= 0 || got > time.Hour {
		t.Errorf("off by %s at most, and the clocks are one", got)
	}
	for _, by := range []time.Duration{4 * time.Hour, -4 * time.Hour} {
		clock.by = by
		if got := off(); got < by.Abs() || got > by.Abs()+time.Hour {
			t.Errorf("off by %s, want %s", got, by.Abs())
		}
	}
	clock.none = true
	if got := off(); got < 4*time.Hour {
		t.Errorf("off by %s: an answer without a time says nothing new", got)
	}
}
