// Package demoprovider is a small, demanding OAuth 2.0 authorization server, and the judge of the clients that refresh
// tokens at it. The embedded mode shows the worker against it; tests and attacks let it misbehave and then ask it what the
// worker did.
//
// # What it serves
//
//	POST /token                   refresh (RFC 6749, section 6)
//	POST /revoke                  RFC 7009
//	POST /introspect              RFC 7662
//	GET  /resource                200 with a live access token, else 401
//	GET  /jwks                    the key of its ID tokens (ES256)
//	GET  /.well-known/…           RFC 8414 and OpenID Connect Discovery
//	     /control/…               for judges in another process, if the configuration asks for it: see below
//
// It is strict wherever the RFCs let it be: a client authenticates in its one registered way, Basic credentials are
// form-encoded first, an assertion is good for one request, nothing is taken from a URL, no parameter may come twice. Nobody
// logs in here: a grant is made by [Server.Grant].
//
// # Families
//
// A grant starts a family: every refresh and access token that comes of it. What a refresh does is the client's [Policy]:
//
//	            posted: current        posted: spent, within the grace      posted: spent
//	Static      access token           (is never spent)
//	Grace       access token, rotated  access token, the same successor     the family is revoked
//	                                   again or one more
//	Strict      access token, rotated  (there is none)                      the family is revoked
//
// # What the ledger says
//
// Every POST of a refresh token is an [Attempt]; [Totals] are their sums. It is noted before the last byte of the answer
// goes out, so whoever has an answer finds it in the ledger.
//
//   - Spent: the token was rotated away. Whether the client was told makes no difference.
//   - Reuse: a token was posted that was spent, and no grace let it work. It counts even if a fault kept the POST from being
//     processed. The first one that is processed revokes the family.
//   - Doubtful: the token had been posted before and the client could not know that this did not spend it: there was no answer
//     yet, or none came, or one that a gateway may have made. It counts whether the token was spent or not, because a client
//     that gambles is wrong even when it wins; for a static token it never counts, for one with grace only once that has
//     passed since. This is the measure of promise P4: a client that lets a paused process or a lost answer make it post
//     again shows here. A last resort shows here too, and a judge subtracts those that were declared.
//   - Lost: tokens were made, and their answer did not go out whole: a fault took it, or the client was gone. An answer that
//     was sent to a client that died before reading it does not show; no server can know.
//
// [Server.Judge] compares what a client holds with what is alive: a family that is alive and not held is a lost connection,
// or, after a disconnect, a grant that nobody revoked. [Finding.NeverSent] tells a lost answer from a lost write.
//
// The ledger and the control API show tokens in clear, on purpose: judges look for them in stores, logs and messages. All
// start with [AccessPrefix] or [RefreshPrefix], so a scan finds those that leaked without knowing them.
//
// # Faults
//
// [Server.Inject] makes the server misbehave: see [Fault]. A fault hits requests by endpoint, client and subject, after a
// number of them, a number of times, or by a probability that is drawn from a seed.
//
// A request under a delay is processed even if its client goes away, as a provider behind a gateway would.
//
// # Time
//
// Lifetimes and graces follow a clock that can be given and set forward, so thirty days take seconds. Delays of faults are
// real.
//
// # Memory
//
// Tokens are not stored: a token is an encrypted number. What is kept of a family is bounded by [Config.History]. 10,000
// families of 20 rotations took 105 MiB, with everything that the ledger tells of them.
//
// # Control API
//
// JSON, with Content-Type application/json; durations are nanoseconds.
//
//	POST   /control/grants       {"client", "subject", "scope"}  [Server.Grant]
//	POST   /control/withdrawals  {"token"}                       [Server.Withdraw]
//	POST   /control/faults       [Fault, …]                      [Server.Inject]
//	DELETE /control/faults                                       [Server.ClearFaults]
//	POST   /control/clock        {"advance"}, gives {"now"}      [Server.Advance]
//	GET    /control/totals                                       [Server.Totals]
//	POST   /control/family       {"token"}                       [Server.Family]
//	GET    /control/families     one a line                      [Server.Families]
//	POST   /control/judgement    {"held": ["…"]}                 [Server.Judge]
package demoprovider
