package chunkstream_test

import (
	"bufio"
	"fmt"
	"go/ast"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// enoughFuzz is how often each target must have been executed, over all runs that are recorded.
const enoughFuzz = 1_000_000

// fuzzRun is a line of docs/fuzz-totals.tsv, as ./test fuzz writes it: what one run of one target came to.
type fuzzRun struct {
	target     string // with its package: chunk.FuzzCode
	executions int64
	problem    string // what a line is that cannot stand
}

// fuzzRuns reads lines of package, target, commit, executions, time and outcome; behind a run that failed, what came of that.
func fuzzRuns(lines string) (all []fuzzRun) {
	for s := bufio.NewScanner(strings.NewReader(lines)); s.Scan(); {
		f := strings.Split(s.Text(), "\t")
		if len(f) < 6 {
			all = append(all, fuzzRun{problem: fmt.Sprintf("%q has not six fields", s.Text())})
			continue
		}
		n, err := strconv.ParseInt(f[3], 10, 64)
		run := fuzzRun{target: f[0] + "." + f[1], executions: n}
		if err != nil || n < 0 {
			run.problem = fmt.Sprintf("%q is no number of executions", f[3])
		} else if f[5] != "ok" && len(f) < 7 {
			run.problem = fmt.Sprintf("%s failed at %s, and nobody says what came of it", run.target, f[2])
		}
		all = append(all, run)
	}
	return all
}

// fuzzTable is what docs/reliability.md says of the runs, and why that is too little.
func fuzzTable(runs []fuzzRun, targets []string) (table string, problems []string) {
	total := map[string]int64{}
	for _, r := range runs {
		if r.problem != "" {
			problems = append(problems, r.problem)
		}
		total[r.target] += r.executions
	}
	var b strings.Builder
	b.WriteString("| package | targets | executions of the one that had fewest | of all |\n|---|---|---|---|\n")
	type row struct {
		targets    int
		least, all int64
	}
	var packages []string
	rows, sum := map[string]*row{}, row{}
	add := func(r *row, n int64) {
		if r.targets == 0 || n < r.least {
			r.least = n
		}
		r.targets, r.all = r.targets+1, r.all+n
	}
	for _, target := range targets {
		if total[target] < enoughFuzz {
			problems = append(problems, fmt.Sprintf("%s has been executed %d times, not %d", target, total[target], enoughFuzz))
		}
		name, _, _ := strings.Cut(target, ".")
		if rows[name] == nil {
			rows[name], packages = &row{}, append(packages, name)
		}
		add(rows[name], total[target])
		add(&sum, total[target])
	}
	write := func(name string, r row) {
		fmt.Fprintf(&b, "| %s | %d | %s | %s |\n", name, r.targets, thousands(r.least), thousands(r.all))
	}
	for _, name := range packages {
		write("`"+name+"`", *rows[name])
	}
	write("all", sum)
	return b.String(), problems
}

func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// fuzzTargets lists the fuzz targets of this module, sorted.
func fuzzTargets(all []source) (targets []string) {
	for _, s := range all {
		if !s.test() || strings.HasPrefix(s.path, "bench/") { // modules of their own
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Fuzz") {
				targets = append(targets, path.Dir(s.path)+"."+f.Name.Name)
			}
		}
	}
	slices.Sort(targets)
	return targets
}

// TestFuzzTotals holds what docs/reliability.md says of fuzzing against the runs that are recorded, and those against the
// targets there are: a new one has to be executed a million times before it lands.
func TestFuzzTotals(t *testing.T) {
	runs, err := os.ReadFile("docs/fuzz-totals.tsv")
	if err != nil {
		t.Fatal(err)
	}
	said, err := os.ReadFile("docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	table, problems := fuzzTable(fuzzRuns(string(runs)), fuzzTargets(sources(t)))
	for _, p := range problems {
		t.Error(p)
	}
	if !strings.Contains(string(said), table) {
		t.Errorf("docs/reliability.md should say:\n%s", table)
	}
}

func TestFuzzTotalsCanFail(t *testing.T) {
	targets := fuzzTargets(append(parsed(t, "chunk/a_test.go", "package chunk\nfunc FuzzA(f *testing.F) {}\nfunc TestFuzz(t *testing.T) {}\n"),
		parsed(t, "bench/b_test.go", "package bench\nfunc FuzzB(f *testing.F) {}\n")...))
	if !slices.Equal(targets, []string{"chunk.FuzzA"}) {
		t.Fatalf("got the targets %q, want chunk.FuzzA alone", targets)
	}
	for _, test := range []struct {
		lines    string
		problems int
	}{
		{"chunk\tFuzzA\tc\t400000\t1s\tok\nchunk\tFuzzA\td\t600000\t1s\tok\n", 0},
		{"chunk\tFuzzA\tc\t400000\t1s\tfailed\ta bug that is mended\nchunk\tFuzzA\td\t600000\t1s\tok\n", 0},
		{"chunk\tFuzzA\tc\t400000\t1s\tfailed\nchunk\tFuzzA\td\t600000\t1s\tok\n", 1},
		{"chunk\tFuzzA\tc\t999999\t1s\tok\n", 1},
		{"", 1},
		{"chunk\tFuzzA\tc\tmany\t1s\tok\n", 2},
		{"chunk FuzzA\n", 2},
	} {
		if table, problems := fuzzTable(fuzzRuns(test.lines), targets); len(problems) != test.problems {
			t.Errorf("%q: got %q, want %d problems\n%s", test.lines, problems, test.problems, table)
		}
	}
	const want = "| `chunk` | 1 | 1,000,000 | 1,000,000 |\n| all | 1 | 1,000,000 | 1,000,000 |\n"
	if table, _ := fuzzTable(fuzzRuns("chunk\tFuzzA\tc\t1000000\t1s\tok\n"), targets); !strings.HasSuffix(table, want) {
		t.Errorf("got\n%s, want it to end\n%s", table, want)
	}
}
