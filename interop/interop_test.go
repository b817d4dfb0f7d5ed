// Package interop_test lets another language's HPKE implementation seal and open events, by contract.mjs. It needs Node.js
// 20 and npm, and installs what package-lock.json pins into node_modules.
package interop_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

var update = flag.Bool("update", false, "write the worked vectors in events/testdata anew")

// install runs npm ci once. What is missing fails the test that needs it.
var install = sync.OnceValue(func() error {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return errors.New("these tests need " + program + " in PATH (Node.js 20 or newer): " + err.Error())
		}
	}
	for _, file := range []string{"package-lock.json", "contract.mjs", "run.mjs"} {
		if _, err := os.ReadFile(file); err != nil { // so that go test's cache knows that the result depends on it
			return err
		}
	}
	out, err := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline").CombinedOutput()
	if err != nil {
		return errors.New("npm ci could not install what package-lock.json pins: " + err.Error() + "\n" + string(out))
	}
	return nil
})

// node runs one request of run.mjs.
func node(t *testing.T, command string, request, answer any) {
	t.Helper()
	if err := install(); err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "run.mjs", command)
	cmd.Stdin = bytes.NewReader(input)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node run.mjs %s: %v\n%s", command, err, stderr.String())
	}
	if err := json.Unmarshal(out, answer); err != nil {
		t.Fatal(err)
	}
}

// vectorKey is the store and the key service of one event key whose data key is fixed.
type vectorKey struct {
	kid   string
	suite events.Suite
	ikm   []byte
	key   tokenworker.WrappedKey
}

// The data keys of the vectors are 32 equal bytes, so that nobody takes their keys for real ones.
func vectorKeys() []*vectorKey {
	return []*vectorKey{
		{kid: "vector-hybrid", suite: events.SuiteHybrid, ikm: bytes.Repeat([]byte{0x11}, 32)},
		{kid: "vector-x25519", suite: events.SuiteX25519, ikm: bytes.Repeat([]byte{0x22}, 32)},
	}
}

func (v *vectorKey) WrappedKeys(context.Context, string) ([]tokenworker.WrappedKey, error) {
	return []tokenworker.WrappedKey{v.key}, nil
}

func (*vectorKey) PutWrappedKey(_ context.Context, k tokenworker.WrappedKey, _ []byte) (tokenworker.WrappedKey, error) {
	return k, nil
}

func (*vectorKey) DeleteWrappedKey(context.Context, string) error { return nil }

func (*vectorKey) GenerateDataKey(context.Context, map[string]string) (tokenworker.DataKey, error) {
	return tokenworker.DataKey{}, tokenworker.ErrKeyRefused
}

func (v *vectorKey) Decrypt(context.Context, string, []byte, map[string]string) (tokenworker.Secret, error) {
	return tokenworker.NewSecret(bytes.Clone(v.ikm)), nil
}

// keyring opens what is sealed to the vector's key.
func (v *vectorKey) keyring(t *testing.T) (*events.Keyring, events.PublicKey) {
	t.Helper()
	v.key = tokenworker.WrappedKey{
		Name: "event/" + v.kid, Suite: string(v.suite), Public: v.private(t).PublicKey().Bytes(),
		CreatedAt: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
	}
	r, err := events.NewKeyring(v, v, events.KeyringConfig{})
	if err != nil {
		t.Fatal(err)
	}
	public, err := r.Public(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r, public[0]
}

func (v *vectorKey) private(t *testing.T) hpke.PrivateKey {
	t.Helper()
	kem := hpke.MLKEM768X25519()
	if v.suite == events.SuiteX25519 {
		kem = hpke.DHKEM(ecdh.X25519())
	}
	private, err := kem.DeriveKeyPair(v.ikm)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func (v *vectorKey) privateText(t *testing.T) string {
	t.Helper()
	serialized, err := v.private(t).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(serialized)
}

type sealRequest struct {
	PublicKey events.PublicKey `json:"publicKey"`
	Parts     []string         `json:"parts"`
	Source    string           `json:"source"`
	ID        string           `json:"id"`
	Time      string           `json:"time"`
	Plaintext string           `json:"plaintext"`
}

type sealAnswer struct {
	Subject   string          `json:"subject"`
	MessageID string          `json:"message_id"`
	Info      string          `json:"info"` // hex
	Event     json.RawMessage `json:"event"`
}

// request is the event of the vectors. Its company needs escapes in two ways.
func request(key events.PublicKey) sealRequest {
	return sealRequest{
		PublicKey: key,
		Parts:     []string{"acme", "finch", "Größe & Co."},
		Source:    "//onboarding.example/connect",
		ID:        "6f1c9f2e-8a4b-4c1d-9e3f-2b7a5d0c4e81",
		Time:      "2026-11-21T12:00:00.250Z",
		Plaintext: `{"access_token":"vector-access-token","refresh_token":"vector-refresh-token","token_type":"Bearer",` +
			`"scope":"company directory","expires_at":"2026-11-21T13:00:00Z","provider_connection_id":"conn-42"}`,
	}
}

func TestAnEventSealedByAnotherImplementationIsAccepted(t *testing.T) {
	for _, v := range vectorKeys() {
		t.Run(string(v.suite), func(t *testing.T) {
			r, key := v.keyring(t)
			var a sealAnswer
			node(t, "seal", request(key), &a)
			if *update {
				writeVector(t, v, key, a)
			}
			e, err := events.Decoder{}.Decode(events.Message{Subject: a.Subject, ID: a.MessageID, Body: a.Event})
			if err != nil {
				t.Fatal(err)
			}
			want := tokenworker.Key{OrgID: "acme", ProviderID: "finch", CompanyID: "Größe & Co."}
			if e.Key != want {
				t.Errorf("key is %s, want %s", e.Key, want)
			}
			set, err := r.Open(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(set.AccessToken.Reveal()); got != "vector-access-token" {
				t.Errorf("opened another access token than was sealed")
			}
		})
	}
}

func TestAnEventSealedHereOpensInAnotherImplementation(t *testing.T) {
	for _, v := range vectorKeys() {
		t.Run(string(v.suite), func(t *testing.T) {
			_, key := v.keyring(t)
			e, err := events.NewAcquired(
				tokenworker.Key{OrgID: "acme", ProviderID: "finch"}, "//onboarding.example/connect",
				tokenworker.TokenSet{AccessToken: tokenworker.SecretString("made-here")}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Seal(key); err != nil {
				t.Fatal(err)
			}
			m, err := e.Message()
			if err != nil {
				t.Fatal(err)
			}
			var a struct {
				Plaintext string `json:"plaintext"`
			}
			node(t, "open", map[string]any{
				"suite": v.suite, "privateKey": v.privateText(t), "event": json.RawMessage(m.Body),
			}, &a)
			if want := `{"access_token":"made-here"}`; a.Plaintext != want {
				t.Errorf("opened %s, want %s", a.Plaintext, want)
			}
		})
	}
}

func TestTheLockFileNamesNoRegistry(t *testing.T) {
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, mark := range []string{"://", "resolved"} {
		if bytes.Contains(lock, []byte(mark)) {
			t.Errorf("package-lock.json contains %q: install with the .npmrc beside it", mark)
		}
	}
}

// writeVector writes a worked vector for publishers: everything they need to check an implementation of their own.
func writeVector(t *testing.T, v *vectorKey, key events.PublicKey, a sealAnswer) {
	t.Helper()
	encoded, err := json.MarshalIndent(map[string]any{
		"about": "A worked vector of the event contract; see docs/events/publishers.md. Sealed by @hpke/core, not by the " +
			"worker's code. The key is for tests: it is derived from 32 equal bytes.",
		"ikm":         base64.RawURLEncoding.EncodeToString(v.ikm),
		"private_key": v.privateText(t),
		"public_key":  key,
		"parts":       request(key).Parts,
		"plaintext":   request(key).Plaintext,
		"info":        a.Info,
		"subject":     a.Subject,
		"message_id":  a.MessageID,
		"event":       a.Event,
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "events", "testdata", v.kid+".json")
	if err := os.WriteFile(path, append(encoded, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}
