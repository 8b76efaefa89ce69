package store

import (
	"context"
	"fmt"
	"strings"
)

// Invariants gives the statements of invariants.sql, for a connection that may take longer than the store's own. Each
// selects the violations of one invariant as three texts: its name, the operation's id, and what is wrong.
func Invariants() []string {
	var all []string
	for statement := range strings.SplitSeq(invariants, ";\n") {
		if strings.TrimSpace(statement) != "" {
			all = append(all, statement)
		}
	}
	return all
}

// CheckInvariants runs invariants.sql and gives a line for every violation, none for a sound database. It reads every
// row: it is for tests, chaos runs and doctors, not for a busy server.
func (s *Store) CheckInvariants(ctx context.Context) ([]string, error) {
	var lines []string
	for _, statement := range Invariants() {
		err := s.read(ctx, statement).each(func(scan scan) error {
			var name, operation, detail string
			if err := scan(&name, &operation, &detail); err != nil {
				return err
			}
			lines = append(lines, fmt.Sprintf("%s: %s: %s", name, operation, detail))
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("store: check invariants: %w in %q", err, statement)
		}
	}
	return lines, nil
}
