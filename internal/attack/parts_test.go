package main

import (
	"bytes"
	"crypto/hpke"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/kmsenc"
)

func TestTakingApartAndPuttingTogetherGivesTheSameBytes(t *testing.T) {
	v, err := openSQLiteVault(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.close)
	fence := tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 3, Sequence: 5}, Generation: 7}
	key := tokenworker.Key{OrgID: "o", ProviderID: "p", CompanyID: "c"}
	sealed, err := kmsenc.New(v.service, v.store, kmsenc.Config{}).Seal(t.Context(), key, fence, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := takeApart(sealed)
	if err != nil || !bytes.Equal(e.put(), sealed) {
		t.Errorf("put together it differs: %v", err)
	}
	if got, err := fenceOf(sealed); err != nil || got != fence {
		t.Errorf("the fence is %v, %v; want %v", got, err, fence)
	}
	wrapped, err := v.store.WrappedKey(t.Context(), "org/o")
	if err != nil || !bytes.HasSuffix(e.wrapped, wrapped.Wrapped) {
		t.Errorf("the wrapped key is not where it was looked for: %v", err)
	}
	if _, err := takeApart(sealed[:100]); !errors.Is(err, errEnvelope) {
		t.Errorf("cut off: %v", err)
	}
}

// refusedNowhere are the codes that no event can bring about by itself in this worker: some take a provider's answer.
//
//nolint:gochecknoglobals // a constant
var refusedNowhere = []events.Code{
	events.CodeInvalidIDToken, events.CodeTokenRefused, events.CodeNoCompany,
}

func TestEveryCodeHasABadEventThatIsRefusedWithIt(t *testing.T) {
	private, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	public, err := events.NewPublicKey("kid", events.SuiteHybrid, private.PublicKey().Bytes(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	covered := map[events.Code]bool{}
	for _, k := range badKinds() {
		covered[k.code] = true
		key := tokenworker.Key{OrgID: "o", ProviderID: "p", CompanyID: "c"}
		m, err := newBad(k, public, key, "token", false)
		if err != nil {
			t.Errorf("%s: %v", k.what, err)
			continue
		}
		if _, err := (events.Decoder{}).Decode(m); err != nil && !errors.Is(err, k.code) {
			t.Errorf("%s: refused with %v, want %s", k.what, err, k.code)
		}
	}
	for _, c := range events.Codes() {
		if !covered[c] && !slices.Contains(refusedNowhere, c) {
			t.Errorf("no bad event is to be refused with %s", c)
		}
	}
	for _, k := range clearKinds() {
		m, err := newBad(k, public, tokenworker.Key{OrgID: "o", ProviderID: "p", CompanyID: "c"}, "token", true)
		if err != nil || !bytes.Contains(m.Body, []byte("token")) {
			t.Errorf("%s: in clear it holds no token: %v", k.what, err)
		}
		if _, err := (events.Decoder{}).Decode(m); err == nil {
			t.Errorf("%s: in clear it is accepted", k.what)
		}
	}
}

// stored is a store with one acquisition and one disconnect in it, and the ledger that says so.
func stored(t *testing.T) (*view, *ledger, tokenworker.Key) {
	t.Helper()
	dir := t.TempDir()
	store, err := embedded.OpenStore(t.Context(), embedded.StorePath(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	service, err := embedded.CreateKeyFile(embedded.KeyPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	v, err := newView(store, service, func() {})
	if err != nil {
		t.Fatal(err)
	}
	key := tokenworker.Key{OrgID: "o", ProviderID: "p", CompanyID: "c"}
	stamp := tokenworker.Stamp{Epoch: 1, Sequence: 9}
	plain, err := tokenworker.EncodeTokenSet(tokenworker.TokenSet{AccessToken: tokenworker.SecretString("t")})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := v.sealer.Seal(t.Context(), key, tokenworker.Fence{Stamp: stamp}, plain)
	if err != nil {
		t.Fatal(err)
	}
	id := tokenworker.NewEventID("s", "1", time.Now())
	if _, err := store.Acquire(t.Context(), &tokenworker.Acquisition{Sealed: sealed, Event: tokenworker.Event{
		Key: key, Stamp: stamp, Entered: time.Now(), ID: id,
	}}); err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	l.add(key, entry{kind: events.Acquired, id: id, token: "t", seq: 9, tries: 1})
	return v, l, key
}

func TestTheLedgerNoticesWhatTheStoreLacks(t *testing.T) {
	other := tokenworker.NewEventID("s", "2", time.Now())
	for name, c := range map[string]struct {
		change func(l *ledger, k tokenworker.Key)
		broken bool
	}{
		"nothing":                         {func(*ledger, tokenworker.Key) {}, false},
		"an event that left no id":        {func(l *ledger, k tokenworker.Key) { l.entries[k][0].id = other }, true},
		"an earlier event that is lost":   {func(l *ledger, k tokenworker.Key) { l.entries[k] = append([]entry{{id: other}}, l.entries[k]...) }, true},
		"another token":                   {func(l *ledger, k tokenworker.Key) { l.entries[k][0].token = "x" }, true},
		"another stamp":                   {func(l *ledger, k tokenworker.Key) { l.entries[k][0].seq = 8 }, true},
		"another stamp of one sent twice": {func(l *ledger, k tokenworker.Key) { l.entries[k][0].seq, l.entries[k][0].tries = 8, 2 }, false},
		"a disconnect that did nothing":   {func(l *ledger, k tokenworker.Key) { l.entries[k][0].kind = events.Disconnect }, true},
		"a connection that is not there": {func(l *ledger, _ tokenworker.Key) {
			l.add(tokenworker.Key{OrgID: "x", ProviderID: "p", CompanyID: "c"}, entry{})
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			v, l, key := stored(t)
			c.change(l, key)
			e := &env{report: &report{}}
			if err := l.check(t.Context(), e, v); err != nil {
				t.Fatal(err)
			}
			if (e.broken > 0) != c.broken {
				t.Errorf("found %v", e.examples)
			}
		})
	}
}
