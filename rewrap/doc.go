// Package rewrap moves all that a store holds from former wrapping keys to the current one, while workers go on working, so
// that a former KMS key can be given up or an organization be given a key of its own.
//
// What is wrapped: the data keys in the headers of sealed token sets (current ones and those that wait for revocation), the
// current data key of each scope, and the private keys that events are sealed to. Each is wrapped again by the key service
// (KMS ReEncrypt), so no plaintext key leaves it; ciphertexts stay as they are.
//
// # Beside workers at work
//
// The workers must have been started with the new key as the one that wraps, and the former ones as keys that only unwrap:
// then they open both, and what they seal meanwhile needs no wrapping again. Each record is written by one conditional write
// that replaces sealed sets where the record still holds them ([tokenworker.Rewrapping]) and moves neither stamp nor
// generation. So it fences no refresh off, brings nothing back, and loses to whatever replaced a set meanwhile. A record
// whose revocation is under way is left for another time.
//
// # Stopping and going on
//
// The store itself says what is done, so there is nothing to remember: [Run] can be ended at any time and begun again, and
// passes over what is done without a write or a call of the key service. [Check] counts what is left. Two at once are
// harmless: each replaces what it has read.
//
// What lies outside the store is not looked for: token sets in the rescue stream come into the store as they were sealed. Who
// gives up a key makes sure that the stream was empty before the store was counted.
package rewrap
