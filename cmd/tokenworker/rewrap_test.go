package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/localstack"
	"github.com/tokenworker/tokenworker/streams"
)

func TestADeploymentMovesToAnotherKMSKeyWhileItWorks(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	p := newDeployment(t, server.ClientURL())
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("any"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.env = append(p.env, "TOKENWORKER_ACCESS_USER=access", "TOKENWORKER_ACCESS_PASSWORD_FILE="+password)
	p.must("", "setup", "--replicas", "1")
	worker := p.start("run")
	worker.await("working")
	for _, c := range []string{"acme:gusto:company-1", "acme:gusto:company-2", "globex:gusto:company-1"} {
		p.must("canary-token", "publish", "acquired", c, "--wait")
	}
	p.must("", "publish", "disconnect", "acme:gusto:company-2", "--wait")

	former, current, own := p.setting("TOKENWORKER_KMS_KEY"), localstack.Key(t), localstack.Key(t)
	moved := *p
	moved.env = append(moved.env, "TOKENWORKER_KMS_KEY="+current+","+former)
	if o := moved.run("", "rewrap"); o.code != 1 || !strings.Contains(o.stderr, "does not know the key arn:") {
		t.Errorf("while a worker does not know the new key: exit code %d, stderr %q", o.code, o.stderr)
	}
	p.must("", "keys", "show") // unwraps the event key, which is as it was
	worker.stop()
	worker = moved.start("run")
	worker.await("working")
	moved.must("canary-token", "publish", "acquired", "acme:gusto:company-3", "--wait") // under the new key
	o := moved.run("", "rewrap", "--check", "--json")
	expectFields(t, object(t, o.stdout), map[string]any{"records": 3, "sets": 3, "keys": 3}) // of globex, for events, for the audit trail
	if o.code != 1 || !strings.Contains(o.stderr, "1 former key is still in use") {
		t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
	}
	expectFields(t, object(t, moved.must("", "rewrap", "--json")), map[string]any{
		"records": 4, "sets": 3, "keys": 3, "waiting": 0, "failed": 0,
	})
	if left := moved.must("", "rewrap", "--check", "--json"); left != "" {
		t.Errorf("left: %s", left)
	}

	js := natstest.ConnectTo(t, server)
	waiting := nats.NewMsg("tokens.v1.rescue.acme.gusto.company-1")
	waiting.Header.Set(events.StampHeader, "1/1")
	waiting.Data = []byte("a set that another version has kept there")
	ack, err := js.PublishMsg(t.Context(), waiting)
	if err != nil {
		t.Fatal(err)
	}
	if o := moved.run("", "rewrap", "--check"); o.code != 1 || !strings.Contains(o.stderr, "1 token set waits in "+streams.Rescue) {
		t.Errorf("with a set in the rescue stream: exit code %d, stderr %q", o.code, o.stderr)
	}
	rescue, err := js.Stream(t.Context(), streams.Rescue)
	if err != nil {
		t.Fatal(err)
	}
	if err := rescue.DeleteMsg(t.Context(), ack.Sequence); err != nil {
		t.Fatal(err)
	}
	moved.must("", "rewrap", "--check")

	alone := *p
	alone.env = append(alone.env, "TOKENWORKER_KMS_KEY="+current)
	alone.must("", "keys", "show") // unwraps the event key
	if o := p.run("", "keys", "show"); o.code != 1 {
		t.Error("the event key still unwraps under the former key alone")
	}

	file := filepath.Join(t.TempDir(), "keys.yaml")
	if err := os.WriteFile(file, []byte("globex: "+own+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o = alone.run("", "rewrap", "--check", "--json", "--org-kms-keys", file)
	expectFields(t, object(t, o.stdout), map[string]any{"key_id": current, "records": 1, "sets": 1, "keys": 1})
	if o := alone.run("", "rewrap", "--org-kms-keys", file); o.code != 1 || !strings.Contains(o.stderr, "does not know the key") {
		t.Errorf("while a worker does not know an organization's key: exit code %d, stderr %q", o.code, o.stderr)
	}
	if worker.stop() != 0 || strings.Contains(worker.output(), "canary") {
		t.Error("the worker has failed, or shown a token")
	}
	mute := alone // answers no reads
	mute.env = append(slices.Clone(alone.env), "TOKENWORKER_ACCESS_USER=", "TOKENWORKER_ACCESS_PASSWORD_FILE=",
		"TOKENWORKER_ORG_KMS_KEYS="+file)
	worker = mute.start("run")
	worker.await("working")
	if o := alone.run("", "rewrap", "--org-kms-keys", file); o.code != 1 || !strings.Contains(o.stderr, "--unasked") {
		t.Errorf("beside a worker that cannot be asked: exit code %d, stderr %q", o.code, o.stderr)
	}
	alone.must("", "rewrap", "--org-kms-keys", file, "--unasked")
	alone.must("", "rewrap", "--check", "--org-kms-keys", file)
	if worker.stop() != 0 || strings.Contains(worker.output(), "canary") {
		t.Error("the worker has failed, or shown a token")
	}
}

func TestTheKeysOfOrganizationsAreReadStrictly(t *testing.T) {
	for name, content := range map[string]string{
		"not YAML":                      "a: b: c",
		"a list":                        "- acme",
		"an organization twice":         "acme: alias/a\nacme: alias/b\n",
		"an organization without a key": "acme:\n",
		"an organization that is no id": "\"\": alias/a\n",
		"a key that is not a string":    "acme: [alias/a]\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "keys.yaml")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			d := &deployment{flags: &targetFlags{orgKMSKeys: file}}
			if own, err := d.ownKeys(); err == nil || !strings.Contains(err.Error(), "--org-kms-keys") {
				t.Errorf("read as %v, %v", own, err)
			}
		})
	}
}
