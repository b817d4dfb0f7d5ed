package provider_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/provider"
)

var update = flag.Bool("update", false, "write the catalogue's table into docs/providers.md")

const guide = "../docs/providers.md"

func readGuide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// part is what stands between two marks.
func part(t *testing.T, text, from, to string) (before, inside, after string) {
	t.Helper()
	before, rest, found := strings.Cut(text, from)
	inside, after, ended := strings.Cut(rest, to)
	if !found || !ended {
		t.Fatalf("%s has no part between %q and %q", guide, from, to)
	}
	return before, inside, after
}

func TestTheGuideListsTheCatalogue(t *testing.T) {
	const first, last = "TestTheGuideListsTheCatalogue -update` -->\n", "<!-- end of catalogue -->"
	text := readGuide(t)
	before, inside, after := part(t, text, first, last)
	want := table(t)
	if *update {
		if err := os.WriteFile(guide, []byte(before+first+want+last+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if inside != want {
		t.Errorf("the table in %s is not the catalogue: run this test with -update", guide)
	}
}

func table(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| id | provider | rotation | access token | expiry of the grant | revocation | introspection |\n|---|---|---|---|---|---|---|\n")
	for _, p := range mustLoad(t).All() {
		doubt := func(field, text string) string {
			if text != "" && (slices.Contains(p.Unverified, field) || slices.Contains(p.Unverified, "all")) {
				return text + "?"
			}
			return text
		}
		rotation := "nothing to refresh"
		if p.Refreshes() || p.ID == "generic_oidc" {
			rotation = doubt("rotation", strings.TrimSpace(string(p.Rotation)+" "+span(p.GracePeriod)))
		}
		var expiry []string
		if p.IdleExpiry > 0 {
			expiry = append(expiry, doubt("idle_expiry", "idle "+span(p.IdleExpiry)))
		}
		if p.HardExpiry > 0 {
			expiry = append(expiry, doubt("hard_expiry", "hard "+span(p.HardExpiry)))
		}
		revocation := "none"
		if p.Revokes() {
			revocation = doubt("revocation_scope", string(p.RevocationScope))
		}
		introspection := ""
		if p.Introspects() {
			introspection = doubt("introspect", "yes")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s |\n", p.ID, p.Name, rotation,
			doubt("assumed_lifetime", span(p.AssumedLifetime)), strings.Join(expiry, ", "), revocation, introspection)
	}
	return b.String()
}

// span writes a duration in its largest whole unit.
func span(d time.Duration) string {
	for _, unit := range []struct {
		name string
		d    time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if d > 0 && d%unit.d == 0 {
			return fmt.Sprintf("%d%s", d/unit.d, unit.name)
		}
	}
	return ""
}

func TestTheGuideExplainsEveryCode(t *testing.T) {
	_, inside, _ := part(t, readGuide(t), "| code | what happened |", "\n\n")
	var explained []provider.Code
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(inside, -1) {
		explained = append(explained, provider.Code(row[1]))
	}
	if !slices.Equal(explained, provider.Codes()) {
		t.Errorf("the guide explains\n%v\nthe codes are\n%v", explained, provider.Codes())
	}
}

func TestTheGuideExplainsEveryField(t *testing.T) {
	_, inside, _ := part(t, readGuide(t), "## What each field means", "## How answers are read")
	var explained []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z_`, ]+`) \\|").FindAllStringSubmatch(inside, -1) {
		explained = append(explained, regexp.MustCompile("[a-z_]+").FindAllString(row[1], -1)...)
	}
	for _, section := range []string{"", "revoke", "introspect", "client"} {
		yaml := "providers: {a: {nothing: x}}"
		if section != "" {
			yaml = "providers: {a: {" + section + ": {nothing: x}}}"
		}
		_, err := provider.Load(t.Context(), nil, provider.Source{Name: "a", YAML: []byte(yaml)})
		if err == nil {
			t.Fatal("an unknown field is accepted")
		}
		_, known, _ := strings.Cut(err.Error(), "known are ")
		for name := range strings.SplitSeq(known, ", ") {
			if !slices.Contains(explained, name) {
				t.Errorf("the guide does not explain %s of %q", name, section)
			}
		}
	}
}

func TestTheExampleOfMoreProvidersIsValid(t *testing.T) {
	for _, name := range []string{"XERO_CLIENT_ID", "ZENDESK_CLIENT_ID", "OKTA_CLIENT_ID", "HUBSPOT_CLIENT_ID", "HUBSPOT_CLIENT_SECRET"} {
		t.Setenv(name, "x")
	}
	text, err := os.ReadFile("../docs/examples/providers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	secrets := t.TempDir()
	for name, value := range map[string][]byte{"zendesk": []byte("x"), "okta.pem": newPEM(t)} {
		if err := os.WriteFile(filepath.Join(secrets, name), value, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	yaml := strings.ReplaceAll(string(text), "/run/secrets", secrets)
	c, err := provider.Load(t.Context(), manager{"prod/tokenworker/xero", "x"}, provider.Source{Name: "providers.yaml", YAML: []byte(yaml)})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"xero", "zendesk", "okta", "hubspot"} {
		if p, _ := c.Get(id); !p.Enabled() || !p.Revokes() && id != "zendesk" {
			t.Errorf("%s is not ready", id)
		}
	}
}
