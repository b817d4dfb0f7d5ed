package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Fault is what an [AWS] proxy does with one call.
type Fault int

// The faults.
const (
	None      Fault = iota
	DropReply       // the call is performed and its reply lost: the caller cannot know
	Throttle        // refused with the service's "slow down"
	Deny            // refused with AccessDeniedException
	Reset           // the connection ends before the call is performed
	Hang            // no answer, until the caller gives up
	Late            // the call is performed at once, and its reply held back for LateBy
)

// LateBy is how long a reply is held back: longer than an event takes to get to whoever waits for it.
const LateBy = 250 * time.Millisecond

// Call is one call of an AWS JSON API.
type Call struct {
	Operation string          // for example PutItem
	Body      json.RawMessage // its input
}

// EncryptionContext is that of a KMS call; empty for any other.
func (c Call) EncryptionContext() map[string]string {
	var in struct{ EncryptionContext map[string]string }
	if json.Unmarshal(c.Body, &in) != nil {
		return nil
	}
	return in.EncryptionContext
}

// AWS passes the calls of AWS JSON APIs (DynamoDB, KMS) on to one endpoint.
type AWS struct {
	server   *http.Server
	url      string
	endpoint string
	client   *http.Client
	served   chan struct{}

	mu     sync.Mutex
	fault  func(Call) Fault
	counts map[string]int
}

// NewAWS starts a proxy on a free port of the loopback interface. Fault decides on each call, by several at once; nil
// passes all of them on.
func NewAWS(ctx context.Context, endpoint string, fault func(Call) Fault) (*AWS, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	p := &AWS{
		url: "http://" + l.Addr().String(), endpoint: strings.TrimSuffix(endpoint, "/"),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		served: make(chan struct{}), fault: fault, counts: map[string]int{},
	}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(p.served)
		_ = p.server.Serve(l) // ends with Close
	}()
	return p, nil
}

// URL is the endpoint to give to clients.
func (p *AWS) URL() string { return p.url }

// SetFault replaces the function that decides; nil passes everything on.
func (p *AWS) SetFault(fault func(Call) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

// Always is a function for SetFault.
func Always(f Fault) func(Call) Fault { return func(Call) Fault { return f } }

// Calls counts the calls that were made, of the named operations or of all, whatever became of them.
func (p *AWS) Calls(operations ...string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, o := range operations {
		n += p.counts[o]
	}
	if len(operations) == 0 {
		for _, c := range p.counts {
			n += c
		}
	}
	return n
}

// Close ends every connection and the proxy.
func (p *AWS) Close() {
	_ = p.server.Close()
	<-p.served
	p.client.CloseIdleConnections()
}

// decide counts the call and says what becomes of it.
func (p *AWS) decide(c Call) Fault {
	p.mu.Lock()
	p.counts[c.Operation]++
	fault := p.fault
	p.mu.Unlock()
	if fault == nil {
		return None
	}
	return fault(c)
}

// ServeHTTP implements [http.Handler].
func (p *AWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	service, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	switch p.decide(Call{operation, body}) {
	case None:
		p.forward(w, r, body, 0)
	case Late:
		p.forward(w, r, body, LateBy)
	case DropReply:
		p.forward(discard{http.Header{}}, r, body, 0)
		panic(http.ErrAbortHandler)
	case Throttle:
		exception := "ThrottlingException"
		if strings.HasPrefix(service, "DynamoDB") {
			exception = "ProvisionedThroughputExceededException"
		}
		refuse(w, exception)
	case Deny:
		refuse(w, "AccessDeniedException")
	case Reset:
		panic(http.ErrAbortHandler)
	case Hang:
		<-r.Context().Done()
	}
}

// forward performs the call and, so long after that, copies the answer.
func (p *AWS) forward(w http.ResponseWriter, r *http.Request, body []byte, held time.Duration) {
	// Not r.Context: a caller that gives up does not undo what the service is doing.
	out, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, p.endpoint+r.URL.Path,
		bytes.NewReader(body))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	out.Header = r.Header.Clone()
	answer, err := p.client.Do(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer answer.Body.Close()
	select {
	case <-time.After(held):
	case <-r.Context().Done():
	}
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body)
}

func refuse(w http.ResponseWriter, exception string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = fmt.Fprintf(w, `{"__type":%q,"message":"by the attack"}`, exception)
}

// discard is where a reply that is dropped goes.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
