package streams

import (
	"context"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/internal/natstest"
)

var update = flag.Bool("update", false, "write docs/streams.md")

func takeEpoch(n uint64) func(context.Context) (uint64, error) {
	return func(context.Context) (uint64, error) { return n, nil }
}

func check(t *testing.T, js jetstream.JetStream) []tokenworker.Difference {
	t.Helper()
	ds, err := Check(t.Context(), js, 1)
	if err != nil {
		t.Fatalf("Check: %v", err)
	}
	return ds
}

func TestSetupLeavesNothingForCheckToFind(t *testing.T) {
	js := natstest.Connect(t)
	if ds := check(t, js); len(ds) != 7 {
		t.Fatalf("an empty server lacks %d things, want the 7 streams: %v", len(ds), ds)
	}
	for range 2 { // the second changes nothing
		if err := Setup(t.Context(), js, 1, takeEpoch(7)); err != nil {
			t.Fatalf("Setup: %v", err)
		}
		if ds := check(t, js); len(ds) != 0 {
			t.Fatalf("after Setup: %v", ds)
		}
	}
	if e, err := Epoch(t.Context(), js, at(7, 0)); err != nil || e != 7 {
		t.Fatalf("Epoch = %d, %v; want 7", e, err)
	}
}

func TestCheckSeesEachChangedSettingAndSetupMendsIt(t *testing.T) {
	js := natstest.Connect(t)
	if err := Setup(t.Context(), js, 1, takeEpoch(1)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*jetstream.StreamConfig){
		"Duplicates":  func(c *jetstream.StreamConfig) { c.Duplicates = time.Minute },
		"MaxAge":      func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"AllowDirect": func(c *jetstream.StreamConfig) { c.AllowDirect = true },
		"MaxMsgs":     func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 },
		"Subjects":    func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "tokens.v1.more.>") },
		"RePublish": func(c *jetstream.StreamConfig) {
			c.RePublish = &jetstream.RePublish{Source: "tokens.v1.refresh.a.b.c", Destination: "elsewhere"}
		},
		"SubjectTransform": func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "tokens.v1.refresh.>", Destination: "tokens.v1.acquired.>"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := js.Stream(t.Context(), In)
			if err != nil {
				t.Fatal(err)
			}
			c := s.CachedInfo().Config
			change(&c)
			if _, err := js.UpdateStream(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			ds := check(t, js)
			if len(ds) != 1 || !strings.Contains(ds[0].What, name) {
				t.Fatalf("Check = %v, want one difference in %s", ds, name)
			}
			if err := Setup(t.Context(), js, 1, takeEpoch(99)); err != nil {
				t.Fatal(err)
			}
			if ds := check(t, js); len(ds) != 0 {
				t.Fatalf("after Setup: %v", ds)
			}
			if _, err := Epoch(t.Context(), js, at(1, 0)); err != nil {
				t.Fatalf("mending the stream lost its epoch: %v", err)
			}
		})
	}
}

func TestCheckSeesAChangedOrMissingConsumer(t *testing.T) {
	js := natstest.Connect(t)
	if err := Setup(t.Context(), js, 1, takeEpoch(1)); err != nil {
		t.Fatal(err)
	}
	cons, err := js.Consumer(t.Context(), In, Durable(Acquired, 1))
	if err != nil {
		t.Fatal(err)
	}
	c := cons.CachedInfo().Config
	c.MaxDeliver = 5
	if _, err := js.UpdateConsumer(t.Context(), In, c); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteConsumer(t.Context(), In, Durable(Replay, 1)); err != nil {
		t.Fatal(err)
	}
	if ds := check(t, js); len(ds) != 2 {
		t.Fatalf("Check = %v, want MaxDeliver and the missing consumer", ds)
	}
	if err := Setup(t.Context(), js, 1, takeEpoch(1)); err != nil {
		t.Fatal(err)
	}
	if ds := check(t, js); len(ds) != 0 {
		t.Fatalf("after Setup: %v", ds)
	}
}

func TestSetupSaysWhatDiffersInTheAuditTrailAndChangesNothingThere(t *testing.T) {
	js := natstest.Connect(t)
	if err := Setup(t.Context(), js, 1, takeEpoch(1)); err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), Audit)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.MaxMsgs = 1
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := Setup(t.Context(), js, 1, takeEpoch(1)); err != nil {
		t.Fatal(err)
	}
	if ds := check(t, js); len(ds) != 1 || ds[0].What != "stream "+Audit+": MaxMsgs" {
		t.Fatalf("Check = %v, want one difference in the audit trail", ds)
	}
}

func TestOneServerIsToldToKeepOneCopy(t *testing.T) {
	err := Setup(t.Context(), natstest.Connect(t), 3, takeEpoch(1))
	if !errors.Is(err, tokenworker.ErrMisconfigured) || !strings.Contains(err.Error(), "--replicas 1") {
		t.Errorf("got %v", err)
	}
}

func TestNobodyCanPurgeTheEvents(t *testing.T) {
	js := natstest.Connect(t)
	if err := Setup(t.Context(), js, 1, takeEpoch(1)); err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), In)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context()); err == nil {
		t.Fatal("the purge was allowed")
	}
}

func TestEverySettingHasAReasonAndIsSetOnce(t *testing.T) {
	each := func(what string, settings []setting) {
		seen := map[string]bool{}
		for _, s := range settings {
			if s.why == "" || seen[s.field] {
				t.Errorf("%s: %s has no reason or stands twice", what, s.field)
			}
			seen[s.field] = true
		}
	}
	for _, s := range table(1) {
		each(s.name, s.settings)
		for _, c := range s.consumers {
			each(c.name, c.settings)
			if reflect.DeepEqual(c.config(""), jetstream.ConsumerConfig{}) {
				t.Errorf("%s: empty", c.name)
			}
		}
	}
}

func TestDocsShowTheTable(t *testing.T) {
	const file = "../docs/streams.md"
	if *update {
		if err := os.WriteFile(file, []byte(Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != Markdown() {
		t.Fatal("docs/streams.md is not what the table says; run go test ./streams -update")
	}
}
