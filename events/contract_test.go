package events_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tokenworker/tokenworker/events"
)

var contractDir = filepath.Join("..", "docs", "events")

// schema compiles one of the published schemas.
func schema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(filepath.Join(contractDir, "schemas", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

// schemaOf is the schema of the body of each golden file.
var schemaOf = map[string]string{
	"acquired": "acquired", "acquired_provider_only": "acquired", "acquired_plain": "acquired-plain",
	"disconnect": "disconnect", "disconnect_bare": "disconnect", "refresh": "refresh",
	"erase": "erase", "erase_organization": "erase",
	"stored": "stored", "stored_without_expiry": "stored", "disconnected": "disconnected", "rejected": "rejected", "dropped": "dropped",
	"erased": "erased", "erased_organization": "erased",
	"refreshed": "refreshed", "refresh_failed": "refresh-failed", "reauth_required": "reauth-required", "recovered": "recovered",
	"expiring": "expiring", "revoked": "revoked", "revoke_failed": "revoke-failed",
	"dead_letter": "dead-letter",
}

func TestGoldenFilesFollowTheSchemas(t *testing.T) {
	files, err := filepath.Glob(goldenPath("*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files, %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			of, ok := schemaOf[name]
			if !ok {
				t.Fatal("this golden file has no schema")
			}
			if err := validate(t, schema(t, of), readGolden(t, name).Body); err != nil {
				t.Error(err)
			}
			for other := range schemaOf { // or a schema that accepts everything would do
				if schemaOf[other] != of && validate(t, schema(t, of), readGolden(t, other).Body) == nil {
					t.Errorf("the schema of %s accepts %s", of, other)
				}
			}
		})
	}
}

func TestVectorsFollowTheSchemas(t *testing.T) {
	for _, name := range vectors {
		v := readVector(t, name)
		document, err := json.Marshal(v.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		for of, text := range map[string][]byte{
			"acquired": v.Event, "token-set": []byte(v.Plaintext), "public-key": document,
		} {
			if err := validate(t, schema(t, of), text); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestTheSchemasRefuseWhatTheDecoderRefuses, but for what a schema cannot see.
func TestTheSchemasRefuseWhatTheDecoderRefuses(t *testing.T) {
	set, event := schema(t, "token-set"), schema(t, "acquired")
	for _, c := range wrongTokenSets {
		if c.want == events.CodeDuplicateField {
			continue
		}
		if validate(t, set, []byte(c.set)) == nil {
			t.Errorf("the schema of token sets accepts %s", c.name)
		}
	}
	unseen := map[string]bool{ // they need arithmetic, or a comparison with the NATS subject
		"another connection's key": true, "the same key in another spelling": true, "a seal with trailing bits": true,
		"a time before 1970": true, "a time that is past 9999 in UTC": true, "a leap second": true,
	}
	for _, c := range wrongAcquired {
		if c.want == events.CodeDuplicateField {
			continue
		}
		err := validate(t, event, validAttrs().with(c.with).message(acquiredSubject).Body)
		if accepted := err == nil; accepted != unseen[c.name] {
			t.Errorf("the schema of acquired events accepts %s: %t", c.name, accepted)
		}
	}
}

func TestTheTableOfCodesIsTheListOfCodes(t *testing.T) {
	table, err := os.ReadFile(filepath.Join(contractDir, "codes.md"))
	if err != nil {
		t.Fatal(err)
	}
	var documented, listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllSubmatch(table, -1) {
		documented = append(documented, string(row[1]))
	}
	for _, code := range events.Codes() {
		listed = append(listed, string(code))
	}
	if got, want := strings.Join(documented, " "), strings.Join(listed, " "); got != want {
		t.Errorf("the table has\n%s\nthe code has\n%s", got, want)
	}
}

func TestEveryCodeCanStandInASubject(t *testing.T) {
	for _, code := range events.Codes() {
		subject := events.DeadLetterSubject(code, acquiredSubject)
		if got, _, err := events.ParseDeadLetterSubject(subject); got != code || err != nil {
			t.Errorf("%s reads back as %s, %v", subject, got, err)
		}
	}
}

func TestTheGuideShowsTheWorkedVector(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join(contractDir, "publishers.md"))
	if err != nil {
		t.Fatal(err)
	}
	v := readVector(t, "vector-hybrid")
	e := decode(t, v.message())
	for _, shown := range []string{
		v.Subject, v.MessageID, events.KeyText(e.Key), e.ID, e.Source, string(v.PublicKey.Suite), string(events.SuiteX25519),
	} {
		if !bytes.Contains(guide, []byte(shown)) {
			t.Errorf("publishers.md does not show %s", shown)
		}
	}
}

// asyncAPI is the part of the AsyncAPI document that the tests look at.
type asyncAPI struct {
	AsyncAPI string
	Channels map[string]struct {
		Address    string
		Parameters map[string]any
		Messages   map[string]asyncAPIRef
	}
	Operations map[string]struct {
		Action  string
		Channel asyncAPIRef
		Reply   struct {
			Address struct{ Location string }
			Channel asyncAPIRef
		}
	}
	Components struct {
		Messages map[string]struct {
			Name             string
			Payload, Headers asyncAPISchema
		}
	}
}

type asyncAPIRef struct {
	Ref string `yaml:"$ref"`
}

type asyncAPISchema struct{ Schema asyncAPIRef }

func readAsyncAPI(t *testing.T) asyncAPI {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(contractDir, "asyncapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc asyncAPI
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.AsyncAPI != "3.0.0" {
		t.Errorf("version is %q", doc.AsyncAPI)
	}
	return doc
}

func TestTheAsyncAPIDocumentNamesTheParametersOfEachAddress(t *testing.T) {
	for name, channel := range readAsyncAPI(t).Channels {
		var tokens []string
		for _, token := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(channel.Address, -1) {
			tokens = append(tokens, token[1])
		}
		slices.Sort(tokens)
		if described := slices.Sorted(maps.Keys(channel.Parameters)); !slices.Equal(described, tokens) {
			t.Errorf("channel %s has the parameters %v, its address %v", name, described, tokens)
		}
	}
}

func TestTheAsyncAPIDocumentNamesEveryEvent(t *testing.T) {
	doc := readAsyncAPI(t)
	operated := make(map[string]string) // channel reference to action
	for _, o := range doc.Operations {
		operated[o.Channel.Ref] = o.Action
	}
	named := make(map[string]bool) // golden forms that some channel has
	carried := make(map[events.Kind]bool)
	for name, channel := range doc.Channels {
		if name == "get" || name == "getReply" { // no events: see TestTheAsyncAPIDocumentHasReads
			continue
		}
		action := operated["#/channels/"+name]
		for of, message := range channel.Messages {
			component, ok := doc.Components.Messages[of]
			if !ok || message.Ref != "#/components/messages/"+of {
				t.Errorf("channel %s names a message %s that is not there", name, message.Ref)
			}
			file := component.Payload.Schema.Ref
			if _, err := os.Stat(filepath.Join(contractDir, file)); file == "" || err != nil {
				t.Errorf("message %s has no schema: %v", of, err)
			}
			named[strings.TrimSuffix(filepath.Base(file), ".json")] = true
			if of == "deadLetter" {
				continue
			}
			subject := strings.NewReplacer("{org}", "acme", "{provider}", "finch", "{company}", "c-17").Replace(channel.Address)
			kind, _, err := events.ParseSubject(subject)
			carried[kind] = true
			if err != nil || kind.Type() != component.Name {
				t.Errorf("channel %s: %s is the subject of %s, %v, not of %s", name, subject, kind.Type(), err, component.Name)
			}
			if want := map[bool]string{false: "receive", true: "send"}[strings.Contains(subject, ".event.")]; action != want {
				t.Errorf("channel %s: the worker's action is %q, want %q", name, action, want)
			}
		}
	}
	for _, of := range schemaOf {
		if !named[of] {
			t.Errorf("no channel carries %s", of)
		}
	}
	for _, kind := range events.Kinds() {
		if !carried[kind] {
			t.Errorf("no channel carries %s", kind)
		}
	}
}
