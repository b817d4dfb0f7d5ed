package events_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// getVector is a worked read, for readers in other languages: a request with its one-time key, and a reply that was sealed by
// this package once. docs/examples/node opens it with another HPKE implementation.
type getVector struct {
	About       string          `json:"about"`
	PrivateKey  string          `json:"private_key"`
	Caller      string          `json:"caller"`
	Parts       []string        `json:"parts"`
	Subject     string          `json:"subject"`
	InboxPrefix string          `json:"inbox_prefix"`
	Request     json.RawMessage `json:"request"`
	Info        string          `json:"info"` // hex
	Plaintext   string          `json:"plaintext"`
	Reply       json.RawMessage `json:"reply"`
}

var getVectors = map[string]events.Suite{"vector-get-hybrid": events.SuiteHybrid, "vector-get-x25519": events.SuiteX25519}

func getVectorPath(name string) string { return filepath.Join("testdata", name+".json") }

func readGetVector(t *testing.T, name string) getVector {
	t.Helper()
	file, err := os.ReadFile(getVectorPath(name))
	if err != nil {
		t.Fatal(err)
	}
	var v getVector
	if err := json.Unmarshal(file, &v); err != nil {
		t.Fatal(err)
	}
	for _, message := range []*json.RawMessage{&v.Request, &v.Reply} {
		var compact bytes.Buffer
		if err := json.Compact(&compact, *message); err != nil {
			t.Fatal(err)
		}
		*message = compact.Bytes()
	}
	return v
}

func writeGetVector(t *testing.T, name string, v getVector) {
	t.Helper()
	file, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(getVectorPath(name), append(file, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What the worked reads ask, and are given. The set that they were refused is the one before it.
var (
	vectorRead = events.GetRequest{
		Caller: "payroll.eu", Key: readKey, ID: "6f1c9f2e-8a4b-4c1d-9e3f-2b7a5d0c4e81", MinLifetime: time.Minute,
		Refused: tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 17}, Generation: 2},
	}
	vectorToken = events.AccessToken{
		Value: tokenworker.SecretString("vector-access-token"), Type: "Bearer", Scope: "company directory",
		ExpiresAt: noon.Add(time.Hour),
		Fence:     tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 17}, Generation: 3},
	}
)

// makeGetVector makes a worked read of a suite that is given the token. Its key is derived from 32 equal bytes, so that nobody
// takes it for a real one.
func makeGetVector(t *testing.T, suite events.Suite, token events.AccessToken) getVector {
	t.Helper()
	private, err := kems[suite].DeriveKeyPair(bytes.Repeat([]byte{0x33}, 32))
	if err != nil {
		t.Fatal(err)
	}
	serialized, err := private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	subject := events.GetSubject(vectorRead.Caller, vectorRead.Key)
	body, err := events.FixedGet(vectorRead, subject, suite, private).Body()
	if err != nil {
		t.Fatal(err)
	}
	q, err := events.DecodeGet(subject, body)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := q.Reply(token)
	if err != nil {
		t.Fatal(err)
	}
	v := getVector{
		About: "A worked read; see docs/reading.md. The reply was sealed by the worker's code; @hpke/core opens it too. The key is for " +
			"tests: it is derived from 32 equal bytes.",
		PrivateKey: base64.RawURLEncoding.EncodeToString(serialized),
		Caller:     vectorRead.Caller, Parts: []string{readKey.OrgID, readKey.ProviderID, readKey.CompanyID},
		Subject: subject, InboxPrefix: events.InboxPrefix(vectorRead.Caller), Request: body,
		Info: infoText("com.github.tokenworker.get.v1", subject, vectorRead.ID), Reply: sealed,
	}
	v.Plaintext = v.open(t, suite)
	return v
}

// infoText is the info of the fields in hex, by docs/events/publishers.md.
func infoText(fields ...string) string {
	info := []byte("tokenworker/v1")
	for _, f := range fields {
		info = append(binary.BigEndian.AppendUint32(info, uint32(len(f))), f...)
	}
	return hex.EncodeToString(info)
}

// open opens the reply by HPKE alone, with what the vector says.
func (v getVector) open(t *testing.T, suite events.Suite) string {
	t.Helper()
	var seal sealJSON
	if err := json.Unmarshal(v.Reply, &seal); err != nil {
		t.Fatal(err)
	}
	return openAlone(t, privateKey(t, suite, v.PrivateKey), v.Info, seal)
}

func TestReadsHaveTheFormOfTheWorkedReads(t *testing.T) {
	for name, suite := range getVectors {
		t.Run(name, func(t *testing.T) {
			made := makeGetVector(t, suite, vectorToken)
			if *update {
				writeGetVector(t, name, made)
			}
			file := readGetVector(t, name)
			if plaintext := file.open(t, suite); plaintext != file.Plaintext {
				t.Errorf("the stored reply opens to %s", plaintext)
			}
			made.Reply = file.Reply // a seal is different each time
			if !reflect.DeepEqual(made, file) {
				t.Errorf("got  %+v\nwant %+v", made, file)
			}
			q, err := events.DecodeGet(file.Subject, file.Request)
			if err != nil {
				t.Fatal(err)
			}
			if q.Caller != file.Caller || q.Key != key(file.Parts...) || q.ID != vectorRead.ID ||
				q.MinLifetime != vectorRead.MinLifetime || q.Refused != vectorRead.Refused {
				t.Errorf("the request reads as %+v", q)
			}
		})
	}
}

func TestTheReplyOfAWorkedReadOpensForNoOtherByte(t *testing.T) {
	for name, suite := range getVectors {
		t.Run(name, func(t *testing.T) {
			v := readGetVector(t, name)
			open := func(subject, id string) (events.AccessToken, error) {
				return events.FixedGet(events.GetRequest{ID: id}, subject, suite, privateKey(t, suite, v.PrivateKey)).Open(v.Reply)
			}
			token, err := open(v.Subject, vectorRead.ID)
			if err != nil || !token.Value.Equal(vectorToken.Value) {
				t.Fatalf("the stored reply does not open: %v", err)
			}
			if token.Value = vectorToken.Value; token != vectorToken {
				t.Errorf("opened %+v", token)
			}
			refused := func(subject, id string) {
				t.Helper()
				if _, err := open(subject, id); !errors.Is(err, events.CodeSealBroken) {
					t.Errorf("it opens for %s on %s: %v", id, subject, err)
				}
			}
			for i := range v.Subject {
				refused(flipped(v.Subject, i), vectorRead.ID)
			}
			for i := range vectorRead.ID {
				refused(v.Subject, flipped(vectorRead.ID, i))
			}
			last := len(v.Subject) - 1
			refused(v.Subject[:last], v.Subject[last:]+vectorRead.ID)
		})
	}
}

// flipped is s with one bit of its byte i changed.
func flipped(s string, i int) string {
	b := []byte(s)
	b[i] ^= 1
	return string(b)
}
