package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/tokenworker/tokenworker/events"
)

// lookAgain is how long the store's list of providers is good for. So made-up ids cost the store one read in so long, however
// many they are.
const lookAgain = 10 * time.Second

// storedProviders are the providers that the store knows, as far as this worker has seen or has told it itself. Only ids
// that a configuration knows, or knew once, get there.
type storedProviders struct {
	mu     sync.Mutex
	ids    map[string]struct{}
	looked time.Time // at the store's list
}

// has reports whether a provider is among them, and whether that is the store's word of late.
func (s *storedProviders) has(id string, now time.Time) (has, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, has = s.ids[id]
	return has, now.Sub(s.looked) < lookAgain
}

// add adds what the store was told.
func (s *storedProviders) add(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = make(map[string]struct{})
	}
	s.ids[id] = struct{}{}
}

// addAll adds the store's list as it was at a time.
func (s *storedProviders) addAll(ids []string, at time.Time) {
	for _, id := range ids {
		s.add(id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked = at
}

// knowProvider refuses a provider that neither the configuration nor the store knows. The store is told of any other before
// its first connection is stored, so that no crash leaves one that no sweep finds.
//
// What is stored is handled whether or not the configuration knows its provider; a disconnect, say, needs no such look.
func (w *Worker) knowProvider(ctx context.Context, id string) error {
	now := w.cfg.Now()
	has, fresh := w.stored.has(id, now)
	switch {
	case has:
		return nil
	case w.cfg.Known(id):
		if err := w.store.NoteProvider(ctx, id); err != nil {
			return err
		}
		w.stored.add(id)
		return nil
	case fresh:
		return events.CodeUnknownProvider
	}
	ids, err := w.store.Providers(ctx)
	if err != nil {
		return err
	}
	w.stored.addAll(ids, now)
	if has, _ = w.stored.has(id, now); !has {
		return events.CodeUnknownProvider
	}
	return nil
}
