// Package embedded holds what the worker needs on one machine with nothing else installed: a [NATS] server in this
// process, a [Store] on SQLite, and a [KeyFile] in the place of AWS KMS. The worker runs on them as it runs on NATS,
// DynamoDB and KMS, and the same contract suites (internal/storetest, internal/keytest) hold for both.
//
// # The data directory
//
// One directory, of mode 0700, holds everything; [DefaultDir] names a user's own. All files are private to their owner,
// and what others may read is refused with an error that says so.
//
//	key.json     the key file: the keys that wrap data keys
//	store.db     connection records and wrapped keys (SQLite, with store.db-wal and store.db-shm beside it in use)
//	nats/        JetStream's streams and consumers
//	nats.token   what clients of the NATS server must know; made once
//	dev.json     while a worker runs: the NATS server's address and token, process id, start; see [Running]
//	lock         locked while a worker runs; holds its process id
//
// key.json and store.db belong together: without its key file a store opens nothing. A backup of the key file is kept
// apart from backups of the rest, since whoever has both has the tokens.
//
// [OpenDir] takes the lock, so one worker at a time runs on a directory. Commands read and write the store beside a
// running worker, and find its NATS server by [Running]; neither needs the lock.
//
// # What it promises
//
//   - What the store reports as done, and what NATS acknowledges, has been synced to disk; it survives a crash of the
//     process and of the machine, as far as the disk keeps what it says it has synced.
//   - Any number of goroutines and processes of this machine may use the store at the same time: correctness rests on
//     SQLite's own transactions, not on anything in memory.
//   - A full disk is waited out: [NATS.Healthy] tells it, and [NATS.Recover] has streams written to again when there is room.
//   - What a NATS server that was killed has left of messages in half-written files is removed when the next one starts.
//   - Other users of the machine can neither read the files nor use the NATS server. The server listens on 127.0.0.1 only.
//   - What the NATS server logs about a message or a client leaves out what they sent.
//   - What is deleted from the store is overwritten in the file. In the write-ahead log it lasts until that is reused, at
//     the latest until the last process closes the store.
//
// # What it does not
//
// There is no second copy: with the disk, everything is lost. There is one NATS user with every right, so nothing keeps
// one tenant's programs from another's subjects on this machine. The key file lies in clear beside the data, protected by
// its file mode alone, where KMS never lets go of a key. And SQLite's locks want a local file system: a network one is
// not supported.
//
// # Grouped commits
//
// A commit costs a sync, and a disk gives few of those. So one goroutine writes, and whatever operations come while one
// commit is being synced share the next (writer.go). A lone caller waits for one sync an operation, sixty-four wait for
// one together.
package embedded
