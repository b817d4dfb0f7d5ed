// Package tokenworker is the domain of the token worker: the words every other package speaks, and the rules that
// decide what an event does to a stored connection. It imports the standard library only.
//
// # What the worker does
//
// Upstream services publish token-acquired and disconnect events on NATS JetStream. The worker seals the tokens under
// data keys from AWS KMS and keeps them in DynamoDB, one record for each connection key (org : provider : company). A
// cron job refreshes them before they expire. On one machine the same worker runs with NATS in process, SQLite and a
// local key file.
//
// # Rooms
//
//   - events: what is said on NATS: event types, subjects, strict decoding, sealing on the wire.
//   - streams: every stream and consumer with its settings; creates or compares them.
//   - consumer: subscribes, opens, seals, stores, settles; dead letters and parking.
//   - erase: deletes what is stored of a connection or an organization, messages included.
//   - kmsenc: envelope encryption at rest; data keys from AWS KMS.
//   - dynamo: the DynamoDB table.
//   - embedded: the single-machine parts: NATS in process, SQLite store, key file.
//   - rewrap: moves all that a store holds to another wrapping key, beside workers at work.
//   - restore: brings a store that was restored to an earlier time up to what the audit trail knows.
//   - rotator: when a token is due, refreshing it, rescuing answers, revoking what was disconnected.
//   - access: answers token reads over NATS, each sealed to whoever asks.
//   - audit: the audit trail: records, their chain, its checkpoints.
//   - client: what other services import, to publish events and to read tokens.
//   - provider: OAuth clients and the catalogue of providers.
//   - demoprovider: a demanding OAuth server, for the demo, tests and attacks.
//   - deploy/nats: the NATS server's configuration, with what each user may do.
//   - cmd/tokenworker: flags, wiring, signals; the only place that sees every package.
//   - localstack: AWS on this machine, for tests.
//   - internal/storetest, internal/keytest: the contract suites of stores and key services.
//   - internal/attack: programs that try to break each promise.
//   - internal/pull: handles the messages of durable consumers, for consumer, rotator and audit.
//   - interop, bench: another HPKE implementation; measurements beside their baselines. Modules of their own.
//
// Arrows point one way: cmd, then the rest, then this package. kmsenc, dynamo, embedded and provider never import each other;
// consumer, rotator and access name what they need in small interfaces of their own. The linter enforces it.
//
// # Rules
//
// A [Record] carries the [Stamp] of the event it reflects, the ids of the last events seen, and fingerprints of refresh
// tokens that may be spent. rules.go decides, as pure functions of a record and an event, what each delivery does, so
// that the stored state is the one that in-order, exactly-once delivery would have left, whatever the order and number
// of deliveries. Stores differ in how they make a decision atomic, never in the decision: embedded runs the functions
// inside a transaction; dynamo writes the usual case as one conditional write and asks the functions only when the
// condition fails. docs/model checks the rules with TLC.
package tokenworker
