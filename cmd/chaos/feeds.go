package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"chunkstream/client"
	"chunkstream/event"
)

// feed is one watcher of all of an owner's operations and what it was told, over one connection after the other. Over sse each
// is read as it comes; over ws package client reads, which opens a connection that broke again by itself, says where each
// operation is then, and leaves out none that it has told of.
type feed struct {
	owner, over string

	mu    sync.Mutex
	conn  int
	lines []line
	live  map[string]bool // what has not ended, as far as it was told
}

// line is one thing that was told, short: there are hundreds of thousands.
type line struct {
	conn      int
	operation string
	typ       event.Type
	seq       int64  // on a snapshot the number it stands at
	sum       uint64 // of all that was told
}

// begin notes a new connection. What it does not tell of has ended.
func (f *feed) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn++
	clear(f.live)
}

// tell notes an event.
func (f *feed) tell(e event.Event) {
	l := line{operation: e.OperationID, typ: e.Type, seq: e.Seq}
	ended := e.Type.Terminal()
	switch {
	case e.Type == event.Snapshot || e.Type == event.Resync:
		l.seq, l.sum = e.Data.Seq, stateSum(e.Data)
		ended = event.Type(e.Data.Status).Terminal()
	case e.Type.Durable():
		l.sum = eventSum(e)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	l.conn = f.conn
	f.lines = append(f.lines, l)
	if ended {
		delete(f.live, e.OperationID)
	} else if l.sum != 0 {
		f.live[e.OperationID] = true
	}
}

// unseen are operations whose end it has not been told.
func (f *feed) unseen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.live))
}

// eventSum is of the whole of an event, as it is on the wire.
func eventSum(e event.Event) uint64 {
	sum := fnv.New64a()
	_ = json.NewEncoder(sum).Encode(e) // a hash takes all
	return sum.Sum64()
}

// stateSum is of what a snapshot has in common with the event that it stands at.
func stateSum(d event.Data) uint64 {
	sum := fnv.New64a()
	fmt.Fprintln(sum, d.Status, d.Attempt, d.BytesDone, d.BytesTotal, d.Chunks)
	return sum.Sum64()
}

// watchAll follows everything of an owner's over one connection at a time, each of any web process.
func (l *load) watchAll(ctx context.Context, rng *rand.Rand, f *feed) {
	order, problem := (*client.OrderError)(nil), (*client.Problem)(nil)
	for ctx.Err() == nil {
		once, cancel := context.WithTimeout(ctx, time.Duration(500+rng.IntN(8000))*time.Millisecond)
		p := l.web(rng)
		f.begin()
		var err error
		if f.over == "sse" {
			err = p.allSSE(once, l.c.keys[f.owner], f.tell)
		} else {
			for e, broke := range p.clients[f.owner].WatchAll(once) {
				if err = broke; err == nil {
					f.tell(e)
				}
			}
		}
		cancel()
		switch {
		case errors.As(err, &order):
			l.c.violate("I8: the watcher of all of %s's over %s: %v", f.owner, f.over, err)
		case errors.As(err, &problem) && problem.Status < 500 && problem.Status != http.StatusTooManyRequests:
			l.c.violate("I8: the watcher of all of %s's over %s was refused: %v", f.owner, f.over, err)
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// allSSE reads one connection's events of all of an owner's operations, until it ends.
func (p *process) allSSE(ctx context.Context, key string, each func(event.Event)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/v1/events", nil)
	if err != nil {
		return err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return &client.Problem{Status: resp.StatusCode}
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: ")); ok {
			var e event.Event
			if err := json.Unmarshal(data, &e); err != nil {
				return err // cut in the middle
			}
			each(e)
		}
	}
	return lines.Err()
}

// seen waits until the watchers of everything have been told the end of all that they were told of.
func (l *load) seen(ctx context.Context) {
	late := time.Now().Add(l.c.cfg.patience)
	deleted := map[string]bool{} // of these nobody is told any more
	for _, t := range l.tickets {
		deleted[t.op.ID] = t.deleted
	}
	for _, f := range l.feeds {
		for {
			left := slices.DeleteFunc(f.unseen(), func(id string) bool { return deleted[id] })
			if len(left) == 0 {
				break
			}
			if time.Now().After(late) {
				l.c.violate("I8: the watcher of all of %s's over %s was never told the end of %v", f.owner, f.over, left)
				break
			}
			if !pause(ctx, 20*time.Millisecond) {
				return
			}
		}
	}
}

// kept is what SQL has of an operation.
type kept struct {
	owner  string
	events []event.Event
}

// checkFeed compares what a watcher of everything was told with SQL, and gives how many events it was told.
func (c *chaos) checkFeed(f *feed, all map[string]kept) (durable, anew int) {
	type position struct {
		seq   int64
		ended bool
	}
	at, conn := map[string]position{}, 0
	for _, l := range f.lines {
		wrong := func(format string, args ...any) {
			c.violate("I8: the watcher of all of %s's over %s, connection %d, was told %s %d of %s (after %d, ended: %v): %s", f.owner, f.over,
				l.conn, l.typ, l.seq, l.operation, at[l.operation].seq, at[l.operation].ended, fmt.Sprintf(format, args...))
		}
		if l.conn != conn {
			at, conn = map[string]position{}, l.conn
		}
		op, there := all[l.operation]
		switch {
		case !there:
			wrong("there is none such")
			continue
		case op.owner != f.owner:
			c.violate("I11: the watcher of all of %s's over %s was told %s %d of %s, which is %s's", f.owner, f.over, l.typ, l.seq,
				l.operation, op.owner)
			continue
		case l.sum != 0 && (l.seq < 1 || l.seq > int64(len(op.events))):
			wrong("SQL has %d events", len(op.events))
			continue
		}
		was, known := at[l.operation]
		if was.ended {
			wrong("it had ended")
			continue
		}
		switch {
		case l.typ == event.Snapshot || l.typ == event.Resync:
			e := op.events[l.seq-1]
			switch {
			case known && l.seq < was.seq:
				wrong("it goes back")
			case stateSum(e.Data) != l.sum:
				wrong("it is not what SQL has: %+v", e.Data)
			}
			if known && l.seq > was.seq && f.over == "sse" {
				anew++
			}
			at[l.operation] = position{l.seq, event.Type(e.Data.Status).Terminal()}
		case l.typ.Durable():
			durable++
			switch {
			case l.seq != was.seq+1: // an operation that was not told of begins with its first event
				wrong("%d was due", was.seq+1)
			case eventSum(op.events[l.seq-1]) != l.sum:
				wrong("it is not what SQL has: %+v", op.events[l.seq-1])
			}
			at[l.operation] = position{l.seq, l.typ.Terminal()}
		}
	}
	return durable, anew
}
