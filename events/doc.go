// Package events is what is said on NATS: subjects, event types, strict decoding and sealing on the wire.
package events
