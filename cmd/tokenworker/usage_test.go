package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"
)

// commands yields every command that we wrote with the words that name it.
func commands(t *testing.T, visit func(path []string, c *cli.Command)) {
	t.Helper()
	var walk func(path []string, c *cli.Command)
	walk = func(path []string, c *cli.Command) {
		visit(path, c)
		for _, sub := range c.Commands {
			walk(append(slices.Clone(path), sub.Name), sub)
		}
	}
	walk(nil, (&app{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}).root())
}

// meant lists the flags that say what a command destroys, has handled again or hands out, and that it is meant.
var meant = []string{
	"erase --org", "erase --subject", "erase --issuer", "erase --yes", "erase --dry-run",
	"export --org", "export --subject", "export --issuer",
	"disconnect --yes", "restore --yes", "restore --dry-run", "audit begin --yes", "dlq replay --code", "rewrap --unasked",
}

func TestEveryFlagHasAnEnvironmentVariableOfItsNameUnlessItMustBeMeant(t *testing.T) {
	flags := 0
	commands(t, func(path []string, c *cli.Command) {
		for _, f := range c.Flags {
			flags++
			name := f.Names()[0]
			want := []string{"TOKENWORKER_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))}
			if slices.Contains(meant, strings.Join(append(slices.Clone(path), "--"+name), " ")) {
				want = nil
			}
			documented, ok := f.(cli.DocGenerationFlag)
			if !ok || !slices.Equal(documented.GetEnvVars(), want) {
				t.Errorf("%v --%s: set by %v, want %v", path, name, documented.GetEnvVars(), want)
			}
			if ok && documented.GetUsage() == "" {
				t.Errorf("%v --%s: does not say what it is for", path, f.Names()[0])
			}
		}
	})
	if flags < 40 {
		t.Errorf("only %d flags were looked at", flags)
	}
}

func TestTheEnvironmentDestroysNothing(t *testing.T) {
	p := newProgram(t, "TOKENWORKER_DATA_DIR="+t.TempDir(), "TOKENWORKER_ORG=acme", "TOKENWORKER_SUBJECT=person", "TOKENWORKER_YES=true",
		"TOKENWORKER_CODE=too_old", "TOKENWORKER_DRY_RUN=true")
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"erase"}, "takes one of KEY, --org and --subject"},
		{[]string{"export"}, "takes one of KEY, --org and --subject"},
		{[]string{"disconnect", "acme:gusto:1"}, "--yes"},
		{[]string{"restore"}, "--yes"},
		{[]string{"audit", "begin"}, "--yes"},
		{[]string{"dlq", "replay"}, "SEQ... or --code"},
	} {
		if o := p.run("", test.args...); o.code != 2 || !strings.Contains(o.stderr, test.says) {
			t.Errorf("%v: code %d, %s", test.args, o.code, o.stderr)
		}
	}
}

func TestEveryCommandHelps(t *testing.T) {
	p := newProgram(t)
	commands(t, func(path []string, c *cli.Command) {
		o := p.run("", append(path, "--help")...)
		if o.code != 0 || o.stderr != "" || !strings.Contains(o.stdout, c.Usage) {
			t.Errorf("%v --help: code %d, stderr %q, stdout %q", path, o.code, o.stderr, o.stdout)
		}
		for _, f := range c.VisibleFlags() {
			if !strings.Contains(o.stdout, "--"+f.Names()[0]) {
				t.Errorf("%v --help does not name --%s", path, f.Names()[0])
			}
		}
	})
}

func TestExitCodesTellWrongUseFromFailure(t *testing.T) {
	dir := t.TempDir() + "/data"
	for name, test := range map[string]struct {
		args   []string
		env    string
		code   int
		stderr string
	}{
		"no command shows the help":                  {args: nil, code: 0},
		"version":                                    {args: []string{"version"}, code: 0},
		"completion":                                 {args: []string{"completion", "bash"}, code: 0},
		"help for a command":                         {args: []string{"help", "list"}, code: 0},
		"an unknown command, with a suggestion":      {args: []string{"lst"}, code: 2, stderr: `did you mean "list"`},
		"a group without a command":                  {args: []string{"keys"}, code: 2, stderr: "make, rotate, retire, show"},
		"an unknown command of a group":              {args: []string{"dlq", "delete"}, code: 2, stderr: "unknown command"},
		"an unknown flag":                            {args: []string{"list", "--bogus"}, code: 2, stderr: "-bogus"},
		"a flag without its value":                   {args: []string{"list", "--org"}, code: 2, stderr: "--org"},
		"a flag value of another type":               {args: []string{"dev", "--nats-port", "many"}, code: 2, stderr: "nats-port"},
		"an environment variable of another type":    {args: []string{"dev"}, env: "TOKENWORKER_NATS_PORT=many", code: 2, stderr: "TOKENWORKER_NATS_PORT"},
		"a log level that is none":                   {args: []string{"version", "--log-level", "loud"}, code: 2, stderr: "--log-level"},
		"a log format that is none":                  {args: []string{"--log-format", "xml", "version"}, code: 2, stderr: "--log-format"},
		"an argument too many":                       {args: []string{"demo", "now"}, code: 2, stderr: "takes no arguments"},
		"an argument too few":                        {args: []string{"inspect"}, code: 2, stderr: "KEY"},
		"a key that is none":                         {args: []string{"inspect", "a:b"}, code: 2, stderr: "org:provider:company"},
		"an organization that is none":               {args: []string{"list", "--org", ""}, code: 2, stderr: "--org"},
		"a dead letter that is none":                 {args: []string{"dlq", "show", "first"}, code: 2, stderr: "sequence"},
		"a code that is none":                        {args: []string{"dlq", "replay", "--code", "ugly"}, code: 2, stderr: "--code"},
		"neither dead letters nor a code":            {args: []string{"dlq", "replay"}, code: 2, stderr: "SEQ"},
		"run without NATS":                           {args: []string{"run"}, code: 2, stderr: "--nats-url"},
		"run with a data directory":                  {args: []string{"run", "--data-dir", dir}, code: 2, stderr: "data-dir"},
		"a user without a password":                  {args: []string{"list", "--nats-url", "nats://127.0.0.1", "--nats-user", "u"}, code: 2, stderr: "--nats-password-file"},
		"two ways to authenticate":                   {args: []string{"list", "--nats-url", "nats://127.0.0.1", "--nats-user", "u", "--nats-password-file", "f", "--nats-creds", "c"}, code: 2, stderr: "exclude"},
		"nothing runs on the data directory":         {args: []string{"dlq", "list", "--data-dir", dir}, code: 1, stderr: "nothing runs on the data directory " + dir},
		"no worker has ever run on the directory":    {args: []string{"list", "--data-dir", dir}, code: 1, stderr: "no worker has ever run"},
		"the same, named by an environment variable": {args: []string{"list"}, env: "TOKENWORKER_DATA_DIR=" + dir, code: 1, stderr: dir},
		"NATS is not there":                          {args: []string{"dlq", "list", "--nats-url", "nats://127.0.0.1:1"}, code: 1, stderr: "no servers available"},
		"a certificate file that is not there":       {args: []string{"dlq", "list", "--nats-url", "nats://127.0.0.1:1", "--nats-ca", dir}, code: 1, stderr: dir},
		"no AWS region":                              {args: []string{"list", "--table", "t"}, code: 1, stderr: "AWS_REGION"},
		"a refresh of nothing":                       {args: []string{"refresh", "--data-dir", dir}, code: 2, stderr: "--due"},
		"a refresh of one and of all":                {args: []string{"refresh", "--due", "a:b:c", "--data-dir", dir}, code: 2, stderr: "--due"},
		"two providers":                              {args: []string{"providers", "a", "b"}, code: 2, stderr: "one ID"},
		"a file of providers that is not there":      {args: []string{"providers", "--providers", dir}, code: 2, stderr: "--providers"},
		"a demo in a folder that is in use":          {args: []string{"demo", "--data-dir", "/"}, code: 2, stderr: "not empty"},
		"a number of replicas that is none":          {args: []string{"setup", "--replicas", "-1"}, code: 2, stderr: "--replicas"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newProgram(t, test.env).run("", test.args...)
			if o.code != test.code || !strings.Contains(o.stderr, test.stderr) {
				t.Errorf("exit code %d, want %d; stderr %q, want %q in it", o.code, test.code, o.stderr, test.stderr)
			}
			if lines := strings.Count(o.stderr, "\n"); test.code != 0 && (lines != 1 || !strings.HasPrefix(o.stderr, "tokenworker: ")) {
				t.Errorf("stderr is %d lines, want one that begins with the program's name: %q", lines, o.stderr)
			}
		})
	}
}

func TestCommandsThatOnlyLookMakeNoDataDirectory(t *testing.T) {
	p := newProgram(t)
	for _, args := range [][]string{{"list"}, {"dlq", "list"}, {"keys", "show"}, {"doctor"}} {
		if o := p.run("", args...); o.code != 1 {
			t.Errorf("%v: exit code %d, want 1", args, o.code)
		}
	}
	if o := p.run("", "list"); !strings.Contains(o.stderr, "no worker has ever run") {
		t.Errorf("looking has made a data directory: %s", o.stderr)
	}
}
