package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
)

// natsLog hands what the NATS server logs to slog: its errors as warnings, the rest at debug level. The server's trace,
// which shows messages, is never turned on. Elsewhere it quotes what a client sent and it could not make sense of; such
// quotations are cut out.
type natsLog struct {
	log *slog.Logger

	mu    sync.Mutex
	first error // the first fatal message
}

// quotation is what fmt's %q writes, which is how the server shows bytes that it was sent, or the part of it that is
// left when the server cuts it off.
var quotation = regexp.MustCompile(`"(?:[^"\\]|\\.)*(?:"|$)`) //nolint:gochecknoglobals // a constant in all but name

func newNATSLog(log *slog.Logger) *natsLog {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &natsLog{log: log}
}

// debug reports whether anybody reads debug messages, which the server takes trouble to make.
func (l *natsLog) debug() bool { return l.log.Enabled(context.Background(), slog.LevelDebug) }

// fatal returns why the server could not start, nil if it could. The server itself only logs it and returns.
func (l *natsLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

func (l *natsLog) write(level slog.Level, text string) {
	l.log.LogAttrs(context.Background(), level, "nats server", slog.String("text", text))
}

// unquoted is the message without what it quotes.
func unquoted(format string, v []any) string {
	return quotation.ReplaceAllLiteralString(fmt.Sprintf(format, v...), `"[not shown]"`)
}

// The methods of the server's Logger interface.

func (l *natsLog) Noticef(format string, v ...any) { l.write(slog.LevelDebug, unquoted(format, v)) }
func (l *natsLog) Debugf(format string, v ...any)  { l.write(slog.LevelDebug, unquoted(format, v)) }
func (l *natsLog) Warnf(format string, v ...any)   { l.write(slog.LevelWarn, unquoted(format, v)) }
func (l *natsLog) Errorf(format string, v ...any)  { l.write(slog.LevelWarn, unquoted(format, v)) }

// Fatalf gets why the server cannot start, whole: it has no clients yet.
func (l *natsLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.write(slog.LevelWarn, text)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.first = errors.New(text)
	}
}

// Tracef is never called, because tracing is off.
func (l *natsLog) Tracef(string, ...any) {}
