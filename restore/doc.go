// Package restore brings a store that was restored to an earlier time to where no promise is broken when workers start on
// it again. What the store has forgotten the audit trail remembers: NATS was not restored with it.
//
//	audit trail ──► what became of each connection since ──► every row, and every key that an announcement names
//	(pseudonyms)    (erased, disconnected, at which stamp)     1. erased: a tombstone, without its sets
//	                                                           2. disconnected: its sets wait to be revoked
//	                                                           3. ids of events that may be repeated are remembered
//	                                                           4. a set that may be spent: unresolved
//	                                                           5. a set that is superseded: reauth_required
//
// # What it decides
//
// For the order of events a disconnect on record is what it was: the rules of package tokenworker apply it under its own
// stamp, to whatever the row is. What the row has already changes nothing, so a restore that was interrupted is simply run
// again, and so is one over a store that was not restored at all.
//
// An outbox may repeat an event for a day ([tokenworker.Window]), and the rows no longer know the ids of those that came
// after the backup. Those that are older than a disconnect on record are put back, also for connections that the store has no
// row of, as far as announcements (kept for a week) still name their keys; else a repeat would bring back what is gone. Those
// of newer acquisitions are not: their sets are lost, and a repeat is just what brings them back.
//
// For a provider that rotates, every set in the store may have been spent since the backup. Each is claimed as an attempt
// of which nobody knows the outcome: its access token is served until it expires, and its refresh token is posted again
// only as the last resort of package rotator, or never, when a new acquisition or the operator is faster.
//
// # What it cannot do
//
// Sets that were acquired or refreshed since the backup are gone. The report counts them; where the row still exists it is
// named in the log, so that its customer can be asked to log in again, or its publisher to publish again.
package restore
