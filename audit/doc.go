// Package audit keeps the audit trail: who did what to which connection, why, and what came of it, in an order that cannot
// be changed afterwards without being noticed.
//
//	announcements (TOKENS_OUT) ──► durable consumer ──┐
//	reads, requests to refresh, operators' commands ──┴──► TOKENS_AUDIT ──► chain ──► signed checkpoints in the store
//
// # Records
//
// A record is one message of TOKENS_AUDIT (record.go). It names its connection by a pseudonym: an HMAC of the key under a
// key of the worker's. So an erasure need not touch the trail, and whoever knows a connection's key, and may use the
// worker's, still finds what happened to it.
//
// Most records are made of announcements (notices.go). These are published after the write that they are about and never
// lost (packages consumer and rotator), and a durable consumer hands each of them over until its record is acknowledged. So
// stores, refreshes, disconnects, revocations, erasures and refusals are on record without a call where they happen, cost
// the path of an event nothing, and go on while the trail cannot be written: what is to be recorded waits in TOKENS_OUT, for
// a week (P9). The metric tokenworker_audit_waiting says how much does.
//
// What is not announced is recorded by whoever does it ([Trail.Record]), who does not do it without: a read answers no
// token before its record is acknowledged. It fails closed, because a buffer would lose records in a crash, and because the
// stream of the trail is served by the very NATS that carries the read: there is little that would be down alone. The wait
// is that of one message, and whoever seals a reply may do so meanwhile.
//
// # The chain
//
// The stream's sequence orders the records. Over them goes a chain of SHA-256 (chain.go): the hash at a record covers it, its
// sequence and its time in the stream, and the hash before. From time to time a worker writes a checkpoint to the store: the
// sequence, the hash there, four bytes of the hash at each record since the checkpoint before, and an Ed25519 signature.
// Ed25519 and not an HMAC, because whoever checks must not be able to forge, and a checkpoint can be shown to somebody who
// has nothing but the public key.
//
// The trail and its checkpoints lie with different services. To hide a record, one would have to change the stream in NATS
// and the checkpoints in the store, and have the signing key, which rests wrapped by the key service. [Trail.Verify] finds:
//
//   - a record that was altered, or put in another's place: the hash at its sequence differs;
//   - a record that is missing: the sequences have a gap, or begin after one that is not old enough to be gone. A checkpoint
//     covers half an hour's records at most, so its own time tells whether those it covers are;
//   - a tail that was cut off: the newest checkpoint is past the end;
//   - a checkpoint that was altered, or that is missing between two others or where its chain begins.
//
// Records past the newest checkpoint, half a minute's as a rule, hang together by their sequences only; so do those at the
// other end, up to half an hour's, that are about to be gone by age as what their hash leads back to is already. And whoever can
// write the store can remove the newest checkpoints: SECURITY.md says so.
//
// # State, replicas, crashes
//
// The chain's only state is the newest checkpoint. To extend it, a worker reads it, reads the records after it, and puts the
// next one where there is none. There is no position of a durable consumer that could disagree with it after a crash, or after
// the table was restored to an earlier time: the chain is then simply extended from an older checkpoint again. The hash at a
// sequence is a function of the stream, so two replicas that extend the chain at once come to the same hashes, and both
// their checkpoints are right; they take turns only to save work, by leaving records alone that are younger than the
// interval. A crash leaves the newest checkpoint as it was.
//
// Chains are numbered. When the stream was lost and made anew its sequences begin at 1 again, and the trail stays broken,
// loudly, until an operator begins a new chain ([Trail.Begin]); that the old one ended, and where, stays in the store.
//
// # Keys
//
// One data key of the key service, wrapped in the store under the name audit/key, gives both keys by HKDF-SHA256: that of
// pseudonyms and the seed of the signing key. The public key in the store is believed only after it was compared with the
// private one.
package audit
