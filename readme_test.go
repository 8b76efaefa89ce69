package chunkstream_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const serveCommand = "go run ./cmd/chunkstream serve"

// readme runs what README.md shows: console blocks line by line, Go blocks as programs. The server is on another port
// with its data elsewhere; an id that the README leaves open is the one that the last submit gave.
type readme struct {
	t       *testing.T
	address string
	data    string
	server  *exec.Cmd
	errors  *bytes.Buffer // what the server wrote to standard error, to be read when it has ended
	id      string
}

func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &readme{t: t, address: free.Addr().String(), data: filepath.Join(t.TempDir(), "data")}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.stop)
	blocks := regexp.MustCompile("(?ms)^```(console|go)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	for _, block := range blocks {
		if block[1] == "go" {
			r.program(block[2])
		} else {
			r.console(block[2])
		}
	}
	if len(blocks) < 8 || r.server == nil || !strings.HasPrefix(r.id, "op_") {
		t.Errorf("got %d blocks, operation %q: the README lacks what this test is for", len(blocks), r.id)
	}
}

// here puts the README's address, id and process in their place.
func (r *readme) here(text string) string {
	text = strings.ReplaceAll(text, "127.0.0.1:8484", r.address)
	return strings.ReplaceAll(text, "operations/op_…", "operations/"+r.id)
}

func (r *readme) run(name string, args ...string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", args[len(args)-1], err, out)
	}
	return string(out)
}

// console runs the lines that begin with "$ " and compares what follows each with what it prints; "…" stands for
// anything, and what the README leaves out at the end may be there.
func (r *readme) console(block string) {
	for _, part := range strings.Split(block, "$ ")[1:] {
		command, want, _ := strings.Cut(part, "\n")
		switch command = strings.TrimSpace(strings.Split(command, "  #")[0]); {
		case command == "./test": // runs this
			continue
		case command == serveCommand:
			r.serve()
			continue
		case strings.HasPrefix(command, "kill -9"):
			command = strings.ReplaceAll(command, "pgrep -n chunkstream", fmt.Sprintf("pgrep -P %d", r.server.Process.Pid))
			r.run("bash", "-c", command)
			_ = r.server.Wait() // killed, as it should be
			continue
		}
		got := r.run("bash", "-c", "set -o pipefail; "+r.here(command))
		for line := range strings.Lines(strings.TrimSpace(want)) {
			pattern := regexp.QuoteMeta(strings.TrimRight(line, "\n"))
			if !regexp.MustCompile("(?m)^" + strings.ReplaceAll(pattern, "…", ".*")).MatchString(got) {
				r.t.Errorf("$ %s\ngot  %.300s\nwant %s", command, got, line)
			}
		}
		if id := regexp.MustCompile(`^{"id":"(op_[^"]+)"`).FindStringSubmatch(got); id != nil {
			r.id = id[1]
		}
	}
}

func (r *readme) program(code string) {
	file := filepath.Join(r.t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(r.here(code)), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if out := r.run("go", "run", file); len(strings.Split(out, "\n")) < 3 {
		r.t.Errorf("a program of the README printed only %q:\n%s", out, code)
	}
}

// serve runs the README's first command as it stands, and waits until the server is ready.
func (r *readme) serve() {
	cmd := exec.Command("bash", "-c", "exec "+serveCommand)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "CHUNKSTREAM_LISTEN="+r.address, "CHUNKSTREAM_DATA="+r.data)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	printed, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	r.errors = new(bytes.Buffer)
	cmd.Stderr = r.errors
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	line := make([]byte, 1) // it prints once it is listening, or ends
	if _, err := io.ReadFull(printed, line); err != nil {
		r.t.Fatalf("%s printed nothing: %v, %v\n%s", serveCommand, err, cmd.Wait(), r.errors)
	}
	r.server = cmd
	go func() { _, _ = io.Copy(io.Discard, printed) }() // ends with the server
	resp, err := http.Get("http://" + r.address + "/readyz")
	if err != nil {
		r.t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("readyz: got %d, %v", resp.StatusCode, err)
	}
}

// stop presses Ctrl-C, and expects an orderly end. The go command's own exit status is then 1 in any case.
func (r *readme) stop() {
	if r.server == nil || r.server.ProcessState != nil {
		return
	}
	if err := syscall.Kill(-r.server.Process.Pid, syscall.SIGINT); err != nil {
		r.t.Error(err)
	}
	_ = r.server.Wait()
	if said := r.errors.String(); !strings.Contains(said, "stopping") || strings.Contains(said, "\nchunkstream: ") {
		r.t.Errorf("%s after Ctrl-C: got %s", serveCommand, said)
	}
}
