package chunkstream_test

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// asvs is how many requirements of each chapter of ASVS 5.0.0 are at level 1, and how many at level 2 of the chapters of
// which the table has those too.
var asvs = map[string][2]int{
	"V1": {8, 0}, "V2": {4, 0}, "V3": {8, 0}, "V4": {2, 0}, "V5": {4, 0}, "V6": {13, 22}, "V7": {6, 12}, "V8": {4, 3}, "V9": {4, 3}, "V10": {5, 0},
	"V11": {3, 0}, "V12": {3, 0}, "V13": {1, 0}, "V14": {2, 0}, "V15": {3, 0}, "V16": {0, 16},
}

// TestASVS: the table of docs/security.md has each requirement once, and each row names tests that exist, or says why
// there is none.
func TestASVS(t *testing.T) {
	b, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range checkASVS(string(b), testsOf(t)) {
		t.Error(wrong)
	}
	if !strings.Contains(string(b), "## Dependencies") {
		t.Error("docs/security.md says nothing of dependencies")
	}
}

func checkASVS(doc string, exists map[string]bool) (wrong []string) {
	named := regexp.MustCompile("`([a-z/]*\\.Test[A-Za-z0-9_]+)`")
	counts, seen := map[string][2]int{}, map[string]bool{}
	for line := range strings.Lines(doc) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if !regexp.MustCompile(`^\| V\d`).MatchString(line) {
			continue
		}
		if len(cells) != 7 {
			wrong = append(wrong, "not five cells: "+line)
			continue
		}
		id, level, how, tests := strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2]), strings.TrimSpace(cells[4]), strings.TrimSpace(cells[5])
		if seen[id] {
			wrong = append(wrong, id+" is there twice")
		}
		seen[id] = true
		chapter, _, _ := strings.Cut(id, ".")
		n := counts[chapter]
		switch level {
		case "1":
			n[0]++
		case "2":
			n[1]++
		default:
			wrong = append(wrong, id+": level "+level)
		}
		counts[chapter] = n
		if tests == "" && !strings.HasPrefix(how, "not here") && !strings.HasPrefix(how, "yours") {
			wrong = append(wrong, id+" names no test and does not say why")
		}
		for _, m := range named.FindAllStringSubmatch(tests, -1) {
			if !exists[m[1]] {
				wrong = append(wrong, id+": there is no "+m[1])
			}
		}
		_, title, isUI := strings.Cut(tests, "ui: ")
		if isUI && !exists["ui: "+title] {
			wrong = append(wrong, id+": no test of the pages is called "+title)
		}
		if tests != "" && !isUI && len(named.FindAllString(tests, -1)) != strings.Count(tests, "`")/2 {
			wrong = append(wrong, id+": what is "+tests+"?")
		}
	}
	for chapter, want := range asvs {
		if counts[chapter] != want {
			wrong = append(wrong, fmt.Sprintf("%s: %v rows of levels 1 and 2, want %v", chapter, counts[chapter], want))
		}
	}
	return wrong
}

// testsOf gives the tests of the module as package.Test, of this folder as .Test, and those of the pages by their titles.
func testsOf(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, s := range sources(t) {
		if !s.test() {
			continue
		}
		folder := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(s.path)), ".")
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				all[folder+"."+f.Name.Name] = true
			}
		}
	}
	b, err := os.ReadFile("ui/test/pages.test.mjs")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\s*(?:await )?(?:t\.)?test\('([^']+)'`).FindAllStringSubmatch(string(b), -1) {
		all["ui: "+m[1]] = true
	}
	return all
}

// TestASVSCanFail plants one fault of each kind.
func TestASVSCanFail(t *testing.T) {
	b, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	doc, tests := string(b), testsOf(t)
	row := regexp.MustCompile(`(?m)^\| V8\.3\.1 .*\n`).FindString(doc)
	for fault, planted := range map[string]string{
		"a row is gone":       strings.Replace(doc, row, "", 1),
		"a row is twice":      strings.Replace(doc, row, row+row, 1),
		"no such test":        strings.Replace(doc, "`api.TestMatrix` |\n", "`api.TestNothing` |\n", 1),
		"no such package":     strings.Replace(doc, "`api.TestMatrix` |\n", "`nothing.TestMatrix` |\n", 1),
		"no test, no reason":  strings.Replace(doc, row, "| V8.3.1 | 1 | r | h | |\n", 1),
		"words for a test":    strings.Replace(doc, row, "| V8.3.1 | 1 | r | h | `by hand` |\n", 1),
		"another level":       strings.Replace(doc, row, strings.Replace(row, "| 1 |", "| 2 |", 1), 1),
		"no such page's test": strings.Replace(doc, "ui: texts", "ui: nothing", 1),
	} {
		if got := checkASVS(planted, tests); len(got) == 0 {
			t.Errorf("%s: nothing was seen", fault)
		}
	}
	for _, name := range []string{"api.TestMatrix", ".TestASVS", "cmd/chunkstream.TestTLS", "ui: texts and names never become nodes"} {
		if !tests[name] {
			t.Errorf("%s was not found", name)
		}
	}
}
