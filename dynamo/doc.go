// Package dynamo is the store of a fleet of workers: one DynamoDB table. It takes sealed records only, so no plaintext
// token has a way in, and it keeps the contract of internal/storetest, as the embedded store does.
//
// # Items
//
// The primary key is org (partition) and conn (sort), both strings. Parts of connection keys are escaped
// ([tokenworker.EscapePart]), so '#' never occurs in them and marks whatever is no connection:
//
//	org                    conn                       item
//	<organization>         <provider>:<company>       a record
//	<organization>         #set:<conn>#<fence>        a token set that is kept beside the record of that conn
//	<organization>         #key                       the wrapped key "org/<organization>"
//	#<kind>                <rest>                     the wrapped key "<kind>/<rest>", of any other kind
//	#                      #settings                  the table's settings
//	#audit-chain           <chain>:<sequence>         a checkpoint of the audit trail; each number of 20 digits
//
// A tenant's records are one query, and IAM's dynamodb:LeadingKeys can fence a tenant with its data key. There is no local
// index, so DynamoDB may split a large tenant. Listing an organization begins at conn > "$", the byte after '#'.
//
// A record. Attributes that have nothing to say are absent, which is what keeps the indexes sparse:
//
//	conn_status       S    active, reauth_required, disconnecting, disconnected
//	stamp_epoch       N    the stamp of the event that the record reflects: the epoch of its stream
//	stamp_seq         N    and the sequence there. 64 bits each; DynamoDB's numbers have 38 digits
//	generation        N    refreshes since; stamp and generation together are the fence
//	entered_at        N    when that event entered the stream
//	disc_epoch        N    the stamp of the last disconnect, applied or stale
//	disc_seq          N
//	sealed            L    of one B: the current token set, sealed (package kmsenc), after the fingerprint of its token (16 bytes).
//	                       A list, so that list_append can move it
//	rotated           BOOL the set's refresh token came with a provider's answer, not with an event
//	revoke_list       L    of B: sets to revoke, spelled likewise, oldest first
//	revoke_at         N    when to try next to revoke it
//	revoke_since      N    since when something has waited for revocation
//	due_at            N    when the rotator should look at the record
//	set_due_at        N    only beside revoke_at or siblings: when the set, or what is owed, is due by itself; due_at is the
//	                       earliest of all
//	siblings          M    the last disconnect that has ended the company's connections, and what it leaves to do about the
//	                       others: stamp_epoch N, stamp_seq N, entered N, at N (when it is left), until N, ask BOOL
//	due_shard         S    there exactly when due_at is: <provider>#<FNV-1a 64 of org:provider:company, modulo due_shards>
//	claim             M    an attempt to refresh that is unresolved: owner S, attempt B (16 bytes), at N, until N,
//	                       last_resort BOOL
//	revoking          M    an attempt to revoke that is under way, spelled as a claim
//	seen_ids          BS   of 24 bytes: an event id's hash (16), its time in Unix seconds (8, big-endian). At most 64
//	acquired_prints   L    of B (16 bytes): fingerprints of refresh tokens that may be spent and that events brought, oldest
//	                       first. At most 64
//	spent_prints      L    and that refreshes brought, likewise. At most 16
//	attempts          L    of B (41 bytes): the latest attempts at those tokens whose end is not known: the attempt's id (16), the
//	                       fingerprint (16), the end of its claim in Unix seconds (8, big-endian), 1 for the sole one (1)
//	failures          N    in a row, to refresh or to revoke
//	failure_code      S    of the last one
//	warned            BOOL that the grant ends soon has been announced
//	retained          BOOL token sets lie, or lay once, beside the record
//	owed              L    of M: what is yet to be announced, oldest first: attempt B (16 bytes), by S, kinds L of S,
//	                       stamp_epoch N, stamp_seq N, generation N, code S, at N
//	written_by        B    16 random bytes: the attempt that wrote the item last; the record's revision
//	expires_at        N    of the access token
//	grant_expires_at  N    of the grant
//	granted_scope     S
//	subject           S
//	issuer            S
//	subject_hash      B    there exactly when subject is: 16 bytes of a hash of issuer and subject
//	provider_conn_id  S
//	consent_ref       S
//	refreshable       BOOL the set has a refresh token
//	acquired_at       N    the time of the acquisition event
//	refreshed_at      N    of the last refresh
//	remove_at         N    tombstones only: time to live
//
// A retained set: stamp_epoch N, stamp_seq N, generation N, retained_set B, retained_at N and, where there are any, expires_at N
// and granted_scope S. Its fence in the sort key is the three numbers in hex, 16 digits each. It is written with its
// record in one transaction, and only where a provider's sets are to be kept; the others' writes stay as they are.
//
// A wrapped key: key_id S, wrapped_key B, created_at N and, for event keys, hpke_suite S, public_key B. The settings:
// layout_version N (1), due_shards N, max_epoch N (the highest epoch ever given), max_seq N (the highest sequence known of
// its stream).
//
// A checkpoint: chain_number N, chain_seq N, chain_hash B (32 bytes), chain_links B (16 KiB at most), recorded_nanos N (Unix
// nanoseconds), signature B.
//
// Times are Unix seconds. No name that stands in an expression is one of DynamoDB's reserved words (status, ttl, revoke,
// scope and wrapped are), so expressions use names as they are and need no ExpressionAttributeNames.
//
// A record is at most about 340 KB of DynamoDB's 400: five sealed sets of 64 KiB (four to revoke beside the current one,
// or five), 1.5 KB of ids, 1.3 KB of fingerprints, 3.3 KB of attempts at their tokens (usually none or one), 0.5 KB of claims
// and what is owed, and what an event of 64 KiB can say in clear.
//
// # Indexes
//
// All KEYS_ONLY. The base item is always read again, consistently, before anything is done.
//
//	due          due_shard, due_at     rows that are due; N shards a provider, so that no partition takes all writes
//	connection   conn, org             the organizations that hold a connection to one company at one provider
//	subject      subject_hash, org     the connections of a person, for export and erasure; the hash bounds the key's length
//
// Claims, notes of stale events and repeats touch no attribute of an index. A sweep asks "due" for one partition up to a
// time, so what it costs is what is due there.
//
// # Writes
//
// What an event does is decided by the rules of package tokenworker alone ([tokenworker.Record.Acquire] and its siblings);
// this package makes the decision atomic. Every write names only the attributes that it changes, and carries a fresh
// attempt id in written_by.
//
// The usual acquisition and disconnect are one conditional UpdateItem with no read before it. Their values are those that
// the rule gives for the simplest record it applies to, and their conditions admit exactly the records on which the rule
// does the same. For an acquisition:
//
//	SET conn_status = :conn_status, stamp_epoch = :stamp_epoch, ..., sealed = :sealed, due_at = :due_at
//	REMOVE claim, rotated, failures, failure_code, warned, refreshed_at, remove_at, and every detail that the new set does not have
//	ADD seen_ids :seen_ids
//	if attribute_not_exists(org) OR (
//	   (stamp_epoch < :stamp_epoch OR (stamp_epoch = :stamp_epoch AND stamp_seq < :stamp_seq))   newer
//	   AND NOT contains(seen_ids, :id)                                                            no repeat
//	   AND size(seen_ids) < :max_seen                                                             room for its id (56)
//	   AND NOT contains(acquired_prints, :spendable) AND NOT contains(spent_prints, :spendable))  no resync of a spent token
//
// Where pending revocations stay (KeepRevocations) there must be none; otherwise the record must never have been
// disconnected, because what was revoked then may take the new grant with it. A set that is never due must not have to
// make a record due that owes something. For a disconnect of a record with a set:
//
//	SET revoke_list = list_append(if_not_exists(revoke_list, :empty), sealed),
//	    revoke_at = :revoke_at, revoke_since = if_not_exists(revoke_since, :revoke_since), ...
//	REMOVE sealed, rotated, set_due_at, claim, failures, failure_code, warned, expires_at, grant_expires_at, remove_at
//	ADD seen_ids :seen_ids
//	if attribute_exists(sealed) AND newer AND no repeat AND room (64: disconnects have more)
//
// Whatever else changes a record ([Table.Update]: claims, refreshes, failures, revocations) has read it. The rule is
// asked about what was read, and what it changes is written on the condition that written_by is what it was then. So a
// refresh is a read and two writes: the claim's write returns what the refresh's begins with. Nothing that is noted
// meanwhile (ids, the stamp of the last disconnect, a set to revoke) fences a refresh off or is wiped out by it: the
// condition fails, and the rule is asked again about the record as it is.
//
// A failed condition returns the item as it is (ReturnValuesOnConditionCheckFailure). If written_by is our own attempt
// id, an earlier try of the SDK did take place and only its reply was lost: success. Otherwise the rule is asked about
// that item. Mostly it says that there is nothing to write (a repeat). What is left (a stale event to note, a late
// acquisition to revoke, ids to forget, a first disconnect) is written as the difference between the record and what the
// rule makes of it, on the condition that written_by is still what it was: nobody has written since, so the decision still
// holds. If somebody has, the rule is asked again; each such round means that another write succeeded, and 32 of them end
// in ErrUnavailable.
//
// That a rule changes nothing, or refuses, is only believed of a record that was read, or returned by a failed condition,
// during the call; of an older one it costs a read.
//
// Ids are forgotten in the same write that applies the event which allows it. A separate write before it would, in a
// crash between the two, forget an id whose repeat can still come.
//
// # Cost
//
// The usual write says five times as much as a bare conditional put, and costs a tenth more of the SDK's time
// (BenchmarkAcquire and BenchmarkBarePut, a sealed token set of 1.5 KB, 2026-11-21). Written and signed by hand, without the
// SDK's middleware, the same request took under half of that; it was tried and left, because a client of the AWS API is not
// what this project is for.
//
// # Setup
//
// [Setup] makes the table or mends it, [Check] says what differs and why it matters. Point-in-time recovery and deletion
// protection are part of what is right. Global tables are not: writes in two regions break order and compare-and-swap.
package dynamo
