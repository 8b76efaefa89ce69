// Package chunkstream_test holds what no linter can say: the rules that hold between packages, checked on the source
// of the whole module, and the promises of the README, kept by running its commands.
package chunkstream_test

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// street is the table of docs/design.md: every package, what it is, and what it may import. A package that is not here
// fails the build; a new package comes with its line. Never widen a line to make a build pass.
var street = []room{
	{"cmd/chunkstream", "flags, env, wiring, signals", "*", "*"},
	{"cmd/chaos", "breaks a service of real processes, and looks whether anything was lost", "*", "*"},
	{"cmd/chaos/seeded", "plants known bugs and shows what finds each", "", "context os os/exec os/signal time"},
	{"packaging/vulndb", "a database for govulncheck", "", "os time"},
	{"api", "HTTP: routes, problem+json, OpenAPI", "auth limit chunk extract export store dispatch live event crashpoint ui docs webhook",
		"context embed log/slog net net/http os time golang.org/x/sync github.com/klauspost/compress" + huma + prometheus},
	{"worker", "the whole story of one run, on one screen", "chunk extract store dispatch live event crashpoint",
		"context log/slog math/rand/v2 time" + prometheus},
	{"auth", "who is asking, what may they do (no Redis, ever)", "secret store", "context net net/http time" + jwt},
	{"live", "hub, bus (memory or Redis), WebSocket, SSE", "event redisconn",
		"context log/slog net net/http os time" + gws + prometheus},
	{"webhook", "tells owners' addresses when operations end, signed, and nowhere inside", "secret store event",
		"context log/slog math/rand/v2 net net/http time" + prometheus},
	{"limit", "shared rate limits, with the local fallback", "redisconn", "context time"},
	{"dispatch", "wake-ups (memory or Redis): \"look now\", carries ids only", "redisconn", "context math/rand/v2 time"},
	{"store", "SQL truth: documents, operations, chunks, events, keys; states, claim, fence, retention",
		"chunk event secret crashpoint", "context database/sql embed io/fs log/slog math/rand/v2 net/url os time" + sqlite + pgx},
	{"event", "the event type and its JSON: nothing else", "", "time"},
	{"chunk", "text in, spans out", "", ""},
	{"chunk/chunktest", "the contract that every strategy passes", "chunk", "time"},
	{"token", "how big a string is to a model", "", "embed"},
	{"extract", "file formats → text", "", "embed golang.org/x/text/encoding"},
	{"sandbox", "untrusted text in a killable child process", "chunk",
		"context log/slog os os/exec time golang.org/x/sys/unix"},
	{"export", "chunks in the formats that other programs read", "chunk", "github.com/parquet-go/parquet-go"},
	{"check", "what is wrong with chunks, whoever cut them", "chunk extract", ""},
	{"files", "the files that arguments name, without what ignore files leave out", "",
		"io/fs os github.com/bmatcuk/doublestar/v4"},
	{"secret", "text that never prints: passwords, keys, and URLs that have one in them", "", "log/slog"},
	{"redisconn", "the three Redis client roles; the only expert on the driver", "secret",
		"context log/slog math/rand/v2 net time" + rueidis},
	{"celery", "the door for Celery producers: their tasks in, results out", "redisconn", "context log/slog time"},
	{"client", "a small Go client of the HTTP API", "event", "context math/rand/v2 net net/http time" + gws},
	{"docs", "the pages of the documentation that the service shows", "", "embed"},
	{"ui", "the pages that people use, built and embedded", "", "embed io/fs"},
	{"servertest", "real Redis and Postgres servers, for tests", "", "net os os/exec time"},
	{"servertest/disk", "a disk that fails, and knows what a power cut leaves, for tests", "",
		"context io/fs math/rand/v2 os github.com/hanwen/go-fuse/v2 golang.org/x/sys/unix"},
	{"servertest/sites", "where the product can fail from outside; a program that notes where it did", "", "context os os/exec"},
	{"crashpoint", "named places where a test build can be killed; nothing otherwise", "", "os"},
}

// room is one line: the packages of this module, and the fenced packages, that it may import.
type room struct{ name, is, ours, fenced string }

// fence lists the standard packages that are given out only by name. Packages from outside the standard library and
// this module are all fenced, by a prefix of their path.
const fence = "context database/sql embed io/fs log log/slog math/rand math/rand/v2 net net/http os os/exec " +
	"os/signal plugin time unsafe net/http/pprof expvar"

const (
	gws        = " github.com/lxzan/gws"
	jwt        = " github.com/golang-jwt/jwt/v5"
	huma       = " github.com/danielgtaylor/huma/v2"
	pgx        = " github.com/jackc/pgx/v5"
	rueidis    = " github.com/redis/rueidis"
	prometheus = " github.com/prometheus/client_golang"
	sqlite     = " github.com/google/uuid github.com/pressly/goose/v3 modernc.org/sqlite"
)

const noLine = " has no line in the table: say what it is and what it may import"

func TestImports(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-e", "-tags=crashpoints",
		"-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%v: %v", list, err)
	}
	for _, complaint := range complaints(string(out), street) {
		t.Error(complaint)
	}
}

// complaints reads lines of "package import import …" and says which of them the table does not allow.
func complaints(list string, table []room) (wrong []string) {
	for line := range strings.Lines(list) {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], "chunkstream/")
		at := slices.IndexFunc(table, func(r room) bool { return r.name == pkg })
		if pkg == "chunkstream" && len(words) == 1 {
			continue // this folder: tests only
		} else if at < 0 {
			wrong = append(wrong, pkg+noLine)
			continue
		}
		for _, imported := range words[1:] {
			if ours, ok := strings.CutPrefix(imported, "chunkstream/"); ok && !allows(table[at].ours, ours) {
				wrong = append(wrong, pkg+" may not import chunkstream/"+ours)
			} else if !ok && fenced(imported) && !allows(table[at].fenced, imported) {
				wrong = append(wrong, pkg+" may not import "+imported)
			}
		}
	}
	return wrong
}

func fenced(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return strings.Contains(first, ".") || slices.Contains(strings.Fields(fence), imported)
}

// allows reports whether list is "*", names the package, or, outside the standard library, a folder above it.
func allows(list, imported string) bool {
	for ; imported != "."; imported = path.Dir(imported) {
		if list == "*" || slices.Contains(strings.Fields(list), imported) {
			return true
		} else if !strings.Contains(imported, ".") {
			return false
		}
	}
	return false
}

// TestImportsCanFail plants one fault of each kind.
func TestImportsCanFail(t *testing.T) {
	faults := map[string]string{
		"chunkstream/chunk os":                              "chunk may not import os",
		"chunkstream/chunk context strings":                 "chunk may not import context",
		"chunkstream/dispatch chunkstream/live":             "dispatch may not import chunkstream/live",
		"chunkstream/event chunkstream/chunk/chunktest":     "event may not import chunkstream/chunk/chunktest",
		"chunkstream/api github.com/lxzan/gws":              "api may not import github.com/lxzan/gws",
		"chunkstream/client time github.com/lxzan/gwsother": "client may not import github.com/lxzan/gwsother",
		"chunkstream/util strings":                          "util" + noLine,
		"chunkstream fmt":                                   "chunkstream" + noLine,
	}
	for line, want := range faults {
		if got := complaints(line+"\n", street); len(got) != 1 || got[0] != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
	fine := "chunkstream\nchunkstream/chunk iter strings\n" +
		"chunkstream/api github.com/prometheus/client_golang/prometheus/promhttp net/http\n"
	if got := complaints(fine, street); len(got) != 0 {
		t.Errorf("allowed imports: got complaints %q", got)
	}
}

// TestDesignQuotesTheTable keeps docs/design.md's table and this one the same.
func TestDesignQuotesTheTable(t *testing.T) {
	doc, err := os.ReadFile("docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(doc), "| package | is | may import |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var want strings.Builder
	for _, r := range street {
		ours := r.ours
		switch ours {
		case "*":
			ours = "everything"
		case "":
			ours = "–"
		}
		fmt.Fprintf(&want, "| `%s` | %s | %s |\n", r.name, r.is, ours)
	}
	if got := table + "\n"; !found || got != want.String() {
		t.Errorf("docs/design.md: the table of packages is not that of arch_test.go, which is\n%s", want.String())
	}
}
