package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// readTokens reads a token set that was obtained at the given time from a file, "-" for standard input. No error repeats
// anything of what was read.
func (a *app) readTokens(file string, at time.Time) (tokenworker.TokenSet, error) {
	in := a.stdin
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the user names the file
		if err != nil {
			return tokenworker.TokenSet{}, fmt.Errorf("reading the token set: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		in = f
	} else if isTerminal(in) {
		return tokenworker.TokenSet{}, wrongUse("the token set is read from standard input, which is a terminal and " +
			"would show it: pipe it in, or name a file with --token-file")
	}
	b, err := io.ReadAll(io.LimitReader(in, events.MaxBodyBytes+1))
	if err != nil {
		return tokenworker.TokenSet{}, fmt.Errorf("reading the token set: %w", err)
	}
	defer clear(b)
	if len(b) > events.MaxBodyBytes {
		return tokenworker.TokenSet{}, fmt.Errorf("reading the token set: %w", tokenworker.ErrTooLarge)
	}
	return parseTokens(bytes.TrimSpace(b), at)
}

func isTerminal(r any) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// parseTokens reads an answer of a token endpoint (RFC 6749 section 5.1), or an access token alone.
func parseTokens(b []byte, at time.Time) (tokenworker.TokenSet, error) {
	if len(b) == 0 {
		return tokenworker.TokenSet{}, errors.New("reading the token set: there is none")
	}
	if b[0] != '{' {
		if bytes.ContainsAny(b, `"[]<>`) { // JSON of another form, or a page
			return tokenworker.TokenSet{}, errors.New("reading the token set: neither a JSON object nor an access token alone")
		}
		return tokenworker.TokenSet{AccessToken: tokenworker.NewSecret(bytes.Clone(b))}, nil
	}
	set, err := tokenworker.DecodeTokenSet(b)
	if err != nil {
		return tokenworker.TokenSet{}, fmt.Errorf("reading the token set: %w", err)
	}
	var lifetime struct {
		ExpiresIn json.Number `json:"expires_in"` // seconds; some providers quote it
	}
	if json.Unmarshal(b, &lifetime) != nil {
		return tokenworker.TokenSet{}, errors.New("reading the token set: expires_in is not a number")
	}
	if s, err := lifetime.ExpiresIn.Int64(); err == nil && s > 0 && set.ExpiresAt.IsZero() {
		if s > int64(math.MaxInt64/time.Second) {
			return tokenworker.TokenSet{}, errors.New("reading the token set: expires_in is too large")
		}
		set.ExpiresAt = at.Add(time.Duration(s) * time.Second).Truncate(time.Second)
	}
	return set, nil
}
