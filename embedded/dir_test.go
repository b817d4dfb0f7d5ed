package embedded_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
)

func TestADataDirectoryIsMadePrivate(t *testing.T) {
	path := newDirPath(t)
	d := openDir(t, path)
	if got := mode(t, path); got != 0o700 {
		t.Errorf("mode %04o, want 0700", got)
	}
	if d.Path() != path {
		t.Errorf("path %q, want %q", d.Path(), path)
	}
}

func TestADirectoryThatOthersMayUseIsRefused(t *testing.T) {
	for _, perm := range []os.FileMode{0o750, 0o701} {
		path := newDirPath(t)
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, perm)); err != nil {
			t.Fatal(err)
		}
		_, err := embedded.OpenDir(path)
		if !errors.Is(err, tokenworker.ErrMisconfigured) || !strings.Contains(err.Error(), "chmod") {
			t.Errorf("mode %04o: error %v, want ErrMisconfigured that says what to do", perm, err)
		}
	}
}

func TestAFileIsNoDataDirectory(t *testing.T) {
	path := newDirPath(t)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.OpenDir(path); err == nil {
		t.Error("no error")
	}
}

func TestTheNoticeIsThereFromAnnounceToClose(t *testing.T) {
	path := newDirPath(t)
	if _, err := embedded.Running(path); !errors.Is(err, tokenworker.ErrNotFound) {
		t.Errorf("without a directory: error %v, want ErrNotFound", err)
	}
	d, err := embedded.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Running(path); !errors.Is(err, tokenworker.ErrNotFound) {
		t.Errorf("before Announce: error %v, want ErrNotFound", err)
	}
	want := embedded.Dev{
		NATSURL: "nats://127.0.0.1:4222", NATSToken: tokenworker.SecretString("t"), PID: 7, StartedAt: entered(),
	}
	if err := d.Announce(want); err != nil {
		t.Fatal(err)
	}
	for range 2 { // looking changes nothing
		got, err := embedded.Running(path)
		if err != nil || got.NATSURL != want.NATSURL || !got.NATSToken.Equal(want.NATSToken) || got.PID != 7 ||
			!got.StartedAt.Equal(want.StartedAt) {
			t.Errorf("running: %+v, %v; want %+v", got, err, want)
		}
	}
	if got := mode(t, filepath.Join(path, "dev.json")); got != 0o600 {
		t.Errorf("dev.json has mode %04o", got)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Running(path); !errors.Is(err, tokenworker.ErrNotFound) {
		t.Errorf("after Close: error %v, want ErrNotFound", err)
	}
	if _, err := os.Stat(filepath.Join(path, "dev.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close: dev.json: %v", err)
	}
}

func TestANATSTokenThatOthersMayReadIsRefused(t *testing.T) {
	d := openDir(t, newDirPath(t))
	natsToken(t, d)
	path := filepath.Join(d.Path(), "nats.token")
	if got := mode(t, path); got != 0o600 {
		t.Errorf("nats.token has mode %04o", got)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := d.NATSToken(); !errors.Is(err, tokenworker.ErrMisconfigured) {
		t.Errorf("error %v, want ErrMisconfigured", err)
	}
}

func TestTheDefaultDirectoryFollowsTheXDGSpecification(t *testing.T) {
	t.Setenv("HOME", "/home/ada")
	for data, want := range map[string]string{
		"/data":    "/data/tokenworker",
		"":         "/home/ada/.local/share/tokenworker",
		"relative": "/home/ada/.local/share/tokenworker",
	} {
		t.Setenv("XDG_DATA_HOME", data)
		if got, err := embedded.DefaultDir(); got != want || err != nil {
			t.Errorf("with XDG_DATA_HOME=%q: %q, %v; want %q", data, got, err, want)
		}
	}
}
