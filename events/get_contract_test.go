package events_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

func TestWorkedReadsFollowTheSchemas(t *testing.T) {
	for name := range getVectors {
		v := readGetVector(t, name)
		texts := map[string][]byte{"get": v.Request, "get-reply": v.Reply, "access-token": []byte(v.Plaintext)}
		for of := range texts {
			for other, text := range texts { // or a schema that accepts everything would do
				if err := validate(t, schema(t, of), text); (err == nil) != (of == other) {
					t.Errorf("%s: the schema %s says of %s: %v", name, of, other, err)
				}
			}
		}
	}
}

// TestTheSchemaOfGetsAcceptsWhatTheDecoderAccepts, and nothing else but for what a schema cannot see.
func TestTheSchemaOfGetsAcceptsWhatTheDecoderAccepts(t *testing.T) {
	get := schema(t, "get")
	for name, right := range rightGets {
		if err := validate(t, get, []byte(right)); err != nil {
			t.Errorf("the schema refuses %s: %v", name, err)
		}
	}
	unseen := map[string]bool{ // to a schema a number is a number, and a length is one of characters
		"a field twice": true, "an id of 129 umlauts": true, "a key with trailing bits": true,
		"a lifetime with a point": true, "a lifetime with an exponent": true, "a lifetime of minus nothing": true,
	}
	for name, wrong := range wrongGets {
		if accepted := validate(t, get, []byte(wrong)) == nil; accepted != unseen[name] {
			t.Errorf("the schema accepts %s: %t", name, accepted)
		}
	}
}

// TestTheSchemasOfReadsHaveTheFieldsThatAreSent: those that are always sent are required, and there are no others than are
// sent at times.
func TestTheSchemasOfReadsHaveTheFieldsThatAreSent(t *testing.T) {
	for of, sent := range map[string]func(all bool) []byte{
		"get": func(all bool) []byte {
			q := events.GetRequest{Caller: "payroll", Key: readKey}
			if all {
				q.MinLifetime, q.Refused = vectorRead.MinLifetime, vectorRead.Refused
			}
			g, err := events.NewGet(q, events.SuiteX25519)
			if err != nil {
				t.Fatal(err)
			}
			body, err := g.Body()
			if err != nil {
				t.Fatal(err)
			}
			return body
		},
		"get-reply": func(bool) []byte { return makeGetVector(t, events.SuiteX25519, vectorToken).Reply },
		"access-token": func(all bool) []byte {
			token := events.AccessToken{Value: tokenworker.SecretString("t")}
			if all {
				token = vectorToken
				token.Scheme = "Zoho-oauthtoken"
			}
			return []byte(makeGetVector(t, events.SuiteX25519, token).Plaintext)
		},
	} {
		file, err := os.ReadFile(filepath.Join(contractDir, "schemas", of+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var described struct {
			Required   []string
			Properties map[string]any
		}
		if err := json.Unmarshal(file, &described); err != nil {
			t.Fatal(err)
		}
		slices.Sort(described.Required)
		for what, c := range map[string]struct {
			described []string
			sent      []byte
		}{
			"required": {described.Required, sent(false)},
			"all":      {slices.Sorted(maps.Keys(described.Properties)), sent(true)},
		} {
			var fields map[string]any
			if err := json.Unmarshal(c.sent, &fields); err != nil {
				t.Fatal(err)
			}
			if got := slices.Sorted(maps.Keys(fields)); !slices.Equal(got, c.described) {
				t.Errorf("%s: sent are %v, %s are %v", of, got, what, c.described)
			}
			if err := validate(t, schema(t, of), c.sent); err != nil {
				t.Errorf("%s: %v", of, err)
			}
		}
	}
}

func TestTheSchemasOfRepliesRefuseWhatIsNone(t *testing.T) {
	reply, token := schema(t, "get-reply"), schema(t, "access-token")
	for name, wrong := range wrongReplies {
		if validate(t, reply, []byte(wrong)) == nil {
			t.Errorf("the schema accepts a reply with %s", name)
		}
	}
	for name, wrong := range map[string]string{
		"no token":                 `{"epoch":1,"sequence":17,"generation":3}`,
		"an empty token":           `{"access_token":"","epoch":1,"sequence":17,"generation":3}`,
		"an empty type":            `{"access_token":"t","token_type":"","epoch":1,"sequence":17,"generation":3}`,
		"a list of scopes":         `{"access_token":"t","scope":["a"],"epoch":1,"sequence":17,"generation":3}`,
		"an expiry in seconds":     `{"access_token":"t","expires_at":3600,"epoch":1,"sequence":17,"generation":3}`,
		"a sequence below nothing": `{"access_token":"t","epoch":1,"sequence":-1,"generation":3}`,
	} {
		if validate(t, token, []byte(wrong)) == nil {
			t.Errorf("the schema accepts a token with %s", name)
		}
	}
	v := readGetVector(t, "vector-get-x25519")
	if validate(t, reply, []byte(later(v.Reply))) != nil || validate(t, token, []byte(later([]byte(v.Plaintext)))) != nil {
		t.Error("a schema refuses a field of a later version, which readers are to ignore")
	}
}

// getErrors are the codes that get-error.json lists, each with its number after a space.
func getErrors(t *testing.T) (listed []string) {
	t.Helper()
	type constant struct{ Const string }
	var described struct {
		OneOf []struct {
			Properties struct {
				Code   constant `json:"Nats-Service-Error"`
				Number constant `json:"Nats-Service-Error-Code"`
			}
		}
	}
	file, err := os.ReadFile(filepath.Join(contractDir, "schemas", "get-error.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, &described); err != nil {
		t.Fatal(err)
	}
	for _, one := range described.OneOf {
		if p := one.Properties; p.Code.Const != "" {
			listed = append(listed, p.Code.Const+" "+p.Number.Const)
		}
	}
	return listed
}

func TestTheSchemaOfErrorsListsTheCodes(t *testing.T) {
	errors, listed := schema(t, "get-error"), getErrors(t)
	accepts := func(code string, number int) bool {
		return validate(t, errors, fmt.Appendf(nil, `{"Nats-Service-Error":%q,"Nats-Service-Error-Code":"%d"}`, code, number)) == nil
	}
	for i, code := range events.GetCodes() {
		if i >= len(listed) || !strings.HasPrefix(listed[i], string(code)+" ") {
			t.Fatalf("the schema lists %v, the code %v", listed, events.GetCodes())
		}
		for number := 400; number < 600; number++ {
			if want := listed[i] == string(code)+" "+strconv.Itoa(number); accepts(string(code), number) != want {
				t.Errorf("the schema accepts %s with %d: %t", code, number, !want)
			}
		}
	}
	if n := len(events.GetCodes()); len(listed) != n {
		t.Errorf("the schema lists %v beside %v", listed[n:], events.GetCodes())
	}
	if !accepts("of_a_later_version", 499) {
		t.Error("a code of a later version is refused")
	}
	if validate(t, errors, []byte(`{"Nats-Service-Error":"not_found"}`)) == nil {
		t.Error("a code without its number is accepted")
	}
}

// guideForReaders is docs/reading.md.
func guideForReaders(t *testing.T) string {
	t.Helper()
	guide, err := os.ReadFile(filepath.Join(contractDir, "..", "reading.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(guide)
}

func TestTheGuideForReadersListsTheCodes(t *testing.T) {
	_, table, _ := strings.Cut(guideForReaders(t), "| code |")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([0-9]+) \\|").FindAllStringSubmatch(table, -1) {
		documented = append(documented, row[1]+" "+row[2])
	}
	if listed := getErrors(t); !slices.Equal(documented, listed) {
		t.Errorf("the table has\n%v\nthe schema has\n%v", documented, listed)
	}
}

func TestTheGuideForReadersShowsTheWorkedRead(t *testing.T) {
	v, guide := readGetVector(t, "vector-get-hybrid"), guideForReaders(t)
	shown := []string{v.Subject, "`" + v.InboxPrefix + "`", "74 6f 6b 65 6e 77 6f 72 6b 65 72 2f 76 31   tokenworker/v1"}
	for _, field := range []string{"com.github.tokenworker.get.v1", v.Subject, vectorRead.ID} {
		length := binary.BigEndian.AppendUint32(nil, uint32(len(field)))
		shown = append(shown, fmt.Sprintf("% x   %s", length, field))
	}
	for _, text := range shown {
		if !strings.Contains(guide, text) {
			t.Errorf("reading.md does not show %s", text)
		}
	}
}

func TestTheAsyncAPIDocumentHasReads(t *testing.T) {
	doc := readAsyncAPI(t)
	asked := doc.Operations["receiveGet"]
	if asked.Action != "receive" || asked.Channel.Ref != "#/channels/get" || asked.Reply.Channel.Ref != "#/channels/getReply" {
		t.Errorf("the operation is %+v", asked)
	}
	if asked.Reply.Address.Location != "$message.header#/replyTo" || doc.Channels["getReply"].Address != "" {
		t.Error("the reply does not go where the request says")
	}
	v := readGetVector(t, "vector-get-hybrid")
	parts := []string{"{caller}", v.Caller, "{org}", v.Parts[0], "{provider}", v.Parts[1], "{company}", v.Parts[2]}
	for i := 1; i < len(parts); i += 2 {
		parts[i] = tokenworker.EscapePart(parts[i])
	}
	if subject := strings.NewReplacer(parts...).Replace(doc.Channels["get"].Address); subject != v.Subject {
		t.Errorf("the request's subject is %s, want %s", subject, v.Subject)
	}
	const payload, headers = "payload ", "headers "
	for channel, want := range map[string][]string{
		"get":      {"get: " + payload + "./schemas/get.json"},
		"getReply": {"getError: " + headers + "./schemas/get-error.json", "getReply: " + payload + "./schemas/get-reply.json"},
	} {
		var got []string
		for name, message := range doc.Channels[channel].Messages {
			component := doc.Components.Messages[name]
			if message.Ref != "#/components/messages/"+name {
				t.Errorf("channel %s names a message %s", channel, message.Ref)
			}
			for kind, schema := range map[string]asyncAPISchema{payload: component.Payload, headers: component.Headers} {
				if ref := schema.Schema.Ref; ref != "" {
					got = append(got, name+": "+kind+ref)
				}
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("channel %s carries %q, want %q", channel, got, want)
		}
	}
	sealedAs := infoText(doc.Components.Messages["getReply"].Name, v.Subject, vectorRead.ID)
	if sealedAs != v.Info {
		t.Error("the name of the reply is not the type that its seal is bound to")
	}
}
