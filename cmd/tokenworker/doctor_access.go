package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// accessNeeds and accessExcess are what the user that answers reads must be able to do, and must not: whoever reads chooses
// where the answer goes, so that what this user may publish on, every reader of its own account may. The rights of this user do
// not let it ask the server for them, so each is tried, with names that mean nothing to anybody: where it is allowed, nothing
// comes of it.
var (
	accessNeeds = []attempt{
		{publishes, "_R_.doctor.x"},
		{subscribes, events.GetSubject("doctor", nobody)},
		{subscribes, "$SRV.PING.doctor"},
	}
	accessExcess = []attempt{
		{publishes, "_INBOX.doctor.x"}, {publishes, "doctor"}, {publishes, events.GetSubject("doctor", nobody)},
		{publishes, "$JS.API.INFO"}, {publishes, "$JS.API.STREAM.PURGE.DOCTOR"}, {publishes, "$JS.API.STREAM.DELETE.DOCTOR"},
		{publishes, "$JS.ACK.DOCTOR.doctor.1.1.1.1.1"}, {publishes, "$SYS.REQ.USER.INFO"}, {publishes, "$SRV.PING.doctor"},
		{subscribes, "_INBOX.doctor.x"}, {subscribes, events.Stored.Subject(nobody)}, {subscribes, events.Acquired.Subject(nobody)},
		{subscribes, "$JS.API.STREAM.INFO." + streams.In},
	}
	nobody = tokenworker.Key{OrgID: "doctor", ProviderID: "doctor", CompanyID: "doctor"}
)

// attempt is a way to use a subject.
type attempt struct {
	does    string
	subject string
}

const (
	publishes  = "publish on"
	subscribes = "subscribe to"
)

func (a attempt) String() string { return a.does + " " + a.subject }

// examineAccess tries what the user that answers reads may do.
func (d *deployment) examineAccess(_ context.Context, t *target) []finding {
	if d.flags.access == (natsUser{}) {
		return []finding{{warn, "reads: off, for want of a NATS user: give `run` one with --access-creds, or --access-user",
			"no service gets a token"}}
	}
	var lacks, excess []string
	for _, a := range accessNeeds {
		allowed, err := t.try(a)
		if err != nil {
			return []finding{{bad, "reads: " + err.Error(), "no service gets a token"}}
		}
		if !allowed {
			lacks = append(lacks, a.String())
		}
	}
	for _, a := range accessExcess {
		allowed, err := t.try(a)
		if err != nil {
			return []finding{{bad, "reads: " + err.Error(), "whether readers can misuse the read service is not known"}}
		}
		if allowed {
			excess = append(excess, a.String())
		}
	}
	var fs []finding
	if lacks != nil {
		fs = append(fs, finding{bad, "reads: their NATS user lacks to " + strings.Join(lacks, ", "), "no service gets a token"})
	}
	if excess != nil {
		fs = append(fs, finding{bad, "reads: their NATS user may " + strings.Join(excess, ", "),
			"whoever may ask for a token can have the answer published there"})
	}
	if fs == nil {
		fs = []finding{{Level: ok, What: "reads: their NATS user may answer them, and nothing else that was tried"}}
	}
	return fs
}

// try reports whether the user that answers reads may do something. The connection is of this attempt alone, so that the
// server's complaint is about nothing else.
func (t *target) try(a attempt) (allowed bool, _ error) {
	nc, err := t.reads(nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // a denial is no news
	if err != nil {
		return false, err
	}
	defer nc.Close()
	if a.does == publishes {
		err = nc.Publish(a.subject, nil)
	} else {
		_, err = nc.SubscribeSync(a.subject)
	}
	if err == nil {
		err = nc.FlushTimeout(askTimeout)
	}
	if err != nil {
		return false, fmt.Errorf("trying to %s: %w", a, err)
	}
	return !errors.Is(nc.LastError(), nats.ErrPermissionViolation), nil
}
