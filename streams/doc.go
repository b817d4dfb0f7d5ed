// Package streams is what the worker keeps in JetStream: every stream and consumer with each of its settings and the
// reason for it, in one table (table.go). [Setup] creates what is missing and corrects what NATS lets one correct;
// [Check] changes nothing and says what differs. The worker itself never creates or changes a stream: it runs with the
// rights to use them only. docs/streams.md is printed from the same table.
//
// # Epochs
//
// A stamp is (epoch, sequence). The epoch is a number in the metadata of TOKENS_IN; the store keeps the highest ever
// given, and Setup takes the next when it creates the stream. So a stream that had to be made anew, whose sequences start
// at 1 again, still hands out stamps above all earlier ones, and a stream restored from an old backup is recognized.
//
// The epoch is part of the names of the consumers of TOKENS_IN ([Durable]). Beside the epoch the store keeps the highest sequence
// known of its stream, by which a rollback is told ([Follow]).
package streams
