// Package kmsenc seals token sets for rest: envelope encryption under data keys that a key service wraps. The key
// service is AWS KMS ([KMS]) or, in the embedded mode, a local key file.
//
//	sealer := kmsenc.New(service, store, kmsenc.Config{})
//	sealed, err := sealer.Seal(ctx, key, fence, plaintext)
//	plaintext, err := sealer.Open(ctx, key, fence, sealed)
//
// What a seal promises: it opens for its own connection and its own fence (stamp and generation) only. A blob copied to
// another row, an older blob put into a newer row, another organization's data key, a flipped bit: all fail with
// [tokenworker.ErrSealBroken], and so does everything else that was never sealed.
//
// # From KMS to a ciphertext
//
//	KMS key           never leaves KMS
//	   │ wraps, bound to the encryption context {app, org} or {app, pool}
//	data key          32 bytes from GenerateDataKey, shared within a scope, renewed after 7 days
//	   │ HKDF-SHA512 with a random salt, bound to the additional data
//	subkey            AES-256 key and key commitment, one for each seal
//	   │ AES-256-GCM with a random nonce and the same additional data
//	ciphertext
//
// The sealed bytes are laid out above the type envelope. They carry the wrapped data key, so that a row opens with
// the key service alone, whatever has become of other items.
//
// A subkey for each seal, because one AES key may be used for 2^32 random nonces at most (NIST SP 800-38D, section 8.3),
// and a data key that lives for a week in a large fleet should not have to be counted. The salt has 256 bits, so two
// seals never meet under one AES key.
//
// A key commitment, because GCM has none: whoever knows two keys can make one ciphertext that opens under both. Here
// the header holds 32 bytes that follow from the same HKDF, compared in constant time before anything is decrypted.
//
// All of it is what FIPS 140 mode accepts; the tests also run under GODEBUG=fips140=on.
//
// # Scopes
//
// A scope says who shares a data key. It is chosen when sealing; opening goes by the header, so a changed setting leaves
// older rows readable. What each costs in calls, where a key is in use when anything lies under it that is sealed or
// opened:
//
//	scope    GenerateDataKey             Decrypt                                one data key covers
//	org      1 a week and organization   1 for each key in use, replica and     an organization
//	                                     15 minutes
//	pool:N   1 a week and pool           as org                                 a pool of organizations
//	token    1 a seal                    1 for each token set opened, replica   a token set
//	                                     and 15 minutes
//
// Under "org", an organization of 1,000 connections that are refreshed hourly costs each replica 4 calls an hour: 0.004
// calls a refresh with one replica, 0.012 with three. With 100,000 organizations of one connection, every refresh
// meets a cold key and makes a call; "pool:N" is for them.
//
// What each isolates: under "org" and "token", KMS itself keeps organizations apart, because it unwraps only under the
// encryption context that names the organization; a key policy can fence them with kms:EncryptionContext:org, and
// CloudTrail shows who unwrapped whose. Under "pool:N" KMS knows the pool only, and the organization is bound by the
// additional data alone: as strong against swapped rows, but whoever may unwrap one organization's key may unwrap the
// pool's.
//
// The encryption context is not secret and is written to CloudTrail: use opaque organization ids.
//
// # The life of a data key
//
//	                  GenerateDataKey
//	                        │
//	        ┌───────────────▼──────────────┐ 7 days, or it no    ┌──────────────────────────────┐
//	 item   │ current: seals and opens     │ longer unwraps      │ former: opens what it sealed │
//	        │ wrapped in the store's item  ├────────────────────►│ wrapped in those rows alone  │
//	        └──┬────────────────────────▲──┘                     └──┬────────────────────────▲──┘
//	 Decrypt,  │                        │ 15 minutes,               │                        │
//	 or fresh  ▼                        │ or evicted                ▼                        │
//	        ┌───────────────────────────┴──┐                     ┌───────────────────────────┴──┐
//	memory  │ unwrapped in the cache       │                     │ unwrapped in the cache       │
//	        └──────────────────────────────┘                     └──────────────────────────────┘
//
// The current wrapped key of a scope is an item of the store ("org/acme", "pool/7"), shared by all replicas. The
// replica that finds it missing or due makes the next one and swaps it in by compare-and-swap; the loser of a race
// throws its own away and uses the winner's. Were the key renewed with each cache window instead, every refresh would
// meet rows under ever other keys: 0.16 calls per refresh with 1,000 connections an organization, against 0.004.
//
// Each replica remembers the current item until it is due, so a data key that must not be used any more (its plaintext
// leaked) is retired by deleting its item and restarting the workers. A replica that starts with another wrapping key
// than the item's makes the next data key at once, so that nothing new is sealed under a former wrapping key. What was
// sealed before is wrapped again by [Rewrapper]; until then its key stays among those that may unwrap. Dropped too early
// nothing is lost: rows under it refuse to open until it is back.
//
// Unwrapped keys are cached by everything that unwrapping depends on (wrapped bytes, key id and encryption context), for
// 15 minutes counted from the key service's answer, at most 10,000 of them. So a key that KMS turns off works for at
// most 15 minutes more. Concurrent misses share one call, which goes on when the caller who began it is cancelled.
//
// # What this does not do
//
// Whoever can write the table can put a whole row back as it once was, its stamp and generation included, and it will
// open. The seal binds a token set to the row that claims it, not to the present.
//
// Whoever may both write the table and call kms:GenerateDataKey or kms:Encrypt can seal token sets of its own.
//
// Lengths are not hidden, nor that two rows share a data key.
//
// Zeroing is best effort. Data keys are overwritten when they leave the cache, never while in use, and subkeys after
// use; but HKDF, AES, the SDK and its HTTP client hold copies that nothing can reach, and the garbage collector frees
// memory without clearing it. Token plaintexts that [Sealer.Open] returned are the caller's.
package kmsenc
