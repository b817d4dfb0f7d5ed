package events

import "slices"

// Code says why a message is refused. It is an error, a token of the dead letter's subject and the text of logs and
// metrics, and so all that is ever said of a refusal: nothing of the message is repeated.
//
// A refusal is final: the same message is refused again. What may pass (a store or key service that does not answer) is
// never a Code.
type Code string

// Why a message is refused, roughly in the order of the checks. docs/events/codes.md explains each to publishers; a test
// keeps the two lists equal.
const (
	CodeBadSubject       Code = "bad_subject"        // not a subject of the contract
	CodeTooLarge         Code = "too_large"          // body over MaxBodyBytes, or token set over what the store takes
	CodeMissingMessageID Code = "missing_message_id" // no Nats-Msg-Id header
	CodeNotJSON          Code = "not_json"           // not one JSON text in UTF-8
	CodeTooDeep          Code = "too_deep"           // nested deeper than maxDepth
	CodeDuplicateField   Code = "duplicate_field"    // an object names a field twice
	CodeInvalidEnvelope  Code = "invalid_envelope"   // not a CloudEvents 1.0 event with JSON data
	CodeTypeMismatch     Code = "type_mismatch"      // type and NATS subject name different kinds
	CodeKeyMismatch      Code = "key_mismatch"       // CloudEvents subject and NATS subject name different keys
	CodeInvalidSource    Code = "invalid_source"     // missing, too long, or with control characters
	CodeInvalidID        Code = "invalid_id"         // missing, too short, too long, or with control characters
	CodeInvalidTime      Code = "invalid_time"       // missing or not RFC 3339
	CodeWrongMessageID   Code = "wrong_message_id"   // not the hash of subject, source and id
	CodeUnknownField     Code = "unknown_field"      // data, or the token set, has a field that v1 does not
	CodeInvalidData      Code = "invalid_data"       // data is missing or a field of it is not what v1 says
	CodePlainRefused     Code = "plain_refused"      // tokens in clear where only sealed ones are accepted
	CodeTooOld           Code = "too_old"            // entered the stream more than the window after its time
	CodeFromFuture       Code = "from_future"        // entered the stream more than the clock skew before its time
	CodeUnsupported      Code = "unsupported"        // valid, but this worker cannot do what it asks
	CodeUnknownProvider  Code = "unknown_provider"   // neither the worker's catalogue, its configuration nor its store knows the provider
	CodeUnknownKey       Code = "unknown_key"        // sealed to a key that is not live
	CodeSealBroken       Code = "seal_broken"        // does not open: altered, moved, or sealed to something else
	CodeInvalidTokenSet  Code = "invalid_token_set"  // no access token, or a field of the set is not what v1 says
	CodeInvalidIDToken   Code = "invalid_id_token"   // not made by the provider's issuer for this client, time, nonce and access token
	CodeTokenRefused     Code = "token_refused"      // names no company, and the provider says that its token is not good
	CodeNoCompany        Code = "no_company"         // names no company, and neither does the provider
)

var codes = []Code{
	CodeBadSubject, CodeTooLarge, CodeMissingMessageID, CodeNotJSON, CodeTooDeep, CodeDuplicateField,
	CodeInvalidEnvelope, CodeTypeMismatch, CodeKeyMismatch, CodeInvalidSource, CodeInvalidID, CodeInvalidTime,
	CodeWrongMessageID, CodeUnknownField, CodeInvalidData, CodePlainRefused, CodeTooOld, CodeFromFuture,
	CodeUnsupported, CodeUnknownProvider, CodeUnknownKey, CodeSealBroken, CodeInvalidTokenSet, CodeInvalidIDToken, CodeTokenRefused,
	CodeNoCompany,
}

// Codes lists every code of this version.
func Codes() []Code { return slices.Clone(codes) }

// Error implements error.
func (c Code) Error() string { return "refused: " + string(c) }

// maxCodeBytes bounds a code inside a subject.
const maxCodeBytes = 32

// wellFormed reports whether c could be a code of some version of v1, which may add codes: lower-case letters and
// underscores.
func (c Code) wellFormed() bool {
	if c == "" || len(c) > maxCodeBytes {
		return false
	}
	for i := range len(c) {
		if b := c[i]; b != '_' && (b < 'a' || b > 'z') {
			return false
		}
	}
	return true
}
