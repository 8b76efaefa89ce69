package store

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
)

const migrationUp, migrationDown = "-- +goose Up\n", "\n-- +goose Down\n"

// migrationsFor gives an engine's migrations: each half of a file is one text that the driver runs in one transaction.
// Goose's own reader takes 4 MiB for each file, all at once, to find the statements in it.
func migrationsFor(engine string) ([]*goose.Migration, error) {
	names, err := fs.Glob(migrations, "migrations/"+engine+"/*.sql")
	if err != nil {
		return nil, err
	}
	all := make([]*goose.Migration, 0, len(names))
	for _, name := range names {
		text, err := fs.ReadFile(migrations, name)
		if err != nil {
			return nil, err
		}
		number, _, _ := strings.Cut(path.Base(name), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("migrations: %s has no number: %w", name, err)
		}
		up, begins := strings.CutPrefix(string(text), migrationUp)
		up, down, both := strings.Cut(up, migrationDown)
		if !begins || !both || strings.Contains(up+down, "-- +goose") {
			return nil, fmt.Errorf("migrations: %s is not %q, statements, %q, statements", name, migrationUp, migrationDown)
		}
		all = append(all, goose.NewGoMigration(version, runs(up), runs(down)))
	}
	return all, nil
}

func runs(text string) *goose.GoFunc {
	return &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, text)
		return err
	}}
}
