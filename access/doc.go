// Package access answers reads: a service on NATS that gives back-end services the access tokens of connections, each sealed
// to whoever asked.
//
// # One read
//
//	reader                      NATS                                   access
//	one-time key ──► tokens.v1.get.<caller>.<org>.<provider>.<company> ──► limit, decode
//	                 reply to the caller's account                          read the record, consistently
//	                                                                         too old, or refused by the API?  refresh, once for all
//	                                                                         seal to the one-time key
//	open     ◄────── {enc, ct}, or a code in a header ◄──────────────────── record in the audit trail
//
// run.go takes requests, which hands.go has handled, and answers them; read.go decides what a reader gets, looks.go asks the store
// for it, limits.go keeps callers to their rates and their shares.
//
// # Who may read what
//
// A subscriber cannot see who published. NATS's accounts can: each reader has one of its own, which imports its own caller name
// and the organizations that it may read, and nothing else, so caller and connection in the subject are as true as those
// imports. deploy/nats has them.
//
// The requester chooses where the reply goes, so a service with wide rights could be made to publish anywhere: a reply to
// $JS.API.STREAM.PURGE.… is a purge. To a request from another account the server therefore gives a reply subject of its own
// making, _R_.…, which leads back to that account. Access has a connection, and a NATS user, of its own, which may publish
// on those and on nothing else. Where readers share the account of the worker, as in `tokenworker dev`, it answers in inboxes of
// the caller, _INBOX.<caller>.…, so that no reader plants messages in another's. Anything else gets no answer.
//
// # Gone is gone
//
// No opened token outlives the read that opened it. Each read asks the store for the record, consistently, so a disconnect
// that was announced, by whatever replica, is seen by every read that begins after it; readers of one record share looks, but
// none that began before they came (looks.go). What a read saves by the sealer's
// cache of data keys is the call to the key service; the rest of opening a set costs microseconds, less than a cache of
// plaintext would be worth.
//
// # Refreshing inside a read
//
// A token that lives shorter than the reader asks, or that the provider's API has refused, is refreshed before it is served.
// The claim decides among processes, one flight is shared by all readers of one process, and both are of one token set: its
// successor is made once, and whoever comes later finds it. Where nothing comes of it (the provider is down, an attempt is
// unresolved), the token that still works is served; where none does, the reader is told so. Of a refused token that cannot be
// refreshed the provider is asked what has become of it, so that a disconnect that one reader meets is announced to all. Neither
// happens again within half a minute: some APIs answer 401 whatever the token.
package access
