package restore

import (
	"context"
	"fmt"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/audit"
)

// history is what the trail says of one pseudonym.
type history struct {
	erased, gone tokenworker.Event // the newest erasure and disconnect, without their keys; zero stamp: none
	acquired     tokenworker.Stamp // the newest acquisition that was stored
	refreshed    tokenworker.Fence // the newest set that a refresh stored
	matched      bool              // a row, or a key that is named, is of it
	ids          []place           // of events that may still be repeated
}

// place is an event's id and stamp.
type place struct {
	id tokenworker.EventID
	at tokenworker.Stamp
}

// read reads the whole trail.
func (r *Restorer) read(ctx context.Context) (map[string]*history, error) {
	all := make(map[string]*history)
	for rec, err := range r.trail.Records(ctx, 1, "") {
		if err != nil {
			return nil, fmt.Errorf("reading the audit trail: %w", err)
		}
		if rec.Outcome != tokenworker.AuditDone {
			continue
		}
		h := all[rec.Connection]
		if h == nil {
			h = &history{}
			all[rec.Connection] = h
		}
		h.add(rec, r.cfg.Now())
	}
	return all, nil
}

// add takes a record into account.
func (h *history) add(rec audit.Record, now time.Time) {
	e := tokenworker.Event{Stamp: rec.Stamp(), Entered: rec.Time, ID: rec.EventID()}
	if e.ID == (tokenworker.EventID{}) { // not readable; the stamp is as good
		e.ID = tokenworker.NewEventID("tokenworker/restore", e.Stamp.String(), rec.Time)
	}
	switch rec.Action {
	case tokenworker.AuditWrite:
		h.acquired = newer(h.acquired, e.Stamp)
	case tokenworker.AuditDisconnect:
		h.gone = newest(h.gone, e)
	case tokenworker.AuditErase:
		h.erased = newest(h.erased, e)
	case tokenworker.AuditRefresh:
		if f := (tokenworker.Fence{Stamp: e.Stamp, Generation: rec.Generation}); h.refreshed.Stamp.Compare(f.Stamp) < 0 ||
			h.refreshed.Stamp == f.Stamp && h.refreshed.Generation < f.Generation {
			h.refreshed = f
		}
		return
	default:
		return
	}
	if !tokenworker.Forgettable(e.ID, now) {
		h.ids = append(h.ids, place{e.ID, e.Stamp})
	}
}

func newer(a, b tokenworker.Stamp) tokenworker.Stamp {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}

func newest(a, b tokenworker.Event) tokenworker.Event {
	if a.Stamp.Compare(b.Stamp) < 0 {
		return b
	}
	return a
}
