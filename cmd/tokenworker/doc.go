// Tokenworker keeps the access and refresh tokens of customers' connections: it receives them as events on NATS JetStream,
// seals them, stores them, refreshes them before they expire, and revokes and forgets them when a connection ends.
//
//	tokenworker demo      shows the whole story once and checks every step
//	tokenworker dev       a worker with everything it needs in one process
//	tokenworker run       a worker against NATS, DynamoDB and KMS
//	tokenworker setup     streams, consumers, table, keys: creates, mends or checks them
//	tokenworker doctor    what is wrong with the surroundings, and why it matters
//	tokenworker publish   acquired and disconnect events, as an upstream service would
//	tokenworker refresh   one connection on request, or all that is due
//	tokenworker disconnect stops serving a connection and revokes it, and says what the provider confirmed
//	tokenworker erase     deletes all data of a connection, organization or person; export prints it, without tokens
//	tokenworker list      the connections of an organization; inspect shows one, without its tokens
//	tokenworker dlq       refused events: list, show, replay
//	tokenworker providers what the worker knows of the companies whose tokens it holds
//	tokenworker audit     the audit trail: verify it, read it
//	tokenworker restore   brings a store that was restored to an earlier time up to what the audit trail knows
//	tokenworker keys      what publishers seal to: make, rotate, retire, show
//
// docs/operations.md is the guide; every command has --help.
//
// # How it is put together
//
// This package is the only one that sees all the others. main.go holds the program and its exit codes, usage.go what is
// refused as wrong use, flags.go what many commands share. One file each:
//
//   - target.go chooses what a command works on: deployment.go (NATS, DynamoDB, KMS) or embedded.go (a data directory and
//     whatever runs on it). Parts are opened when first asked for, so a command needs rights only for what it uses.
//   - worker.go makes a consumer.Worker and a rotator.Rotator of parts; run.go and dev.go bring these and run it, with http.go beside it.
//   - demo.go prints the checks that story.go tells: each does something and reads back what came of it.
//   - demoprovider.go is the provider of the embedded mode, whose grants leave the process sealed.
//   - doctor.go and its doctor_*.go look at the surroundings, one examination for each part.
//
// # Secrets
//
// Tokens come from standard input or a file and go out sealed; no command prints one. Passwords are named by files. URLs
// with credentials are refused, because libraries put URLs into errors.
package main
