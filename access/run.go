package access

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/tokenworker/tokenworker/events"
)

const (
	// serviceName and contractVersion are what `nats micro` shows.
	serviceName     = "tokenworker"
	contractVersion = "1.0.0"
)

// Every process that answers reads says on PingSubject that it does, and on InfoSubject what [Config] gave it to say of
// itself (NATS services, ADR-32).
const (
	PingSubject = "$SRV.PING." + serviceName
	InfoSubject = "$SRV.INFO." + serviceName

	// StatsSubject is where every such process says how it is, its [Config].State included.
	StatsSubject = "$SRV.STATS." + serviceName
)

// routedReply is what the reply subjects begin with that the server puts in place of the reader's own when a request comes
// from another account: the answer goes to that account and nowhere else. No client may name one.
const routedReply = "_R_."

// Run answers requests that come over nc, a connection of nobody else's, until ctx ends. Then it takes no more, answers
// those under way within the grace, and leaves nc open. Replicas share the requests.
func (s *Service) Run(ctx context.Context, nc *nats.Conn) error {
	config := micro.Config{
		Name: serviceName, Version: contractVersion, Description: "gives access tokens, each sealed to whoever asks",
		Metadata: s.cfg.Metadata,
	}
	if s.cfg.State != nil {
		config.StatsHandler = func(*micro.Endpoint) any { return s.cfg.State() }
	}
	service, err := micro.AddService(nc, config)
	if err != nil {
		return fmt.Errorf("adding the service: %w", err)
	}
	handling := context.WithoutCancel(ctx)
	err = service.AddEndpoint("get", micro.HandlerFunc(func(req micro.Request) { s.handle(handling, nc, req) }),
		micro.WithEndpointSubject(events.GetSubjects))
	if err == nil {
		<-ctx.Done()
	}
	if stopErr := service.Stop(); stopErr != nil && !nc.IsClosed() {
		s.cfg.Logger.WarnContext(ctx, "stopping to take requests failed", slog.Any("error", stopErr))
	}
	if err != nil {
		return fmt.Errorf("adding the endpoint: %w", err)
	}
	s.finish(nc)
	return nil
}

// finish waits until everything that was taken is answered and sent.
func (s *Service) finish(nc *nats.Conn) {
	limit := time.After(s.cfg.Grace)
	for nc.IsConnected() && nc.NumSubscriptions() > 0 { // until each is drained
		select {
		case <-limit:
			return
		case <-time.After(time.Millisecond):
		}
	}
	for range cap(s.slots) {
		select {
		case <-limit:
			return
		case s.slots <- struct{}{}: // all of them: no request is under way any more
		}
	}
	landed := make(chan struct{})
	go func() { defer close(landed); s.flying.Wait() }()
	select {
	case <-limit:
	case <-landed:
	}
	_ = nc.FlushTimeout(s.cfg.Wait) // a reader that gets no answer asks again
}

// handle takes one request. It does not block, nor do more than finding out who asks before that caller's limits are looked
// at, since no other is taken meanwhile.
func (s *Service) handle(ctx context.Context, nc *nats.Conn, req micro.Request) {
	begun := s.cfg.Now()
	caller, _, err := events.ParseGetSubject(req.Subject())
	if !strings.HasPrefix(req.Reply(), events.InboxPrefix(caller)+".") && !strings.HasPrefix(req.Reply(), routedReply) {
		s.metrics.count(outcomeNoInbox) // wherever else it points, nothing is sent there
		return
	}
	reply := func(data []byte, code events.GetCode) {
		msg := &nats.Msg{Subject: req.Reply(), Data: data}
		if code != "" {
			msg.Header = nats.Header{micro.ErrorHeader: {string(code)}, micro.ErrorCodeHeader: {strconv.Itoa(status(code))}}
		}
		if err := nc.PublishMsg(msg); err != nil {
			s.cfg.Logger.WarnContext(ctx, "a reply could not be sent", slog.Any("error", err))
		}
		s.metrics.done(code, s.cfg.Now().Sub(begun))
	}
	switch {
	case err != nil:
		reply(nil, events.GetBadRequest)
		return
	case !s.limits.allow(caller, begun), !s.shares.enter(caller):
		reply(nil, events.GetRateLimited)
		return
	}
	select {
	case s.slots <- struct{}{}:
	default:
		s.shares.leave(caller)
		reply(nil, events.GetUnavailable)
		return
	}
	s.hands.do(func() {
		defer func() { s.shares.leave(caller); <-s.slots }()
		q, err := events.DecodeGet(req.Subject(), req.Data())
		if err != nil {
			reply(nil, events.GetBadRequest)
			return
		}
		reply(s.answer(ctx, q))
	})
}

// status is the number that tools show beside a code, after HTTP's.
func status(code events.GetCode) int {
	switch code {
	case events.GetBadRequest:
		return http.StatusBadRequest
	case events.GetNotFound:
		return http.StatusNotFound
	case events.GetDisconnected:
		return http.StatusGone
	case events.GetReauthRequired:
		return http.StatusForbidden
	case events.GetRateLimited:
		return http.StatusTooManyRequests
	default:
		return http.StatusServiceUnavailable
	}
}
