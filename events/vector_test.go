package events_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// vector is a worked example for publishers, whose event another HPKE implementation has sealed (interop writes it).
type vector struct {
	IKM        string           `json:"ikm"`
	PrivateKey string           `json:"private_key"`
	PublicKey  events.PublicKey `json:"public_key"`
	Parts      []string         `json:"parts"`
	Plaintext  string           `json:"plaintext"`
	Info       string           `json:"info"`
	Subject    string           `json:"subject"`
	MessageID  string           `json:"message_id"`
	Event      json.RawMessage  `json:"event"`
}

var vectors = []string{"vector-hybrid", "vector-x25519"}

func readVector(t testing.TB, name string) vector {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var v vector
	if err := json.Unmarshal(file, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v vector) message() events.Message {
	return events.Message{Subject: v.Subject, ID: v.MessageID, Body: v.Event}
}

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fixedService is a key service that unwraps to one fixed data key.
type fixedService struct {
	*keyService
	plain []byte
}

func (s fixedService) Decrypt(context.Context, string, []byte, map[string]string) (tokenworker.Secret, error) {
	return tokenworker.NewSecret(bytes.Clone(s.plain)), nil
}

// vectorKeyring is a keyring with the vector's key.
func vectorKeyring(t testing.TB, name string) *events.Keyring {
	t.Helper()
	v := readVector(t, name)
	store := newKeyStore()
	store.keys["event/"+v.PublicKey.KeyID] = tokenworker.WrappedKey{
		Name: "event/" + v.PublicKey.KeyID, Suite: string(v.PublicKey.Suite), Public: v.PublicKey.Bytes(),
		CreatedAt: v.PublicKey.CreatedAt,
	}
	r, err := events.NewKeyring(store, fixedService{plain: unbase64(t, v.IKM)}, events.KeyringConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheWorkedVectorsAreAccepted(t *testing.T) {
	for _, name := range vectors {
		t.Run(name, func(t *testing.T) {
			v := readVector(t, name)
			e := decode(t, v.message())
			if want := key(v.Parts...); e.Key != want {
				t.Errorf("key is %v, want %v", e.Key, want)
			}
			if got := events.MessageID(v.Subject, e.Source, e.ID); got != v.MessageID {
				t.Errorf("message id is %s, want %s", got, v.MessageID)
			}
			set, err := vectorKeyring(t, name).Open(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			want, err := tokenworker.DecodeTokenSet([]byte(v.Plaintext))
			if err != nil {
				t.Fatal(err)
			}
			sameSet(t, set, want)
		})
	}
}

// kems are the KEMs of the suites, by the table in docs/events/publishers.md.
var kems = map[events.Suite]hpke.KEM{
	events.SuiteHybrid: hpke.MLKEM768X25519(), events.SuiteX25519: hpke.DHKEM(ecdh.X25519()),
}

// sealJSON is the part of a seal that HPKE needs, in base64url.
type sealJSON struct{ Enc, CT string }

// openAlone opens a seal without a line of package events. The info is in hex.
func openAlone(t *testing.T, private hpke.PrivateKey, info string, seal sealJSON) string {
	t.Helper()
	bound, err := hex.DecodeString(info)
	if err != nil {
		t.Fatal(err)
	}
	sealed := append(unbase64(t, seal.Enc), unbase64(t, seal.CT)...)
	plaintext, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), bound, sealed)
	if err != nil {
		t.Fatal(err)
	}
	return string(plaintext)
}

// privateKey is a private key as vectors spell it.
func privateKey(t *testing.T, suite events.Suite, text string) hpke.PrivateKey {
	t.Helper()
	private, err := kems[suite].NewPrivateKey(unbase64(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func TestTheWorkedVectorsOpenByHPKEAlone(t *testing.T) {
	for _, name := range vectors {
		t.Run(name, func(t *testing.T) {
			v := readVector(t, name)
			private := privateKey(t, v.PublicKey.Suite, v.PrivateKey)
			if !bytes.Equal(private.PublicKey().Bytes(), v.PublicKey.Bytes()) {
				t.Error("the public key is not that of the private key")
			}
			var event struct{ Data sealJSON }
			if err := json.Unmarshal(v.Event, &event); err != nil {
				t.Fatal(err)
			}
			if plaintext := openAlone(t, private, v.Info, event.Data); plaintext != v.Plaintext {
				t.Errorf("opened %s, want %s", plaintext, v.Plaintext)
			}
		})
	}
}
