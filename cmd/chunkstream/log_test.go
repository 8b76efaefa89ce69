package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"chunkstream/secret"
)

// TestLogLinesCannotBeForged: whatever is logged, one event is one line that parses, and nothing in it ends a line, moves
// a cursor or turns the text around.
func TestLogLinesCannotBeForged(t *testing.T) {
	t.Parallel()
	parts := []string{"\n", "\r\n", "\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\u009b31m", "\u202e", "\u2066", "\u2028", "\u2029", "\u0085", "\x00", "\x7f",
		"\ufeff", "\u200b", "\U000e0041", "\xff\xfe", "\xed\xa0\x80", `"`, `\`, `\n`, `","level":"ERROR"`, "\nlevel=ERROR msg=forged", "\n{\"level\":\"ERROR\",\"msg\":\"forged\"}",
		"a=b", " ", "\t", "=", "{", "}", "é", "日本", "🙂", strings.Repeat("x", 300)}
	seed := rand.Uint64()
	chance := rand.New(rand.NewPCG(seed, 0))
	for _, asJSON := range []bool{true, false} {
		var out bytes.Buffer
		log := newLogger(&out, asJSON)
		const tried = 1000
		for i := range tried {
			hostile := parts[i%len(parts)]
			for range chance.IntN(4) {
				hostile += parts[chance.IntN(len(parts))]
			}
			switch i % 5 {
			case 0:
				log.Warn("event", "value", hostile)
			case 1:
				log.Warn("event", "error", fmt.Errorf("refused %s: %w", hostile, errors.New(hostile)))
			case 2:
				log.Warn("event " + hostile)
			case 3:
				log.Warn("event", slog.Group("of", slog.Any("list", []string{hostile}), slog.String("v", hostile)))
			case 4:
				log.With("with", hostile).Warn("event", "panic", any(hostile))
			}
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != tried {
			t.Fatalf("seed %d: %d events are %d lines", seed, tried, len(lines))
		}
		for _, line := range lines {
			if !utf8.ValidString(line) || strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
				t.Errorf("seed %d: %q", seed, line)
			}
			if asJSON {
				var event struct{ Level, Msg string }
				if err := json.Unmarshal([]byte(line), &event); err != nil || event.Level != "WARN" || !strings.HasPrefix(event.Msg, "event") {
					t.Errorf("seed %d: %v: %q", seed, err, line)
				}
			} else if strings.Count(line, "level=") < 1 || !strings.Contains(line, " level=WARN msg=") || strings.Index(line, "level=") != strings.Index(line, "level=WARN") {
				t.Errorf("seed %d: %q", seed, line)
			}
		}
	}
}

func TestLogValues(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := newLogger(&out, true)
	log.Info("m", "long", strings.Repeat("é", maxLogged), "number", 7, "nothing", nil, "flag", true, "secret", secret.New("hush"),
		"struct", struct{ P secret.Text }{secret.New("hush")}, "bytes", []byte("ab"))
	var event map[string]any
	if err := json.Unmarshal(out.Bytes(), &event); err != nil {
		t.Fatal(err)
	}
	if long := event["long"].(string); len(long) > maxLogged+3 || !strings.HasSuffix(long, "é…") {
		t.Errorf("a long value has %d bytes and ends in %q", len(long), long[len(long)-5:])
	}
	if event["number"] != 7.0 || event["flag"] != true || event["secret"] != "***" || strings.Contains(out.String(), "hush") || event["level"] != "INFO" {
		t.Errorf("got %s", out.String())
	}
}
