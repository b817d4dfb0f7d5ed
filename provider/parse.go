package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/url"
	"strings"
	"unicode"
)

// document is an answer's body, as JSON has it.
type document map[string]any

// maxObjects is at how many places of a text that is no JSON an object is looked for.
const maxObjects = 64

// parseDocument reads a body that is a JSON object from its start, or a form as GitHub sends one by default. An object says
// itself where it ends, so what follows it, and whether the body is cut there, is of no interest. A form does not: it counts
// if the body is whole and is nothing else, whatever its content type.
func parseDocument(r reply) (document, bool) {
	text := plainText(r)
	if bytes.HasPrefix(text, []byte("{")) {
		doc, _, err := decodeObject(text)
		return doc, err == nil
	}
	media, _, _ := mime.ParseMediaType(r.mediaType) // an unreadable one is none
	bare := !bytes.ContainsFunc(text, func(c rune) bool { return unicode.IsSpace(c) || strings.ContainsRune("<>{}\"", c) })
	if r.cut || !bare && media != "application/x-www-form-urlencoded" && media != "text/plain" {
		return nil, false
	}
	form, err := url.ParseQuery(string(text))
	if err != nil || len(form["access_token"]) != 1 && len(form["error"]) != 1 || len(form["refresh_token"]) > 1 {
		return nil, false
	}
	doc := document{}
	for name := range form {
		doc[name] = form.Get(name)
	}
	return doc, true
}

// plainText is a body without what editors, and servers that encode what is encoded already, put around it.
func plainText(r reply) []byte {
	text := bytes.TrimSpace(bytes.TrimPrefix(r.body, []byte("\xef\xbb\xbf")))
	var inner string
	if bytes.HasPrefix(text, []byte(`"`)) && json.Unmarshal(text, &inner) == nil {
		return bytes.TrimSpace([]byte(inner))
	}
	return text
}

// decodeObject reads the object that text begins with, and returns what follows it.
func decodeObject(text []byte) (doc document, rest []byte, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&doc); err != nil {
		return nil, nil, err
	}
	return doc, text[decoder.InputOffset():], nil
}

// objects lists the outermost JSON objects of a text: warnings of a program, a guard against scripts, brackets of a list may
// stand around them. What stands in an object that is not closed does not count: nobody knows what it would have been part of.
func objects(text []byte) []document {
	var found []document
	for range maxObjects {
		at := bytes.IndexByte(text, '{')
		if at < 0 {
			break
		}
		doc, rest, err := decodeObject(text[at:])
		switch {
		case err == nil:
			found, text = append(found, doc), rest
		case errors.Is(err, io.ErrUnexpectedEOF):
			return found
		default:
			text = text[at+1:]
		}
	}
	return found
}

// at walks down a path with dots between names; nil if it leads nowhere. The empty path is the document itself.
func (d document) at(path string) any {
	var here any = map[string]any(d)
	for name := range strings.SplitSeq(path, ".") {
		if path == "" {
			break
		}
		object, _ := here.(map[string]any)
		here = object[name]
	}
	return here
}

// text returns the string at a path, or "".
func (d document) text(path string) string {
	s, _ := d.at(path).(string)
	return s
}

// member is the member of that name, or the only one that differs from it by capitals and punctuation alone: accessToken,
// .expires.
func (d document) member(name string) any {
	if v, ok := d[name]; ok {
		return v
	}
	var found any
	for other, v := range d {
		if letters(other) != letters(name) {
			continue
		}
		if found != nil {
			return nil
		}
		found = v
	}
	return found
}

// letters is a name without what spellings differ in.
func letters(name string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsLetter(c) || unicode.IsDigit(c) {
			return unicode.ToLower(c)
		}
		return -1
	}, name)
}
