package redisconn

import (
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestGuards: whatever is not the role, or not a usable one, is refused with both types and the fix.
func TestGuards(t *testing.T) {
	s := redis(t)
	conns, closed := open(t, Config{URL: s.url()}), open(t, Config{URL: s.url()})
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	type row struct {
		value any
		got   string // "" means accepted
	}
	common := []row{{nil, "nil"}, {"redis://localhost", "string"}, {conns, "*redisconn.Conns"},
		{Config{}, "redisconn.Config"}}
	table := map[string][]row{
		"*redisconn.Commands": append(common, row{conns.Commands, ""},
			row{(*Commands)(nil), "a nil *redisconn.Commands"},
			row{&Commands{}, "*redisconn.Commands that Open did not make"},
			row{closed.Commands, "*redisconn.Commands that is closed"},
			row{Commands{}, "redisconn.Commands"},
			row{conns.Blocking, "*redisconn.Blocking"}, row{conns.Feed, "*redisconn.Feed"}),
		"*redisconn.Blocking": append(common, row{conns.Blocking, ""},
			row{(*Blocking)(nil), "a nil *redisconn.Blocking"},
			row{&Blocking{}, "*redisconn.Blocking that Open did not make"},
			row{closed.Blocking, "*redisconn.Blocking that is closed"},
			row{Blocking{}, "redisconn.Blocking"},
			row{conns.Commands, "*redisconn.Commands"}, row{conns.Feed, "*redisconn.Feed"}),
		"*redisconn.Feed": append(common, row{conns.Feed, ""},
			row{(*Feed)(nil), "a nil *redisconn.Feed"},
			row{&Feed{}, "*redisconn.Feed that Open did not make"},
			row{closed.Feed, "*redisconn.Feed that is closed"},
			row{conns.Commands, "*redisconn.Commands"}, row{conns.Blocking, "*redisconn.Blocking"}),
	}
	for want, rows := range table {
		for _, c := range rows {
			before := Mismatches()
			given, err := func() (bool, error) {
				switch want {
				case "*redisconn.Commands":
					v, err := RequireCommands(c.value)
					return v != nil, err
				case "*redisconn.Blocking":
					v, err := RequireBlocking(c.value)
					return v != nil, err
				}
				v, err := RequireFeed(c.value)
				return v != nil, err
			}()
			if given != (c.got == "") {
				t.Errorf("%s from %q: given %v", want, c.got, given)
			}
			if c.got == "" {
				if err != nil || Mismatches() != before {
					t.Errorf("%s: refused: %v", want, err)
				}
				continue
			}
			var e *RoleError
			if !errors.As(err, &e) || e.Want != want || e.Got != c.got || e.Fix == "" || Mismatches() != before+1 {
				t.Errorf("%s from %q: got %#v, counted %d", want, c.got, err, Mismatches()-before)
				continue
			}
			for _, part := range []string{want, c.got, "pass Conns." + strings.TrimPrefix(want, "*redisconn.")} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s from %q: %q does not name %q", want, c.got, err, part)
				}
			}
			wants(t, want, err, ClassRole, true)
		}
	}
}

// TestUnmadeRolesRefuse: a nil or zero role is an error and not a crash.
func TestUnmadeRolesRefuse(t *testing.T) {
	ctx := t.Context()
	for _, c := range []*Commands{nil, {}} {
		_, _, err := c.Get(ctx, "k")
		wants(t, "Get", err, ClassRole, true)
		_, err = c.Transaction(ctx, []string{"k"}, nil)
		wants(t, "Transaction", err, ClassRole, true)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if st := c.Stats(); st.Up || c.BigStats().Up {
			t.Errorf("Stats: got %+v", st)
		}
	}
	for _, b := range []*Blocking{nil, {}} {
		_, err := b.XReadGroup(ctx, "g", "c", "s", 1, 1)
		wants(t, "XReadGroup", err, ClassRole, true)
		if err := b.Close(); err != nil || b.Stats().Up {
			t.Error(err)
		}
	}
	for _, f := range []*Feed{nil, {}} {
		wants(t, "Subscribe", f.Subscribe(ctx, "c"), ClassRole, true)
		wants(t, "Run", f.Run(ctx, FeedHandler{}), ClassRole, true)
		if err := f.Close(); err != nil || f.Stats().Up || f.State().Connected {
			t.Error(err)
		}
	}
	if err := (*Conns)(nil).Close(); err != nil {
		t.Error(err)
	}
}

// TestWrongPairingsDoNotCompile checks testdata/wrong.go once for each line marked "// wrong:", with that line alone.
func TestWrongPairingsDoNotCompile(t *testing.T) {
	const fixture, mark = "testdata/wrong.go", "// wrong: "
	source, err := os.ReadFile(fixture)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(source), "\n")
	check := checker(t, "chunkstream/redisconn", "context", "time")
	with := func(keep int) string {
		kept := slices.Clone(lines)
		for i, line := range kept {
			if strings.Contains(line, mark) && i != keep {
				kept[i] = ""
			}
		}
		if err := check(strings.Join(kept, "\n")); err != nil {
			return err.Error()
		}
		return ""
	}
	// The file with no wrong line must compile, or the errors below would prove nothing.
	if got := with(-1); got != "" {
		t.Fatalf("%s without its wrong lines: %s", fixture, got)
	}
	wrong := 0
	for i, line := range lines {
		code, want, found := strings.Cut(line, mark)
		if !found {
			continue
		}
		wrong++
		got := with(i)
		for part := range strings.SplitSeq(want, " | ") {
			if !strings.Contains(got, part) {
				t.Errorf("%s: got %q, want an error with %q", strings.TrimSpace(code), got, part)
			}
		}
	}
	if wrong < 20 {
		t.Errorf("%d wrong lines, want the pairings of all types and the methods that each lacks", wrong)
	}
}

// checker gives a function that type-checks one file, which may import packages.
func checker(t *testing.T, packages ...string) func(source string) error {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", append([]string{"list", "-export", "-deps",
		"-f", "{{.ImportPath}} {{.Export}}"}, packages...)...)
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%v: %v", list, err)
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		exports[path] = file
	}
	set := token.NewFileSet()
	config := types.Config{Importer: importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})}
	return func(source string) error {
		file, err := parser.ParseFile(set, "wrong.go", source, 0)
		if err == nil {
			_, err = config.Check("wrong", set, []*ast.File{file}, nil)
		}
		return err
	}
}
