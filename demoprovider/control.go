package demoprovider

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"time"
)

// The bodies of the control API that are no other type of the package.
type (
	grantOrder struct {
		Client  string `json:"client"`
		Subject string `json:"subject"`
		Scope   string `json:"scope"`
	}
	tokenOrder struct {
		Token string `json:"token"`
	}
	clockOrder struct {
		Advance time.Duration `json:"advance"`
	}
	clockAnswer struct {
		Now time.Time `json:"now"`
	}
	judgeOrder struct {
		Held []string `json:"held"`
	}
)

// routeControl puts the Go API on HTTP, for judges in another process.
func (s *Server) routeControl(mux *http.ServeMux) {
	mux.HandleFunc("POST /control/grants", control(func(o grantOrder) (any, error) { return s.Grant(o.Client, o.Subject, o.Scope) }))
	mux.HandleFunc("POST /control/withdrawals", control(func(o tokenOrder) (any, error) { return struct{}{}, s.Withdraw(o.Token) }))
	mux.HandleFunc("POST /control/faults", control(func(faults []Fault) (any, error) { return struct{}{}, s.Inject(faults...) }))
	mux.HandleFunc("DELETE /control/faults", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /control/clock", control(func(o clockOrder) (any, error) {
		s.Advance(o.Advance)
		return clockAnswer{s.Now()}, nil
	}))
	mux.HandleFunc("GET /control/totals", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Totals()) })
	mux.HandleFunc("POST /control/family", control(func(o tokenOrder) (any, error) { return s.Family(o.Token) }))
	mux.HandleFunc("GET /control/families", func(w http.ResponseWriter, _ *http.Request) {
		for family := range s.Families() { // one a line
			writeJSON(w, family)
		}
	})
	mux.HandleFunc("POST /control/judgement", control(func(o judgeOrder) (any, error) { return s.Judge(o.Held), nil }))
}

const maxOrder = 64 << 20 // a million held tokens

// control serves an order. Its content type is one that a web page cannot send unasked.
func control[Order any](do func(Order) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if media != "application/json" {
			http.Error(w, "the body is no JSON", http.StatusUnsupportedMediaType)
			return
		}
		var order Order
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&order); err != nil {
			http.Error(w, fmt.Sprintf("decoding the order: %v", err), http.StatusBadRequest)
			return
		}
		answer, err := do(order)
		switch {
		case errors.Is(err, ErrUnknownClient), errors.Is(err, ErrUnknownToken):
			http.Error(w, err.Error(), http.StatusNotFound)
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
		default:
			writeJSON(w, answer)
		}
	}
}

func writeJSON(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) //nolint:errchkjson // our own types; and a judge that went away needs no answer
}
