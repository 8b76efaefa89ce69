// Command seeded plants the bugs that a service like this one has had elsewhere, one after the other, and shows what
// finds each: the chaos program or a test. A bug that nothing finds is a hole in the checks, and the exit status is 1.
//
//	go run ./cmd/chaos/seeded           # all of them
//	go run ./cmd/chaos/seeded 1 2 13    # some
//
// Nothing in the repository is changed: the go command reads the altered files from an overlay.
package main

import (
	"context"
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
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
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
	what  string
	edits []edit
	// found is what must find it: a command of the go tool with its arguments, or the chaos program's.
	found check
}

// edit replaces a text that is in a file exactly once.
type edit struct{ file, old, new string }

// check is one way to find a bug.
type check struct {
	chaos string // arguments of the chaos program; empty: a test
	pkg   string
	test  string // -run
	tags  string
}

func run(ctx context.Context, args []string, out io.Writer) int {
	set := flag.NewFlagSet("seeded", flag.ContinueOnError)
	set.SetOutput(out)
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
	root, err := moduleRoot(ctx)
	if err == nil {
		_, err = command(ctx, root, "go", "build", "-o", filepath.Join(folder, "chaos"), "./cmd/chaos")
	}
	if err != nil {
		fmt.Fprintln(out, err)
		return 1
	}
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	defer func() { _ = t.Flush() }() // nobody to tell
	missed, seen := 0, 0
	for _, b := range bugs {
		if len(wanted) > 0 && !wanted[b.n] {
			continue
		}
		began := time.Now()
		by, err := b.plant(ctx, root, folder)
		took := time.Since(began).Round(time.Second)
		switch {
		case err != nil:
			missed++
			fmt.Fprintf(t, "%d\t%s\tNOT FOUND\t%v\t%v\n", b.n, b.what, err, took)
		default:
			seen++
			fmt.Fprintf(t, "%d\t%s\tfound\t%s\t%v\n", b.n, b.what, by, took)
		}
		if err := t.Flush(); err != nil {
			return 1
		}
		if ctx.Err() != nil {
			return 1
		}
	}
	fmt.Fprintf(t, "%d of %d bugs found\n", seen, seen+missed)
	if missed > 0 || seen == 0 {
		return 1
	}
	return 0
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
			return nil, fmt.Errorf("bug %d no longer fits: %s holds %q %d times, want once", b.n, e.file, e.old, n)
		}
		files[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	return files, nil
}

// plant builds with the bug, runs the check and says what found it.
func (b bug) plant(ctx context.Context, root, folder string) (by string, err error) {
	files, err := b.altered(root)
	if err != nil {
		return "", err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, text := range files {
		path := filepath.Join(folder, fmt.Sprintf("%d-%s", b.n, strings.ReplaceAll(name, "/", "-")))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return "", err
		}
		overlay.Replace[filepath.Join(root, name)] = path
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	over := filepath.Join(folder, fmt.Sprintf("%d.json", b.n))
	if err := os.WriteFile(over, text, 0o600); err != nil {
		return "", err
	}
	if b.found.chaos != "" {
		return b.chaos(ctx, root, folder, over)
	}
	return b.test(ctx, root, over)
}

var (
	firstFailure   = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)|running tests:\s+(\S+)`)
	firstViolation = regexp.MustCompile(`(?m)^VIOLATED (.*)`)
)

func (b bug) test(ctx context.Context, root, overlay string) (string, error) {
	args := []string{"test", "-overlay", overlay, "-count", "1", "-timeout", "100s", "-tags", b.found.tags}
	if text, err := command(ctx, root, "go", append(args, "-run", "^$", b.found.pkg)...); err != nil {
		return "", fmt.Errorf("it does not compile: %s", text)
	}
	text, err := command(ctx, root, "go", append(args, "-run", b.found.test, b.found.pkg)...)
	if err == nil {
		return "", fmt.Errorf("go test -run %s %s passes", b.found.test, b.found.pkg)
	}
	name := "it leaves goroutines, or does not end"
	if m := firstFailure.FindStringSubmatch(text); m != nil {
		if name = m[1]; name == "" {
			name = m[2] + " does not end"
		}
	}
	return "go test " + b.found.pkg + ": " + name, nil
}

// tries is how many seeds a bug may take: whether two things meet is up to the machine.
const tries = 4

func (b bug) chaos(ctx context.Context, root, folder, overlay string) (string, error) {
	program := filepath.Join(folder, fmt.Sprintf("chunkstream-%d", b.n))
	if text, err := command(ctx, root, "go", "build", "-tags", "crashpoints", "-overlay", overlay, "-o", program, "./cmd/chunkstream"); err != nil {
		return "", fmt.Errorf("it does not compile: %s", text)
	}
	defer func() { _ = os.Remove(program) }()
	for seed := 1; seed <= tries; seed++ {
		args := append(strings.Fields(b.found.chaos), "--patience", "15s", "--seed", strconv.Itoa(seed), "--program", program,
			"--folder", filepath.Join(folder, fmt.Sprintf("run-%d-%d", b.n, seed)))
		text, err := command(ctx, root, filepath.Join(folder, "chaos"), args...)
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
