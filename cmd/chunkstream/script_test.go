package main

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rogpeppe/go-internal/testscript"

	"chunkstream/servertest"
)

const scripts = "testdata/script"

// TestScripts runs every script as a user would type it: with the real program, an empty home and nothing of ours in the
// environment. "code N command …" wants that exit code, "shows FILE [stderr]" that what was printed is the file, in which "…" is
// anything on a line. $ADDRESS is free to listen on. The race detector's build runs one in four: they are a hundred starts of the
// program, each of which takes ten times as long there.
func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(scripts, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("got scripts %q, %v", files, err)
	}
	if slowdown > 1 {
		some := files[:0]
		for i := 0; i < len(files); i += 4 {
			some = append(some, files[i])
		}
		files = some
	}
	testscript.Run(t, testscript.Params{
		Files: files,
		Setup: func(e *testscript.Env) error {
			e.Setenv("ADDRESS", servertest.FreeAddress(t))
			e.Setenv("GORACE", "atexit_sleep_ms=0") // a second for each process, if this is the race detector's build
			e.Setenv("HOME", filepath.Join(e.WorkDir, ".home"))
			return os.Mkdir(e.Getenv("HOME"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": exitCode, "await": await, "shows": shows, "until": until, "envfile": envFile,
		},
		RequireUniqueNames: true,
	})
}

// exitCode runs a command and wants its exit code, which is the first argument.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command [argument …]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// shows compares what the last command printed with a file, line by line.
func shows(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 || len(args) > 2 {
		ts.Fatalf("usage: shows file [stderr]")
	}
	stream := "stdout"
	if len(args) == 2 {
		stream = args[1]
	}
	want := strings.Split(ts.ReadFile(args[0]), "\n")
	got := strings.Split(strings.ReplaceAll(ts.ReadFile(stream), "\r", ""), "\n")
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) {
			ts.Fatalf("got %d lines, want %d", len(got), len(want))
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimRight(want[i], " ")), "…", ".*")
		if !regexp.MustCompile("^" + pattern + " *$").MatchString(got[i]) {
			ts.Fatalf("line %d:\ngot  %q\nwant %q", i+1, got[i], want[i])
		}
	}
}

// envFile sets a variable as a file says, NAME=value.
func envFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: envfile file")
	}
	name, value, ok := strings.Cut(strings.TrimSpace(ts.ReadFile(args[0])), "=")
	if !ok {
		ts.Fatalf("%s says nothing of a variable", args[0])
	}
	ts.Setenv(name, value)
}

// until waits until a file has something that matches.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: until pattern file")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var b []byte
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if b, _ = os.ReadFile(ts.MkAbs(args[1])); pattern.Match(b) { // it may come to be
			return
		}
	}
	ts.Fatalf("%s has no %s after a minute:\n%s", args[1], args[0], b)
}

// await waits until a server that was started in the background answers.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await address")
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if resp, err := http.Get("http://" + args[0] + "/readyz"); err == nil {
			ts.Check(resp.Body.Close())
			return
		}
	}
	ts.Fatalf("nobody answered at %s within a minute", args[0])
}

// TestScriptsNameEverything: each command and each flag is in some script, after the name of its command.
func TestScriptsNameEverything(t *testing.T) {
	t.Parallel()
	lines := scriptLines(t)
	for _, missing := range unnamed(t, lines) {
		t.Errorf("no script runs %q", missing)
	}
	if got := unnamed(t, lines[:0]); len(got) < 80 {
		t.Errorf("without a script only %q are missing", got)
	}
}

func scriptLines(t *testing.T) (lines []string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(scripts, "*.txtar"))
	if err != nil || len(names) == 0 {
		t.Fatalf("got scripts %q, %v", names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "-- ") {
				break
			}
			if _, command, ok := strings.Cut(line, "chunkstream "); ok && !strings.HasPrefix(line, "#") {
				lines = append(lines, command)
			}
		}
	}
	return lines
}

// unnamed gives the commands and flags that no line has.
func unnamed(t *testing.T, lines []string) (missing []string) {
	t.Helper()
	parser, err := kong.New(&commands{}, kong.Name("chunkstream"))
	if err != nil {
		t.Fatal(err)
	}
	word := func(w string) *regexp.Regexp { return regexp.MustCompile(`(^|\s)` + regexp.QuoteMeta(w) + `($|[\s=])`) }
	named := func(command, flag string) bool {
		for _, line := range lines {
			if strings.HasPrefix(strings.TrimSpace(line)+" ", command+" ") && (flag == "" || word(flag).MatchString(line)) {
				return true
			}
		}
		return false
	}
	for _, node := range parser.Model.Leaves(true) {
		command := commandOf(node)
		if !named(command, "") {
			missing = append(missing, command)
		}
		for _, flag := range node.Flags {
			if !flag.Hidden && flag.Name != "help" && !named(command, "--"+flag.Name) {
				missing = append(missing, command+" --"+flag.Name)
			}
		}
	}
	return missing
}
