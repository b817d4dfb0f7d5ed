package main

import (
	"context"
	"strings"

	"github.com/tokenworker/tokenworker/erase"
	"github.com/tokenworker/tokenworker/streams"
)

// eraserNeeds are subjects that the user publishes on that deletes messages, one for each right.
func eraserNeeds() []string {
	needs := []string{"tokens.v1.event.erased." + somewhere, "tokens.v1.event.disconnected." + somewhere}
	for _, name := range erase.Streams() {
		needs = append(needs, "$JS.API.STREAM.INFO."+name, "$JS.API.STREAM.MSG.GET."+name, "$JS.API.STREAM.MSG.DELETE."+name)
	}
	return needs
}

// eraserExcess are subjects that it does not publish on, by which whoever steals its credentials could do more harm.
func eraserExcess() []string {
	durable := streams.Durable(streams.Erase, anyEpoch)
	return append(sharedExcess(), "tokens.v1.erase."+somewhere, "tokens.v1.event.stored."+somewhere,
		pullSubject(streams.In, durable), "$JS.ACK."+streams.In+"."+durable+".1.1.1.1.1")
}

// examineEraser compares what the user that deletes messages may do with what it needs.
func (d *deployment) examineEraser(ctx context.Context, t *target) []finding {
	js, err := t.erasing()
	switch {
	case err != nil:
		return []finding{{bad, "erasures: " + err.Error(), "requests to erase wait"}}
	case js == nil:
		return []finding{{warn, "erasures: off, for want of a NATS user: give `run` one with --eraser-creds, or --eraser-user",
			"requests to erase wait for a worker that has one"}}
	}
	r, err := askRights(ctx, js)
	switch {
	case err != nil:
		return []finding{{warn, "erasures: the rights of their NATS user cannot be seen; allow it to publish on " + askUser,
			"a right that it lacks shows only when it is needed"}}
	case r.unlimited():
		return []finding{{warn, "erasures: their NATS user may do everything in its account",
			"whoever steals its credentials can forge, read and delete events"}}
	}
	var fs []finding
	if lacks := r.lacking(eraserNeeds()); lacks != nil || !r.Subscribe.allows(eraserInbox+".any.one") {
		fs = append(fs, finding{bad, "erasures: their NATS user lacks to subscribe to " + eraserInbox + ".> or to publish on " +
			strings.Join(lacks, " "), "requests to erase are tried again and again"})
	}
	if excess := r.having(eraserExcess()); excess != nil {
		fs = append(fs, finding{warn, "erasures: their NATS user has and does not need to publish on " + strings.Join(excess, " "),
			"whoever steals its credentials can do more than delete messages"})
	}
	if fs == nil {
		fs = []finding{{Level: ok, What: "erasures: their NATS user has the rights that it needs and no more"}}
	}
	return fs
}
