package provider

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strings"
)

// maxLayers is how often an answer may be packed: by the provider, and by a gateway in front of it.
const maxLayers = 2

// readBody reads what there is of a body, and unpacks it. It is cut if it ended before its end: by the connection, by the
// time limit, or because nobody reads more than [maxBodyBytes]. An answer whose end is missing may be whole all the same.
func readBody(resp *http.Response) (body []byte, cut bool) {
	body, cut = readUpTo(resp.Body)
	for range maxLayers {
		unpacked, ok := unpack(body, resp.Header.Get("Content-Encoding"))
		if !ok {
			break
		}
		var short bool
		body, short = readUpTo(unpacked)
		cut = cut || short
	}
	return body, cut
}

func readUpTo(r io.Reader) (body []byte, cut bool) {
	body, err := io.ReadAll(io.LimitReader(r, maxBodyBytes+1))
	if len(body) > maxBodyBytes {
		return body[:maxBodyBytes], true
	}
	return body, err != nil
}

// unpack undoes one compression. Nobody asked for one (the request says identity), and servers compress all the same. What is
// packed by gzip says so itself; RFC 1950 and RFC 1951, both of which go by the name of deflate, need the header to.
func unpack(body []byte, encoding string) (io.Reader, bool) {
	if r, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
		return r, true
	}
	if !strings.EqualFold(encoding, "deflate") || len(body) == 0 || body[0] == '{' {
		return nil, false
	}
	if r, err := zlib.NewReader(bytes.NewReader(body)); err == nil {
		return r, true
	}
	return flate.NewReader(bytes.NewReader(body)), true
}
