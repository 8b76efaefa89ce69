// Command seeded plants the bugs that a service like this one has had elsewhere, one after the other, and shows what
// finds each: the chaos program or a test. A bug that nothing finds is a hole in the checks, and the exit status is 1.
//
//	go run ./cmd/chaos/seeded                 # all of them
//	go run ./cmd/chaos/seeded 1 2 13          # some
//	go run ./cmd/chaos/seeded -found FILE     # goes on where an earlier run with FILE has ended, if the sources are the same
//
// Nothing in the repository is changed: the go command reads the altered files from an overlay. A test counts only if it
// passes without the bug.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout))
}

// bug is one change that must not pass.
type bug struct {
	n     int
	form  string // "a", "b" …: a bug that can stand in several places is there once for each, and every one must be found
	what  string
	edits []edit
	// found is what must find it: a command of the go tool with its arguments, or the chaos program's.
	found check
}

func (b bug) name() string { return strconv.Itoa(b.n) + b.form }

// edit replaces a text that is in a file exactly once.
type edit struct{ file, old, new string }

// check is one way to find a bug.
type check struct {
	chaos string // arguments of the chaos program; empty: a test
	pkg   string
	test  string // -run
	tags  string
	count int // how often it runs, where it is up to the machine whether two things meet; 0: once
}

// session is one run of the command.
type session struct {
	root, folder string
	greens       sync.Map // check → func() error: whether it passes without a bug
}

func run(ctx context.Context, args []string, out io.Writer) int {
	set := flag.NewFlagSet("seeded", flag.ContinueOnError)
	set.SetOutput(out)
	jobs := set.Int("jobs", max(1, runtime.GOMAXPROCS(0)/2), "bugs at a time")
	found := set.String("found", "", "a `file` that keeps what was found: bugs that it has are not planted again")
	if err := set.Parse(args); err != nil {
		return 2
	}
	wanted := map[int]bool{}
	for _, a := range set.Args() {
		n, err := strconv.Atoi(a)
		if err != nil {
			fmt.Fprintf(out, "%q is not the number of a bug\n", a)
			return 2
		}
		wanted[n] = true
	}
	folder, err := os.MkdirTemp("", "chunkstream-seeded-")
	if err != nil {
		fmt.Fprintln(out, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(folder) }()
	s := &session{folder: folder}
	var before ledger
	if s.root, err = moduleRoot(ctx); err == nil {
		before, err = openLedger(*found, s.root)
	}
	if err == nil {
		_, err = command(ctx, s.root, "go", "build", "-o", filepath.Join(folder, "chaos"), "./cmd/chaos")
	}
	if err != nil {
		fmt.Fprintln(out, err)
		return 1
	}
	began := time.Now()
	var mu sync.Mutex // of out, seen and missed
	seen, missed := map[int]bool{}, map[int]bool{}
	var all sync.WaitGroup
	slots := make(chan struct{}, *jobs)
	for _, b := range bugs {
		if len(wanted) > 0 && !wanted[b.n] {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			began := time.Now()
			by, err := before.of(b), error(nil)
			if by == "" {
				by, err = s.plant(ctx, b)
			}
			took := time.Since(began).Round(time.Second)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				err = before.add(b, by)
			}
			if err != nil {
				missed[b.n] = true
				fmt.Fprintf(out, "%-4s %s\n     NOT FOUND in %v: %v\n", b.name(), b.what, took, err)
				return
			}
			seen[b.n] = true
			fmt.Fprintf(out, "%-4s %s\n     found in %v by %s\n", b.name(), b.what, took, by)
		})
	}
	all.Wait()
	n := 0
	for one := range seen {
		if !missed[one] {
			n++
		}
	}
	fmt.Fprintf(out, "%d of %d bugs found, in %v\n", n, n+len(missed), time.Since(began).Round(time.Second))
	if len(missed) > 0 || n == 0 || ctx.Err() != nil {
		return 1
	}
	return 0
}

// ledger is what earlier runs over the same sources have found.
type ledger struct {
	path, sources string
	found         map[string]string // bug → by what
}

// openLedger reads the file, which need not exist yet. What was found in other sources does not count.
func openLedger(path, root string) (ledger, error) {
	l := ledger{path: path, found: map[string]string{}}
	if path == "" {
		return l, nil
	}
	sum := sha256.New()
	err := filepath.Walk(root, func(name string, d os.FileInfo, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || name != root && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || !slices.Contains([]string{".go", ".sql", ".mod", ".sum"}, filepath.Ext(name)):
			return nil
		}
		text, err := os.ReadFile(name)
		fmt.Fprintf(sum, "%s %d\n%s", name, len(text), text)
		return err
	})
	if err != nil {
		return l, err
	}
	l.sources = hex.EncodeToString(sum.Sum(nil))
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	for line := range strings.Lines(string(text)) {
		if parts := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3); len(parts) == 3 && parts[0] == l.sources {
			l.found[parts[1]] = parts[2]
		}
	}
	return l, err
}

func (l ledger) of(b bug) string { return l.found[b.name()] }

func (l ledger) add(b bug, by string) (err error) {
	if l.path == "" || l.found[b.name()] != "" {
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = fmt.Fprintf(f, "%s\t%s\t%s\n", l.sources, b.name(), by)
	return err
}

func moduleRoot(ctx context.Context) (string, error) {
	file, err := command(ctx, "", "go", "env", "GOMOD")
	return filepath.Dir(strings.TrimSpace(file)), err
}

// command runs one and gives what it printed. The error is only of its ending.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = 10 * time.Second
	text, err := cmd.CombinedOutput()
	if err != nil && len(text) > 0 {
		err = fmt.Errorf("%w: %s", err, text[max(0, len(text)-2000):])
	}
	return string(text), err
}

// altered gives the content of the files that the bug changes.
func (b bug) altered(root string) (map[string]string, error) {
	files := map[string]string{}
	for _, e := range b.edits {
		text, ok := files[e.file]
		if !ok {
			read, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				return nil, err
			}
			text = string(read)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return nil, fmt.Errorf("bug %s no longer fits: %s holds %q %d times, want once", b.name(), e.file, e.old, n)
		}
		files[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	return files, nil
}

// plant builds with the bug, runs the check and says what found it.
func (s *session) plant(ctx context.Context, b bug) (by string, err error) {
	files, err := b.altered(s.root)
	if err != nil {
		return "", err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, text := range files {
		path := filepath.Join(s.folder, b.name()+"-"+strings.ReplaceAll(name, "/", "-"))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return "", err
		}
		overlay.Replace[filepath.Join(s.root, name)] = path
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	over := filepath.Join(s.folder, b.name()+".json")
	if err := os.WriteFile(over, text, 0o600); err != nil {
		return "", err
	}
	if b.found.chaos != "" {
		return s.chaos(ctx, b, over)
	}
	return s.test(ctx, b.found, over)
}

var (
	firstFailure   = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)|running tests:\s+(\S+)`)
	notBuilt       = regexp.MustCompile(`(?m)^FAIL\s.*\[(build|setup) failed\]$`)
	firstViolation = regexp.MustCompile(`(?m)^VIOLATED (.*)`)
)

// goTest is the go command for a check.
func goTest(c check, run string, more ...string) []string {
	return append(append([]string{"test", "-count", strconv.Itoa(max(1, c.count)), "-timeout", "60s", "-tags", c.tags, "-run", run}, more...), c.pkg)
}

func (s *session) test(ctx context.Context, c check, overlay string) (string, error) {
	green, _ := s.greens.LoadOrStore(c, sync.OnceValue(func() error {
		_, err := command(ctx, s.root, "go", goTest(c, c.test)...)
		return err
	}))
	if err := green.(func() error)(); err != nil {
		return "", fmt.Errorf("the test fails without the bug: %w", err)
	}
	text, err := command(ctx, s.root, "go", goTest(c, c.test, "-overlay", overlay)...)
	switch {
	case err == nil:
		return "", fmt.Errorf("go test -run %s %s passes", c.test, c.pkg)
	case ctx.Err() != nil:
		return "", ctx.Err()
	case notBuilt.MatchString(text):
		return "", fmt.Errorf("it does not compile: %s", text)
	}
	name := "it leaves goroutines, or does not end"
	if m := firstFailure.FindStringSubmatch(text); m != nil {
		if name = m[1]; name == "" {
			name = m[2] + " does not end"
		}
	}
	return "go test " + c.pkg + ": " + name, nil
}

// tries is how many seeds a bug may take: whether two things meet is up to the machine.
const tries = 4

func (s *session) chaos(ctx context.Context, b bug, overlay string) (string, error) {
	program := filepath.Join(s.folder, "chunkstream-"+b.name())
	if text, err := command(ctx, s.root, "go", "build", "-tags", "crashpoints", "-overlay", overlay, "-o", program, "./cmd/chunkstream"); err != nil {
		return "", fmt.Errorf("it does not compile: %s", text)
	}
	defer func() { _ = os.Remove(program) }()
	for seed := 1; seed <= tries; seed++ {
		args := append(strings.Fields(b.found.chaos), "--patience", "15s", "--seed", strconv.Itoa(seed), "--program", program,
			"--folder", filepath.Join(s.folder, fmt.Sprintf("run-%s-%d", b.name(), seed)))
		text, err := command(ctx, s.root, filepath.Join(s.folder, "chaos"), args...)
		var exit *exec.ExitError
		if err == nil {
			continue
		} else if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			return "", err
		}
		m := firstViolation.FindStringSubmatch(text)
		if m == nil {
			return "", fmt.Errorf("the chaos program failed without a violation: %w", err)
		}
		line := []rune(m[1])
		return fmt.Sprintf("chaos %s, seed %d: %s", b.found.chaos, seed, string(line[:min(len(line), 110)])), nil
	}
	return "", fmt.Errorf("chaos %s finds nothing with %d seeds", b.found.chaos, tries)
}
