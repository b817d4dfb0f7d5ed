package main

import (
	"strings"

	"github.com/tokenworker/tokenworker/access"
	"github.com/tokenworker/tokenworker/streams"
)

// rights are a NATS user's, as the server answers on $SYS.REQ.USER.INFO.
type rights struct {
	Publish   subjectRights `json:"publish"`
	Subscribe subjectRights `json:"subscribe"`
}

// subjectRights allow everything when they allow nothing in particular.
type subjectRights struct {
	Allow []string `json:"allow"`
	Deny  []string `json:"deny"`
}

// allows reports whether a subject without wildcards may be used.
func (r subjectRights) allows(subject string) bool {
	return (len(r.Allow) == 0 || anyMatches(r.Allow, subject)) && !anyMatches(r.Deny, subject)
}

// unlimited reports whether nothing is forbidden.
func (r rights) unlimited() bool {
	return r.Publish.Allow == nil && r.Publish.Deny == nil && r.Subscribe.Allow == nil && r.Subscribe.Deny == nil
}

func anyMatches(patterns []string, subject string) bool {
	for _, p := range patterns {
		pattern, _, _ := strings.Cut(p, " ") // a queue's name may follow
		if matches(pattern, subject) {
			return true
		}
	}
	return false
}

// matches reports whether a pattern covers a subject: * stands for one token, > for one or more at the end.
func matches(pattern, subject string) bool {
	for {
		p, morePattern, deeper := strings.Cut(pattern, ".")
		s, moreSubject, more := strings.Cut(subject, ".")
		switch {
		case p == ">":
			return true
		case p != "*" && p != s, deeper != more:
			return false
		case !more:
			return true
		}
		pattern, subject = morePattern, moreSubject
	}
}

const (
	// somewhere is a subject's last tokens that stand for any connection.
	somewhere = "org.provider.company"

	// anyEpoch stands for any: rights are the same for all.
	anyEpoch = 1
)

// durables are the durable consumers of a stream.
type durables struct {
	name     string
	durables []string
}

// workerConsumers are what every worker pulls from that holds an epoch.
func workerConsumers(epoch uint64) []durables {
	var ofEpoch []string
	for _, kind := range []string{streams.Acquired, streams.Disconnect, streams.Refresh, streams.Erase, streams.Replay} {
		ofEpoch = append(ofEpoch, streams.Durable(kind, epoch))
	}
	return []durables{
		{streams.In, ofEpoch},
		{streams.Parked, []string{streams.ParkedRetry}},
		{streams.Rescue, []string{streams.Rescuer}},
		{streams.Sweep, []string{streams.Sweeper}},
		{streams.Out, []string{streams.Auditor}},
	}
}

// workerNeeds are subjects that a worker publishes on, one for each right. docs/operations.md gives the patterns.
func workerNeeds() []string {
	needs := []string{
		"tokens.v1.event.stored." + somewhere,
		"tokens.v1.dlq.too_old.acquired." + somewhere,
		"tokens.v1.parked.acquired." + somewhere,
		"tokens.v1.rescue." + somewhere,
		"tokens.v1.sweep.provider.0",
		"tokens.v1.audit.read.pseudonym",
		"$JS.API.STREAM.INFO." + streams.Audit,
		"$JS.API.CONSUMER.CREATE." + streams.Audit + ".reader", pullSubject(streams.Audit, "reader"),
		access.PingSubject, // whether workers answer reads, before a restore
	}
	for _, name := range []string{streams.In, streams.Parked, streams.Rescue, streams.Sweep, streams.DLQ, streams.Out} {
		needs = append(needs, "$JS.API.STREAM.MSG.GET."+name)
	}
	for _, name := range []string{streams.In, streams.Parked, streams.Rescue, streams.Sweep} {
		needs = append(needs, "$JS.API.STREAM.MSG.DELETE."+name)
	}
	for _, stream := range workerConsumers(anyEpoch) {
		needs = append(needs, "$JS.API.STREAM.INFO."+stream.name)
		for _, durable := range stream.durables {
			consumer := stream.name + "." + durable
			needs = append(needs, "$JS.API.CONSUMER.INFO."+consumer, pullSubject(stream.name, durable),
				"$JS.ACK."+consumer+".1.1.1.1.1")
		}
	}
	return needs
}

func pullSubject(stream, durable string) string {
	return "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + durable
}

// workerExcess are subjects that no worker publishes on, by which whoever steals its credentials could do more harm than by
// what it needs: deleting from streams whose messages it settles is among that (SECURITY.md).
func workerExcess() []string {
	return append(sharedExcess(), // drop what was said, or kept
		"$JS.API.STREAM.MSG.DELETE."+streams.Out, "$JS.API.STREAM.MSG.DELETE."+streams.DLQ)
}

// sharedExcess are subjects that nobody of `tokenworker run` publishes on.
func sharedExcess() []string {
	return []string{
		"tokens.v1.acquired." + somewhere, "tokens.v1.disconnect." + somewhere, // forge events
		"tokens.v1.refresh." + somewhere, "tokens.v1.erase." + somewhere,
		"tokens.v1.replay.too_old.acquired." + somewhere,
		"$JS.API.STREAM.DELETE." + streams.In, "$JS.API.STREAM.PURGE." + streams.In, "$JS.API.STREAM.UPDATE." + streams.In,
		"$JS.API.STREAM.DELETE." + streams.Audit, "$JS.API.STREAM.UPDATE." + streams.Audit,
		// Have the server publish any message, as it is, wherever they like.
		"$JS.API.DIRECT.GET." + streams.Out, "$JS.API.DIRECT.GET." + streams.Out + ".tokens.v1.event.stored." + somewhere,
		"$JS.API.STREAM.SNAPSHOT." + streams.In,
		"$JS.API.CONSUMER.DELETE." + streams.In + "." + streams.Durable(streams.Acquired, anyEpoch), // drop or hold back events
	}
}

// lacking returns the subjects that may not be published on.
func (r rights) lacking(subjects []string) (lacks []string) {
	for _, subject := range subjects {
		if !r.Publish.allows(subject) {
			lacks = append(lacks, subject)
		}
	}
	return lacks
}

// having returns the subjects that may be published on.
func (r rights) having(subjects []string) (has []string) {
	for _, subject := range subjects {
		if r.Publish.allows(subject) {
			has = append(has, subject)
		}
	}
	return has
}

// examine compares the rights with what a worker needs that hears answers on inboxes of the prefix.
func (r rights) examine(inbox string) []finding {
	if !r.Publish.allows(pullSubject(streams.In, streams.Durable(streams.Acquired, anyEpoch))) {
		return []finding{{Level: ok, What: "NATS rights: this is no worker's user, it may not pull events"}}
	}
	var fs []finding
	if !r.Subscribe.allows(inbox + ".any.one") {
		fs = append(fs, finding{bad, "NATS rights: lacks to subscribe to " + inbox + ".>", "the worker gets no events and no answers"})
	}
	lacks, excess := r.lacking(workerNeeds()), r.having(workerExcess())
	if lacks != nil {
		fs = append(fs, finding{bad, "NATS rights: lacks to publish on " + strings.Join(lacks, " "),
			"events are delivered again and again, and never settled"})
	}
	if excess != nil {
		fs = append(fs, finding{warn, "NATS rights: has and does not need to publish on " + strings.Join(excess, " "),
			"whoever steals the worker's credentials can forge or drop events"})
	}
	if fs == nil {
		fs = []finding{{Level: ok, What: "NATS rights: what a worker needs and no more"}}
	}
	return fs
}
