//go:build long && linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chunkstream/servertest/disk"
	"chunkstream/servertest/sites"
)

// The tests of this file need root: the program works on a disk that fails (package disk), and makes a note of each call in its
// sources that has failed there (package sites).

// noted is the program that makes notes, and what it has noted.
type noted struct {
	program, notes string
	calls          []string // of the file system, all that there are
}

// newNoted builds the program.
func newNoted(t *testing.T) noted {
	t.Helper()
	dir := t.TempDir()
	n := noted{program: filepath.Join(dir, "chunkstream"), notes: filepath.Join(dir, "notes")}
	put("notes", "")(t, dir)
	packages, err := sites.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unnoted, err := sites.Build(t.Context(), packages, n.program)
	if err != nil || len(unnoted) > 0 {
		t.Fatalf("%v; nothing could be put around %q", err, unnoted)
	}
	for _, p := range packages {
		for _, c := range p.Calls {
			if c.File {
				n.calls = append(n.calls, p.Path+" "+c.Name())
			}
		}
	}
	return n
}

// failed are the calls that have.
func (n noted) failed(t *testing.T) []string {
	t.Helper()
	seen := map[string]bool{}
	for line := range strings.Lines(content(t, n.notes)) {
		seen[strings.TrimSpace(line)] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// run runs it to its end. until, if it is not nil, says when what it has printed is enough: then it is told to stop.
func (n noted) run(t *testing.T, env []string, until func(said string) bool, args ...string) (said string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, n.program, args...)
	cmd.Env = append(append(os.Environ(), asProgram+"=1", sites.Notes+"="+n.notes), env...)
	out := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	var stopper sync.WaitGroup
	if until != nil {
		stopper.Go(func() {
			for {
				select {
				case <-ended:
					return
				case <-time.After(2 * time.Millisecond):
				}
				if until(out.String()) {
					_ = cmd.Process.Signal(syscall.SIGTERM) // it may end by itself meanwhile
					return
				}
			}
		})
	}
	err := cmd.Wait()
	close(ended)
	stopper.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Errorf("%q did not end within two minutes: %s", args, out)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// newDisk mounts a disk.
func newDisk(t *testing.T) *disk.Disk {
	t.Helper()
	d, err := disk.Mount(t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// tree is all that is in a folder: texts by names, those of folders with a slash and no text.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		if e.IsDir() {
			all[name+"/"] = ""
			return nil
		}
		b, err := os.ReadFile(path)
		all[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// plant makes it so.
func plant(t *testing.T, dir string, all map[string]string) {
	t.Helper()
	for _, name := range names(t, dir) {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		full := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		if strings.HasSuffix(name, "/") {
			err = errors.Join(err, os.MkdirAll(full, 0o755))
		} else if err == nil {
			err = os.WriteFile(full, []byte(all[name]), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// diskCase is something that the command line does with files.
type diskCase struct {
	name   string
	has    map[string]string // what is on the disk before
	args   string            // D stands for the disk
	env    []string
	makes  []string // names of what it makes; everything else on the disk stays as it is
	beside string   // pattern of names that an unfinished run leaves for the next
	// sources are the files that are cut, in their order: with some of them unreadable the run may make the output of the others,
	// if it says which they are and that it failed. In arguments they stand for D/in.
	sources []string
	stands  string   // for the sources in the arguments; "" is D/in
	until   string   // it goes on until it says this, and is then told to stop
	fails   string   // it fails also on a sound disk, and says this
	kinds   []string // of operations that fail; none are all
	says    []string // one of which is in what it says when it fails; nil is what EIO is called
	every   int      // only every so many-th fault
	prepare func(t *testing.T, n noted, d *disk.Disk, c *diskCase)
}

func (c *diskCase) run(t *testing.T, n noted, d *disk.Disk, args string) (string, int) {
	t.Helper()
	in := func(s string) string { return strings.ReplaceAll(s, "D/", d.Root+"/") }
	var env []string
	for _, e := range c.env {
		env = append(env, in(e))
	}
	var until func(string) bool
	if c.until != "" {
		until = func(said string) bool { return strings.Contains(said, c.until) }
	}
	return n.run(t, env, until, strings.Fields(in(args))...)
}

// made are the outputs on the disk.
func (c *diskCase) made(t *testing.T, d *disk.Disk) (out [][]byte) {
	t.Helper()
	for _, name := range c.makes {
		b, err := os.ReadFile(filepath.Join(d.Backing, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

func equal(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

// sweep lets each operation fail in each way, or every so many-th of all these, and looks at what comes of it.
func (c *diskCase) sweep(t *testing.T, n noted, every int) (runs int) {
	d := newDisk(t)
	start := time.Now()
	if c.prepare != nil {
		c.prepare(t, n, d, c)
	}
	plant(t, d.Backing, c.has)
	d.Counts()
	said, code := c.run(t, n, d, c.args)
	counts := d.Counts()
	if (code == 0) != (c.fails == "") || !strings.Contains(said, c.fails) {
		t.Fatalf("on a sound disk it ended with %d: %s", code, said)
	}
	want := c.made(t, d)
	after := tree(t, d.Backing)
	partly := map[string][][]byte{} // by the sources that are missing
	less := func(missing []string) [][]byte {
		key := strings.Join(missing, " ")
		if _, ok := partly[key]; !ok {
			here := tree(t, d.Backing)
			plant(t, d.Backing, c.has)
			rest := slices.DeleteFunc(slices.Clone(c.sources), func(s string) bool { return slices.Contains(missing, s) })
			if len(rest) > 0 {
				if said, code := c.run(t, n, d, strings.ReplaceAll(c.args, cmp.Or(c.stands, "D/in"), "D/"+strings.Join(rest, " D/"))); code != 0 {
					t.Fatalf("without %q it ended with %d: %s", missing, code, said)
				}
			}
			partly[key] = c.made(t, d)
			plant(t, d.Backing, here)
		}
		return partly[key]
	}
	var before [][]byte
	for _, name := range c.makes {
		before = append(before, []byte(c.has[name]))
	}
	missed, at := 0, 0
	all := 0
	for _, n := range counts {
		all += n
	}
	if len(c.kinds) == 0 {
		counts[""] = all // from the k-th on everything fails
	}
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		if len(c.kinds) > 0 && !slices.Contains(c.kinds, kind) {
			continue
		}
		for k := 1; k <= counts[kind]; k++ {
			for way := range 4 {
				if at++; at%every != 0 || kind == "" && way != 2 {
					continue
				}
				f := disk.Fault{Kind: kind, K: k, After: way&1 != 0, Ever: way&2 != 0, Errno: syscall.EIO}
				plant(t, d.Backing, c.has)
				d.Fail(f)
				said, code := c.run(t, n, d, c.args)
				bitten, last := d.Heal()
				runs++
				if bitten == 0 {
					missed++
				}
				wrong := func(format string, args ...any) {
					t.Helper()
					t.Errorf("%s (%s): %s\nit ended with %d: %s", f, last, fmt.Sprintf(format, args...), code, said)
				}
				got := c.made(t, d)
				switch {
				case strings.Contains(said, "goroutine ") || code > 3 && code != exitNoReach:
					wrong("it crashed")
				case code == 0 && c.fails == "":
					if !equal(got, want) {
						wrong("it says that all is well, and the output is another")
					}
				case c.fails != "" && strings.Contains(said, c.fails):
				default:
					told := slices.ContainsFunc(append(c.says, "input/output error", "file exists"), func(s string) bool { return strings.Contains(said, s) })
					if !told || !strings.Contains(said, d.Root) {
						wrong("it does not say which file failed")
					}
					var missing []string
					for _, s := range c.sources {
						if strings.Contains(said, d.Root+"/"+s) || strings.Contains(said, filepath.Dir(d.Root+"/"+s)+":") {
							missing = append(missing, s)
						}
					}
					for i := range got {
						if !bytes.Equal(got[i], before[i]) && !bytes.Equal(got[i], want[i]) &&
							(len(missing) == 0 || len(missing) < len(c.sources) && !bytes.Equal(got[i], less(missing)[i])) {
							wrong("%s is neither what was there before nor whole: %d bytes", c.makes[i], len(got[i]))
						}
					}
				}
				if strings.Contains(said, ".chunkstream-") && kind != disk.Unlink && !f.Ever {
					wrong("it names a file that nobody asked for")
				}
				// What is left: a file of which nobody was told that it was made, or that could not be removed.
				strangers := f.Ever || kind == disk.Unlink || kind == disk.Rmdir || f.After && (kind == disk.Create || kind == disk.Mkdir)
				for name, text := range tree(t, d.Backing) {
					was, ok := c.has[name]
					now, also := after[name]
					one, _ := filepath.Match(c.beside, name)
					switch {
					case slices.Contains(c.makes, name), one, strangers && (strings.Contains(name, ".chunkstream-") || c.beside == ""):
					case !ok && !also:
						wrong("%s is left", name)
					case ok && text != was && (!also || text != now):
						wrong("%s has changed", name)
					}
				}
				if c.fails != "" {
					continue
				}
				if said, code := c.run(t, n, d, c.args); (code != 0 || !equal(c.made(t, d), want)) && !strings.Contains(said, "is there already") {
					t.Errorf("%s (%s): again on a sound disk it ended with %d, or another output: %s", f, last, code, said)
				}
				for name := range tree(t, d.Backing) {
					_, was := c.has[name]
					_, usual := after[name]
					if one, _ := filepath.Match(c.beside, name); one && !usual && !was {
						t.Errorf("%s (%s): after another run %s is left", f, last, name)
					}
				}
				if t.Failed() && runs > 400 {
					return runs
				}
			}
		}
	}
	if missed*10 > runs {
		t.Errorf("%d of %d faults have not bitten", missed, runs)
	}
	t.Logf("%v: %d runs with a fault in %v, %d did not bite", counts, runs, time.Since(start).Round(time.Second), missed)
	return runs
}

// sources are three small files, one of which takes more than one write.
func diskSources() (has map[string]string, names []string) {
	has = map[string]string{}
	for i, name := range []string{"in/a.txt", "in/b.md", "in/c.txt"} {
		names = append(names, name)
		has[name] = string(prose(900<<i, uint64(i)))
	}
	return has, names
}

func with(has map[string]string, more ...string) map[string]string {
	all := maps.Clone(has)
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

func diskCases(t *testing.T) []diskCase {
	in, sources := diskSources()
	var cases []diskCase
	for _, format := range []string{"jsonl", "csv", "parquet", "txt"} {
		cases = append(cases, diskCase{
			name: "chunk to " + format, has: with(in, "out."+format, "before"), args: "chunk -j 1 D/in -o D/out." + format,
			makes: []string{"out." + format}, sources: sources,
		})
	}
	return append(cases,
		diskCase{name: "a new output in a folder", has: with(in, "to/", ""), args: "chunk -j 1 -q D/in -o D/to/out.json", makes: []string{"to/out.json"},
			sources: sources},
		diskCase{name: "resume, new", has: in, args: "chunk -j 1 D/in -o D/out --resume", makes: []string{"out"}, beside: "out.*", sources: sources},
		diskCase{name: "resume, of another run", has: with(in, "out", "before", "out.manifest", "{}\n"), args: "chunk -j 1 D/in -o D/out --resume",
			makes: []string{"out"}, beside: "out.*", sources: sources},
		diskCase{name: "resume, interrupted", has: in, args: "chunk -j 1 D/in -o D/out --resume", makes: []string{"out"}, beside: "out.*", sources: sources,
			prepare: func(t *testing.T, n noted, d *disk.Disk, c *diskCase) {
				plant(t, d.Backing, c.has)
				d.Fail(disk.Fault{Kind: disk.Write, K: 5, Ever: true, Errno: syscall.EIO})
				if said, code := c.run(t, n, d, c.args); code == 0 {
					t.Fatalf("it was not interrupted: %s", said)
				}
				d.Heal()
				c.has = tree(t, d.Backing)
				if c.has["out.partial.1"] == "" || c.has["out.partial.1.manifest"] == "" {
					t.Fatalf("an interrupted run left %q", slices.Sorted(maps.Keys(c.has)))
				}
			}},
		diskCase{name: "ignore files", has: with(in, "in/.git/", "", "in/.gitignore", "secret*\n", "in/secret.txt", "secret", "in/sub/.chunkstreamignore", "*.log\n",
			"in/sub/d.txt", "One more text.", "in/sub/e.log", "secret"), args: "chunk -j 1 D/in -o D/out", makes: []string{"out"},
			sources: append(slices.Clone(sources), "in/sub/d.txt")},
		diskCase{name: "ignore files of folders above", has: map[string]string{"in/.git/": "", "in/.gitignore": "secret*\n", "in/sub/secret.txt": "secret",
			"in/sub/d.txt": "One more text."}, args: "chunk -j 1 D/in/sub -o D/out", makes: []string{"out"},
			sources: []string{"in/sub/d.txt"}, stands: "D/in/sub"},
		diskCase{name: "a pattern", has: in, args: "chunk -j 1 D/in/*.txt -o D/out", makes: []string{"out"},
			sources: []string{"in/a.txt", "in/c.txt"}, stands: "D/in/*.txt"},
		diskCase{name: "lint", has: in, args: "lint D/in"},
		diskCase{name: "figures", has: in, args: "chunk D/in --stats --json"},
		diskCase{name: "a measurement", has: in, args: "bench chunk --duration 1ms --strategy recursive D/in"},
		diskCase{name: "config init", args: "config init --user", env: []string{"XDG_CONFIG_HOME=D/conf"}, makes: []string{"conf/chunkstream/chunkstream.yaml"}},
		diskCase{name: "config init, there already", has: map[string]string{"conf/chunkstream/chunkstream.yaml": "unit: tokens\n"}, args: "config init --user",
			env: []string{"XDG_CONFIG_HOME=D/conf"}, makes: []string{"conf/chunkstream/chunkstream.yaml"}, fails: "is there already"},
		diskCase{name: "config check", has: map[string]string{"c.yaml": "unit: tokens\n"}, args: "--config D/c.yaml config check"},
		diskCase{name: "the user's config", has: map[string]string{"conf/chunkstream/chunkstream.yaml": "unit: tokens\n"}, args: "config check",
			env: []string{"XDG_CONFIG_HOME=D/conf"}},
		diskCase{name: "a key file", has: with(in, "key", "cs_key"), args: "chunk D/in/a.txt --server http://127.0.0.1:1 --api-key-file D/key", fails: "127.0.0.1:1"},
	)
}

// TestDiskSlice: some of TestDiskCommands, without notes: every twenty-first fault of an output and of a run that is resumed.
func TestDiskSlice(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range diskCases(t) {
		if c.name == "chunk to jsonl" || c.name == "resume, interrupted" {
			t.Run(c.name, func(t *testing.T) { c.sweep(t, noted{program: self}, 21) })
		}
	}
}

// TestDiskCommands: the command line and the service's starts work on a disk of which each operation fails, before it is carried out or
// after, once or for ever. They say that they failed and which file, and what was there is as it was; or the output is whole. Nothing else
// is left, and on a sound disk the same command then ends well. The calls in the sources that have failed on the way are those of a list,
// by which the rules for the source know that each call has.
func TestDiskCommands(t *testing.T) {
	n := newNoted(t)
	var mu sync.Mutex
	runs := 0
	t.Run("commands", func(t *testing.T) {
		for _, c := range append(diskServices(t), diskCases(t)...) {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				r := c.sweep(t, n, max(c.every, 1))
				mu.Lock()
				defer mu.Unlock()
				runs += r
			})
		}
	})
	failed := n.failed(t)
	t.Logf("%d runs with a fault; %d of %d calls to the file system have failed", runs, len(failed), len(n.calls))
	want := strings.Split(strings.TrimSpace(content(t, "testdata/disk-calls.txt")), "\n")
	for _, name := range failed {
		if !slices.Contains(want, name) {
			t.Errorf("%s has failed, and is not in testdata/disk-calls.txt", name)
		}
	}
	for _, name := range want {
		if !slices.Contains(failed, name) {
			t.Errorf("%s has not failed, and is in testdata/disk-calls.txt", name)
		}
	}
}
