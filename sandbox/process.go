package sandbox

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// readyWithin is how long a new child may take until it says that it is ready, on a machine that is busy.
const readyWithin = 20 * time.Second

// process is a child. One goroutine uses it at a time; kill may be called beside it.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	buf   []byte
	said  tail
	texts int
}

// tail keeps the beginning of what a child writes to its standard error: a fatal error's first lines say what it was.
type tail struct{ text []byte }

const maxSaid = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.text = append(t.text, b[:min(len(b), maxSaid-len(t.text))]...)
	return len(b), nil
}

// start makes a child that has been limited and waits for a text.
func start(cfg Config, l level) (_ *process, err error) {
	c := &process{cmd: exec.Command(cfg.Command[0], append(cfg.Command[1:len(cfg.Command):len(cfg.Command)], strconv.FormatInt(cfg.Memory, 10))...)}
	c.cmd.Args[0] = "chunkstream" // what ps shows
	c.cmd.Dir, c.cmd.Env, c.cmd.Stderr = place(), []string{}, &c.said
	if err := l.apply(c.cmd); err != nil {
		return nil, err
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReaderSize(out, flushBytes)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	slow := time.AfterFunc(readyWithin, c.kill)
	kind, _, err := c.receive()
	slow.Stop()
	if err == nil && kind != frameReady {
		err = errProtocol
	}
	if err == nil {
		err = limited(c.cmd.Process.Pid)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, c.end())
	}
	return c, nil
}

func (c *process) send(j job, text string) error {
	head, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if err := writeFrame(c.in, frameJob, head); err != nil {
		return err
	}
	_, err = io.WriteString(c.in, text)
	return err
}

func (c *process) receive() (kind byte, body []byte, err error) {
	kind, body, err = readFrame(c.out, c.buf)
	if cap(body) > cap(c.buf) {
		c.buf = body
	}
	return kind, body, err
}

// kill makes the child end at once; whoever waits for it sees its pipes close.
func (c *process) kill() { _ = c.cmd.Process.Kill() } // it may have ended already

// end kills the child, waits until it is gone, and gives how it ended and what it said at last.
func (c *process) end() string {
	c.kill()
	_ = c.in.Close()
	err := c.cmd.Wait()                                    // it was killed: its state matters, not that it is an error
	said, _, _ := strings.Cut(string(c.said.text), "\n\n") // without the goroutines
	return fmt.Sprintf("%v: %s", err, strings.ToValidUTF8(said, "?"))
}

// outOfMemory reports whether a child's last words are Go's when the system gives it no more memory.
func outOfMemory(last string) bool {
	for _, words := range []string{"out of memory", "cannot allocate memory", "failed to reserve", "failed to allocate",
		"address space collisions"} { // the last is of a build with the race detector
		if strings.Contains(last, words) {
			return true
		}
	}
	return false
}
