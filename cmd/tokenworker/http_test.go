package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestReadinessIsAskedForOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &probe{log: slog.New(slog.DiscardHandler)}
		answer := func() int {
			w := httptest.NewRecorder()
			p.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
			return w.Code
		}
		if code := answer(); code != http.StatusServiceUnavailable {
			t.Errorf("while it starts: %d", code)
		}
		asked, failing := 0, error(nil)
		p.use(func(context.Context) error { asked++; return failing })
		for range 100 {
			if code := answer(); code != http.StatusOK {
				t.Errorf("when it works: %d", code)
			}
		}
		if asked != 1 {
			t.Errorf("100 requests at the same moment asked %d times", asked)
		}
		failing = errors.New("down")
		<-time.After(probeAge + 1)
		if code := answer(); code != http.StatusServiceUnavailable || asked != 2 {
			t.Errorf("when it is down: %d, after %d questions", code, asked)
		}
		failing = nil
		p.use(nil)
		if code := answer(); code != http.StatusServiceUnavailable {
			t.Errorf("while it stops: %d", code)
		}
	})
}
