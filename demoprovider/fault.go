package demoprovider

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Fault makes the server misbehave: which requests it hits, and what it does to them. A request gets one fault at most,
// the first of those injected that hits it. In JSON, durations are nanoseconds.
type Fault struct {
	Kind FaultKind `json:"kind"`

	Endpoint Endpoint `json:"endpoint,omitempty"` // default: TokenEndpoint
	Client   string   `json:"client,omitempty"`   // requests about a token of this client alone; empty: all
	Subject  string   `json:"subject,omitempty"`  // requests about a token of this subject alone; empty: all
	Skip     int      `json:"skip,omitempty"`     // requests that are let pass first
	Count    int      `json:"count,omitempty"`    // requests that are hit; 0: no end
	// Probability is the share of requests that are hit, drawn from [Config.Seed]; 0: all.
	Probability float64 `json:"probability,omitempty"`

	Delay       time.Duration `json:"delay,omitempty"`        // before the request is processed
	AnswerDelay time.Duration `json:"answer_delay,omitempty"` // after it was, before the answer

	Status     int           `json:"status,omitempty"`      // answered; default: see the kinds
	Error      string        `json:"error,omitempty"`       // OAuth error code of Refused (default: invalid_grant) and Echo
	RetryAfter time.Duration `json:"retry_after,omitempty"` // of RateLimited, in whole seconds; 0: no such header
	Location   string        `json:"location,omitempty"`    // of Redirect; default: /elsewhere of the server itself
	Interval   time.Duration `json:"interval,omitempty"`    // of Drip: between two bytes
	Size       int           `json:"size,omitempty"`        // of Huge, in bytes; default: 64 MiB
}

// FaultKind is what a fault does to a request.
type FaultKind string

// Faults that leave the request unprocessed: no token is spent, minted or revoked.
const (
	RateLimited FaultKind = "rate_limited" // 429
	Unavailable FaultKind = "unavailable"  // 503 and a page of HTML
	Refused     FaultKind = "refused"      // an OAuth error without reason, with status 400, or 200 as some providers do
	Cut         FaultKind = "cut"          // the connection is closed
	Echo        FaultKind = "echo"         // 400; headers, body and error_description repeat the request, secrets and all
	Redirect    FaultKind = "redirect"     // 307; the token is in the Location
)

// Faults of requests that are processed, the client's tokens spent and minted.
const (
	Slow           FaultKind = "slow"            // nothing but the delays
	GatewayTimeout FaultKind = "gateway_timeout" // 504: the answer is lost
	LostAnswer     FaultKind = "lost_answer"     // the connection is closed instead
	TornAnswer     FaultKind = "torn_answer"     // the connection is closed in the middle of the answer
	HTMLPage       FaultKind = "html_page"       // 200 and a page of HTML: the answer is lost
	Drip           FaultKind = "drip"            // the answer comes byte by byte
	Huge           FaultKind = "huge"            // the answer is behind a lot of padding
	KeepRefresh    FaultKind = "keep_refresh"    // no rotation, and no refresh token in the answer (RFC 6749, section 6)
	NoExpiry       FaultKind = "no_expiry"       // expires_in is missing
	TextExpiry     FaultKind = "text_expiry"     // expires_in is a string
	ZeroExpiry     FaultKind = "zero_expiry"     // expires_in is 0
)

const defaultHuge = 64 << 20

var (
	unprocessed = []FaultKind{RateLimited, Unavailable, Refused, Cut, Echo, Redirect}
	processed   = []FaultKind{
		Slow, GatewayTimeout, LostAnswer, TornAnswer, HTMLPage, Drip, Huge, KeepRefresh, NoExpiry, TextExpiry, ZeroExpiry,
	}
)

// FaultKinds lists all kinds.
func FaultKinds() []FaultKind { return slices.Concat(unprocessed, processed) }

func (k FaultKind) isProcessed() bool { return !slices.Contains(unprocessed, k) }

func (f Fault) validate() error {
	if !slices.Contains(FaultKinds(), f.Kind) {
		return fmt.Errorf("unknown kind of fault %q", f.Kind)
	}
	if !slices.Contains([]Endpoint{"", TokenEndpoint, RevokeEndpoint, IntrospectEndpoint, ResourceEndpoint, MetadataEndpoint}, f.Endpoint) {
		return fmt.Errorf("unknown endpoint %q", f.Endpoint)
	}
	if f.Probability < 0 || f.Probability > 1 {
		return fmt.Errorf("a probability of %v", f.Probability)
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return fmt.Errorf("a status of %d", f.Status)
	}
	return nil
}

// faultPlan is the faults that are injected. Its owner locks it.
type faultPlan struct {
	rules []*faultRule
	rand  *rand.Rand
}

type faultRule struct {
	Fault
	seen, hit int
}

func newFaultPlan(seed uint64) faultPlan {
	return faultPlan{rand: rand.New(rand.NewPCG(seed, 0))} //nolint:gosec // faults are to be repeatable, not secret
}

// next is the fault of a request about a token of the family, nil for none that is known; the zero Fault is none.
func (p *faultPlan) next(e Endpoint, f *family) Fault {
	for i, rule := range p.rules {
		if !rule.matches(e, f) || !rule.fires(p.rand) {
			continue
		}
		if rule.hit++; rule.hit == rule.Count {
			p.rules = slices.Delete(p.rules, i, i+1)
		}
		return rule.Fault
	}
	return Fault{}
}

func (r *faultRule) matches(e Endpoint, f *family) bool {
	switch {
	case r.Endpoint != e && (r.Endpoint != "" || e != TokenEndpoint):
		return false
	case r.Client == "" && r.Subject == "":
		return true
	default:
		return f != nil && (r.Client == "" || r.Client == f.client.ID) && (r.Subject == "" || r.Subject == f.subject)
	}
}

func (r *faultRule) fires(rand *rand.Rand) bool {
	if r.seen++; r.seen <= r.Skip {
		return false
	}
	return r.Probability == 0 || rand.Float64() < r.Probability
}

// Inject adds faults behind those that are there.
func (s *Server) Inject(faults ...Fault) error {
	for _, fault := range faults {
		if err := fault.validate(); err != nil {
			return fmt.Errorf("validating a fault: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fault := range faults {
		s.faults.rules = append(s.faults.rules, &faultRule{Fault: fault})
	}
	return nil
}

// ClearFaults ends all faults; requests that are held up by one stay so.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.rules = nil
}

// nextFault is the fault of a request about a token.
func (s *Server) nextFault(e Endpoint, token string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults.rules) == 0 {
		return Fault{}
	}
	_, f := s.find(token)
	fault := s.faults.next(e, f)
	if fault.Kind != "" {
		s.totals.Faults[fault.Kind]++
	}
	return fault
}
