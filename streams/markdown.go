package streams

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Markdown prints the table for people: docs/streams.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Streams and consumers\n\n" +
		"Printed from `streams/table.go`; `tokenworker setup` creates this, `tokenworker setup --check` and " +
		"`tokenworker doctor` compare with it. `Replicas` is shown as in production.\n")
	for _, s := range table(3) {
		fmt.Fprintf(&b, "\n## Stream `%s`\n\n%s\n\n", s.name, s.purpose)
		writeSettings(&b, s.settings)
		for _, c := range s.consumers {
			name, named := c.name, ""
			if s.name == In {
				name, named = c.name+"-eN", " N is the stream's epoch."
			}
			fmt.Fprintf(&b, "\n### Consumer `%s` of `%s`\n\n%s Durable, pull.%s\n\n", name, s.name, c.purpose, named)
			writeSettings(&b, c.settings)
		}
	}
	return b.String()
}

func writeSettings(b *strings.Builder, settings []setting) {
	b.WriteString("| setting | value | reason |\n|---|---|---|\n")
	for _, s := range settings {
		value := fmt.Sprint(s.value)
		if v := reflect.ValueOf(s.value); v.Kind() == reflect.Pointer && v.IsNil() {
			value = "none"
		}
		switch v := s.value.(type) {
		case time.Duration:
			if v == 0 {
				value = "none"
			}
		case []string:
			value = strings.Join(v, "<br>")
		case *jetstream.RePublish:
			if v != nil {
				value = v.Source + " to " + v.Destination
			}
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", s.field, value, s.why)
	}
}
