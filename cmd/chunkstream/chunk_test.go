package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"chunkstream/chunk"
	"chunkstream/client"
	"chunkstream/servertest"
)

// cli runs the program in a folder and keeps its outputs apart.
func cli(t *testing.T, dir, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, strings.NewReader(stdin), &out, &errs
	cmd.Env = append(os.Environ(), asProgram+"=1")
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func write(t *testing.T, dir string, texts map[string]string) {
	t.Helper()
	for name, text := range texts {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// line is what the tests look at in a line of JSON.
type line struct {
	ID, Document, Text, Boundary, Reason, Opens string
	Index                                       int
	StartByte                                   int  `json:"start_byte"`
	EndByte                                     int  `json:"end_byte"`
	StartUTF16                                  *int `json:"start_utf16"`
	TokenCount                                  *int `json:"token_count"`
	StartLine                                   int  `json:"start_line"`
	EndLine                                     int  `json:"end_line"`
	SourceStartByte                             int  `json:"source_start_byte"`
	Encoding                                    string
}

func linesOf(t *testing.T, out string) (all []line) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var l line
		if err := d.Decode(&l); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		all = append(all, l)
	}
	return all
}

func TestChunkCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := "One sentence. Another one.\n\n\"Quoted\" and é, tab\there.\n" + strings.Repeat("More words follow. ", 20)
	write(t, dir, map[string]string{
		"a.md": text, "sub/b.txt": "short", "sub/.gitignore": "c.txt\n", "sub/c.txt": "ignored", ".git/x": "", "bad.bin": "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
		"empty.txt": "",
	})

	t.Run("one file", func(t *testing.T) {
		out, errs, code := cli(t, dir, "", "chunk", "a.md", "--chunk-size", "60", "--chunk-overlap", "10%", "--utf16", "--count", "cl100k_base")
		all := linesOf(t, out)
		if code != 0 || errs != "" || len(all) < 5 {
			t.Fatalf("got code %d, %d lines, %q", code, len(all), errs)
		}
		for i, l := range all {
			if l.Index != i || l.Document != "a.md" || l.Text != text[l.StartByte:l.EndByte] || !strings.HasPrefix(l.ID, "chk_") ||
				l.StartUTF16 == nil || l.TokenCount == nil || *l.TokenCount < 1 {
				t.Errorf("got %+v", l)
			}
		}
		if all[0].Opens != "start" || all[len(all)-1].Boundary != "end" || all[len(all)-1].Reason != "end" {
			t.Errorf("got %+v and %+v", all[0], all[len(all)-1])
		}
		if all[0].StartLine != 1 || all[0].EndLine != 3 {
			t.Errorf("got lines %d to %d, want 1 to 3", all[0].StartLine, all[0].EndLine)
		}
	})
	t.Run("standard input", func(t *testing.T) {
		out, _, code := cli(t, dir, text, "chunk", "-", "--json", "--no-text")
		all := linesOf(t, out)
		if code != 0 || len(all) != 1 || all[0].Document != "" || all[0].Text != "" || all[0].EndByte != len(text) {
			t.Errorf("got code %d, %+v", code, all)
		}
	})
	t.Run("another encoding", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, map[string]string{"latin.txt": "Caf\xe9 au lait. D\xe9j\xe0 vu, \xe9t\xe9 et \xe0 bient\xf4t."})
		out, errs, code := cli(t, dir, "", "chunk", "latin.txt", "--encoding", "windows-1252", "--chunk-size", "15")
		all := linesOf(t, out)
		if code != 0 || errs != "" || len(all) < 2 || all[0].Text != "Café au lait. " || all[0].Encoding != "windows-1252" ||
			all[1].StartByte != 15 || all[1].SourceStartByte != 14 {
			t.Errorf("got code %d, %s, %+v", code, errs, all)
		}
		if _, errs, code := cli(t, dir, "", "chunk", "latin.txt", "--encoding", "utf8x"); code != exitUsage || !strings.Contains(errs, `"utf8x"`) {
			t.Errorf("got code %d, %s", code, errs)
		}
		if out, _, code := cli(t, dir, "", "chunk", "latin.txt", "--encoding", "utf-8", "--invalid", "replace"); code != 0 || !strings.Contains(out, "Caf\ufffd") {
			t.Errorf("got code %d, %s", code, out)
		}
	})
	t.Run("a folder in which one fails", func(t *testing.T) {
		out, errs, code := cli(t, dir, "", "chunk", ".", "-v")
		var names []string
		for _, l := range linesOf(t, out) {
			names = append(names, l.Document)
		}
		if want := []string{"a.md", "sub/b.txt"}; !slices.Equal(names, want) || code != exitFailed {
			t.Errorf("got code %d, %q, want %d, %q", code, names, exitFailed, want)
		}
		for _, want := range []string{"! bad.bin: ", "1 of 4", "left out  sub/c.txt: ignored"} {
			if !strings.Contains(errs, want) {
				t.Errorf("no %q in %s", want, errs)
			}
		}
	})
	t.Run("formats", func(t *testing.T) {
		if out, errs, code := cli(t, dir, "", "chunk", "a.md", "sub", "-q", "--chunk-size", "60", "-o", "out.json"); code != 0 || out+errs != "" {
			t.Fatalf("got code %d, %s%s", code, out, errs)
		}
		b, err := os.ReadFile(filepath.Join(dir, "out.json"))
		if err != nil {
			t.Fatal(err)
		}
		var array []line
		if err := json.Unmarshal(b, &array); err != nil {
			t.Fatal(err)
		}
		out, _, _ := cli(t, dir, "", "chunk", "a.md", "sub", "--chunk-size", "60", "--format", "csv")
		rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
		if err != nil || len(rows) != len(array)+1 {
			t.Fatalf("got %d rows, %v, want %d", len(rows), err, len(array)+1)
		}
		for i, l := range array {
			if rows[i+1][0] != l.ID || rows[i+1][1] != l.Document || rows[i+1][3] != l.Text {
				t.Errorf("row %d is %q, want %+v", i, rows[i+1], l)
			}
		}
		out, _, _ = cli(t, dir, "", "chunk", "a.md", "--format", "text")
		if !strings.HasPrefix(out, "── a.md #0 · lines 1–4 · ") || !strings.Contains(out, text) {
			t.Errorf("got %s", out)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".chunkstream-*")); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
	t.Run("nothing in it", func(t *testing.T) {
		for format, want := range map[string]string{"jsonl": "", "json": "[\n\n]\n"} {
			if out, _, code := cli(t, dir, "", "chunk", "empty.txt", "--format", format); out != want || code != 0 {
				t.Errorf("%s: got %q, code %d, want %q", format, out, code, want)
			}
		}
	})
	t.Run("wrong", func(t *testing.T) {
		for args, want := range map[string]struct {
			code  int
			words string
		}{
			"a.md --chunk-size 0":                             {exitUsage, "--chunk-size: 0 is out of range"},
			"a.md --set child-sizes=[9]":                      {exitUsage, "--set child-sizes is not a setting of recursive"},
			"a.md --strategy recursve":                        {exitUsage, `--strategy: "recursve" is not a strategy`},
			"a.md --strategy recursve -q":                     {exitUsage, "Try: use recursive"},
			"a.md --unit tokens --chunk-size 9 --tokenizer x": {exitUsage, "--tokenizer: "},
			"missing.md":                                      {exitUsage, "no such file"},
			"- a.md":                                          {exitUsage, "only be given alone"},
			"*.zzz":                                           {exitNothing, "nothing matched in *.zzz"},
			". --include *.zzz":                               {exitNothing, "nothing matched"},
			"a.md --format xml":                               {exitUsage, `"xml" is not a format`},
			"a.md --json --format csv":                        {exitUsage, "--json is --format jsonl"},
			"a.md --count x":                                  {exitUsage, "--count: "},
			"a.md -o missing/out.json":                        {exitUsage, "-o: "},
			"bad.bin":                                         {exitFailed, "bad.bin"},
		} {
			out, errs, code := cli(t, dir, "", append([]string{"chunk"}, strings.Fields(args)...)...)
			if code != want.code || !strings.Contains(errs, want.words) || out != "" {
				t.Errorf("%s: got code %d, %q, %q, want %d, %q", args, code, out, errs, want.code, want.words)
			}
		}
	})
	t.Run("a reader that has seen enough", func(t *testing.T) {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, map[string]string{"large/x.txt": strings.Repeat(text, 5000)})
		cmd := exec.CommandContext(t.Context(), "bash", "-c", `set -o pipefail; "$0" chunk large/x.txt --json | head -1`, self)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), asProgram+"=1")
		out, err := cmd.CombinedOutput()
		if all := linesOf(t, string(out)); len(all) != 1 || all[0].Index != 0 {
			t.Errorf("got %s, %v", out, err)
		}
	})
}

// However many files are cut at once, what comes out is the same, in the order of the files.
func TestChunkCommandOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	texts := map[string]string{}
	for i := range 40 {
		texts[string(rune('a'+i%26))+strings.Repeat("x", i/26)+".txt"] = strings.Repeat("Some words in a sentence. ", 1+i*i*10)
	}
	write(t, dir, texts)
	one, _, _ := cli(t, dir, "", "chunk", ".", "-j", "1", "--chunk-size", "200")
	many, _, _ := cli(t, dir, "", "chunk", ".", "-j", "7", "--chunk-size", "200")
	if one != many || len(one) < 1<<20 {
		t.Errorf("got %d bytes by one and %d by seven, want the same", len(one), len(many))
	}
}

// An interrupt leaves lines that are whole, the output as it was, and what is done to go on from. The second file is a pipe, so
// that the interrupt comes while it is read.
func TestChunkCommandInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.txt": "One. Two.", "c.txt": "Three.", "out.jsonl": "before\n"})
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := syscall.Mkfifo(in("b.txt"), 0o600); err != nil {
		t.Fatal(err)
	}
	command := func(ctx context.Context, said io.Writer) error {
		return (&chunkCmd{Paths: []string{in("a.txt"), in("b.txt"), in("c.txt")}, Strategy: "recursive", sourceFlags: sourceFlags{Invalid: "reject"},
			Output: in("out.jsonl"), Resume: true, Jobs: 2}).Run(ctx, &screen{out: io.Discard, err: said})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- command(ctx, io.Discard) }()
	manifest := in("out.jsonl.partial.1.manifest")
	for deadline := time.Now().Add(time.Minute); ; <-time.After(time.Millisecond) {
		if b, _ := os.ReadFile(manifest); strings.Contains(string(b), "a.txt") { // it may come to be
			break
		} else if time.Now().After(deadline) {
			t.Fatal("the first file was not done within a minute")
		}
	}
	cancel()
	if err := os.WriteFile(in("b.txt"), []byte("Never."), 0o600); err != nil {
		t.Fatal(err)
	}
	err := <-ended
	if e, ok := errors.AsType[*exitError](err); !ok || e.code != exitInterrupted || !strings.Contains(e.hint, "goes on from there") {
		t.Errorf("got %v", err)
	}
	part, _ := os.ReadFile(in("out.jsonl.partial.1"))
	if all := linesOf(t, string(part)); len(all) != 1 || all[0].Text != "One. Two." {
		t.Errorf("got %s", part)
	}
	if b, _ := os.ReadFile(in("out.jsonl")); string(b) != "before\n" {
		t.Errorf("the output became %q", b)
	}
	if err := os.Remove(in("b.txt")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"b.txt": "Now."})
	var said bytes.Buffer
	if err := command(t.Context(), &said); err != nil || !strings.Contains(said.String(), "3 ok · 1 of them unchanged") {
		t.Errorf("got %v, %s", err, said.String())
	}
	b, _ := os.ReadFile(in("out.jsonl"))
	var texts []string
	for _, l := range linesOf(t, string(b)) {
		texts = append(texts, l.Text)
	}
	if want := []string{"One. Two.", "Now.", "Three."}; !slices.Equal(texts, want) {
		t.Errorf("got %q, want %q", texts, want)
	}
	if left, _ := filepath.Glob(in("*.partial.*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestCompareCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.md": strings.Repeat("A sentence of words. ", 200)})
	out, errs, code := cli(t, dir, "", "compare", "a.md", "recursive", "fixed_size", "--chunk-size", "500", "--json")
	var all []Comparison
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var c Comparison
		if err := d.Decode(&c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if code != 0 || errs != "" || len(all) != 2 {
		t.Fatalf("got code %d, %s, %d results", code, errs, len(all))
	}
	if r := all[0]; r.Strategy != "recursive" || r.Good != 1 || r.Torn != 0 || r.Shared != 1 || r.Most > 500 || r.Chunks != 9 {
		t.Errorf("got %+v", r)
	}
	if r := all[1]; r.Good != 0 || r.Shared != 0 || r.Most != 500 {
		t.Errorf("got %+v", r)
	}
	out, _, code = cli(t, dir, "", "compare", "a.md")
	if lines := strings.Count(out, "\n"); code != 0 || lines != len(chunk.Strategies())+1 {
		t.Errorf("got code %d, %d lines", code, lines)
	}
	for args, want := range map[string]string{"a.md recursive": "compares with nothing", "nope recursive fixed_size": "no such file"} {
		if _, errs, code := cli(t, dir, "", append([]string{"compare"}, strings.Fields(args)...)...); code == 0 || !strings.Contains(errs, want) {
			t.Errorf("%s: got code %d, %s", args, code, errs)
		}
	}
}

// What the table shows cannot move a terminal's cursor or turn its text around.
func TestOneLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a\x1b[2J": "a·[2J", "a \n\t b": "a b", "  x": "x", "a\u202eb\u2066c": "a·b·c", "long text": "long t…", "\u009b31m": "·31m",
	} {
		if got := oneLine(text, 5); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// From a file to JSON Lines, on one core: what the command does but for the disk it writes to.
func BenchmarkChunkCommand(b *testing.B) {
	name := filepath.Join(b.TempDir(), "text.txt")
	text := prose(20<<20, 1)
	if err := os.WriteFile(name, text, 0o644); err != nil {
		b.Fatal(err)
	}
	cmd := chunkCmd{Paths: []string{name}, Strategy: "recursive", sourceFlags: sourceFlags{Invalid: "reject"}, JSON: true, Jobs: 1, Quiet: true}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := cmd.Run(b.Context(), &screen{out: io.Discard, err: io.Discard}); err != nil {
			b.Fatal(err)
		}
	}
}

// An interrupt cancels what a server was asked for: nobody would read it.
func TestChunkCommandInterruptedAtServer(t *testing.T) {
	t.Parallel()
	s := startServer(t, servertest.FreeAddress(t), t.TempDir(), nil, "--workers", "0").ready()
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.txt": "One. Two."})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- (&chunkCmd{Paths: []string{filepath.Join(dir, "a.txt")}, Strategy: "recursive", sourceFlags: sourceFlags{Invalid: "reject"},
			Server: "http://" + s.address}).Run(ctx, &screen{out: io.Discard, err: io.Discard})
	}()
	only := func() (op client.Operation) {
		for o, err := range s.client().Operations(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(o.Name, "a.txt") { // the other one is the sample
				op = o
			}
		}
		return op
	}
	for deadline := time.Now().Add(time.Minute); only().Status != "queued"; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was submitted within a minute")
		}
	}
	cancel()
	if e, ok := errors.AsType[*exitError](<-ended); !ok || e.code != exitInterrupted {
		t.Errorf("got %v", e)
	}
	if op := only(); op.Status != "cancelled" {
		t.Errorf("the operation is %s, want cancelled", op.Status)
	}
	s.stop()
}
