// Package demoprovider is a small, demanding OAuth 2.0 authorization server, and the judge of the clients that refresh
// tokens at it.
package demoprovider
