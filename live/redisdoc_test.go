package live_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"chunkstream/dispatch"
	"chunkstream/limit"
	"chunkstream/live"
)

// TestRedisDoc holds docs/redis.md against the code that it describes.
func TestRedisDoc(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(doc), "\n|---|---|---|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	if !found {
		t.Fatal("docs/redis.md has no table of keys")
	}
	fields := func(names []string) string { return "`" + strings.Join(names, "` `") + "`" }
	var rows [][]string
	for line := range strings.Lines(table) {
		rows = append(rows, strings.Split(strings.TrimSpace(line), " | "))
	}
	want := [][]string{
		{"| `" + live.OperationKey("{id}") + "`", "hash", "", fmt.Sprintf("`error` ≤ %d bytes", live.MaxError),
			fmt.Sprintf("%v, %v after the terminal event", live.HashTTL, live.HashEndedTTL)},
		{"| `" + live.StreamKey("{id}") + "`", "stream", fields(live.StreamFields),
			fmt.Sprintf("%d entries, `data` ≤ %d bytes", live.MaxStream, live.MaxData),
			fmt.Sprintf("%v, %v after the terminal event", live.StreamTTL, live.StreamEnded)},
		{"| `" + live.Channel("{id}") + "`", "channel", "the event's JSON, as on the socket", "–", "–"},
		{"| `" + live.OwnerChannel("{owner}") + "`", "channel", "the same JSON", "–", "–"},
		{"| `" + dispatch.Stream + "`", "stream, group `" + dispatch.Group + "`", "`operation` `lane`",
			fmt.Sprintf("about %d entries", dispatch.MaxStream), fmt.Sprintf("%v, from the newest entry", dispatch.StreamTTL)},
		{"| `" + limit.KeyPrefix + "{owner}`", "hash", "`full`", "one number", fmt.Sprintf("until its bucket is full, and %v", limit.KeyTTL)},
	}
	want[0][2] = fields(live.HashFields)
	if len(rows) != len(want) {
		t.Fatalf("the table has %d rows, want %d", len(rows), len(want))
	}
	for i := range want {
		for k := range want[i] {
			if rows[i][k] != want[i][k] {
				t.Errorf("row %d: %q, want %q", i+1, rows[i][k], want[i][k])
			}
		}
	}
}
