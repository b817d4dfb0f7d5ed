package demoprovider

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strconv"
)

// Endpoint names an endpoint.
type Endpoint string

// The endpoints. MetadataEndpoint is discovery and keys.
const (
	TokenEndpoint      Endpoint = "token"
	RevokeEndpoint     Endpoint = "revoke"
	IntrospectEndpoint Endpoint = "introspect"
	ResourceEndpoint   Endpoint = "resource"
	MetadataEndpoint   Endpoint = "metadata"
)

// request is what an endpoint works on.
type request struct {
	*http.Request
	form  url.Values
	token string // the one that the request is about; empty if there is none

	// At the token endpoint alone.
	posting *posting // nil for a token that was never minted
	keeps   bool     // a fault has the refresh token kept
}

// answer is what an endpoint says; the zero answer is none.
type answer struct {
	status int
	code   string // of an OAuth error
	header http.Header
	body   any    // as JSON
	page   string // HTML instead of body

	tokens  bool // body is Tokens, of which the client knows none yet
	refresh int  // then: the number of the refresh token
	lost    bool // tokens were made for the request, and are not in the body
}

// oauthError is an answer as in RFC 6749, section 5.2. It never says anything of the request.
func oauthError(status int, code string) answer {
	return answer{status: status, code: code, body: struct {
		Error string `json:"error"`
	}{code}}
}

const (
	invalidRequest = "invalid_request"
	invalidGrant   = "invalid_grant"
)

// reader finds out what a request is about.
type reader func(http.ResponseWriter, *http.Request) (request, error)

// exchange serves an endpoint, faults and ledger around what it does.
func (s *Server) exchange(e Endpoint, read reader, process func(request) answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, err := read(w, r)
		if err != nil {
			_ = s.deliver(w, Fault{}, oauthError(http.StatusBadRequest, invalidRequest))
			return
		}
		fault := s.nextFault(e, req.token)
		req.keeps = fault.Kind == KeepRefresh
		if e == TokenEndpoint {
			req.posting = s.arrive(req.token, fault.Kind)
		}
		var ans answer
		ok := s.pause(fault.Delay)
		s.witness(req.posting)
		if ok && fault.Kind.isProcessed() {
			ans = process(req)
		}
		ok = ok && s.pause(fault.AnswerDelay)
		if !s.answer(w, r, fault, req.posting, fault.bend(req, ans, s.issuerFor(r)), ok) {
			panic(http.ErrAbortHandler) // net/http's way to close the connection
		}
	}
}

// answer reports whether the whole answer went out to a client that was still there, as far as a server can know. It notes
// so before the last of it goes: whoever has an answer finds it in the ledger.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, fault Fault, p *posting, ans answer, open bool) bool {
	sent := open && r.Context().Err() == nil && s.deliver(w, fault, ans)
	s.settle(p, ans, sent)
	if sent && !flush(w) {
		s.unsend(p, ans)
		return false
	}
	return sent
}

const maxForm = 64 << 10

// readForm is strict where RFC 6749 is: parameters come in the body, none twice (section 3.2), none in the URL (section
// 2.3.1).
func readForm(w http.ResponseWriter, r *http.Request) (request, error) {
	if r.URL.RawQuery != "" {
		return request{}, errors.New("parameters in the URL")
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return request{}, errors.New("the body is no form")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return request{}, fmt.Errorf("reading the form: %w", err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return request{}, fmt.Errorf("parsing the form: %w", err)
	}
	for name, values := range form {
		if len(values) > 1 {
			return request{}, fmt.Errorf("parameter %s comes twice", name)
		}
	}
	return request{Request: r, form: form}, nil
}

// readToken reads a form that is about the token in the named parameter.
func readToken(parameter string) func(http.ResponseWriter, *http.Request) (request, error) {
	return func(w http.ResponseWriter, r *http.Request) (request, error) {
		req, err := readForm(w, r)
		if err != nil {
			return req, err
		}
		req.token = req.form.Get(parameter)
		return req, nil
	}
}

func (a answer) encode() []byte {
	if a.page != "" || a.body == nil {
		return []byte(a.page)
	}
	body, _ := json.Marshal(a.body) //nolint:errchkjson // our own types, none of which fail
	return body
}

func (a answer) writeHead(w http.ResponseWriter, length int) {
	header := w.Header()
	header.Set("Cache-Control", "no-store") // RFC 6749, section 5.1
	header.Set("Pragma", "no-cache")
	header.Set("Content-Type", "application/json")
	if a.page != "" {
		header.Set("Content-Type", "text/html; charset=utf-8")
	}
	header.Set("Content-Length", strconv.Itoa(length))
	maps.Copy(header, a.header)
	w.WriteHeader(a.status)
}
