package main

// Siblings: at a provider where a disconnect of any organization's connection to a company ends them all, as at Finch, a
// disconnect in one ends the older ones in all others, and no newer one (docs/erasing.md, docs/model/Siblings.tla). Tokens come
// in without their company, which the worker asks the provider for.
//
// Breaks that were tried, with 6 companies, and what the attack said:
//
//   - rotator/siblings.go spares no newer grant (mustSpare is false): "org-3:demo-0:company-1: its newer grant was revoked
//     23.106132043s after it was stored", 2 of 2.
//   - rules_siblings.go marks whatever bears another stamp, newer ones too: "org-0:demo-0:company-0: is disconnected at 1/25 after
//     disconnect 50 in org-3, and was acquired before it, at 48", and no rest within 8 minutes.
//   - rules.go forgets, when the company that disconnected comes back, to mark its siblings (KeepWork): with 20 companies
//     "org-3:demo-0:company-19: is active at 1/35 after disconnect 206 in org-1, and was acquired before it, at 35".
//   - consumer/handle.go does not look back before it acknowledges: the same of "org-4:demo-0:company-3", which is stored late.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/attack/process"
)

var siblings = promise{
	name: "siblings", unit: "companies", usual: 20, full: 200,
	attacks: []attack{
		{"companies disconnected in one of four organizations, under reads and acquisitions without a company, with kill -9 of two " +
			"workers on LocalStack (three minutes)", disconnectCompanies},
	},
}

const (
	companyOrgs   = 4
	companyRounds = 2 // of acquisitions and one disconnect

	// roundsApart is longer than a revocation waits for the index, so that acquisitions come before it, during it and after it.
	roundsApart = 40 * time.Second

	// lateTries is how often an event is tried in vain to be later than the last look for siblings: at once, at once when it is parked,
	// after 15 s and after 30 s more; it succeeds a minute later.
	lateTries = 4

	companyReaders = 8
	readerPause    = 20 * time.Millisecond // of each between reads, on average
)

// companies are what organizations are connected to, what was asked for, and what the workers said.
type companies struct {
	*env
	*replicas
	all   []*company
	kills int

	mu       sync.Mutex
	outcomes map[uint64]outcome            // of acquisitions, by sequence
	told     map[tokenworker.Key][]telling // disconnected events, in their order

	served, refused, unanswered atomic.Int64
}

// company is one of them. Its events are published one after another, but for those of one round.
type company struct {
	id string

	mu          sync.Mutex
	grants      map[uint64]grant  // by the sequence of their event
	disconnects map[uint64]string // organizations, by sequence
}

// grant is one that the provider gave to an organization.
type grant struct {
	org   string
	token string
}

// outcome is what became of an acquisition: it was stored, or rejected.
type outcome struct {
	kind events.Kind
	code events.Code // of a rejection
	at   time.Time   // when it was announced
}

// telling is a disconnected event.
type telling struct {
	sequence uint64 // of the disconnect
	reason   string
	at       time.Time // when it was received
}

func (c *company) key(org string) tokenworker.Key {
	return tokenworker.Key{OrgID: org, ProviderID: siteProvider(0), CompanyID: c.id}
}

// ending is what comes last.
type ending int

const (
	endsOpen      ending = iota
	endsForGood          // nobody is connected any more
	endsOvertaken        // an acquisition is applied after a disconnect that it comes before
)

// endings are those of the companies, in turn.
var endings = [...]ending{endsForGood, endsOpen, endsForGood, endsOvertaken}

// lateOrg is overtaken; it has no record before.
var lateOrg = companyOrg(companyOrgs)

func companyOrg(i int) string { return fmt.Sprintf("org-%d", i) }

// disconnectCompanies lets organizations connect to n companies and disconnect, while workers are killed, and then compares
// what is stored, announced, read and alive at the provider with what was asked for.
func disconnectCompanies(ctx context.Context, e *env, n int) error {
	f, err := startReplicas(ctx, e, 2, siteConfig{
		policy: demoprovider.Policy{Rotation: demoprovider.Static, Revocation: demoprovider.ReachGrant, AccessLifetime: 12 * time.Hour},
		settings: `    rotation: static
    revocation_scope: grant
    disconnect_scope: company
    margin: 1s
`})
	if err != nil {
		return err
	}
	defer f.close()
	s := &companies{env: e, replicas: f, outcomes: map[uint64]outcome{}, told: map[tokenworker.Key][]telling{}}
	for i := range n {
		s.all = append(s.all, &company{id: fmt.Sprintf("company-%d", i), grants: map[uint64]grant{}, disconnects: map[uint64]string{}})
	}
	if err := f.onNotice("tokens.v1.event.>", s.note); err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	readers, err := s.readAll(reading)
	if err != nil {
		return err
	}
	if err := s.liveAll(ctx); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		s.broke("%v", err)
	}
	stop()
	readers.Wait()
	return s.judge(ctx)
}

// note notes what the workers say.
func (s *companies) note(n events.Notice) {
	var data struct {
		Sequence uint64      `json:"sequence"` // of every kind
		Reason   string      `json:"reason"`   // of Disconnected
		Code     events.Code `json:"code"`     // of Rejected
	}
	if json.Unmarshal(n.Data, &data) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch n.Kind {
	case events.Stored, events.Rejected:
		if _, known := s.outcomes[data.Sequence]; !known {
			s.outcomes[data.Sequence] = outcome{n.Kind, data.Code, time.Now()}
		}
	case events.Disconnected:
		s.told[n.Key] = append(s.told[n.Key], telling{data.Sequence, data.Reason, time.Now()})
	default:
	}
}

// lastTold is the latest disconnect of a connection that was announced; 0: none was.
func (s *companies) lastTold(k tokenworker.Key) (sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.told[k] {
		sequence = max(sequence, t.sequence)
	}
	return sequence
}

// liveAll has every company live, and kills workers meanwhile.
func (s *companies) liveAll(ctx context.Context) error {
	living, end := context.WithCancel(ctx)
	defer end()
	var killer errgroup.Group
	killer.Go(func() error {
		for sleep(living, 2*time.Second+rand.N(4*time.Second)) == nil {
			w := s.workers[s.kills%len(s.workers)]
			w.process.Kill()
			s.kills++
			if err := w.start(ctx); err != nil { // not living, which its process would end with
				return err
			}
		}
		return nil
	})
	g, gctx := errgroup.WithContext(ctx)
	for i, c := range s.all {
		g.Go(func() error { return s.live(gctx, c, endings[i%len(endings)]) })
	}
	err := g.Wait()
	end()
	return errors.Join(err, killer.Wait())
}

// live has organizations connect to a company and one of them disconnect, while some connect anew, the same one too.
func (s *companies) live(ctx context.Context, c *company, ends ending) error {
	for round := range companyRounds {
		if round > 0 {
			if err := sleep(ctx, rand.N(roundsApart)); err != nil {
				return err
			}
		}
		orgs := rand.Perm(companyOrgs)
		for _, o := range orgs[:2+rand.IntN(companyOrgs-1)] {
			if err := s.connectOrg(ctx, c, companyOrg(o)); err != nil {
				return err
			}
		}
		g, gctx := errgroup.WithContext(ctx)
		g.Go(func() error {
			if err := sleep(gctx, rand.N(300*time.Millisecond)); err != nil {
				return err
			}
			return s.disconnect(gctx, c, companyOrg(orgs[0]))
		})
		for _, o := range rand.Perm(companyOrgs)[:rand.IntN(companyOrgs)] {
			g.Go(func() error {
				if err := sleep(gctx, rand.N(600*time.Millisecond)); err != nil {
					return err
				}
				_, err := s.acquire(gctx, c, companyOrg(o), unnamed)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err //nolint:wrapcheck // our own
		}
	}
	switch ends {
	case endsForGood:
		return s.disconnectRest(ctx, c)
	case endsOvertaken:
		return s.overtake(ctx, c)
	default:
		return nil
	}
}

// disconnectRest disconnects an organization that is connected, if one is, and with it all others.
func (s *companies) disconnectRest(ctx context.Context, c *company) error {
	newer := c.newer()
	for _, sequence := range slices.Backward(slices.Sorted(maps.Keys(newer))) { // one that a newer one overtook is not announced
		switch kind, err := s.outcome(ctx, sequence); {
		case err != nil:
			return err
		case kind == events.Stored:
			return s.disconnect(ctx, c, newer[sequence].org)
		}
	}
	return nil // nobody is connected
}

// overtake has a new organization connect while the provider cannot be asked about the company, another one disconnect and a third
// one connect. So the grant of the first is older than the disconnect, lives on because of the third one's, and is stored late:
// after all its siblings have been marked, unless the sweeps that mark them were killed meanwhile, or another acquisition used up the
// failures. The judge counts how often it was.
func (s *companies) overtake(ctx context.Context, c *company) error {
	orgs := rand.Perm(companyOrgs)
	if err := s.connectOrg(ctx, c, companyOrg(orgs[0])); err != nil {
		return err
	}
	if err := s.server.Inject(demoprovider.Fault{
		Kind: demoprovider.Unavailable, Endpoint: demoprovider.IntrospectEndpoint, Subject: c.id, Count: lateTries,
	}); err != nil {
		return fmt.Errorf("making the provider fail: %w", err)
	}
	if _, err := s.acquire(ctx, c, lateOrg, unnamed); err != nil {
		return err
	}
	if err := s.disconnect(ctx, c, companyOrg(orgs[0])); err != nil {
		return err
	}
	_, err := s.acquire(ctx, c, companyOrg(orgs[1]), c.id)
	return err
}

// connectOrg connects an organization: from then on its record holds a grant that no disconnect has ended. A grant that another
// revocation has met on its way is given again, so many times at most.
func (s *companies) connectOrg(ctx context.Context, c *company, org string) error {
	const tries = 20
	for range tries {
		sequence, err := s.acquire(ctx, c, org, unnamed)
		if err != nil {
			return err
		}
		if kind, err := s.outcome(ctx, sequence); err != nil || kind == events.Stored {
			return err
		}
	}
	return fmt.Errorf("%s: %d acquisitions were rejected one after another", c.key(org), tries)
}

// unnamed is the company of an event whose publisher does not know it.
const unnamed = ""

// acquire makes a grant and publishes its token, as that of the company of the id.
func (s *companies) acquire(ctx context.Context, c *company, org, id string) (sequence uint64, err error) {
	tokens, err := s.server.Grant(siteClient, c.id, "")
	if err != nil {
		return 0, fmt.Errorf("granting: %w", err)
	}
	m, err := s.publisher.Acquired(tokenworker.Key{OrgID: org, ProviderID: siteProvider(0), CompanyID: id},
		tokenworker.TokenSet{AccessToken: tokenworker.SecretString(tokens.AccessToken)}, time.Now())
	if err == nil {
		sequence, err = s.publisher.Publish(ctx, m)
	}
	if err != nil {
		return 0, fmt.Errorf("acquiring: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.grants[sequence] = grant{org, tokens.AccessToken}
	return sequence, nil
}

// disconnect disconnects an organization that holds a grant.
func (s *companies) disconnect(ctx context.Context, c *company, org string) error {
	m, err := s.publisher.Disconnect(c.key(org), "attack", time.Now())
	if err != nil {
		return fmt.Errorf("disconnecting: %w", err)
	}
	sequence, err := s.publisher.Publish(ctx, m)
	if err != nil {
		return fmt.Errorf("disconnecting: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.disconnects[sequence] = org
	return nil
}

// outcome waits until an acquisition is stored or rejected.
func (s *companies) outcome(ctx context.Context, sequence uint64) (kind events.Kind, err error) {
	err = process.Await(ctx, 3*time.Minute, "an acquisition is stored or rejected", func() (bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		kind = s.outcomes[sequence].kind
		return kind != "", nil
	})
	return kind, err //nolint:wrapcheck // our own
}

// readAll reads all connections at random until ctx ends: no read that starts after a disconnect was announced gives a token that
// is older.
func (s *companies) readAll(ctx context.Context) (*sync.WaitGroup, error) {
	var readers sync.WaitGroup
	for range companyReaders {
		r, err := s.reader(anyUser, client.ReaderConfig{Timeout: 5 * time.Second})
		if err != nil {
			return nil, err
		}
		readers.Go(func() {
			for sleep(ctx, rand.N(2*readerPause)) == nil {
				s.read(ctx, r, s.all[rand.IntN(len(s.all))].key(companyOrg(rand.IntN(companyOrgs+1))))
			}
		})
	}
	return &readers, nil
}

func (s *companies) read(ctx context.Context, r *client.Reader, k tokenworker.Key) {
	told := s.lastTold(k)
	t, err := r.Token(ctx, k)
	switch {
	case ctx.Err() != nil:
	case err == nil && t.Fence.Stamp.Sequence < told:
		s.broke("%s: a read that began after disconnect %d was announced returned the token of %d", k, told, t.Fence.Stamp.Sequence)
	case err == nil:
		s.served.Add(1)
	case errors.Is(err, events.GetDisconnected), errors.Is(err, events.GetNotFound), errors.Is(err, events.GetReauthRequired):
		s.refused.Add(1)
	case errors.Is(err, events.GetUnavailable): // who was to answer was killed
		s.unanswered.Add(1)
	default:
		s.broke("%s: a read fails: %v", k, err)
	}
}
