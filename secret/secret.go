// Package secret holds text that must not be seen: passwords, keys, and URLs that have one in them.
package secret

import (
	"fmt"
	"log/slog"
	"strings"
)

// Text is text that never prints: under every verb of fmt, in slog, in JSON, XML and YAML it is ***, or nothing when
// there is none. It stands behind a pointer, because fmt does not ask the unexported fields of a struct how they print
// themselves. The zero value is no text. Two of them are not to be compared.
type Text struct {
	_    [0]func() // not comparable
	text *string
}

// New makes a Text. New("") is none.
func New(text string) Text {
	if text == "" {
		return Text{}
	}
	return Text{text: &text}
}

// Reveal gives the text itself, to be handed to what needs it and to nothing else.
func (t Text) Reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// Empty reports whether there is none.
func (t Text) Empty() bool { return t.text == nil }

// String is ***, or nothing when there is none.
func (t Text) String() string {
	if t.text == nil {
		return ""
	}
	return "***"
}

// Format writes String whatever the verb.
func (t Text) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// LogValue is String.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText is String, so that what is encoded carries no secret either.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText takes the text as it is, as flags and files are read.
func (t *Text) UnmarshalText(b []byte) error {
	*t = New(string(b))
	return nil
}

// Place is what may be shown of a URL: scheme, user, hosts and path. Its password and all its parameters are left out, as
// they may be passwords too. Of what is no URL with :// nothing is shown: it may be a password altogether.
func (t Text) Place() string {
	scheme, rest, ok := strings.Cut(t.Reveal(), "://")
	if !ok || strings.ContainsAny(scheme, ":@/?= ") {
		return t.String()
	}
	if at := strings.IndexAny(rest, "?#"); at >= 0 {
		if strings.Contains(rest[at:], "@") {
			return scheme + "://" + t.String() // perhaps a password that should have been escaped
		}
		rest = rest[:at]
	}
	// The last @ ends the login: a password may have one, and a slash, although it should not.
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		user, _, has := strings.Cut(rest[:at], ":")
		if has {
			user += ":***"
		}
		rest = user + rest[at:]
	}
	return scheme + "://" + rest
}
