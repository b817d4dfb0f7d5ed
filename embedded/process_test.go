package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
)

// entered is when every event of these tests entered the stream.
func entered() time.Time { return time.Unix(1_800_000_000, 0).UTC() }

func key(company string) tokenworker.Key {
	return tokenworker.Key{OrgID: "acme", ProviderID: "finch", CompanyID: company}
}

// acquisition is the event of that sequence, with a set that tells it.
func acquisition(company string, sequence uint64) *tokenworker.Acquisition {
	return &tokenworker.Acquisition{
		Event: tokenworker.Event{
			Key: key(company), Stamp: tokenworker.Stamp{Epoch: 1, Sequence: sequence}, Entered: entered(),
			ID: tokenworker.NewEventID("test", fmt.Sprint(sequence), entered()),
		},
		Sealed: fmt.Appendf(nil, "sealed %s %d", company, sequence),
		DueAt:  entered().Add(time.Hour),
	}
}

// storeUnderLoad acquires without end from several goroutines, and says each company on standard output once the
// store has said that it is stored.
func storeUnderLoad(path string) error {
	ctx := context.Background()
	s, err := embedded.OpenStore(ctx, path)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var g errgroup.Group
	for w := range 8 {
		g.Go(func() error {
			for i := range 1 << 30 {
				company := fmt.Sprintf("%d-%d", w, i)
				if _, err := s.Acquire(ctx, acquisition(company, 1)); err != nil {
					return err
				}
				mu.Lock()
				_, err := fmt.Fprintln(os.Stdout, company)
				mu.Unlock()
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func TestAKilledProcessLosesNothingThatItAcknowledged(t *testing.T) {
	for round := range 5 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			path := storePath(t)
			cmd := child(t.Context(), "store under load", path)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var acknowledged []string
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if acknowledged = append(acknowledged, lines.Text()); len(acknowledged) == 200*(round+1) {
					if err := cmd.Process.Kill(); err != nil {
						t.Fatal(err)
					}
				}
			}
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
				t.Fatalf("the child ended by itself: %v", err)
			}
			s := openStore(t, path)
			for _, company := range acknowledged {
				r, err := s.Get(t.Context(), key(company))
				if err != nil || string(r.Sealed) != "sealed "+company+" 1" {
					t.Fatalf("acknowledged, of %d: %s, found: %q, %v", len(acknowledged), company, r.Sealed, err)
				}
			}
		})
	}
}

const epochsEach = 100

// readAndCountUp prints the set of a connection and then takes epochs.
func readAndCountUp(path string) error {
	ctx := context.Background()
	s, err := embedded.OpenStore(ctx, path)
	if err != nil {
		return err
	}
	r, err := s.Get(ctx, key("shared"))
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(os.Stdout, "%s\n", r.Sealed); err != nil {
		return err
	}
	for range epochsEach {
		e, err := s.TakeEpoch(ctx)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(os.Stdout, e); err != nil {
			return err
		}
	}
	return s.Close()
}

func TestASecondProcessReadsWhatIsCommittedAndWritesInTurn(t *testing.T) {
	path := storePath(t)
	s := openStore(t, path)
	if _, err := s.Acquire(t.Context(), acquisition("shared", 7)); err != nil {
		t.Fatal(err)
	}
	cmd := child(t.Context(), "read and count up", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "sealed shared 7" {
		t.Errorf("the other process read %q", lines.Text())
	}
	given := map[string]string{}
	for range epochsEach { // while the child takes its own
		e, err := s.TakeEpoch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		given[fmt.Sprint(e)] = "here"
	}
	for lines.Scan() {
		if who, taken := given[lines.Text()]; taken {
			t.Errorf("epoch %s was given twice, first %s", lines.Text(), who)
		}
		given[lines.Text()] = "there"
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if mark, err := s.HighWater(t.Context()); mark.Epoch != 2*epochsEach || len(given) != 2*epochsEach || err != nil {
		t.Errorf("highest epoch %d, %d given, error %v; want %d", mark.Epoch, len(given), err, 2*epochsEach)
	}
}

// holdDirectory announces itself on a data directory, says so, and waits to be killed.
func holdDirectory(path string) error {
	d, err := embedded.OpenDir(path)
	if err != nil {
		return err
	}
	token, err := d.NATSToken()
	if err != nil {
		return err
	}
	if err := d.Announce(embedded.Dev{NATSURL: "nats://127.0.0.1:1", NATSToken: token, PID: os.Getpid()}); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(os.Stdout, "held"); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func TestADirectoryIsHeldUntilItsProcessDies(t *testing.T) {
	path := newDirPath(t)
	cmd := child(t.Context(), "hold a directory", path)
	if _, err := cmd.StdinPipe(); err != nil { // never closed: the child is to be killed
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if lines := bufio.NewScanner(out); !lines.Scan() || lines.Text() != "held" {
		t.Fatalf("the other process said %q", lines.Text())
	}

	_, err = embedded.OpenDir(path)
	if !errors.Is(err, tokenworker.ErrMisconfigured) || !strings.Contains(err.Error(), fmt.Sprint(cmd.Process.Pid)) {
		t.Errorf("opening a held directory: error %v, want one that names process %d", err, cmd.Process.Pid)
	}
	dev, err := embedded.Running(path)
	if err != nil || dev.PID != cmd.Process.Pid || dev.NATSURL != "nats://127.0.0.1:1" || dev.NATSToken.IsEmpty() {
		t.Errorf("running: %+v, %v", dev, err)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if _, err := embedded.Running(path); !errors.Is(err, tokenworker.ErrNotFound) {
		t.Errorf("after a kill: error %v, want ErrNotFound", err)
	}
	d := openDir(t, path)
	token, err := d.NATSToken()
	if err != nil || !token.Equal(dev.NATSToken) {
		t.Errorf("another NATS token after a restart, error %v", err)
	}
}
