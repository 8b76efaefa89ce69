// Package sandbox cuts untrusted text in child processes that can be killed. What parses a format may hang, eat memory,
// overflow its stack or flood its caller on a text that was made for it; in a child of its own it takes nothing with it.
//
// A child is this same program, started with an argument that nobody types. It has no environment, three
// pipes, and as working directory a place where nothing can be made: nothing of it is ever on a disk, so nothing is left when
// its parent is killed. Before it sees a byte of text it gives up for good, by setrlimit(2), every file and socket it could
// still open, and all address space beyond a bound, and its parent has looked that it did. Where the system permits it, it
// also runs in a network namespace without any interface and, under root, as the user nobody.
// The parent alone measures time and output, and kills. See Protection for what holds on this machine.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"sync"
	"syscall"
	"time"

	"chunkstream/chunk"
)

// Config bounds the children. Zero values mean the defaults.
type Config struct {
	// Command starts a child, which must call Serve with the number that is its last argument, added here. Default: this
	// program's own file with the argument Argument.
	Command []string
	// Processes is how many children there may be at a time; a text waits until one is free. Default: one a core.
	Processes int
	// Time is how long a child may keep its caller waiting for one text, all its waits together. What the caller does
	// between two chunks does not count. Default 60 s.
	Time time.Duration
	// Memory is the address space in bytes that a child may take beyond what it has when it is ready. Default 512 MiB.
	Memory int64
	// Output is how many bytes of chunks a child may send for one text, about ten a chunk. Default 256 MiB.
	Output int64
	// Texts is how many texts a child cuts before a new one takes its place. Default 256.
	Texts int
	// Log takes what a dead child said at last. Default: discarded.
	Log *slog.Logger
}

// Argument is the command line argument that makes this program a child.
const Argument = "parse-child"

// The codes of Error.
const (
	Crashed = "parser_crashed" // it ended by itself: a fatal error, a stack too deep, a kill by somebody else
	Timeout = "parser_timeout" // it took longer than Config.Time
	Memory  = "parser_memory"  // it needed more than Config.Memory
	Output  = "parser_output"  // it gave more than Config.Output
)

// Error says that a child died on a text, or was killed for it. The text is the only suspect, but a machine without
// memory or time can look the same: it is worth a second attempt and no third.
type Error struct {
	Code   string // one of the codes above
	Detail string // in words that may be shown to the text's owner
}

func (e *Error) Error() string { return e.Code + ": " + e.Detail }

// ErrUnavailable: no child could be started. It says nothing about the text.
var ErrUnavailable = errors.New("no process to parse in could be started")

// ErrClosed: the pool is closed.
var ErrClosed = errors.New("the pool of parsing processes is closed")

// Pool keeps children for the next text. Make it with New, Close it when nothing uses it any more; between them any
// number of goroutines may.
type Pool struct {
	cfg   Config
	slots chan struct{}

	mu     sync.Mutex
	idle   []*process
	level  int // of protection; the first of levels that works here
	proved bool
	closed bool
}

// New makes a pool; it starts nothing.
func New(cfg Config) *Pool {
	if cfg.Command == nil {
		cfg.Command = []string{self(), Argument}
	}
	if cfg.Processes <= 0 {
		cfg.Processes = runtime.GOMAXPROCS(0)
	}
	if cfg.Time <= 0 {
		cfg.Time = 60 * time.Second
	}
	if cfg.Memory <= 0 {
		cfg.Memory = 512 << 20
	}
	if cfg.Output <= 0 {
		cfg.Output = 256 << 20
	}
	if cfg.Texts <= 0 {
		cfg.Texts = 256
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Pool{cfg: cfg, slots: make(chan struct{}, cfg.Processes)}
}

// Close ends the idle children and waits for them. Calls of Split that still run end their own.
func (p *Pool) Close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, child := range idle {
		child.end()
	}
}

// Protection says in words what a child is kept from on this machine, starting one if there was none yet.
func (p *Pool) Protection(ctx context.Context) (string, error) {
	child, err := p.take(ctx)
	if err != nil {
		return "", err
	}
	p.put(child)
	p.mu.Lock()
	defer p.mu.Unlock()
	return levels[p.level].words, nil
}

// Split is chunk.Guard in a child: it yields what the plan's strategy makes of text, at most the given number of
// chunks if that is not 0, and stops with an error that is *Error when the child died, *chunk.SplitError when the
// strategy broke its contract or panicked, ctx's when it ended, and anything else, ErrUnavailable among it, when the
// text had no part in it. The child is given the strategy's name and settings, not its Splitter, so it must know them.
// Stopping early is free.
func (p *Pool) Split(ctx context.Context, plan chunk.Plan, text string, most int) iter.Seq2[chunk.Chunk, error] {
	return func(yield func(chunk.Chunk, error) bool) {
		r := &run{pool: p, ctx: ctx, plan: plan, most: most, left: p.cfg.Time}
		n := 0
		for c, err := range chunk.Guard(plan.Strategy, r, text) {
			if err != nil && (r.err != nil || most > 0 && n == most) {
				break // the guard sees only that the chunks have ended
			}
			n++
			if !yield(c, err) || err != nil {
				return
			}
		}
		if r.err != nil {
			yield(chunk.Chunk{}, r.err)
		}
	}
}

// take gives a child that waits for a text: an idle one, or a new one. put or drop it.
func (p *Pool) take(ctx context.Context) (*process, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	closed := p.closed
	var child *process
	if n := len(p.idle); n > 0 {
		child, p.idle = p.idle[n-1], p.idle[:n-1]
	}
	p.mu.Unlock()
	var err error
	if closed {
		err = ErrClosed
	} else if child == nil {
		child, err = p.spawn()
	}
	if err != nil {
		<-p.slots
		return nil, err
	}
	return child, nil
}

// put gives a child back that has ended a text as it should.
func (p *Pool) put(child *process) {
	defer func() { <-p.slots }()
	child.texts++
	p.mu.Lock()
	keep := !p.closed && child.texts < p.cfg.Texts
	if keep {
		p.idle = append(p.idle, child)
	}
	p.mu.Unlock()
	if !keep {
		child.end()
	}
}

// drop ends a child that is of no use any more, and says how.
func (p *Pool) drop(child *process) string {
	defer func() { <-p.slots }()
	return child.end()
}

// short says that the system lacked files, processes or memory.
func short(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM)
}

// spawn starts a child under the best protection that works here.
func (p *Pool) spawn() (*process, error) {
	p.mu.Lock()
	level, proved := p.level, p.proved
	p.mu.Unlock()
	var failures []error
	for ; level < len(levels); level++ {
		child, err := start(p.cfg, levels[level])
		if err == nil {
			p.mu.Lock()
			p.level, p.proved = level, true
			p.mu.Unlock()
			return child, nil
		}
		failures = append(failures, fmt.Errorf("with %s: %w", levels[level].words, err))
		if proved || short(err) {
			break // it has worked before, so it is not the protection that fails; nor is it when the machine has nothing left
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(failures...))
}
