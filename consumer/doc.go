// Package consumer handles the events of upstream services: it subscribes to the durable consumers of package streams,
// decodes, opens, seals, stores, announces, and settles each delivery.
//
// # One delivery
//
//	message ──► read ──► decode ──► age ──► hold-back ──► open ──► seal ──► store ──► announce ──► settle
//	             │          │        │          │           │        │        │           │           │
//	             │          └────────┴── refused: a code ───┘        │        │           │           │
//	             │                              └─ an earlier one is unsettled: wait      │           │
//	             └─ live, parked or replayed: one delivery                └─ outage: wait ┘           │
//	                                                                                                  ▼
//	      ack │ retry after a delay │ release to another replica │ park │ dead letter │ halt
//
// handle.go runs the line, acquire.go the part from open to store. settle.go alone decides what becomes of a delivery, as a pure
// function of how it ended.
//
//   - ack: its effect is committed in the store and announced, or there is none. Never before.
//   - retry: something did not answer. The delay doubles up to a minute, so an outage costs few attempts; MaxAckPending
//     bounds how many events can be in that state, and the rest waits in the stream.
//   - release: this replica is shutting down; another one gets the event at once.
//   - park: it can be settled neither way, and that concerns one organization, connection or provider alone: the organization's
//     key is refused, the record has no room, the set's refresh token is being posted, the event's original is parked, the
//     provider cannot be asked for a company. The event moves to TOKENS_PARKED, unchanged and with its stamp. From there it is
//     tried again, minutes apart, and its slot in the main stream is free for others.
//   - dead letter: it is refused with a fixed code. The whole message is sealed by the worker, published on TOKENS_DLQ and
//     acknowledged there; then the original is terminated. Unless it is proven that nothing in it is in clear (it opened), it is
//     overwritten first, within the limits of package wipe.
//   - halt: the stream was rolled back. The message stays; the worker stops and says why.
//
// # Nobody can hold what others need
//
// What one connection, organization, provider or publisher causes never holds a slot, a loop, a limit, a label, a disk or a
// setting that others need; only an outage of what all share is waited out in place. So:
//
//   - what concerns one of them alone is parked, refused or made due, and its slot given back;
//   - providers that neither configuration nor store knows are refused (providers.go), so made-up ids fill no map, no label and
//     no setting; what is stored is handled whatever the configuration says;
//   - a request to refresh does not wait for its provider (package rotator, ask.go);
//   - no provider is waited for by more handlers than it may have requests under way (identify.go);
//   - events of one connection take turns (turns.go), so that many of them cost the store no more than they are.
//
// What is left is the order of the queue: an event waits for those that entered before it, as long as handling them takes.
//
// # Epochs
//
// Run handles the events of one epoch after the other (epoch.go). The epoch stands in the names of the consumers of TOKENS_IN, so
// a worker can be given nothing of a stream whose epoch it does not hold, and stamps what it is given with the one it holds.
// When the stream was made anew, its consumers are gone; the worker notices at its next look, finishes what it has in hand, and
// takes the new epoch, for deliveries and the hold-back alike. The eraser reads the epoch of the stream that it is about to
// delete from.
//
// A look compares the stream with the store's high-water mark ([tokenworker.CheckHighWater]), before the first message, every 5
// seconds, and before the first message after NATS was connected to again.
//
// # Events without a company
//
// identify.go asks the provider for the company of an acquired event that names none, and the event goes on down the line
// under the full key. It is not published anew, because that would give it a new place in the order: an event that waits
// while its provider is down would then undo a disconnect that came meanwhile. So it keeps stamp and id; the price is that a
// delivery that fails later on asks the provider again when it is tried again.
//
// # Announcements
//
// An event that was applied is announced on TOKENS_OUT before its message is acknowledged, under a message id derived
// from its stamp. A crash between commit and announcement brings the message back: the store then knows the event's id and
// the record still shows its stamp, so it is announced again, and JetStream keeps one of the two. So the inbound
// message is itself the record of what is owed, and the hot path needs no outbox.
//
// # Order
//
// Deliveries of one connection may be handled in any order and at the same time, on any replica: the stamp decides, in the
// store. The one case that stamps cannot tell is a repeat (an upstream outbox publishing an event again) that is
// handled before its own original; holdBack in park.go keeps it waiting.
//
// # Shutdown
//
// When Run's context ends, no more messages are pulled; those already pulled are handled, within the grace. What is
// still unfinished then is released, not counted as failed.
package consumer
