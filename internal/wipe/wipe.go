// Package wipe deletes messages from streams, so that those which may hold a token in clear do not stay on NATS' disk.
//
// A plain delete, like an acknowledgement, leaves a message's bytes in its file until NATS compacts or drops that. A secure delete
// overwrites them, and is dear: since version 2.15 the server writes the whole file of up to 4 MB anew, and syncs it, for each
// message (measured: 3,000 events of 1 KB had 9.4 GB written, and good events wait for that). So it is spent only on what may hold a
// token in clear, and within limits. What is beyond them is deleted plainly: its bytes are gone when NATS drops the file, as soon as
// every message in it is settled, or compacts it, every two minutes where less than half of it is in use and it is not the last.
//
// Also an overwritten message's old bytes stay in the free space of the file system, since the new file replaces the old one by its name.
package wipe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"
)

// The limits of a process: of all organizations together, and of each alone, so that one cannot use up what others need. The former are
// 120 MB in a minute of bad events at worst, and half of that as a rule.
const (
	every, burst       = 2 * time.Second, 16
	eachEvery, eachMay = 8 * time.Second, 5
)

// maxKnown bounds the organizations whose limits are kept. With more, all begin anew: the limit of all together holds.
const maxKnown = 1024

// Wiper deletes messages. It is safe for concurrent use. The zero Wiper is ready to use.
type Wiper struct {
	mu   sync.Mutex
	all  *rate.Limiter
	each map[string]*rate.Limiter // by organization
}

// ErrOverLimit says that a message was deleted plainly, though it may hold a token in clear.
var ErrOverLimit = errors.New("deleted without being overwritten, for the limit on that")

// Delete overwrites and deletes a message of the stream that was published for an organization. One that is not there is no error.
func (w *Wiper) Delete(ctx context.Context, s jetstream.Stream, sequence uint64, orgID string) error {
	remove, over := s.SecureDeleteMsg, error(nil)
	if !w.may(orgID) {
		remove, over = s.DeleteMsg, ErrOverLimit
	}
	if err := remove(ctx, sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("deleting message %d: %w", sequence, err)
	}
	return over
}

func (w *Wiper) may(orgID string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = rate.NewLimiter(rate.Every(every), burst)
	}
	if len(w.each) == maxKnown {
		w.each = nil
	}
	if w.each == nil {
		w.each = make(map[string]*rate.Limiter)
	}
	own := w.each[orgID]
	if own == nil {
		own = rate.NewLimiter(rate.Every(eachEvery), eachMay)
		w.each[orgID] = own
	}
	return own.Allow() && w.all.Allow()
}
