package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"chunkstream/event"
)

// wire is one connection to a process that is kept, for requests that cost their sender next to nothing: it shares two cores
// with what it measures. It may be used by one goroutine at a time.
type wire struct {
	p    *process
	conn net.Conn
	r    *bufio.Reader
	buf  bytes.Buffer
}

// reply is as much of an answer as is looked at.
type reply struct {
	status int
	code   string // of a problem
	retry  bool   // says when to come back
	id     string // of an operation
	took   time.Duration
}

const wirePatience = 30 * time.Second // for one answer

// ask sends a request and reads all of its answer. The body may be nil.
func (w *wire) ask(method, path string, body []byte) (a reply, err error) {
	defer func() {
		if err != nil && w.conn != nil {
			_ = w.conn.Close()
			w.conn = nil
		}
	}()
	if w.conn == nil {
		if w.conn, err = net.Dial("tcp", w.p.address); err != nil {
			return a, err
		}
		w.r = bufio.NewReaderSize(w.conn, 16<<10)
	}
	w.buf.Reset()
	fmt.Fprintf(&w.buf, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", method, path, w.p.address, len(body))
	if w.p.keyed {
		w.buf.WriteString("Authorization: Bearer " + chaosKey + "\r\n")
	}
	if body != nil {
		w.buf.WriteString("Content-Type: text/plain; charset=utf-8\r\n")
	}
	w.buf.WriteString("\r\n")
	w.buf.Write(body)
	began := time.Now()
	if err := w.conn.SetDeadline(began.Add(wirePatience)); err != nil {
		return a, err
	}
	if _, err := w.conn.Write(w.buf.Bytes()); err != nil {
		return a, err
	}
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		return a, err
	}
	w.buf.Reset()
	_, err = w.buf.ReadFrom(resp.Body)
	a.took = time.Since(began)
	_ = resp.Body.Close() // it has been read
	if err == nil && resp.Close {
		err = w.conn.Close()
		w.conn = nil
	}
	a.status, a.retry = resp.StatusCode, resp.Header.Get("Retry-After") != ""
	if a.status >= 400 {
		a.code = field(w.buf.Bytes(), "code")
	} else {
		a.id = field(w.buf.Bytes(), "id")
	}
	return a, err
}

func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close()
	}
}

// field is the first text of that name in JSON that has no spaces between its words; none is "".
func field(text []byte, name string) string {
	_, rest, _ := bytes.Cut(text, []byte(`"`+name+`":"`))
	value, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(value)
}

// sheet is a document of about 4 KiB; with another number it is another one.
type sheet struct{ text []byte }

const sheetSize = 4 << 10

func newSheet(text string) sheet {
	return sheet{bytes.Map(func(r rune) rune {
		if r >= utf8.RuneSelf {
			return '?' // so that a number can be written over any part of it
		}
		return r
	}, []byte(text[:sheetSize]))}
}

func (s sheet) number(n int64) []byte {
	copy(s.text, fmt.Sprintf("document %012d\n", n))
	return s.text
}

// ends hears of the ends of all of the first owner's operations over one WebSocket.
type ends struct {
	stop func()

	mu       sync.Mutex
	all      map[string]*fate
	accepted int // operations in all, those that were there before included: a server has one of its own at its first start
}

// fate is what became of an operation. Its end may be heard of before its submission is answered.
type fate struct {
	began, answered, ended time.Time // the zero time: not yet
	how                    event.Type
	over                   chan struct{} // closed with the end
}

// hear watches over a process until stop is called. It returns once an operation's end was heard of, so that none is missed.
func (c *chaos) hear(ctx context.Context, p *process) (*ends, error) {
	e := &ends{all: map[string]*fate{}}
	if err := c.db.QueryRowContext(ctx, `SELECT count(*) FROM operations`).Scan(&e.accepted); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	e.stop = func() {
		cancel()
		watching.Wait()
	}
	watching.Go(func() {
		for got, err := range p.clients[local].WatchAll(ctx) {
			switch {
			case err != nil && ctx.Err() == nil:
				c.violate("the watcher of everything: %v", err)
			case err != nil:
			case got.Type.Terminal():
				e.end(got.OperationID, got.Type)
			case event.Type(got.Data.Status).Terminal(): // a snapshot after the connection broke
				e.end(got.OperationID, event.Type(got.Data.Status))
			}
		}
	})
	w := &wire{p: p}
	defer w.close()
	for range 50 {
		began := time.Now()
		a, err := w.ask("POST", "/v1/operations", []byte("Is anybody listening?"))
		if err != nil || a.status != http.StatusAccepted {
			e.stop()
			return nil, fmt.Errorf("the first submission: %d %s, %w", a.status, a.code, err)
		}
		select {
		case <-e.submitted(a.id, began).over:
			return e, nil
		case <-time.After(time.Second):
		}
	}
	e.stop()
	return nil, errors.New("no end was heard of")
}

func (e *ends) fate(id string) *fate {
	f := e.all[id]
	if f == nil {
		f = &fate{over: make(chan struct{})}
		e.all[id] = f
	}
	return f
}

func (e *ends) end(id string, how event.Type) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f := e.fate(id); f.ended.IsZero() {
		f.ended, f.how = time.Now(), how
		close(f.over)
	}
}

// submitted notes an operation that was accepted just now.
func (e *ends) submitted(id string, began time.Time) *fate {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.fate(id)
	f.began, f.answered = began, time.Now()
	e.accepted++
	return f
}

// drained waits until what was accepted has ended, and says how many have not within a time.
func (e *ends) drained(ctx context.Context, within time.Duration) (left int) {
	for end := time.Now().Add(within); ; {
		left = 0
		e.mu.Lock()
		for _, f := range e.all {
			if f.ended.IsZero() {
				left++
			}
		}
		e.mu.Unlock()
		if left == 0 || time.Now().After(end) || !pause(ctx, 100*time.Millisecond) {
			return left
		}
	}
}

// take gives what is known of all operations, of which nothing is known afterwards.
func (e *ends) take() []*fate {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []*fate
	for _, f := range e.all {
		all = append(all, f)
	}
	e.all = map[string]*fate{}
	return all
}

// open begins requests at their times, so many a second, whatever becomes of earlier ones, each on one of so many connections.
// A request for which none is free within openSlack is not made; open says how many were, and how many were not.
func open(ctx context.Context, rate float64, over time.Duration, wires []*wire, do func(w *wire, i int)) (made, missed int) {
	began := time.Now()
	var mu sync.Mutex
	next := 0
	var all sync.WaitGroup
	for _, w := range wires {
		all.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				due := began.Add(time.Duration(float64(i) / rate * float64(time.Second)))
				if due.Sub(began) >= over || !pause(ctx, time.Until(due)) {
					return
				}
				free := time.Since(due) < openSlack
				mu.Lock()
				if free {
					made++
				} else {
					missed++
				}
				mu.Unlock()
				if free {
					do(w, i)
				}
			}
		})
	}
	all.Wait()
	return made, missed
}

const openSlack = 250 * time.Millisecond

// quantile is the time that a share of all is not above; of none it is 0.
func quantile(all []time.Duration, share float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(share*float64(len(sorted)-1))]
}

// short is a time in milliseconds, to a tenth.
func short(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// verdict prints whether a goal was met, and notes it when it was not.
func (c *chaos) verdict(out io.Writer, met bool, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	if met {
		fmt.Fprintf(out, "met     %s\n", what)
		return
	}
	fmt.Fprintf(out, "MISSED  %s\n", what)
	c.violate("missed: %s", what)
}
