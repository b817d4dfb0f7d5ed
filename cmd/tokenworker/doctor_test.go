package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/streams"
)

func TestSubjectPatterns(t *testing.T) {
	for _, test := range []struct {
		pattern, subject string
		want             bool
	}{
		{"a.b.c", "a.b.c", true},
		{"a.b", "a.b.c", false},
		{"a.b.c", "a.b", false},
		{"a.*.c", "a.b.c", true},
		{"a.*", "a.b.c", false},
		{"*", "a", true},
		{"a.>", "a.b.c", true},
		{"a.>", "a", false},
		{"a.b.>", "a.c.d", false},
		{">", "a.b", true},
	} {
		if got := matches(test.pattern, test.subject); got != test.want {
			t.Errorf("%s covers %s: %v, want %v", test.pattern, test.subject, got, test.want)
		}
	}
}

func TestEventKeysAreJudgedByTheirAge(t *testing.T) {
	const rotate, retire0, retire1 = "`tokenworker keys rotate`", "`tokenworker keys retire 0`", "`tokenworker keys retire 1`"
	for name, test := range map[string]struct {
		days   []int // the age of each live key, the current one first
		want   []level
		advice []string // in the last finding, in this order
	}{
		"none":                             {nil, []level{bad}, nil},
		"a new one":                        {[]int{0}, []level{ok}, nil},
		"one that is to be followed":       {[]int{61}, []level{warn}, []string{rotate}},
		"one that is overdue":              {[]int{91}, []level{bad}, []string{rotate}},
		"two, the current one new":         {[]int{1, 61}, []level{ok}, nil},
		"two, the older followed long ago": {[]int{29, 80}, []level{warn}, []string{retire1}},
		"two, the older followed late":     {[]int{9, 84}, []level{warn}, []string{retire1}},
		"two, the older overdue":           {[]int{1, 91}, []level{bad}, []string{retire1}},
		"two, both to be ended":            {[]int{61, 91}, []level{warn, bad}, []string{retire1}},
		"two, the current one to be ended": {[]int{61, 62}, []level{warn, warn}, []string{retire1}},
		"three":                            {[]int{1, 2, 3}, []level{warn}, nil},
		"one that is nearly overdue":       {[]int{89}, []level{warn}, []string{rotate}},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			var live []events.PublicKey
			for i, age := range test.days {
				live = append(live, events.PublicKey{KeyID: strconv.Itoa(i), CreatedAt: now.Add(-time.Duration(age) * 24 * time.Hour)})
			}
			found := judgeEventKeys(live, now)
			var got []level
			for _, f := range found {
				got = append(got, f.Level)
				if f.What == "event keys: 0 is 61 days old" && len(live) > 1 { // a third key is refused while two are live
					before, after, _ := strings.Cut(f.Why, retire1)
					if strings.Contains(before, rotate) || !strings.Contains(after, rotate) || strings.Contains(f.Why, retire0) {
						t.Errorf("the advice is %s", f.Why)
					}
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			for _, advice := range test.advice {
				if why := found[len(found)-1].Why; !strings.Contains(why, advice) {
					t.Errorf("the advice is %s", why)
				}
			}
		})
	}
}

func TestRightsOfANATSUser(t *testing.T) {
	worker := func() *rights {
		return &rights{
			Publish:   subjectRights{Allow: workerNeeds()},
			Subscribe: subjectRights{Allow: []string{"_INBOX.>"}},
		}
	}
	for name, test := range map[string]struct {
		change func(*rights)
		want   level
	}{
		"what a worker needs":                  {func(*rights) {}, ok},
		"without one of them":                  {func(r *rights) { r.Publish.Allow = r.Publish.Allow[1:] }, bad},
		"with one denied":                      {func(r *rights) { r.Publish.Deny = []string{"tokens.v1.dlq.>"} }, bad},
		"without its inbox":                    {func(r *rights) { r.Subscribe.Allow = []string{"tokens.>"} }, bad},
		"its inbox for a queue":                {func(r *rights) { r.Subscribe.Allow = []string{"_INBOX.> workers"} }, ok},
		"everything":                           {func(r *rights) { r.Publish.Allow = nil }, warn},
		"everything but what harms":            {func(r *rights) { r.Publish = subjectRights{Deny: workerExcess()} }, ok},
		"the right to forge events":            {func(r *rights) { r.Publish.Allow = append(r.Publish.Allow, "tokens.v1.disconnect.>") }, warn},
		"the right to delete the stream":       {func(r *rights) { r.Publish.Allow = append(r.Publish.Allow, "$JS.API.STREAM.>") }, warn},
		"the right to delete announcements":    {func(r *rights) { r.Publish.Allow = append(r.Publish.Allow, "$JS.API.STREAM.MSG.DELETE.TOKENS_OUT") }, warn},
		"those of another role, which is fine": {func(r *rights) { r.Publish.Allow = []string{"tokens.v1.acquired.>"} }, ok},
	} {
		t.Run(name, func(t *testing.T) {
			r := worker()
			test.change(r)
			got := r.examine("_INBOX")
			if len(got) != 1 || got[0].Level != test.want || (got[0].Level != ok) != (got[0].Why != "") {
				t.Errorf("got %+v, want one that is %s", got, test.want)
			}
		})
	}
}

func TestKeyPoliciesThatLetEverybodyIn(t *testing.T) {
	for name, test := range map[string]struct {
		policy, want string
	}{
		"an account":                      {`{"Statement":[{"Sid":"root","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:root"},"Action":"kms:*"}]}`, ""},
		"everybody":                       {`{"Statement":[{"Sid":"all","Effect":"Allow","Principal":"*"}]}`, "all"},
		"every AWS principal":             {`{"Statement":[{"Sid":"all","Effect":"Allow","Principal":{"AWS":"*"}}]}`, "all"},
		"everybody in a list":             {`{"Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::1:root","*"]}}]}`, "number 1"},
		"everybody, in a later statement": {`{"Statement":[{"Effect":"Allow","Principal":{"Service":"x"}},{"Effect":"Allow","Principal":"*"}]}`, "number 2"},
		"everybody on a condition":        {`{"Statement":[{"Effect":"Allow","Principal":"*","Condition":{"StringEquals":{"kms:CallerAccount":"1"}}}]}`, ""},
		"everybody denied":                {`{"Statement":[{"Effect":"Deny","Principal":"*"}]}`, ""},
		"a service":                       {`{"Statement":[{"Effect":"Allow","Principal":{"Service":"logs.amazonaws.com"}}]}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := opensToAll(test.policy); err != nil || got != test.want {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
	if _, err := opensToAll("no JSON"); err == nil {
		t.Error("what is no policy was read")
	}
}

func TestClocks(t *testing.T) {
	before := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	after := before.Add(100 * time.Millisecond)
	for name, test := range map[string]struct {
		there time.Time
		want  level
	}{
		"within the question":     {before.Add(50 * time.Millisecond), ok},
		"a little behind":         {before.Add(-time.Second), ok},
		"behind":                  {before.Add(-2 * time.Second), warn},
		"ahead":                   {after.Add(2 * time.Second), warn},
		"so far behind as counts": {before.Add(-5 * time.Minute), warn},
		"too far behind":          {before.Add(-5*time.Minute - 1), bad},
		"too far ahead":           {after.Add(6 * time.Minute), bad},
	} {
		t.Run(name, func(t *testing.T) {
			if got := examineSkew("NATS", test.there, before, after); got.Level != test.want {
				t.Errorf("got %+v, want %s", got, test.want)
			}
		})
	}
}

func TestFilesThatAreOpenToOthers(t *testing.T) {
	for name, test := range map[string]struct {
		dir, file os.FileMode
		want      level
	}{
		"private":           {0o700, 0o600, ok},
		"a readable file":   {0o700, 0o640, bad},
		"an open folder":    {0o755, 0o600, bad},
		"a writable by all": {0o700, 0o602, bad},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "key.json"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			for path, mode := range map[string]os.FileMode{filepath.Join(dir, "key.json"): test.file, dir: test.dir} {
				if err := os.Chmod(path, mode); err != nil {
					t.Fatal(err)
				}
			}
			if got := examineModes(dir); got.Level != test.want {
				t.Errorf("got %+v, want %s", got, test.want)
			}
		})
	}
}

func TestSettledMessagesThatCameBackAreTold(t *testing.T) {
	ctx, js := t.Context(), natstest.Connect(t)
	if err := streams.Setup(ctx, js, 1, func(context.Context) (uint64, error) { return 1, nil }); err != nil {
		t.Fatal(err)
	}
	if fs := examineLeftovers(ctx, js, 1); fs != nil {
		t.Fatalf("of empty streams it says %+v", fs)
	}
	s, err := js.Stream(ctx, streams.Rescue)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	c, err := js.Consumer(ctx, streams.Rescue, streams.Rescuer)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Retention = jetstream.LimitsPolicy // so that it keeps what is acknowledged
	if err := js.DeleteStream(ctx, streams.Rescue); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	if c, err = js.CreateConsumer(ctx, streams.Rescue, c.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "tokens.v1.rescue.org.provider.company", nil); err != nil {
		t.Fatal(err)
	}
	msg, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := msg.DoubleAck(ctx); err != nil {
		t.Fatal(err)
	}
	if fs := examineLeftovers(ctx, js, 1); len(fs) != 1 || fs[0].Level != warn || !strings.Contains(fs[0].What, "rescue: 1 message is left") {
		t.Errorf("it says %+v", fs)
	}
}

// shiftedLeaders are streams whose leaders have another time than this machine. A server in this process has no clock of its own.
type shiftedLeaders struct {
	jetstream.JetStream
	by time.Duration
}

func (s shiftedLeaders) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	stream, err := s.JetStream.Stream(ctx, name)
	if err == nil {
		info := stream.CachedInfo()
		info.TimeStamp = info.TimeStamp.Add(s.by)
	}
	return stream, err //nolint:wrapcheck // it stands in for the server
}

func TestALeaderWhoseClockIsOffIsTold(t *testing.T) {
	js := natstest.Connect(t)
	if err := streams.Setup(t.Context(), js, 1, func(context.Context) (uint64, error) { return 1, nil }); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		by   time.Duration
		want level
	}{
		{0, ok}, {time.Hour, bad}, {-time.Hour, bad}, {4 * time.Minute, warn},
	} {
		fs := examineLeaders(t.Context(), shiftedLeaders{js, test.by})
		if len(fs) != 1 || fs[0].Level != test.want || !strings.Contains(fs[0].What, "NATS server "+js.Conn().ConnectedServerName()) {
			t.Errorf("of one server that leads all streams, %s off, it says %+v", test.by, fs)
		}
	}
}
