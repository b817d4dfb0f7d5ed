package demoprovider

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
)

// Endpoint names an endpoint.
type Endpoint string

// The endpoints. Each is served at its path below the issuer.
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

// answer is what an endpoint says.
type answer struct {
	status    int
	code      string // of an OAuth error
	challenge string // WWW-Authenticate
	body      any    // as JSON; nil: none

	tokens  bool // body is Tokens
	refresh int  // then: the number of its refresh token
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

// exchange serves an endpoint: read finds what the request is about, process does it; between them the faults.
func (s *Server) exchange(e Endpoint, read func(http.ResponseWriter, *http.Request) (request, error), process func(request) answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, err := read(w, r)
		if err != nil {
			write(w, oauthError(http.StatusBadRequest, invalidRequest))
			return
		}
		if e == TokenEndpoint {
			req.posting = s.arrive(req.token)
		}
		ans := process(req)
		sent := r.Context().Err() == nil && write(w, ans)
		s.settle(req.posting, ans, sent)
		if sent && http.NewResponseController(w).Flush() != nil {
			s.unsend(req.posting, ans)
			sent = false
		}
		if !sent {
			panic(http.ErrAbortHandler) // net/http's way to close the connection
		}
	}
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

// write writes an answer, the last of which stays in the buffer until it is flushed: ours are shorter than net/http's.
func write(w http.ResponseWriter, ans answer) bool {
	var body []byte
	if ans.body != nil {
		body, _ = json.Marshal(ans.body) // our own types, none of which fail
	}
	header := w.Header()
	header.Set("Cache-Control", "no-store") // RFC 6749, section 5.1
	header.Set("Pragma", "no-cache")
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if ans.challenge != "" {
		header.Set("WWW-Authenticate", ans.challenge)
	}
	w.WriteHeader(ans.status)
	_, err := w.Write(body)
	return err == nil
}
