package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"chunkstream/client"
	"chunkstream/servertest"
)

// process is one process of the product, and what it becomes each time it is started again.
type process struct {
	name    string
	command string // serve or worker
	address string
	args    []string
	program string
	env     []string
	log     string    // a file
	spared  bool      // it is frozen, but never killed: what it leaks shows
	web     bool      // it answers the API
	on      *machines // where its own one is among; nil: it runs on this one
	works   bool      // it claims operations

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	wanted bool // its end would be nobody's doing
	frozen bool
	heard  map[string]heard // words → how often it has written them into its log

	keyed   bool                      // it lets nobody in without a key
	clients map[string]*client.Client // by owner
	http    *http.Client
}

// chaosKey is the first owner's, an administrator.
const chaosKey = "of-a-run-of-chaos-and-of-nothing-else-0123456789"

// get asks a process for something.
func (p *process) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+path, nil)
	if err != nil {
		return nil, err
	}
	if p.keyed {
		req.Header.Set("Authorization", "Bearer "+chaosKey)
	}
	return p.http.Do(req)
}

// as lets an owner use it.
func (p *process) as(owner, key string) (err error) {
	p.clients[owner], err = client.New("http://"+p.address, client.Options{HTTP: p.http, APIKey: key})
	return err
}

// webProcesses are those that answer the API.
func (c *chaos) webProcesses() (webs []*process) {
	for _, p := range c.processes {
		if p.web {
			webs = append(webs, p)
		}
	}
	return webs
}

// exitUnreachable is the product's exit code when it cannot reach its database.
const exitUnreachable = 5

func newProcess(c *chaos, name, command string, args ...string) (*process, error) {
	p := &process{name: name, command: command, address: servertest.FreeAddress(c.host), program: c.cfg.program,
		log: filepath.Join(c.cfg.folder, name+".log"), args: args, web: command == "serve",
		keyed: c.cfg.keyed(), clients: map[string]*client.Client{}}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CHUNKSTREAM_") && !strings.HasPrefix(e, "DATABASE_URL=") && !strings.HasPrefix(e, "REDIS_URL=") {
			p.env = append(p.env, e)
		}
	}
	p.env = append(p.env, "TMPDIR="+c.temp)
	p.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	key := ""
	if p.keyed {
		key = chaosKey
		p.env = append(p.env, "CHUNKSTREAM_API_KEY="+chaosKey)
	}
	if c.machines != nil {
		host, err := c.machines.add(name)
		if err != nil {
			return nil, err
		}
		_, port, err := net.SplitHostPort(p.address)
		if err != nil {
			return nil, err
		}
		p.on, p.address = c.machines, net.JoinHostPort(host, port)
	}
	return p, p.as(local, key)
}

// start starts it with more of an environment and does not wait for it.
func (p *process) start(env ...string) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has it
	args := append([]string{p.command, "--listen", p.address}, p.args...)
	cmd := exec.Command(p.program, args...)
	if p.on != nil {
		cmd = p.on.run(p.name, p.program, args...)
	}
	cmd.Env = append(append([]string{}, p.env...), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	p.mu.Lock()
	p.cmd, p.exited, p.wanted, p.frozen = cmd, exited, true, false
	p.mu.Unlock()
	go func() {
		defer close(exited)
		_ = cmd.Wait() // how it ended is read from ProcessState
	}()
	return nil
}

// state gives the process as it is now; exited is closed once it has ended, nil when it was never started.
func (p *process) state() (cmd *exec.Cmd, exited <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.exited
}

// expect notes that its end is wanted from here on.
func (p *process) expect() {
	p.mu.Lock()
	p.wanted = false
	p.mu.Unlock()
}

func (p *process) setFrozen(frozen bool) {
	p.mu.Lock()
	p.frozen = frozen
	p.mu.Unlock()
}

// well reports whether it runs, is not frozen and is not about to be ended.
func (p *process) well() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted && !p.frozen && p.cmd != nil
}

// lost reports whether it has ended although nobody wanted that.
func (p *process) lost() (how syscall.WaitStatus, lost bool) {
	p.mu.Lock()
	cmd, exited, wanted := p.cmd, p.exited, p.wanted
	p.mu.Unlock()
	if cmd == nil || !wanted {
		return 0, false
	}
	select {
	case <-exited:
		return status(cmd), true
	default:
		return 0, false
	}
}

func (p *process) running() bool {
	_, exited := p.state()
	if exited == nil {
		return false
	}
	select {
	case <-exited:
		return false
	default:
		return true
	}
}

func (p *process) pid() int {
	cmd, _ := p.state()
	return cmd.Process.Pid
}

// worker is what it calls itself in leases.
func (p *process) worker() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return fmt.Sprintf("%s-%d", host, p.pid())
}

func (p *process) signal(s syscall.Signal) error {
	cmd, _ := p.state()
	return cmd.Process.Signal(s)
}

// stop sends SIGSTOP and returns once every thread has stopped. Only one thread takes the signal, and the others run on until
// that one has got a core: what the process holds before then it may yet end.
func (p *process) stop(ctx context.Context) error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for end := time.Now().Add(2 * time.Second); ; {
		moving, err := threadsMoving(p.pid())
		switch {
		case err != nil:
			return err
		case !moving:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("%s was not still 2 s after SIGSTOP", p.name)
		case !pause(ctx, time.Millisecond):
			return ctx.Err()
		}
	}
}

// threadsMoving reports whether any thread of a process is not stopped.
func threadsMoving(pid int) (bool, error) {
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false, err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		} else if err != nil {
			return false, err
		}
		// proc(5): the state follows the name, which is in parentheses and may have some of its own.
		_, state, ok := strings.Cut(string(text[bytes.LastIndexByte(text, ')')+1:]), " ")
		if !ok || state[0] != 'T' {
			return true, nil
		}
	}
	return len(names) == 0, nil
}

// kill ends it with SIGKILL, waits until it is gone, and says how it ended.
func (p *process) kill() syscall.WaitStatus {
	p.expect()
	cmd, exited := p.state()
	if cmd == nil {
		return 0
	}
	_ = cmd.Process.Kill() // it may have ended by itself
	<-exited
	return status(cmd)
}

// end waits until it has ended and says how; ok is false when it has not within a time.
func (p *process) end(within time.Duration) (how syscall.WaitStatus, ok bool) {
	cmd, exited := p.state()
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-exited:
	case <-late.C:
	}
	if p.running() { // with no time at all, both may be due
		return 0, false
	}
	return status(cmd), true
}

func status(cmd *exec.Cmd) syscall.WaitStatus {
	s, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return s
}

// readiness is what its /readyz says; an error means that it does not answer.
func (p *process) readiness(ctx context.Context) (string, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	resp, err := p.get(ctx, "/readyz")
	if err != nil {
		return "", "", err
	}
	defer func() { _ = resp.Body.Close() }()
	var h struct {
		Status  string
		Reasons []string
	}
	err = json.NewDecoder(resp.Body).Decode(&h)
	return h.Status, strings.Join(h.Reasons, "; "), err
}

// answers reports whether anything comes back from it within a tenth of a second.
func (p *process) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	resp, err := p.get(ctx, "/healthz")
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return true
}

// metrics are its counters and gauges; those with labels are summed under their name too.
func (p *process) metrics(ctx context.Context) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	resp, err := p.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered with %s", resp.Status)
	}
	all := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		name, _, _ := strings.Cut(line[:max(at, 0)], "{")
		if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			all[name] += v
			if series := line[:max(at, 0)]; series != name {
				all[series] = v
			}
		}
	}
	return all, lines.Err()
}
