package events_test

import (
	"fmt"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// A publisher is configured with the worker's public key and seals each token set to it.
func Example() {
	key, err := events.ParsePublicKey([]byte(`{
		"kid": "vector-x25519",
		"suite": "X25519,HKDF-SHA256,AES-256-GCM",
		"public_key": "47lwiqohp_HmKpXuKNHl1gsPzu1saFmQE6VLMY6eCxU",
		"created_at": "2026-11-01T00:00:00Z"
	}`))
	if err != nil {
		panic(err)
	}
	connection := tokenworker.Key{OrgID: "acme", ProviderID: "finch", CompanyID: "Größe & Co."}
	e, err := events.NewAcquired(connection, "//onboarding.example/connect", tokenworker.TokenSet{
		AccessToken:  tokenworker.SecretString("from the provider"),
		RefreshToken: tokenworker.SecretString("from the provider, too"),
	}, time.Now())
	if err != nil {
		panic(err)
	}
	if err := e.Seal(key); err != nil {
		panic(err)
	}
	m, err := e.Message()
	if err != nil {
		panic(err)
	}
	fmt.Println(m.Subject)
	fmt.Println(len(m.ID), "hex digits for the header", events.MessageIDHeader)
	// Output:
	// tokens.v1.acquired.acme.finch.Gr%C3%B6%C3%9Fe%20%26%20Co%2E
	// 64 hex digits for the header Nats-Msg-Id
}

// A worker reads the message and tells refusals, which are final, from everything else.
func ExampleDecoder_Decode() {
	_, err := events.Decoder{}.Decode(events.Message{
		Subject: "tokens.v1.disconnect.acme.finch.c-17",
		ID:      "not the hash that it should be",
		Body:    []byte(`{"specversion":"1.0","specversion":"1.1"}`),
	})
	fmt.Println(err)
	// Output: refused: duplicate_field
}

func ExampleParseSubject() {
	kind, key, err := events.ParseSubject("tokens.v1.acquired.acme.finch.Gr%C3%B6%C3%9Fe%20%26%20Co%2E")
	fmt.Println(kind, key.CompanyID, err)
	// Output: acquired Größe & Co. <nil>
}
