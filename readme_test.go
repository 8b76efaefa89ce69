package chunkstream_test

import (
	"bytes"
	"context"
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

// readme runs what README.md shows: console blocks command by command, Go blocks as programs; ui/test/pages.test.mjs runs the
// one for a browser. The server is on another port with its data elsewhere; an id that the README leaves open is the one
// that the last submit gave.
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

// TestInstalls: README.md and the script's own usage name all that the script test installs by itself.
func TestInstalls(t *testing.T) {
	script, err := os.ReadFile("test")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^.*\bmissing\+=\((.*)\)`).FindAllStringSubmatch(string(script), -1)
	if len(lines) < 7 {
		t.Fatalf("the script has %d lines that add to what is missing: is this test still looking in the right place?", len(lines))
	}
	_, usage, _ := strings.Cut(string(script), "It installs with apt")
	usage, _, _ = strings.Cut(usage, "\nTEXT\n")
	_, said, _ := strings.Cut(string(readme), "it installs with apt")
	said, _, _ = strings.Cut(said, "NO_INSTALL")
	usage = strings.Replace(usage, "C compiler", "gcc libc6-dev", 1)
	said = strings.Replace(said, "gcc", "gcc libc6-dev", 1)
	for _, line := range lines {
		for name := range strings.FieldsSeq(line[1]) {
			word := regexp.MustCompile(`(^|[\s(])` + name + `([\s,.)]|$)`)
			if !word.MatchString(usage) {
				t.Errorf("./test installs %s, of which its usage says nothing", name)
			}
			if name != "iproute2" && !word.MatchString(said) { // only for ./test all and kill
				t.Errorf("./test installs %s, of which README.md says nothing", name)
			}
		}
	}
}

// here puts the README's address and id in their place.
func (r *readme) here(text string) string {
	text = strings.ReplaceAll(text, "127.0.0.1:8484", r.address)
	return strings.ReplaceAll(text, "operations/op_…", "operations/"+r.id)
}

func (r *readme) run(name string, args ...string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = r.environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a command may start a server, which must not outlive it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", args[len(args)-1], err, out)
	}
	return string(out)
}

// environment has what a user may have set for his service; the other commands go their own way all the same.
func (r *readme) environment() []string {
	return append(os.Environ(), "CGO_ENABLED=0", "CHUNKSTREAM_LISTEN="+r.address, "CHUNKSTREAM_DATA="+r.data)
}

// console runs the commands that begin with "$ " and compares what follows each with what it prints; "…" stands for
// anything, and what the README leaves out at the end may be there.
func (r *readme) console(block string) {
	for _, part := range strings.Split(block, "$ ")[1:] {
		command, want, _ := strings.Cut(part, "\n")
		for strings.HasSuffix(command, "|") || strings.HasSuffix(command, "&&") {
			next, rest, _ := strings.Cut(want, "\n")
			command, want = command+"\n"+next, rest
		}
		switch command = strings.TrimSpace(strings.Split(command, "  #")[0]); {
		case command == "./test": // runs this
			continue
		case command == serveCommand:
			r.serve()
			continue
		case strings.HasPrefix(command, serveCommand+" & "):
			r.stop() // as the README says above this command, which kills the server that it starts
		}
		got := r.run("bash", "-c", "set -o pipefail; "+r.here(command))
		for line := range strings.Lines(strings.TrimSpace(want)) {
			pattern := regexp.QuoteMeta(strings.TrimRight(line, "\n"))
			if !regexp.MustCompile("(?m)^" + strings.ReplaceAll(pattern, "…", ".*")).MatchString(got) {
				r.t.Errorf("$ %s\ngot  %.300s\nwant %s", command, got, line)
			}
		}
		if id := regexp.MustCompile(`(?m)^{"id":"(op_[^"]+)"`).FindStringSubmatch(got); id != nil {
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
	cmd.Env = r.environment()
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
