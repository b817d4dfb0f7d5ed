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

var update = flag.Bool("update", false, "write docs/catalogue.md")

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

const cataloguePage = "../docs/catalogue.md"

func TestTheCataloguesPageIsTheCatalogue(t *testing.T) {
	want := page(t)
	if *update {
		if err := os.WriteFile(cataloguePage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(cataloguePage)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != want {
		t.Errorf("%s is not the catalogue: run this test with -update", cataloguePage)
	}
}

// about are the facts that a row of the page shows, by what they are about.
var about = map[string][]string{
	"rotation":   {"rotation"},
	"lifetimes":  {"assumed_lifetime", "idle_expiry", "hard_expiry"},
	"revocation": {"revoke", "revocation_scope"},
}

// page is docs/catalogue.md.
func page(t *testing.T) string {
	t.Helper()
	var rows strings.Builder
	verified := map[string]int{}
	all := mustLoad(t).All()
	for _, p := range all {
		on := map[string]string{}
		for _, f := range p.Facts() {
			on[f.Field] = f.On
		}
		doubt := func(field, text string) string {
			if text != "" && on[field] == "" {
				return text + "?"
			}
			return text
		}
		rotation := "nothing to refresh"
		if p.Refreshes() || p.ID == "generic_oidc" {
			rotation = doubt("rotation", string(p.Rotation))
		}
		revocation := "none known"
		if p.Revokes() {
			revocation = doubt("revocation_scope", string(p.RevocationScope))
		}
		latest, kinds := "", 0
		for kind, fields := range about {
			day := ""
			for _, field := range fields {
				day = max(day, on[field])
			}
			if latest = max(latest, day); day != "" {
				verified[kind]++
				kinds++
			}
		}
		if kinds == len(about) {
			verified["all three"]++
		}
		if latest == "" {
			latest = "never"
		} else {
			verified["some"]++
		}
		fmt.Fprintf(&rows, "| `%s` | %s | %s | %s | %s | %s | %s | %s | %s |\n", p.ID, p.Name, rotation, doubt("grace", span(p.GracePeriod)),
			doubt("assumed_lifetime", span(p.AssumedLifetime)), doubt("idle_expiry", span(p.IdleExpiry)), doubt("hard_expiry", span(p.HardExpiry)),
			revocation, latest)
	}
	return fmt.Sprintf(`# The catalogue

What the worker knows of %d providers. Written by %s from
[provider/catalogue.yaml](../provider/catalogue.yaml), which has the notes; %s shows each fact of one with the day on
which it was checked and the vendor's pages that say so. [providers.md](providers.md) explains the words.

| checked against the vendor's own pages | providers |
|---|---|
| rotation | %d |
| a lifetime | %d |
| revocation | %d |
| all three | %d |
| some of them | %d |
| none of them | %d |

A question mark stands after what nobody has checked. It is read in the careful way: rotation is strict, a revocation ends the
whole grant. Where a vendor's pages are silent, or could not be had, that is how it stays. "Access token" is the lifetime that
is assumed where an answer does not say.

| id | provider | rotation | grace | access token | idle end | hard end | a revocation ends | verified on |
|---|---|---|---|---|---|---|---|---|
%s`, len(all), "`go test ./provider -run TestTheCataloguesPageIsTheCatalogue -update`", "`tokenworker providers ID`",
		verified["rotation"], verified["lifetimes"], verified["revocation"], verified["all three"], verified["some"],
		len(all)-verified["some"], rows.String())
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
	for _, name := range []string{"XERO_CLIENT_ID", "ZENDESK_CLIENT_ID", "OKTA_CLIENT_ID", "ZOHO_CLIENT_ID", "ZOHO_CLIENT_SECRET"} {
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
	for _, id := range []string{"xero", "zendesk", "okta", "zoho"} {
		if p, _ := c.Get(id); !p.Enabled() || !p.Revokes() {
			t.Errorf("%s is not ready", id)
		}
	}
}
