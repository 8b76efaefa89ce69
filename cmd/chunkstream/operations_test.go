package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestOperationsPage: docs/operations.md names flags and variables that there are, with their defaults, and every one of
// serve and worker, but for those that docs/security.md and docs/celery.md are about; and the other pages name none that is not there.
func TestOperationsPage(t *testing.T) {
	t.Parallel()
	read := repositoryFiles(t)
	for _, wrong := range wrongFlags(t, read("docs/operations.md"), read("docs/security.md")+read("docs/celery.md")) {
		t.Error(wrong)
	}
	all := commandFlags(t)[""]
	for _, page := range []string{"README.md", "docs/celery.md", "docs/cli.md", "docs/design.md", "docs/pages.md", "docs/redis.md", "docs/security.md", "docs/strategies.md"} {
		for _, name := range flagName.FindAllString(read(page), -1) {
			if !slices.ContainsFunc(all, func(f *kong.Flag) bool { return "--"+f.Name == name }) && !slices.Contains(ofOthers, name) {
				t.Errorf("%s names %s, which no command has", page, name)
			}
		}
	}
}

// TestOperationsPageCanFail plants one fault of each kind.
func TestOperationsPageCanFail(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, fault := range []struct{ old, new, want string }{
		{"`--lease`", "`--leases`", "--leases: no command has it"},
		{"`CHUNKSTREAM_LEASE`", "`CHUNKSTREAM_LEASES`", "CHUNKSTREAM_LEASES: no flag has it"},
		{"| `5s` |", "| `6s` |", "--lease: the default is `5s`"},
		{"`CHUNKSTREAM_DATABASE`, `DATABASE_URL`", "`CHUNKSTREAM_DATABASE`", "--database: DATABASE_URL is not beside it"},
		{"--replicas", "--lease", "serve --replicas is not named"},
		{"`--isolate`, the", "the", "worker --isolate is not in the sentence on worker"},
		{"`worker` has `--database`", "`worker` has `--open`, `--database`", "the sentence on worker has --open"},
	} {
		if !strings.Contains(page, fault.old) {
			t.Errorf("the page lacks %q", fault.old)
		} else if got := wrongFlags(t, strings.ReplaceAll(page, fault.old, fault.new), ""); !slices.Contains(got, fault.want) {
			t.Errorf("%q for %q: got %q, want %q", fault.new, fault.old, got, fault.want)
		}
	}
}

var (
	flagName     = regexp.MustCompile(`--[a-z][a-z0-9-]*[a-z0-9]`)
	variableName = regexp.MustCompile(`\bCHUNKSTREAM_[A-Z_]*[A-Z]\b`)
	ofOthers     = []string{"--help", "--data-binary", "--retry", "--retry-delay", "--retry-connrefused"} // Kong's, and curl's
)

// commandFlags gives the flags of each command, and of all of them under "".
func commandFlags(t *testing.T) map[string][]*kong.Flag {
	t.Helper()
	parser, err := kong.New(&commands{}, kong.Name("chunkstream"), kong.DefaultEnvars("CHUNKSTREAM"))
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string][]*kong.Flag{"": parser.Model.Flags}
	for _, node := range parser.Model.Leaves(false) {
		flags[node.Name] = append(flags[node.Name], node.Flags...)
		flags[""] = append(flags[""], node.Flags...)
	}
	return flags
}

// wrongFlags says what page, which is docs/operations.md, has wrong; what it lacks may be in elsewhere.
func wrongFlags(t *testing.T, page, elsewhere string) (wrong []string) {
	t.Helper()
	of := commandFlags(t)
	find := func(name string) *kong.Flag {
		for _, command := range []string{"serve", "worker", ""} {
			if i := slices.IndexFunc(of[command], func(f *kong.Flag) bool { return "--"+f.Name == name }); i >= 0 {
				return of[command][i]
			}
		}
		return nil
	}
	for _, name := range flagName.FindAllString(page, -1) {
		if find(name) == nil && !slices.Contains(ofOthers, name) && !strings.Contains(page, name+"-…") {
			wrong = append(wrong, name+": no command has it")
		}
	}
	for _, name := range variableName.FindAllString(page, -1) {
		if !slices.ContainsFunc(of[""], func(f *kong.Flag) bool { return slices.Contains(f.Envs, name) }) {
			wrong = append(wrong, name+": no flag has it")
		}
	}
	// Rows about one flag: its variables, and its default where that is quoted.
	for _, row := range regexp.MustCompile("(?m)^\\| `(--[a-z-]+)` \\| ([^|]*) \\| ([^|]*) \\|").FindAllStringSubmatch(page, -1) {
		flag := find(row[1])
		if flag == nil {
			continue // said above
		}
		for _, name := range flag.Envs {
			if !strings.Contains(row[2], "`"+name+"`") {
				wrong = append(wrong, row[1]+": "+name+" is not beside it")
			}
		}
		if row[3] != "`"+flag.Default+"`" && strings.HasPrefix(row[3], "`") {
			wrong = append(wrong, row[1]+": the default is `"+flag.Default+"`")
		}
	}
	for _, command := range []string{"serve", "worker"} {
		for _, flag := range of[command] {
			if name := "--" + flag.Name; !flag.Hidden && flag.Name != "help" &&
				!slices.Contains(flagName.FindAllString(page, -1), name) && !slices.Contains(flagName.FindAllString(elsewhere, -1), name) {
				wrong = append(wrong, command+" "+name+" is not named")
			}
		}
	}
	// The sentence on worker has all of its flags and no other; `--keep-…` stands for all that begin so.
	_, sentence, _ := strings.Cut(page, "\n`worker` has ")
	sentence, _, _ = strings.Cut(sentence, "\n\n")
	named := regexp.MustCompile("`(--[a-z-]*[a-z])(-…)?`").FindAllStringSubmatch(sentence, -1)
	matches := func(m []string, f *kong.Flag) bool {
		return "--"+f.Name == m[1] || m[2] != "" && strings.HasPrefix("--"+f.Name, m[1]+"-")
	}
	for _, flag := range of["worker"] {
		if !flag.Hidden && flag.Name != "help" && !slices.ContainsFunc(named, func(m []string) bool { return matches(m, flag) }) {
			wrong = append(wrong, "worker --"+flag.Name+" is not in the sentence on worker")
		}
	}
	for _, m := range named {
		if !slices.ContainsFunc(of["worker"], func(f *kong.Flag) bool { return matches(m, f) }) {
			wrong = append(wrong, "the sentence on worker has "+m[1])
		}
	}
	return wrong
}

// repositoryFiles reads files of the repository by their names in it.
func repositoryFiles(t *testing.T) func(name string) string {
	return func(name string) string {
		t.Helper()
		b, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}
