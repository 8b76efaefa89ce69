package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"chunkstream/client"
	"chunkstream/event"
	"chunkstream/store"
)

// flight keeps documents in flight against an address whose server comes and goes, and watches every one of them.
type flight struct {
	t        *testing.T
	database store.Config     // what the servers stand on
	clients  []*client.Client // one per server that may answer
	texts    []string
	name     string // begins every document, so that two flights have none in common

	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu   sync.Mutex
	done []flown
}

// flown is one document's flight.
type flown struct {
	op     client.Operation
	text   string
	events []event.Event
}

const inFlight = 20

// begun is how often a document begins its flight where everything takes many times as long: as many as are ready would
// only make the reading back longer.
const begun = 100 * time.Millisecond

// newFlight prepares documents: most are cut into enough chunks to be caught half-way, some are tiny.
func newFlight(t *testing.T, rng *rand.Rand, database store.Config, addresses ...string) *flight {
	l := &flight{t: t, database: database}
	for _, a := range addresses {
		c, err := client.New("http://"+a, client.Options{HTTP: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}})
		if err != nil {
			t.Fatal(err)
		}
		l.clients = append(l.clients, c)
	}
	all := realText(t, 8<<20)
	for i := range 40 {
		size := []int{500, 4 << 10, 100 << 10, 1 << 20, 2 << 20}[i%5] / slowdown
		at := rng.IntN(len(all) - size)
		l.texts = append(l.texts, strings.ToValidUTF8(all[at:at+size], "?"))
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	return l
}

// start keeps inFlight documents going until finish is called.
func (l *flight) start() {
	pace := time.NewTicker(begun)
	context.AfterFunc(l.ctx, pace.Stop)
	for worker := range inFlight {
		l.wg.Go(func() {
			for n := worker; l.ctx.Err() == nil; n += inFlight {
				l.fly(n)
				if slowdown > 1 {
					select {
					case <-pace.C:
					case <-l.ctx.Done():
					}
				}
			}
		})
	}
}

// finish lets every document that was begun come to its end.
func (l *flight) finish() {
	l.stop()
	l.wg.Wait()
}

// fly submits one document under an idempotency key until a server has accepted it, watches it to its end, and checks
// that every chunk is as in a run without faults.
func (l *flight) fly(n int) {
	text := fmt.Sprintf("%sdocument %d\n", l.name, n) + l.texts[n%len(l.texts)]
	c := l.clients[n%len(l.clients)]
	watch := c.Watch
	if n%2 == 1 {
		watch = c.WatchSSE
	}
	deadline, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var op client.Operation
	for {
		var err error
		op, err = c.Submit(deadline, client.Submission{Text: strings.NewReader(text), IdempotencyKey: fmt.Sprint(l.name, "doc-", n),
			Settings: url.Values{"chunk_size": {"60"}}})
		if err == nil {
			break
		}
		if p := (*client.Problem)(nil); errors.As(err, &p) && p.Status < 500 {
			l.t.Errorf("document %d was refused: %v", n, err)
			return
		}
		if deadline.Err() != nil {
			l.t.Errorf("document %d was never accepted: %v", n, err)
			return
		}
		time.Sleep(20 * time.Millisecond) // the server is away
	}
	f := flown{op: op, text: text}
	for {
		var last error
		for e, err := range watch(deadline, op.ID, lastSeq(f.events)) {
			if err != nil {
				last = err
				break
			}
			if e.Type.Durable() {
				f.events = append(f.events, e)
			}
		}
		if len(f.events) > 0 && f.events[len(f.events)-1].Type.Terminal() {
			break
		}
		if o := (*client.OrderError)(nil); errors.As(last, &o) || deadline.Err() != nil {
			l.t.Errorf("document %d (%s): %v", n, op.ID, last)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	l.mu.Lock()
	l.done = append(l.done, f)
	l.mu.Unlock()
}

func lastSeq(evs []event.Event) int64 {
	if len(evs) == 0 {
		return 0
	}
	return evs[len(evs)-1].Seq
}

// check reads everything back from a server that nobody disturbs, and then from the database.
func (l *flight) check(s *server) {
	l.t.Helper()
	ids := map[string]bool{}
	attempts, retried := int64(0), 0
	for _, f := range l.done {
		op, err := s.client().Operation(l.t.Context(), f.op.ID, 0)
		if err != nil || op.Status != "completed" {
			l.t.Errorf("%s: %+v, %v", f.op.ID, op, err)
			continue
		}
		if ids[op.ID] {
			l.t.Errorf("%s answers for two documents", op.ID)
		}
		ids[op.ID] = true
		attempts += op.Attempt
		if op.Attempt > 1 {
			retried++
		}
		checkChunks(l.t, s.client(), op, f.text)
	}
	total := 0
	for op, err := range s.client().Operations(l.t.Context(), "") {
		if err != nil {
			l.t.Fatal(err)
		}
		if op.Name != sampleName {
			total++
		}
	}
	if total != len(l.done) {
		l.t.Errorf("%d operations for %d documents", total, len(l.done))
	}
	s.stop()
	db := checkDatabase(l.t, l.database)
	for _, f := range l.done {
		checkEvents(l.t, db, f.op.ID, f.events)
	}
	l.t.Logf("%d documents completed, %d of them after a take-over, %d attempts in all", len(l.done), retried, attempts)
}
