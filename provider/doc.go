// Package provider talks to the companies whose tokens the worker holds: it refreshes, revokes and introspects token sets,
// and keeps the catalogue that says how each provider wants that done.
//
//	catalogue, err := provider.Load(ctx, nil, provider.Source{Name: "providers.yaml", YAML: yaml})
//	client := provider.NewClient(provider.Config{})
//	p, ok := catalogue.Get("xero")
//	answer := client.Refresh(ctx, p, key, set)
//
// # One request, one answer
//
// A refresh token of a provider that rotates may be used once. So what counts is not only whether a refresh worked but, if
// it did not, whether the token may have been spent. Every call therefore ends in an [Answer] with one [Outcome], never in
// an error:
//
//	OK             the provider did what was asked
//	NotSpent       no byte of the request was written, or the provider definitely refused it for another reason than the
//	               grant: the same token may be posted again
//	Unknown        whatever else: a timeout, a reset, 3xx, 408, 5xx, an answer that cannot be read. A gateway may say 504
//	               after the provider has rotated
//	Reauth         the grant is dead; the user must connect again
//	Misconfigured  the operator must act, the user need not: wrong client credentials
//	Unsupported    this provider cannot, or must not, be asked that
//
// Each comes with a fixed [Code]. Nothing that a provider sent is repeated: an error body may echo the token that it
// refuses. Its own error code is passed on when it is in a known list, and as "other" when not.
//
// To know what was written, each connection counts the writes that reached the network; a request that fails while its
// connection's count has not moved was not sent.
//
// # One POST
//
// net/http repeats requests on its own when it thinks that harmless. Here it cannot: requests are handed to a transport
// without a GetBody, so a body that was begun is never replayed; there is no HTTP/2, whose transport retries by rules of
// its own; and no [net/http.Client] above it, so redirects are answers like any other. golang.org/x/oauth2 is not used
// because it may POST twice to find out how the provider wants the client to authenticate.
//
// Connections are kept for a second only. Within a burst that spares handshakes and ports. An older one may be closed by
// the provider at the moment of the next POST, which then ends as Unknown for no good reason.
//
// # What is used of an answer
//
// What identifies a token set unambiguously, however it is packed or ends: one closed object with an access token, or a whole
// form. What the protocol needs (a scheme, a code, a lifetime) is never taken from free text. A dead grant that is called so
// where nothing of the kind is expected is [Answer.Doubted], and left to be confirmed.
//
// # Where requests go
//
// Only to URLs that the catalogue names. Events carry none, and ids that fill a template ({company}.example.com) are held
// to the letters of one DNS label or path segment. Endpoints that a provider announces by discovery must be on its
// issuer's host or on a host that the catalogue lists.
//
// And only to public addresses. Each address is checked after name resolution, at the moment of connecting, so a name that
// resolves to something else the second time gains nothing: loopback, private, link-local, metadata and all other
// special-purpose ranges are refused unless the operator lists them in allow_networks. Plain HTTP is spoken to listed
// networks only.
//
// # ID tokens
//
// [Client.VerifyIDToken] verifies the ID token that an upstream service passes on, under keys that it fetches as it does
// everything else. It has errors, not an [Answer]: nothing can be spent by it.
//
// # The catalogue
//
// catalogue.yaml is part of the binary: endpoints, ways to authenticate, and the policy that the rotator follows. A
// [Fact] that somebody has checked against the vendor's own pages has a day and those pages; all others are read in the
// careful way: unknown rotation is strict, unknown reach of a revocation is the whole grant. Operators override it, and add
// providers, in files of the same form; docs/providers.md explains the fields, docs/catalogue.md shows the entries. A test
// runs every entry against a provider that behaves as it says. Client credentials come from the environment, files or a
// secrets manager, and are read again while they are used. A provider without them is known but not enabled, and is never
// sent anything.
package provider
