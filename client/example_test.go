package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// exampleTB lets an example use what tests use. What fails panics.
type exampleTB struct {
	testing.TB
	ctx      context.Context //nolint:containedctx // as testing.TB has one
	cleanups []func()
}

func (e *exampleTB) Helper()                  {}
func (e *exampleTB) Context() context.Context { return e.ctx }
func (e *exampleTB) Cleanup(f func())         { e.cleanups = append(e.cleanups, f) }
func (e *exampleTB) Fatal(args ...any)        { panic(fmt.Sprint(args...)) }
func (e *exampleTB) Error(args ...any)        { panic(fmt.Sprint(args...)) }
func (e *exampleTB) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

func (e *exampleTB) TempDir() string {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	e.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// worker starts a worker with all it needs in this process.
func worker() (r *rig, stop func()) {
	tb := &exampleTB{ctx: context.Background()}
	r = newRig(tb, &clock{})
	return r, func() {
		for _, f := range slices.Backward(tb.cleanups) {
			f()
		}
	}
}

// A service hands in what it was given when a customer connected, and is sure that it is stored.
func ExamplePublisher() {
	r, stop := worker()
	defer stop()
	publisher, ctx := r.publisher, context.Background() // client.NewPublisher(js, client.PublisherConfig{Source: …, PublicKey: …})

	key := tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: "company-1"}
	m, err := publisher.Acquired(key, tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString("from the provider"), ExpiresAt: time.Now().Add(time.Hour),
	}, time.Now())
	if err != nil {
		panic(err)
	}
	// Here the message goes into the outbox, with whatever else the connection changes in the service's own database.
	_, outcome, err := publisher.PublishAndWait(ctx, m)
	fmt.Println(outcome, err)

	// After a crash, what is still in the outbox is published again. It changes nothing.
	_, err = publisher.Republish(ctx, m)
	fmt.Println(err)

	m, err = publisher.Disconnect(key, "customer_left", time.Now())
	if err != nil {
		panic(err)
	}
	_, outcome, err = publisher.PublishAndWait(ctx, m)
	fmt.Println(outcome, err)
	// Output:
	// stored <nil>
	// <nil>
	// disconnected <nil>
}

// A service calls a provider's API with whatever token is good.
func ExampleReader_Transport() {
	r, stop := worker()
	defer stop()
	r.acquire(&exampleTB{ctx: context.Background()})
	// nc, err := nats.Connect(url, nats.CustomInboxPrefix(events.InboxPrefix("payroll")))
	reader := r.reader // client.NewReader(nc, "payroll", client.ReaderConfig{})

	httpClient := &http.Client{Transport: reader.Transport(conn, nil), Timeout: 30 * time.Second}
	resp, err := httpClient.Get(r.server.URL() + "/resource") //nolint:noctx // it has a timeout
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)

	_, err = reader.Token(context.Background(), tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: "nobody"})
	fmt.Println(errors.Is(err, events.GetNotFound))
	httpClient.CloseIdleConnections()
	// Output:
	// 200 OK
	// true
}

// With package oauth2, any library that takes one of its clients works.
func ExampleReader_TokenSource() {
	r, stop := worker()
	defer stop()
	r.acquire(&exampleTB{ctx: context.Background()})
	reader, ctx := r.reader, context.Background()

	httpClient := oauth2.NewClient(ctx, reader.TokenSource(ctx, conn))
	resp, err := httpClient.Get(r.server.URL() + "/resource") //nolint:noctx // an example
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	httpClient.CloseIdleConnections()
	// Output: 200 OK
}
