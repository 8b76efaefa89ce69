package api_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"chunkstream/api"
)

// TestClientExamples runs the examples that docs/api.md names, with a key: each submits, sees every event and reads every chunk.
func TestClientExamples(t *testing.T) {
	s := start(t, keyed(t), func(c *api.Config) { c.Loopback = false })
	text := strings.Repeat("Grün und 日本. Another sentence of a few words.\n\n", 20)
	file := filepath.Join(t.TempDir(), "document.txt")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"python3", "clients/example.py"}, {"node", "clients/example.mjs"}} {
		cmd := exec.CommandContext(t.Context(), command[0], command[1], s.url, file)
		cmd.Env = append(os.Environ(), "CHUNKSTREAM_API_KEY="+key)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%v: %v\n%s", command, err, out)
			continue
		}
		said := strings.Split(strings.TrimSpace(string(out)), "\n")
		if !strings.HasPrefix(said[0], "operation op_") || said[1] != "event queued 0" {
			t.Errorf("%v: said %q", command, said[:2])
		}
		got, completed := "", false
		for i, line := range said[2:] {
			completed = completed || strings.HasPrefix(line, "event completed ")
			if !strings.HasPrefix(line, "chunk ") {
				continue
			}
			var index, from, to int
			words := strings.SplitN(line, " ", 5)
			if _, err := fmt.Sscan(strings.Join(words[1:4], " "), &index, &from, &to); err != nil || !completed {
				t.Errorf("%v: line %d: %q: %v", command, i, line, err)
				break
			}
			var chunk string
			if err := json.Unmarshal([]byte(words[4]), &chunk); err != nil || chunk != text[from:to] {
				t.Errorf("%v: chunk %d is %q, %v; want %q", command, index, chunk, err, text[from:to])
			}
			got += chunk
		}
		if len(got) < len(text)/2 {
			t.Errorf("%v: read %d bytes of %d", command, len(got), len(text))
		}
	}
}
