package demoprovider

import (
	"bytes"
	"cmp"
	"net/http"
	"time"
)

// deliver writes an answer in the way of the fault, all but what the buffer holds back until it is flushed. It reports
// whether the whole of it is on its way.
func (s *Server) deliver(w http.ResponseWriter, fault Fault, ans answer) bool {
	body := ans.encode()
	switch fault.Kind {
	case Cut, LostAnswer:
		return false
	case TornAnswer:
		if len(body) > 0 {
			ans.writeHead(w, len(body))
			_ = put(w, body[:len(body)/2]) && flush(w)
		}
		return false
	case Drip:
		ans.writeHead(w, len(body))
		return s.drip(w, body, fault.Interval)
	case Huge:
		return ans.pad(w, body, cmp.Or(fault.Size, defaultHuge))
	default:
		ans.writeHead(w, len(body))
		return put(w, body)
	}
}

// drip leaves the last byte to the flush that follows.
func (s *Server) drip(w http.ResponseWriter, body []byte, interval time.Duration) bool {
	for i := range body {
		if i > 0 && (!flush(w) || !s.pause(interval)) {
			return false
		}
		if !put(w, body[i:i+1]) {
			return false
		}
	}
	return true
}

// pad puts padding of the given size in front of the fields of a JSON object.
func (a answer) pad(w http.ResponseWriter, object []byte, size int) bool {
	const before, after = `{"padding":"`, `",`
	rest, ok := bytes.CutPrefix(object, []byte("{"))
	if !ok {
		a.writeHead(w, len(object))
		return put(w, object)
	}
	a.writeHead(w, len(before)+size+len(after)+len(rest))
	if !put(w, []byte(before)) {
		return false
	}
	chunk := bytes.Repeat([]byte{'x'}, 32<<10)
	for ; size > 0; size -= len(chunk) {
		if !put(w, chunk[:min(size, len(chunk))]) {
			return false
		}
	}
	return put(w, []byte(after)) && put(w, rest)
}

func put(w http.ResponseWriter, part []byte) bool {
	_, err := w.Write(part) //nolint:gosec // echoes are faults, and of a type that no browser runs
	return err == nil
}

func flush(w http.ResponseWriter) bool { return http.NewResponseController(w).Flush() == nil }

// pause waits, unless the server closes. It does not end when the client goes away: what was posted is processed.
func (s *Server) pause(d time.Duration) bool {
	if d == 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.closing:
		return false
	}
}
