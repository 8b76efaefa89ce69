package store

import (
	"context"
	"fmt"
	"strings"
)

// CheckInvariants runs invariants.sql and gives a line for every violation, none for a sound database. It reads every
// row: it is for tests, chaos runs and doctors, not for a busy server.
func (s *Store) CheckInvariants(ctx context.Context) ([]string, error) {
	var lines []string
	for statement := range strings.SplitSeq(invariants, ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
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
