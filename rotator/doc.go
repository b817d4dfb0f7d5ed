// Package rotator refreshes every token set before it expires and revokes what was disconnected, without ever losing a
// rotated token or posting a spent one.
//
// # One connection
//
//	due ──► read ──► announce what is owed ──► plan ──► open the set, prepare the seal of its successor
//	                                            │                      │
//	                       nothing to do, or not yet                 claim     "this token may have been posted"
//	                                                                   │       (compare-and-swap on stamp and generation)
//	                                                                one POST
//	        ┌──────────────────┬──────────────────┬────────────────────┼──────────────────┐
//	      ok                not spent           unknown          grant is dead      client refused
//	   seal, commit        release its        the claim         reauth_required    release; alarm;
//	  store or rescue      claim; back off     stays                                 back off
//	        │                                    │
//	    announce                static: post again when the claim is over
//	                            grace:  again, once the claim is settled, if the request then arrives inside the window, counted
//	                                    from the first claim, and nothing is in the rescue stream; else as strict
//	                            strict: serve the access token until it expires; then, once the claim is settled, and nothing in
//	                                    the rescue stream, the last resort: once more
//
// plan.go decides, as a pure function of the record, the provider's policy and the time; clock.go says by whose clock.
// refresh.go runs the line, save.go makes an answer durable, revoke.go revokes, sweep.go finds what is due, announce.go says
// what happened. The rules that decide what each write makes of a record are in the root package (rules_refresh.go); docs/model
// checks them.
//
// # Why a lost answer is rare and a reused token rarer
//
// A claim says that its token may have been posted. Everything slow comes before it: the data key for the successor is
// at hand, the provider's metadata too. The request is made once, by a client that never repeats it, with a deadline inside
// the claim, and not at all when the claim has run too far, because the process was paused. Once the answer is in memory it
// is saved before anything else happens, whatever becomes of the caller's context: in the store, or in the rescue stream, or,
// with both down, again and again until the shutdown limit. The commit is fenced by the token set (stamp and generation) and
// the status, not by the claim: whoever holds the answer may save it.
//
// An expired claim frees nobody to post a strict provider's token: its owner may only be paused. What is lost that way (the
// process died between POST and commit, or the answer never came) is served until the access token expires and then tried
// once more, because nothing else can save the connection. That last resort is the one declared exception. While it gets no
// answer it is repeated, rarer and rarer, for three days; then the connection is given up (plan.go).
//
// # Clocks
//
// A claim is settled when nothing of its attempt can come any more: its end, the margin, and what the clock of the worker that
// claimed may be apart from that of the one that judges (clock.go; docs/model/Clock.tla). A worker whose clock is more than 4 min
// 30 s from the store's takes no claim, one more than 30 s from it judges no other's; it leaves them to others and says so. The
// store's clock counts because all claims meet there, and it is looked at with each read of a record, the one before a claim
// too. A NATS server's clock decides nothing here. Times of claims are compared without monotonic readings, which stand still
// while a machine is suspended.
//
// A process that is paused while it waits for an answer (SIGSTOP, a suspended machine) reads it when it goes on: the wait is
// measured in time that the process runs (provider/patience.go). One that is paused between its claim and its request
// finds the deadline past and does not send it. So a pause costs nothing unless it outlasts the claim's end and the margin.
//
// # What was written is announced
//
// A write notes on the record what it owes. The process that wrote publishes it and, if NATS is down, goes on trying. Should it
// die, whoever looks at the record next finds a note of another process, asks the stream of announcements whether it was
// published, publishes it if not, and crosses it off by its claim. So an event may come late or twice, under the same id,
// and is never lost; and a refresh costs no third write.
//
// # Sweeps
//
// At its start and at each tick every replica publishes one job for each provider that has connections and each shard; message ids named by
// the tick leave one of each, and a stream that takes one message for a subject does not let a slow sweep be doubled. A
// sweep asks the index of due records for its shard: what is not due costs nothing. Every outcome moves the due time, a
// failure and an unresolved claim included, so what cannot be helped does not stand before what can. Concurrency, rate and a
// circuit breaker are kept for each provider by each replica; ten connections in a row without an answer pause a provider,
// one connection alone never does. A replica that dies with a job gives it up after streams.SweepAckWait.
//
// A sweep every 30 s would come too late for a token that lives for a minute. So whoever reads or writes a record that falls due
// before the next sweep keeps it on an agenda and looks at it at that moment (agenda.go); a sweep looks as far ahead. Waiting
// takes no job and no slot, and what is lost with the process the next sweep finds. A lifetime of 20 s or more is refreshed
// before it ends: due at two thirds to three quarters of it, that leaves 5 s for the request.
//
// What waits for revocation beside a set has its own due time: the one holds up no try of the other, and a record is found
// by the earlier of the two.
//
// # When
//
//	acquired                        due                 expiry
//	   |-------------------------------|~~~~~~~|-----------|
//	                                   <------- lead ------>
//	                                   <jitter>
//
// A set is refreshed a lead before it expires. The lead is a share of the lifetime and not a constant, because lifetimes
// reach from five minutes to months: a constant that leaves time for retries in the one is longer than the other. A cap
// keeps long-lived sets from being refreshed weeks early, which only spends rotations.
//
// Up to a quarter of the lead is given up as jitter, so that connections that expire together (an import, or the
// provider's recovery after an outage) do not come due together. It follows from the key alone: it needs no state, two
// replicas agree on it, and a connection keeps its place from refresh to refresh.
//
// A refresh token that dies when unused is used at half of that time even when nobody reads. A grant with a hard end is
// announced a week before. What cannot be refreshed is due when it expires, so that its end can be announced. What can
// neither be refreshed nor expire is never due, and costs a sweep nothing.
package rotator
