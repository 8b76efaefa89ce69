package store

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
)

var (
	sqlComment = regexp.MustCompile(`(?m)--.*$`)
	// What an older program never notices: tables, views and plain indexes that it does not know, and columns that it may
	// leave out of an INSERT.
	additive = regexp.MustCompile(`(?is)^\s*(CREATE (TABLE|VIEW|INDEX) .*|ALTER TABLE \w+\s+ADD COLUMN (IF NOT EXISTS )?\w+ .*)$`)
	demands  = regexp.MustCompile(`(?i)\bNOT NULL\b|\bUNIQUE\b|\bCHECK\b|\bREFERENCES\b`)
	fallback = regexp.MustCompile(`(?i)\bDEFAULT\b`)
)

// notAdditive gives the statements of a migration that a program which does not know it may stumble over.
func notAdditive(migration string) (bad []string) {
	up, _, _ := strings.Cut(migration, "-- +goose Down")
	for statement := range strings.SplitSeq(sqlComment.ReplaceAllString(up, ""), ";") {
		statement = strings.TrimSpace(statement)
		column := strings.HasPrefix(strings.ToUpper(statement), "ALTER")
		if statement != "" && (!additive.MatchString(statement) ||
			column && demands.MatchString(statement) && !fallback.MatchString(statement)) {
			bad = append(bad, statement)
		}
	}
	return bad
}

// TestMigrationsAreAdditive holds the rule that makes a rollback possible: the program before a migration works on the
// data after it. Both engines have the same migrations.
func TestMigrationsAreAdditive(t *testing.T) {
	names := map[string]int{}
	for _, engine := range []string{"sqlite", "postgres"} {
		all, err := fs.Glob(migrations, "migrations/"+engine+"/*.sql")
		if err != nil || len(all) < 2 {
			t.Fatalf("%s: %v, %v", engine, all, err)
		}
		for _, file := range all {
			names[path.Base(file)]++
			text, err := fs.ReadFile(migrations, file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(path.Base(file), "00001_") { // before it there was nothing to go back to
				continue
			}
			for _, statement := range notAdditive(string(text)) {
				t.Errorf("%s: the program before it may not work after %q", file, statement)
			}
		}
	}
	for name, n := range names {
		if n != 2 {
			t.Errorf("%s is there for one engine alone", name)
		}
	}
	for statement, want := range map[string]bool{
		"ALTER TABLE chunks ADD COLUMN a INTEGER": true, "ALTER TABLE chunks ADD COLUMN a INTEGER NOT NULL DEFAULT 0": true,
		"ALTER TABLE chunks ADD COLUMN a INTEGER NOT NULL": false, "ALTER TABLE chunks DROP COLUMN facts": false,
		"ALTER TABLE chunks RENAME COLUMN facts TO f": false, "CREATE UNIQUE INDEX i ON chunks (a)": false,
		"CREATE INDEX i ON chunks (a)": true, "DROP VIEW v": false, "UPDATE chunks SET facts = 0": false,
	} {
		if bad := notAdditive("-- +goose Up\n" + statement + ";\n-- +goose Down\nDROP TABLE x;"); (len(bad) == 0) != want {
			t.Errorf("%q: additive %v, want %v", statement, len(bad) == 0, want)
		}
	}
}
