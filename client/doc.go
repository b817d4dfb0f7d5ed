// Package client is what services import that hand tokens to the token worker, or read them: a [Publisher] and a [Reader].
// It needs NATS and nothing else: no AWS, no key but the worker's public one.
//
// # Publishing
//
// A [Publisher] makes messages and publishes them. The two are apart because a token must not be lost between: put the
// message into your database, in the transaction that notes that the customer has connected (an outbox); then publish it,
// again and again until JetStream has acknowledged it, and delete it. What the outbox holds is sealed to the worker's public
// key. The same message published again is a repeat, which changes nothing, for 24 hours after its time.
//
//	m, err := p.Acquired(key, set, time.Now())        // sealed
//	…                                                 // store m.Subject, m.ID, m.Body
//	_, err = p.Publish(ctx, m)                        // the first time: a duplicate is an error
//	_, err = p.Republish(ctx, m)                      // after a crash, or an error
//
// # Reading
//
// A [Reader] asks for the access token of a connection and gets it sealed to a key that it makes for the purpose. Three
// ways to use it, from the bare token to what does all by itself:
//
//   - [Reader.Token] and [Reader.Replacement];
//   - [Reader.TokenSource], for [golang.org/x/oauth2.NewClient] and libraries that take one;
//   - [Reader.Transport], which also asks for another token, once, when the API answers 401.
//
// The last two keep a token for a minute at most, so that a disconnect ends their use of it.
package client
