package events

import (
	"unicode/utf16"
	"unicode/utf8"
)

// encoding/json takes the last of two fields of one name, matches names regardless of case, replaces what is not UTF-8
// and quotes the input in its errors. Each of these lets two readers of one message disagree, or a token into a log. So
// the contract has a reader of its own: it accepts exactly RFC 8259, less duplicate names, lone surrogates and nesting
// beyond maxDepth, and its errors are codes.

// maxDepth is how deep objects and arrays may be nested.
const maxDepth = 16

type jsonKind uint8

const (
	jsonNull jsonKind = iota
	jsonBool
	jsonNumber
	jsonString
	jsonArray
	jsonObject
)

// jsonValue is one parsed value. The contract has no arrays, so what one holds is checked and forgotten.
type jsonValue struct {
	kind    jsonKind
	text    []byte       // a string unescaped, or the literal of a number or bool; may alias the input
	members []jsonMember // of an object, in order
}

type jsonMember struct {
	name  []byte
	value jsonValue
}

// parseJSON reads one JSON text. The error is [CodeNotJSON], [CodeTooDeep] or [CodeDuplicateField].
func parseJSON(text []byte) (jsonValue, error) {
	if !utf8.Valid(text) {
		return jsonValue{}, CodeNotJSON
	}
	p := jsonParser{text: text}
	v, err := p.value(0)
	if err != nil {
		return jsonValue{}, err
	}
	if p.next() != 0 || p.pos != len(text) {
		return jsonValue{}, CodeNotJSON
	}
	return v, nil
}

type jsonParser struct {
	text []byte
	pos  int
}

// next skips white space and returns the byte that follows, 0 at the end. A zero byte in the input is no JSON
// either, so the two need not be told apart until the end.
func (p *jsonParser) next() byte {
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; c {
		case ' ', '\t', '\r', '\n':
			p.pos++
		default:
			return c
		}
	}
	return 0
}

func (p *jsonParser) value(depth int) (jsonValue, error) {
	switch c := p.next(); c {
	case '{':
		return p.object(depth + 1)
	case '[':
		return p.array(depth + 1)
	case '"':
		s, err := p.str()
		return jsonValue{kind: jsonString, text: s}, err
	case 't':
		return p.literal("true", jsonBool)
	case 'f':
		return p.literal("false", jsonBool)
	case 'n':
		return p.literal("null", jsonNull)
	default:
		return p.number()
	}
}

func (p *jsonParser) object(depth int) (jsonValue, error) {
	if depth > maxDepth {
		return jsonValue{}, CodeTooDeep
	}
	v := jsonValue{kind: jsonObject}
	p.pos++
	if p.next() == '}' {
		p.pos++
		return v, nil
	}
	v.members = make([]jsonMember, 0, 4)
	if depth == 1 {
		v.members = make([]jsonMember, 0, 12)
	}
	var seen names
	for {
		if p.next() != '"' {
			return jsonValue{}, CodeNotJSON
		}
		name, err := p.str()
		if err != nil {
			return jsonValue{}, err
		}
		if !seen.add(v.members, name) {
			return jsonValue{}, CodeDuplicateField
		}
		if p.next() != ':' {
			return jsonValue{}, CodeNotJSON
		}
		p.pos++
		member, err := p.value(depth)
		if err != nil {
			return jsonValue{}, err
		}
		v.members = append(v.members, jsonMember{name, member})
		more, err := p.more('}')
		if !more {
			return v, err
		}
	}
}

// more steps over a comma, or over the end of the object or array.
func (p *jsonParser) more(end byte) (bool, error) {
	switch p.next() {
	case ',':
		p.pos++
		return true, nil
	case end:
		p.pos++
		return false, nil
	default:
		return false, CodeNotJSON
	}
}

// names finds duplicates: by looking at each of a few members, by a map among many, so that a hostile object of
// thousands of members costs no quadratic time.
type names struct{ many map[string]struct{} }

const fewMembers = 16

// add is false if name is among members already.
func (n *names) add(members []jsonMember, name []byte) bool {
	if len(members) < fewMembers {
		for i := range members {
			if string(members[i].name) == string(name) {
				return false
			}
		}
		return true
	}
	if n.many == nil {
		n.many = make(map[string]struct{}, 2*fewMembers)
		for i := range members {
			n.many[string(members[i].name)] = struct{}{}
		}
	}
	if _, dup := n.many[string(name)]; dup {
		return false
	}
	n.many[string(name)] = struct{}{}
	return true
}

func (p *jsonParser) array(depth int) (jsonValue, error) {
	if depth > maxDepth {
		return jsonValue{}, CodeTooDeep
	}
	v := jsonValue{kind: jsonArray}
	p.pos++
	if p.next() == ']' {
		p.pos++
		return v, nil
	}
	for {
		if _, err := p.value(depth); err != nil {
			return jsonValue{}, err
		}
		more, err := p.more(']')
		if !more {
			return v, err
		}
	}
}

func (p *jsonParser) literal(word string, kind jsonKind) (jsonValue, error) {
	end := p.pos + len(word)
	if end > len(p.text) || string(p.text[p.pos:end]) != word {
		return jsonValue{}, CodeNotJSON
	}
	v := jsonValue{kind: kind, text: p.text[p.pos:end]}
	p.pos = end
	return v, nil
}

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?.
func (p *jsonParser) number() (jsonValue, error) {
	start := p.pos
	p.accept("-")
	ok := p.accept("0") || p.digits()
	if ok && p.accept(".") {
		ok = p.digits()
	}
	if ok && p.accept("eE") {
		p.accept("+-")
		ok = p.digits()
	}
	if !ok {
		return jsonValue{}, CodeNotJSON
	}
	return jsonValue{kind: jsonNumber, text: p.text[start:p.pos]}, nil
}

// accept steps over one byte out of set.
func (p *jsonParser) accept(set string) bool {
	if p.pos < len(p.text) {
		for i := range len(set) {
			if p.text[p.pos] == set[i] {
				p.pos++
				return true
			}
		}
	}
	return false
}

// digits steps over one or more digits.
func (p *jsonParser) digits() bool {
	start := p.pos
	for p.pos < len(p.text) && '0' <= p.text[p.pos] && p.text[p.pos] <= '9' {
		p.pos++
	}
	return p.pos > start
}

// str reads a string at its opening quote. Without escapes the result is part of the input.
func (p *jsonParser) str() ([]byte, error) {
	p.pos++
	start := p.pos
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == '"':
			s := p.text[start:p.pos:p.pos]
			p.pos++
			return s, nil
		case c == '\\':
			return p.escaped(start)
		case c < 0x20:
			return nil, CodeNotJSON
		}
		p.pos++
	}
	return nil, CodeNotJSON
}

// escaped reads the rest of a string, begun at start, from its first backslash on.
func (p *jsonParser) escaped(start int) ([]byte, error) {
	s := append([]byte(nil), p.text[start:p.pos]...)
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		p.pos++
		switch {
		case c == '"':
			return s, nil
		case c == '\\':
			r, ok := p.escape()
			if !ok {
				return nil, CodeNotJSON
			}
			s = utf8.AppendRune(s, r)
		case c < 0x20:
			return nil, CodeNotJSON
		default:
			s = append(s, c)
		}
	}
	return nil, CodeNotJSON
}

// escape reads one escape after its backslash, a pair of surrogates included. It is false for a lone one, which stands
// for no character.
func (p *jsonParser) escape() (rune, bool) {
	if p.pos >= len(p.text) {
		return 0, false
	}
	c := p.text[p.pos]
	p.pos++
	switch c {
	case '"', '\\', '/':
		return rune(c), true
	case 'b':
		return '\b', true
	case 'f':
		return '\f', true
	case 'n':
		return '\n', true
	case 'r':
		return '\r', true
	case 't':
		return '\t', true
	case 'u':
		r, ok := p.hex4()
		if !ok || !utf16.IsSurrogate(r) {
			return r, ok
		}
		if !p.accept("\\") || !p.accept("u") {
			return 0, false
		}
		low, ok := p.hex4()
		r = utf16.DecodeRune(r, low)
		return r, ok && r != utf8.RuneError
	}
	return 0, false
}

func (p *jsonParser) hex4() (r rune, ok bool) {
	if p.pos+4 > len(p.text) {
		return 0, false
	}
	for _, c := range p.text[p.pos : p.pos+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	p.pos += 4
	return r, true
}
