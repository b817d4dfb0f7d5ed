package storetest

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

// The simplest store that keeps the contract: the rules, under a lock. That it passes says that the suite asks for
// nothing else.
type memory struct {
	mu        sync.Mutex
	records   map[tokenworker.Key]*tokenworker.Record
	beside    map[tokenworker.Key][]tokenworker.RetainedSet
	keys      map[string]tokenworker.WrappedKey
	providers map[string]bool
	chain     []tokenworker.AuditCheckpoint // sorted
	mark      tokenworker.Stamp
}

func TestASimpleStoreKeepsTheContract(t *testing.T) {
	Test(t, func(*testing.T) Store { return newMemory() })
	store := newMemory()
	TestReopen(t, store, func() Store { return store })
}

func TestStateHashSeesEveryPart(t *testing.T) {
	hash := func(change func(*tokenworker.Record)) string {
		r, _, _ := (*tokenworker.Record)(nil).Acquire(acquired(event(1)))
		r.Key = tokenworker.Key{OrgID: "o", ProviderID: "p", CompanyID: "c"}
		change(&r)
		m := newMemory()
		m.records[r.Key] = &r
		h, err := StateHash(t.Context(), m, []string{"o"}, nil)
		if err != nil {
			t.Fatalf("StateHash: %v", err)
		}
		return h
	}
	same := hash(func(*tokenworker.Record) {})
	for name, change := range map[string]func(*tokenworker.Record){
		"key":        func(r *tokenworker.Record) { r.Key.CompanyID = "d" },
		"status":     func(r *tokenworker.Record) { r.Status = tokenworker.Disconnecting },
		"epoch":      func(r *tokenworker.Record) { r.Stamp.Epoch++ },
		"sequence":   func(r *tokenworker.Record) { r.Stamp.Sequence++ },
		"generation": func(r *tokenworker.Record) { r.Generation++ },
		"set":        func(r *tokenworker.Record) { r.Sealed = []byte("another") },
	} {
		if hash(change) == same {
			t.Errorf("a changed %s leaves the hash as it was", name)
		}
	}
	if hash(func(r *tokenworker.Record) { r.Seen, r.Scope = nil, "" }) != same {
		t.Error("the hash depends on more than what order decides")
	}
}

func newMemory() *memory {
	return &memory{
		records: make(map[tokenworker.Key]*tokenworker.Record), beside: make(map[tokenworker.Key][]tokenworker.RetainedSet),
		keys: make(map[string]tokenworker.WrappedKey), providers: make(map[string]bool),
	}
}

// put stores a record and what is kept beside it.
func (m *memory) put(r tokenworker.Record) {
	switch {
	case r.Retain > 0:
		sets := append([]tokenworker.RetainedSet{r.RetainedSet()}, m.beside[r.Key]...)
		m.beside[r.Key] = sets[:min(len(sets), r.Retain)]
	case r.Status == tokenworker.Disconnected:
		delete(m.beside, r.Key)
	}
	r.Retain = 0
	m.records[r.Key] = &r
}

func (m *memory) Retained(ctx context.Context, k tokenworker.Key) ([]tokenworker.RetainedSet, error) {
	unlock, err := m.lock(ctx)
	defer unlock()
	return slices.Clone(m.beside[k]), err
}

func (m *memory) RewrapRetained(ctx context.Context, k tokenworker.Key, f tokenworker.Fence, set tokenworker.Rewrapped) error {
	unlock, err := m.lock(ctx)
	defer unlock()
	if len(set.New) > tokenworker.MaxSealedBytes {
		return tokenworker.ErrTooLarge
	}
	for i, s := range m.beside[k] {
		if s.Fence == f && bytes.Equal(s.Sealed, set.Old) {
			m.beside[k][i].Sealed = set.New
		}
	}
	return err
}

func (m *memory) DropRetained(ctx context.Context, k tokenworker.Key, until tokenworker.Stamp) error {
	unlock, err := m.lock(ctx)
	defer unlock()
	m.beside[k] = slices.DeleteFunc(m.beside[k], func(s tokenworker.RetainedSet) bool { return s.Stamp.Compare(until) <= 0 })
	return err
}

func (m *memory) lock(ctx context.Context) (unlock func(), err error) {
	m.mu.Lock()
	return m.mu.Unlock, ctx.Err()
}

func (m *memory) Acquire(ctx context.Context, a *tokenworker.Acquisition) (tokenworker.Verdict, error) {
	if len(a.Sealed) > tokenworker.MaxSealedBytes {
		return 0, tokenworker.ErrTooLarge
	}
	unlock, err := m.lock(ctx)
	defer unlock()
	if err != nil {
		return 0, err
	}
	next, v, err := m.records[a.Key].Acquire(a)
	if err == nil {
		m.put(next)
	}
	return v, err
}

func (m *memory) Disconnect(ctx context.Context, d *tokenworker.Disconnection) (tokenworker.Verdict, error) {
	unlock, err := m.lock(ctx)
	defer unlock()
	if err != nil {
		return 0, err
	}
	next, v, err := m.records[d.Key].Disconnect(d)
	if err == nil {
		m.put(next)
	}
	return v, err
}

func (m *memory) Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error) {
	unlock, err := m.lock(ctx)
	defer unlock()
	if err != nil {
		return tokenworker.Record{}, err
	}
	if r := m.records[k]; r != nil {
		return *r, nil
	}
	return tokenworker.Record{}, tokenworker.ErrNotFound
}

func (m *memory) Records(ctx context.Context, orgID string) iter.Seq2[tokenworker.Record, error] {
	return func(yield func(tokenworker.Record, error) bool) {
		unlock, err := m.lock(ctx)
		keys := slices.Collect(maps.Keys(m.records))
		unlock()
		if err != nil {
			yield(tokenworker.Record{}, err)
			return
		}
		slices.SortFunc(keys, func(a, b tokenworker.Key) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			if k.OrgID != orgID {
				continue
			}
			if r, err := m.Get(ctx, k); !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func (m *memory) AllRecords(ctx context.Context) iter.Seq2[tokenworker.Record, error] {
	return func(yield func(tokenworker.Record, error) bool) {
		unlock, err := m.lock(ctx)
		var all []tokenworker.Record
		for _, r := range m.records {
			all = append(all, *r)
		}
		unlock()
		for _, r := range all {
			if !yield(r, nil) {
				return
			}
		}
		if err != nil {
			yield(tokenworker.Record{}, err)
		}
	}
}

func (m *memory) Update(
	ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule,
) (tokenworker.Record, tokenworker.Verdict, error) {
	unlock, err := m.lock(ctx)
	defer unlock()
	if err != nil {
		return tokenworker.Record{}, 0, err
	}
	next, v, err := rule(m.records[rec.Key])
	if err != nil {
		return tokenworker.Record{}, 0, err
	}
	for _, sealed := range append(next.Waiting(), next.Sealed) {
		if len(sealed) > tokenworker.MaxSealedBytes {
			return tokenworker.Record{}, 0, tokenworker.ErrTooLarge
		}
	}
	if next.Status != "" {
		m.put(next)
		next.Retain = 0
	}
	return next, v, nil
}

func (m *memory) NoteProvider(ctx context.Context, id string) error {
	unlock, err := m.lock(ctx)
	defer unlock()
	if err == nil {
		m.providers[id] = true
	}
	return err
}

func (m *memory) Providers(ctx context.Context) ([]string, error) {
	unlock, err := m.lock(ctx)
	defer unlock()
	return slices.Sorted(maps.Keys(m.providers)), err
}

func (m *memory) Due(ctx context.Context, provider string, _ int, at time.Time) iter.Seq2[tokenworker.Key, error] {
	return func(yield func(tokenworker.Key, error) bool) {
		unlock, err := m.lock(ctx)
		var due []*tokenworker.Record
		for k, r := range m.records {
			if k.ProviderID == provider && !r.Due().IsZero() && r.Due().Unix() <= at.Unix() {
				due = append(due, r)
			}
		}
		unlock()
		if err != nil {
			yield(tokenworker.Key{}, err)
			return
		}
		slices.SortFunc(due, func(a, b *tokenworker.Record) int { return a.Due().Compare(b.Due()) })
		for _, r := range due {
			if !yield(r.Key, nil) {
				return
			}
		}
	}
}

func (m *memory) Shards() int { return 1 }

func (m *memory) Siblings(ctx context.Context, k tokenworker.Key) iter.Seq2[tokenworker.Key, error] {
	return m.find(ctx, func(r *tokenworker.Record) bool {
		return r.Key.ProviderID == k.ProviderID && r.Key.CompanyID == k.CompanyID && r.Key.OrgID != k.OrgID
	})
}

func (m *memory) BySubject(ctx context.Context, issuer, subject string) iter.Seq2[tokenworker.Key, error] {
	return m.find(ctx, func(r *tokenworker.Record) bool { return r.Issuer == issuer && r.Subject == subject })
}

func (m *memory) find(ctx context.Context, wanted func(*tokenworker.Record) bool) iter.Seq2[tokenworker.Key, error] {
	return func(yield func(tokenworker.Key, error) bool) {
		unlock, err := m.lock(ctx)
		var found []tokenworker.Key
		for k, r := range m.records {
			if wanted(r) {
				found = append(found, k)
			}
		}
		unlock()
		if err != nil {
			yield(tokenworker.Key{}, err)
			return
		}
		for _, k := range found {
			if !yield(k, nil) {
				return
			}
		}
	}
}

func (m *memory) IndexLag() time.Duration { return 0 }

func (m *memory) WrappedKey(ctx context.Context, name string) (tokenworker.WrappedKey, error) {
	unlock, err := m.lock(ctx)
	defer unlock()
	if err != nil {
		return tokenworker.WrappedKey{}, err
	}
	if k, ok := m.keys[name]; ok {
		return k, nil
	}
	return tokenworker.WrappedKey{}, tokenworker.ErrNotFound
}

func (m *memory) PutWrappedKey(ctx context.Context, k tokenworker.WrappedKey, replaces []byte) (tokenworker.WrappedKey, error) {
	unlock, err := m.lock(ctx)
	defer unlock()
	if err != nil {
		return tokenworker.WrappedKey{}, err
	}
	stored, ok := m.keys[k.Name]
	switch {
	case !ok && replaces != nil:
		return tokenworker.WrappedKey{}, tokenworker.ErrNotFound
	case ok && !bytes.Equal(stored.Wrapped, replaces):
		return stored, nil
	}
	m.keys[k.Name] = k
	return k, nil
}

func (m *memory) WrappedKeys(ctx context.Context, prefix string) ([]tokenworker.WrappedKey, error) {
	unlock, err := m.lock(ctx)
	defer unlock()
	var found []tokenworker.WrappedKey
	for _, name := range slices.Sorted(maps.Keys(m.keys)) {
		if strings.HasPrefix(name, prefix) {
			found = append(found, m.keys[name])
		}
	}
	return found, err
}

func (m *memory) AllWrappedKeys(ctx context.Context) iter.Seq2[tokenworker.WrappedKey, error] {
	return func(yield func(tokenworker.WrappedKey, error) bool) {
		keys, err := m.WrappedKeys(ctx, "")
		for _, k := range keys {
			if !yield(k, nil) {
				return
			}
		}
		if err != nil {
			yield(tokenworker.WrappedKey{}, err)
		}
	}
}

func (m *memory) DeleteWrappedKey(ctx context.Context, name string) error {
	unlock, err := m.lock(ctx)
	defer unlock()
	if err == nil {
		delete(m.keys, name)
	}
	return err
}

func (m *memory) HighWater(ctx context.Context) (tokenworker.Stamp, error) {
	unlock, err := m.lock(ctx)
	defer unlock()
	return m.mark, err
}

func (m *memory) RaiseHighWater(ctx context.Context, to tokenworker.Stamp) error {
	unlock, err := m.lock(ctx)
	defer unlock()
	if err == nil && to.Epoch == m.mark.Epoch {
		m.mark.Sequence = max(m.mark.Sequence, to.Sequence)
	}
	return err
}

func (m *memory) TakeEpoch(ctx context.Context) (uint64, error) {
	unlock, err := m.lock(ctx)
	defer unlock()
	if err != nil {
		return 0, err
	}
	m.mark = tokenworker.Stamp{Epoch: m.mark.Epoch + 1}
	return m.mark.Epoch, nil
}

func byPlace(a, b tokenworker.AuditCheckpoint) int {
	return cmp.Or(cmp.Compare(a.Chain, b.Chain), cmp.Compare(a.Sequence, b.Sequence))
}

func (m *memory) PutCheckpoint(
	ctx context.Context, c tokenworker.AuditCheckpoint,
) (tokenworker.AuditCheckpoint, error) {
	unlock, err := m.lock(ctx)
	defer unlock()
	i, found := slices.BinarySearchFunc(m.chain, c, byPlace)
	if !found && err == nil {
		m.chain = slices.Insert(m.chain, i, c)
	} else if err != nil {
		return c, err
	}
	return m.chain[i], nil
}

func (m *memory) LastCheckpoint(ctx context.Context) (tokenworker.AuditCheckpoint, error) {
	unlock, err := m.lock(ctx)
	defer unlock()
	if err == nil && len(m.chain) == 0 {
		err = tokenworker.ErrNotFound
	}
	if err != nil {
		return tokenworker.AuditCheckpoint{}, err
	}
	return m.chain[len(m.chain)-1], nil
}

func (m *memory) Checkpoints(ctx context.Context, chain uint64) iter.Seq2[tokenworker.AuditCheckpoint, error] {
	return func(yield func(tokenworker.AuditCheckpoint, error) bool) {
		unlock, err := m.lock(ctx)
		all := slices.Clone(m.chain)
		unlock()
		if err != nil {
			yield(tokenworker.AuditCheckpoint{}, err)
			return
		}
		for _, c := range all {
			if c.Chain == chain && !yield(c, nil) {
				return
			}
		}
	}
}
