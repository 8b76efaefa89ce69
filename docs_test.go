package chunkstream_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A figure is what a page says, and the source that makes it true. Who changes one of them changes both.
type figure struct{ page, says, file, source string }

var figures = []figure{
	{"docs/design.md", "(250 ms a call", "redisconn/config.go", "DefaultCommandTimeout = 250 * time.Millisecond"},
	{"docs/design.md", "A breaker opens after 5 failures in 1 s.", "redisconn/config.go", "BreakerFailures = 5 // that many failures within BreakerWindow open a role's breaker BreakerWindow = time.Second"},
	{"docs/design.md", "small (at most 256 KiB)", "store/types.go", "const SmallBytes = 256 << 10"},
	{"docs/design.md", "in parts of at most 256 KiB", "store/types.go", "const PartBytes = 256 << 10"},
	{"docs/design.md", "1000 spans or 50 ms", "worker/worker.go", "batchSpans = 1000 // a batch is committed when it has so many spans batchTime = 50 * time.Millisecond"},
	{"docs/design.md", "A lease is 5 s,", "cmd/chunkstream/service.go", `Lease time.Duration ` + "`default:\"5s\""},
	{"docs/design.md", "a second crash without progress: `poison`", "cmd/chunkstream/service.go", `PoisonAfter int ` + "`default:\"2\""},
	{"docs/design.md", "they look every second anyway", "worker/worker.go", "orDuration(&c.Poll, time.Second)"},
	{"docs/design.md", "the hub asks SQL every second", "live/hub.go", "setDefault(&c.Poll, time.Second)"},

	{"docs/events.md", "Every 15 s the server sends a ping (WebSocket) or a comment", "live/hub.go", "setDefault(&c.Heartbeat, 15*time.Second)"},
	{"docs/events.md", "of which nothing is heard for 45 s is taken for dead", "live/hub.go", "A WebSocket that was silent for // three of them is dead."},
	{"docs/events.md", "while a write to it has been stuck for 1 s | 64 events or 256 KiB behind, then 4408", "live/hub.go",
		"setDefault(&c.MailboxEvents, 64) setDefault(&c.MailboxBytes, 256<<10) setDefault(&c.SlowAfter, time.Second)"},
	{"docs/events.md", "one write to a client | 5 s, then the connection is cut", "live/hub.go", "setDefault(&c.WriteTimeout, 5*time.Second)"},
	{"docs/events.md", "a message from a client | 4 KiB, then 1009", "live/hub.go", "setDefault(&c.MaxInbound, 4<<10)"},
	{"docs/events.md", "more than 4 KiB", "live/hub.go", "setDefault(&c.MaxInbound, 4<<10)"},
	{"docs/events.md", "open streams of one process | 20 000, then 503", "live/hub.go", "setDefault(&c.MaxStreams, 20000)"},
	{"docs/events.md", "was lost | 1 s (the poll) plus", "live/hub.go", "setDefault(&c.Poll, time.Second)"},
	{"docs/events.md", "could not be read for 30 s", "live/hub.go", "setDefault(&c.GiveUp, 30*time.Second)"},

	{"docs/operations.md", "idempotency keys are kept for | 24 h", "store/create.go", "const keptKeys = 24 * time.Hour"},
}

// TestFigures: what pages say of limits and times is what the code has.
func TestFigures(t *testing.T) {
	for _, f := range figures {
		if !strings.Contains(plain(t, f.page), strings.Join(strings.Fields(f.says), " ")) {
			t.Errorf("%s does not say %q", f.page, f.says)
		}
		if !strings.Contains(plain(t, f.file), strings.Join(strings.Fields(f.source), " ")) {
			t.Errorf("%s has no %q, for which %s says %q", f.file, f.source, f.page, f.says)
		}
	}
}

// plain is a file with every stretch of white space made one space.
func plain(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

// TestDesignIsAPage: docs/design.md is no longer than one reads at once, and its rule on roles names those that there are.
func TestDesignIsAPage(t *testing.T) {
	page := plain(t, "docs/design.md")
	const most = 1000
	if n := len(regexp.MustCompile(`[^ |]*[\pL\pN][^ |]*`).FindAllString(page, -1)); n > most {
		t.Errorf("docs/design.md has %d words, which is more than %d", n, most)
	}
	_, rule, _ := strings.Cut(page, "the role is its type.**")
	rule, _, _ = strings.Cut(rule, " 3. ")
	names := func(pattern, text string) (all []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			all = append(all, m[1])
		}
		slices.Sort(all)
		return all
	}
	said, are := names("`([A-Z][a-z]+)`", rule), names(`func Require(\w+)\(v any\)`, plain(t, "redisconn/guard.go"))
	if len(are) < 3 || !slices.Equal(said, are) {
		t.Errorf("docs/design.md has the roles %q, redisconn %q", said, are)
	}
}

// TestMetricsThatPagesName: every metric in the documentation is in the program.
func TestMetricsThatPagesName(t *testing.T) {
	var source strings.Builder
	for _, folder := range []string{"api", "cmd/chunkstream", "live", "webhook", "worker"} {
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if text := plain(t, file); !strings.HasSuffix(file, "_test.go") && strings.Contains(text, "prometheus") {
				source.WriteString(text)
			}
		}
	}
	found := 0
	err := filepath.WalkDir("docs", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		for _, m := range regexp.MustCompile(`\bchunkstream_([a-z][a-z_]*[a-z])\b`).FindAllStringSubmatch(plain(t, path), -1) {
			found++
			if !strings.Contains(source.String(), `"`+m[0]+`"`) && !strings.Contains(source.String(), `("`+m[1]+`"`) {
				t.Errorf("%s names the metric %s, which is nowhere made", path, m[0])
			}
		}
		return nil
	})
	if err != nil || found < 20 {
		t.Errorf("found %d metrics: is this test still looking in the right place? (%v)", found, err)
	}
}
