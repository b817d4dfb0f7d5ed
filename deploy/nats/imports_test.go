package nats_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/conf"
)

// rights are what one user may do, by its permissions, and its account imports.
type rights struct {
	account                      string
	publish, subscribe           []string
	importsService, importStream []string // by the names that they have in the account
}

// allRights reads them from the configuration, by user.
func allRights(t *testing.T) map[string]rights {
	t.Helper()
	file := t.TempDir() + "/nats-server.conf"
	if err := os.WriteFile(file, []byte(withPasswords()), 0o600); err != nil {
		t.Fatal(err)
	}
	parsed, err := conf.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]rights{}
	for name, account := range parsed["accounts"].(map[string]any) {
		account := account.(map[string]any)
		users, _ := account["users"].([]any)
		for _, user := range users {
			user := user.(map[string]any)
			permissions := user["permissions"].(map[string]any)
			r := rights{account: name, publish: texts(permissions["publish"]), subscribe: texts(permissions["subscribe"])}
			imports, _ := account["imports"].([]any)
			for _, i := range imports {
				i := i.(map[string]any)
				as, renamed := i["to"].(string)
				if _, isStream := i["stream"]; isStream {
					r.importStream = append(r.importStream, as)
					continue
				}
				if !renamed {
					as = i["service"].(map[string]any)["subject"].(string)
				}
				r.importsService = append(r.importsService, as)
			}
			all[user["user"].(string)] = r
		}
	}
	return all
}

func texts(list any) (texts []string) {
	for _, s := range list.([]any) {
		texts = append(texts, s.(string))
	}
	return texts
}

// TestTheImportsOfAnAccountAreTheRightsOfItsUser: an answer that is misdirected in an account reaches its imports, whatever its
// user's permissions are; and what the user may publish on without an import reaches nobody.
func TestTheImportsOfAnAccountAreTheRightsOfItsUser(t *testing.T) {
	all := allRights(t)
	if len(all) != 6 {
		t.Fatalf("the configuration has %d users: %v", len(all), slices.Sorted(maps.Keys(all)))
	}
	accounts := map[string]string{}
	for user, r := range all {
		if accounts[r.account] != "" {
			t.Errorf("%s and %s share the account %s", user, accounts[r.account], r.account)
		}
		accounts[r.account] = user
		if user == access {
			continue // answers in the account of the streams, and asks for nothing
		}
		publish := slices.DeleteFunc(r.publish, func(s string) bool { return s == "$SYS.REQ.USER.INFO" }) // the server's own
		if want, have := sorted(publish), sorted(r.importsService); !slices.Equal(want, have) {
			t.Errorf("%s may publish on\n%v\nand its account imports\n%v", user, want, have)
		}
		subscribe := slices.DeleteFunc(r.subscribe, func(s string) bool { return strings.HasPrefix(s, "_INBOX.") })
		if want, have := sorted(subscribe), sorted(r.importStream); !slices.Equal(want, have) {
			t.Errorf("%s may subscribe to\n%v\nand its account imports\n%v", user, want, have)
		}
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }
