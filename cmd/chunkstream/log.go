package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLogged bounds one value in the log, in bytes; a stack fits.
const maxLogged = 16 << 10

// newLogger gives a log of which one event is one line, whatever anybody sent: what ends lines, moves a terminal's cursor
// or turns the direction of the text around is written as an escape. Both of slog's handlers do that for the controls of
// ASCII; JSON leaves the rest as it is.
func newLogger(w io.Writer, json bool) *slog.Logger {
	options := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		v := a.Value.Resolve()
		switch v.Kind() {
		case slog.KindString:
			a.Value = slog.StringValue(visible(v.String()))
		case slog.KindAny:
			switch any := v.Any().(type) {
			case *slog.Source, slog.Level:
			case error:
				a.Value = slog.StringValue(visible(any.Error()))
			default:
				a.Value = slog.StringValue(visible(fmt.Sprint(any)))
			}
		}
		return a
	}}
	if json {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// visible is text with an escape for every character that cannot be seen for what it is, but for the line ends and tabs
// that the handlers escape themselves, and cut after maxLogged bytes.
func visible(text string) string {
	cut := len(text) > maxLogged
	if cut {
		text = strings.ToValidUTF8(text[:maxLogged], "")
	}
	plain := func(r rune) bool {
		return r != utf8.RuneError && (unicode.IsPrint(r) || r == '\n' || r == '\t')
	}
	if strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) >= 0 {
		var b strings.Builder
		for _, r := range text {
			switch {
			case plain(r):
				b.WriteRune(r)
			case r > 0xffff:
				fmt.Fprintf(&b, `\U%08x`, r)
			default:
				fmt.Fprintf(&b, `\u%04x`, r)
			}
		}
		text = b.String()
	}
	if cut {
		text += "…"
	}
	return text
}
