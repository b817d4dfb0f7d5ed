// Package events is the contract of what is said on NATS: subjects, types, strict decoding, and sealing on the wire. It
// knows nothing of NATS itself. docs/events says the same to publishers in other languages, and tests hold the two
// together.
//
// # Messages
//
// A [Message] is a subject, a message id and a body. The body is a CloudEvents 1.0 event in JSON, which any language can
// write. Requests ([Event], kinds [Acquired] to [Erase]) come from upstream services and are read by a [Decoder]; notices
// ([Notice], kinds [Stored] to [Rejected]) say what the worker did.
//
// The connection's key stands in the subject, so that NATS permissions and look-ups by connection work on it, and again
// in the event, so that the event still means the same wherever it is found. The two must agree.
//
// The message id is a hash of subject, source and id. A stream remembers message ids for all publishers together; were
// the id alone the message id, a publisher could silence another one by guessing its ids.
//
// # Strictness
//
// Requests are refused unless they are exactly what v1 says: 64 KiB, depth 16, no field twice, none unknown in data, times
// and base64 in one spelling. A field that is ignored is a request that is silently not met, and two readers that
// disagree on a message are a way around whoever checks it. Extension attributes of the envelope are ignored, as
// CloudEvents wants it; notices are read leniently, because later versions of v1 may add to them.
//
// A refusal is a [Code]: a word out of a list, never a quotation. The codes are also tokens of subjects, values of
// metrics and rows of docs/events/codes.md. Whatever is no Code (a key service that does not answer) is no verdict
// on the event.
//
// # Seals
//
// The token set of an acquired event is sealed by HPKE (RFC 9180) to a key of the worker's, so JetStream's disk never holds
// a token. The seal is bound, by HPKE's info, to type, key, source, id and time, so it can be neither moved to another
// connection nor given a fresh date. Publishers bind the strings as they write them: nothing is parsed and spelled anew
// on the way. [Event.Message] refuses to encode a token set that was not sealed.
//
// HPKE's base mode hides; it does not prove who sealed. That is for NATS permissions, for requests, dead letters and
// replays alike.
//
// # Keys
//
// A [Keyring] derives the private keys from data keys of the key service, which rest wrapped in the store:
//
//	        Make            Rotate            Retire (no message names k1; k2 is 20 minutes old)
//	(none) ──────► k1 ──────────────► k2, k1 ──────────────► k2
//	              current           current, previous       current
//
// A key id names one suite, so no message can choose a weaker one. Replicas keep a key in memory for 15 minutes, which is
// why a key that was current a moment ago is not retired: some replica may be sealing a dead letter to it.
//
// # Dead letters
//
// A refused message is sealed whole ([DeadLetter]) and goes to tokens.v1.dlq.<code>.<rest of its subject>, with just enough
// in clear for a listing. [Replay] publishes the same body on tokens.v1.replay.<code>.<rest>; since the seal is bound to
// the dead letter's subject, which both spell alike, it opens there too. What the seal holds (subject, message id, body,
// stamp, time of entry) is what counts: the event is handled again as if it had come when it first did.
package events
