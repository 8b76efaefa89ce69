// Command vulndb makes a database for govulncheck -db file:///… out of the module golang.org/x/vulndb, so that known
// vulnerabilities can be looked for where only a module proxy can be reached: vulndb <folder of the module> <folder to make>.
// It prints how many reports there are and the date of the newest.
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// report is what the indexes need of an OSV record (https://ossf.github.io/osv-schema).
type report struct {
	ID        string    `json:"id"`
	Modified  time.Time `json:"modified"`
	Withdrawn string    `json:"withdrawn"`
	Aliases   []string  `json:"aliases"`
	Affected  []struct {
		Package struct{ Name string }
		Ranges  []struct{ Events []struct{ Fixed string } }
	}
}

// The files of the index, as https://go.dev/doc/security/vuln/database has them.
type (
	moduleEntry struct {
		Path  string       `json:"path"`
		Vulns []moduleVuln `json:"vulns"`
	}
	moduleVuln struct {
		ID       string    `json:"id"`
		Modified time.Time `json:"modified"`
		Fixed    string    `json:"fixed,omitempty"`
	}
	vulnEntry struct {
		ID       string    `json:"id"`
		Modified time.Time `json:"modified"`
		Aliases  []string  `json:"aliases,omitempty"`
	}
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: vulndb MODULE FOLDER")
		os.Exit(2)
	}
	if err := convert(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "vulndb:", err)
		os.Exit(1)
	}
}

func convert(module, folder string) error {
	files, err := filepath.Glob(filepath.Join(module, "data", "osv", "GO-*.json"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s has no data/osv/GO-*.json", module)
	}
	for _, sub := range []string{"index", "ID"} {
		if err := os.MkdirAll(filepath.Join(folder, sub), 0o755); err != nil {
			return err
		}
	}
	modules, vulns, newest := map[string]*moduleEntry{}, []vulnEntry{}, ""
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var r report
		if err := json.Unmarshal(b, &r); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if r.Withdrawn != "" {
			continue
		}
		newest = max(newest, r.ID)
		vulns = append(vulns, vulnEntry{r.ID, r.Modified, r.Aliases})
		for _, a := range r.Affected {
			m := modules[a.Package.Name]
			if m == nil {
				m = &moduleEntry{Path: a.Package.Name}
				modules[a.Package.Name] = m
			}
			fixed := ""
			for _, ranges := range a.Ranges {
				for _, e := range ranges.Events {
					fixed = cmp.Or(e.Fixed, fixed)
				}
			}
			if !slices.ContainsFunc(m.Vulns, func(v moduleVuln) bool { return v.ID == r.ID }) {
				m.Vulns = append(m.Vulns, moduleVuln{r.ID, r.Modified, fixed})
			}
		}
		if err := os.WriteFile(filepath.Join(folder, "ID", r.ID+".json"), b, 0o644); err != nil {
			return err
		}
	}
	sorted := make([]moduleEntry, 0, len(modules))
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		sorted = append(sorted, *modules[path])
	}
	for name, v := range map[string]any{"db": map[string]any{"modified": time.Now().UTC().Truncate(time.Second)}, "modules": sorted, "vulns": vulns} {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, "index", name+".json"), b, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%d reports of %d modules, the newest %s\n", len(vulns), len(modules), newest)
	return nil
}
