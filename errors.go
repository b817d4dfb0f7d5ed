package tokenworker

import "errors"

// The errors that cross package boundaries. Stores and key services wrap them; callers match with errors.Is. None of
// them, and nothing that wraps them, carries a token, a key or a byte of an event.
var (
	// ErrInvalidKey: a connection key, or one part of it, is not spelled as [Key] demands.
	ErrInvalidKey = errors.New("invalid connection key")

	// ErrNotFound: the store holds nothing under that name.
	ErrNotFound = errors.New("not found")

	// ErrUnavailable: a service that the worker depends on (store, key service, NATS) did not answer or asked to slow
	// down. Whether the operation took place is unknown. The same call may succeed later.
	ErrUnavailable = errors.New("service unavailable")

	// ErrKeyRefused: the key service answered and refused: the key is disabled or pending deletion, or its policy does
	// not allow this caller or this encryption context. An operator must act; until then only what needs that key waits.
	ErrKeyRefused = errors.New("key service refuses the key")

	// ErrSealBroken: a sealed blob does not open under what it must be bound to (connection, stamp, generation, data
	// key). It was altered, moved or damaged; trying again cannot help.
	ErrSealBroken = errors.New("sealed data does not open")

	// ErrFenced: a conditional write lost, because the record no longer holds the token set, or the claim, that the
	// write was made for.
	ErrFenced = errors.New("record has moved on")

	// ErrTooLarge: a sealed token set is larger than [MaxSealedBytes].
	ErrTooLarge = errors.New("token set too large")

	// ErrRolledBack: the stream of events has given less than the store knows of, or is of another epoch, so it was restored
	// or rolled back, and order can no longer be told. The worker stops; see the operations guide.
	ErrRolledBack = errors.New("event stream was rolled back")

	// ErrMisconfigured: the surroundings are not what `setup` leaves behind (a table without its index, a stream of
	// an older epoch). Trying again cannot help.
	ErrMisconfigured = errors.New("misconfigured")
)
