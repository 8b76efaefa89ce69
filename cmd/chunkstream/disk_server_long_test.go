//go:build long && linux

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chunkstream/client"
	"chunkstream/event"
	"chunkstream/servertest"
	"chunkstream/servertest/disk"
	"chunkstream/servertest/sites"
	"chunkstream/store"
)

// The tests of this file need root: the service on SQLite, on a disk that fails (package disk), or of which the power is cut.

// onDisk is a service on a disk, and what it has said.
type onDisk struct {
	t *testing.T
	d *disk.Disk
	n noted
	s *server
	c *client.Client

	mu        sync.Mutex
	accepted  map[string]string           // operation → text
	completed map[string]client.Operation // as it said that they are
	deleted   map[string]bool             // operations whose document it said is deleted
	refused   int
	starts    int
	numbered  int
}

func newOnDisk(t *testing.T, n noted) *onDisk {
	t.Helper()
	o := &onDisk{t: t, d: newDisk(t), n: n, accepted: map[string]string{}, completed: map[string]client.Operation{}, deleted: map[string]bool{}}
	o.start()
	return o
}

func (o *onDisk) start() {
	o.t.Helper()
	o.starts++
	o.s = startProgram(o.t, o.n.program, "serve", servertest.FreeAddress(o.t), []string{sites.Notes + "=" + o.n.notes},
		"--data", filepath.Join(o.d.Root, "data"), "--lease", "500ms", "--isolate", "none", "--poison-after", "1000", "--workers", "1").ready()
	o.c = o.s.client()
}

// sound waits until the service is ready on a sound disk; one that has ended, or stays not ready, is started again.
func (o *onDisk) sound() {
	o.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !o.s.hasExited() && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err := o.c.Operation(o.t.Context(), "none", 0); isStatus(err, 404) {
			return
		}
	}
	o.s.kill()
	o.t.Logf("it is started again; it had said at last: %.2000s", o.s.output.String()[max(0, len(o.s.output.String())-2000):])
	o.start()
}

func isStatus(err error, status int) bool {
	p, ok := errors.AsType[*client.Problem](err)
	return ok && p.Status == status
}

// refusal reports whether an error is one that may come of a disk that fails: a 503, or a connection that has broken because the
// process has died. Everything else is wrong.
func (o *onDisk) refusal(what string, err error) {
	o.t.Helper()
	o.refused++
	if p, ok := errors.AsType[*client.Problem](err); ok && !(p.Status == 503 && slices.Contains([]string{"unavailable", "outcome_unknown", "shutting_down"}, p.Code)) {
		o.t.Errorf("%s: %v: want 503 unavailable or outcome_unknown", what, err)
	}
}

// job asks for a bit of everything: two texts, one of more than a part, their chunks, and the deletion of an earlier document.
func (o *onDisk) job(ctx context.Context) {
	o.t.Helper()
	for _, size := range []int{900, 40_000} {
		o.numbered++
		text := markdown(fmt.Sprint("Number ", o.numbered), size)
		op, err := o.c.Submit(ctx, client.Submission{Text: strings.NewReader(text), Strategy: "markdown", Settings: url.Values{"chunk_size": {"300"}}})
		if err != nil {
			o.refusal("a submission", err)
			continue
		}
		o.mu.Lock()
		o.accepted[op.ID] = text
		o.mu.Unlock()
		if op, err = o.c.Operation(ctx, op.ID, 300*time.Millisecond); err != nil {
			o.refusal("a question", err)
		} else if op.Status == string(event.Completed) {
			o.mu.Lock()
			o.completed[op.ID] = op
			o.mu.Unlock()
			n := int64(0)
			for _, err := range o.c.Chunks(ctx, op.ID) {
				if err != nil {
					o.refusal("chunks", err)
					n = op.Chunks
					break
				}
				n++
			}
			if n != op.Chunks {
				o.t.Errorf("%s has %d chunks, and %d were read", op.ID, op.Chunks, n)
			}
		}
	}
	o.mu.Lock()
	var victim client.Operation
	for id, op := range o.completed {
		if !o.deleted[id] && len(o.completed) > 6 {
			victim = op
			break
		}
	}
	o.mu.Unlock()
	if victim.ID == "" {
		return
	}
	err := o.c.DeleteDocument(ctx, victim.DocumentID)
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.completed, victim.ID) // also if nobody knows what has come of it
	delete(o.accepted, victim.ID)
	switch {
	case err == nil:
		o.deleted[victim.ID] = true
	default:
		o.refusal("a deletion", err)
	}
}

// whole checks that all that was accepted is completed, with the chunks of a run without faults.
func (o *onDisk) whole(ids ...string) {
	o.t.Helper()
	for _, id := range ids {
		op, err := o.c.Operation(o.t.Context(), id, time.Minute)
		if err != nil || op.Status != string(event.Completed) {
			o.t.Errorf("%s is %s: %v %v", id, op.Status, op.Error, err)
			continue
		}
		checkChunks(o.t, o.c, op, o.accepted[id])
		o.completed[id] = op
	}
}

// promised is what the service has said so far.
type promised struct {
	accepted, deleted []string
	completed         map[string]client.Operation
}

func (o *onDisk) promised() promised {
	o.mu.Lock()
	defer o.mu.Unlock()
	return promised{slices.Collect(maps.Keys(o.accepted)), slices.Collect(maps.Keys(o.deleted)), maps.Clone(o.completed)}
}

// cut cuts the power at this moment and checks what is left in the other folder: a database that opens, without a violation, with all
// that was promised before.
func (o *onDisk) cut(what string, chance *rand.Rand) {
	t := o.t
	t.Helper()
	said := o.promised()
	left := t.TempDir()
	if err := o.d.CutPower(left, chance); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(left) // there are hundreds
	db, err := store.Open(t.Context(), sqliteIn(filepath.Join(left, "data")))
	if err != nil {
		t.Errorf("%s: after a power cut: %v", what, err)
		return
	}
	defer db.Close()
	lines, err := db.CheckInvariants(t.Context())
	lines = slices.DeleteFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, "I1 not ended") || strings.HasPrefix(l, "I12 a lease is held")
	}) // it was at work
	if err != nil || len(lines) > 0 {
		t.Errorf("%s: after a power cut: %v %q", what, err, lines)
	}
	for _, id := range said.accepted {
		op, err := db.Operation(t.Context(), "local", id)
		o.mu.Lock()
		_, still := o.accepted[id] // else it was being deleted
		o.mu.Unlock()
		if done, ok := said.completed[id]; still && (err != nil || ok && (string(op.Status) != done.Status || op.Chunks != done.Chunks)) {
			t.Errorf("%s: after a power cut %s is %s with %d chunks (%v), and it was said that it was %q with %d", what, id, op.Status, op.Chunks, err,
				done.Status, done.Chunks)
		}
	}
	for _, id := range said.deleted {
		if op, err := db.Operation(t.Context(), "local", id); err == nil {
			t.Errorf("%s: after a power cut %s is %s, and it was said that it was deleted", what, id, op.Status)
		}
	}
}

// TestDiskService: the service works on a disk of which each operation fails while it does a bit of everything, before it is carried out or
// after, once or for ever. It does what it was asked or refuses it with a 503; when the power is cut then, all that it has said it has
// done is there; on a sound disk, after a new start if it has ended, all that it has accepted is completed, with the right chunks.
func TestDiskService(t *testing.T) {
	n := newNoted(t)
	o := newOnDisk(t, n)
	for range 8 {
		o.job(t.Context())
	}
	o.whole(slices.Collect(maps.Keys(o.accepted))...)
	o.d.Counts()
	o.job(t.Context())
	counts := o.d.Counts()
	began, jobs, bites := time.Now(), 0, 0
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		path := ""
		if kind == disk.Write {
			path = "*[^m]" // memory that processes share (-shm) is no file that loses what is written to it
		}
		kindBites := bites
		for k, missed := 1, 0; k <= 3*counts[kind]+3 && missed < 4; k += 1 + k/8 {
			for way := range 4 {
				f := disk.Fault{Kind: kind, Path: path, K: k, After: way&1 != 0, Ever: way&2 != 0, Errno: syscall.EIO}
				known := maps.Clone(o.accepted)
				o.d.Fail(f)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				o.job(ctx)
				cancel()
				jobs++
				bitten := o.d.Bitten()
				if bitten == 0 {
					missed++
				} else {
					missed = 0
					bites++
				}
				if way == 0 || kind == disk.Fsync || kind == disk.Write {
					o.cut(f.String(), nil)
				}
				_, last := o.d.Heal()
				o.sound()
				if bitten > 0 {
					var fresh []string
					for id := range o.accepted {
						if _, old := known[id]; !old {
							fresh = append(fresh, id)
						}
					}
					o.whole(fresh...)
				}
				if t.Failed() {
					t.Fatalf("%v (%s)", f, last)
				}
			}
		}
		t.Logf("%s: %d faults have bitten, after %v", kind, bites-kindBites, time.Since(began).Round(time.Second))
	}
	o.whole(slices.Collect(maps.Keys(o.accepted))...)
	for id := range o.deleted {
		if _, err := o.c.Operation(t.Context(), id, 0); !isStatus(err, 404) {
			t.Errorf("%s was deleted: %v", id, err)
		}
	}
	o.s.stop()
	checkDatabase(t, sqliteIn(filepath.Join(o.d.Backing, "data")))
	t.Logf("a job has %v; %d jobs in %v, of which %d met a fault, %d calls refused, %d starts; these calls have failed: %q", counts, jobs,
		time.Since(began).Round(time.Second), bites, o.refused, o.starts, n.failed(t))
	if bites < 100 {
		t.Errorf("only %d faults have bitten", bites)
	}
}

// TestPowerCut: the power of a busy service is cut hundreds of times, with nothing left of what was not synced, or some of it, in part and
// out of order. Whatever it has said it has done is there each time.
func TestPowerCut(t *testing.T) {
	n := newNoted(t)
	o := newOnDisk(t, n)
	ctx := t.Context()
	var busy sync.WaitGroup
	jobs := make([]int, 4)
	more := make(chan struct{}, 2*len(jobs)) // the database stays small, for each cut copies it
	var numbers sync.Mutex
	for i := range jobs {
		busy.Go(func() {
			for range more {
				numbers.Lock()
				o.numbered++
				number := o.numbered
				numbers.Unlock()
				text := markdown(fmt.Sprint("Number ", number), 900+number%7*9000)
				op, err := o.c.Submit(ctx, client.Submission{Text: strings.NewReader(text), Strategy: "markdown", Settings: url.Values{"chunk_size": {"300"}}})
				if err == nil {
					o.mu.Lock()
					o.accepted[op.ID] = text
					o.mu.Unlock()
					op, err = o.c.Operation(ctx, op.ID, 10*time.Second)
				}
				if err == nil && op.Status == string(event.Completed) {
					o.mu.Lock()
					o.completed[op.ID] = op
					o.mu.Unlock()
				}
				if err == nil && number%3 != 0 {
					o.mu.Lock()
					delete(o.accepted, op.ID)
					delete(o.completed, op.ID)
					o.mu.Unlock()
					if err = o.c.DeleteDocument(ctx, op.DocumentID); err == nil {
						o.mu.Lock()
						o.deleted[op.ID] = true
						o.mu.Unlock()
					}
				}
				if err != nil {
					t.Errorf("on a sound disk: %v", err)
					return
				}
				jobs[i]++
			}
		})
	}
	cuts := 0
	for began := time.Now(); cuts < 300 && time.Since(began) < 3*time.Minute && !t.Failed(); cuts++ {
		for range cap(more) {
			select {
			case more <- struct{}{}:
			default:
			}
		}
		var chance *rand.Rand
		if cuts%3 != 0 {
			chance = rand.New(rand.NewPCG(uint64(cuts), 1))
		}
		o.cut(fmt.Sprint("cut ", cuts), chance)
	}
	close(more)
	busy.Wait()
	o.s.stop()
	t.Logf("%d cuts while %v jobs were done, %d of them deletions", cuts, jobs, len(o.deleted))
}

// diskServices are the service's starts, with everything that it reads then.
func diskServices(t *testing.T) []diskCase {
	cert, key := servertest.Certificate(t)
	has := map[string]string{"cert.pem": content(t, cert), "key.pem": content(t, key), "set.json": `{"keys":[]}`}
	args := "serve --listen 127.0.0.1:0 --data D/data --tls-cert D/cert.pem --tls-key D/key.pem --tls-client-ca D/cert.pem " +
		"--jwt-issuer i --jwt-audience a --jwt-key-set D/set.json"
	says := []string{"disk I/O error", "unable to open database file", "database disk image is malformed", // SQLite's words, the last for a failed read
		"no such table"} // what the migrations make of one
	return []diskCase{
		{name: "serve, the first start", every: 7, has: has, args: args, until: "https://", beside: "data/*", says: says},
		{name: "serve, after a crash", every: 5, has: has, args: args, until: "https://", beside: "data/*", says: says,
			prepare: func(t *testing.T, n noted, d *disk.Disk, c *diskCase) {
				plant(t, d.Backing, c.has)
				s := startProgram(t, n.program, "serve", servertest.FreeAddress(t), nil, "--data", filepath.Join(d.Root, "data")).ready()
				for i := range 3 {
					op, err := s.client().Submit(t.Context(), client.Submission{Text: strings.NewReader(markdown(fmt.Sprint(i), 3000)), Strategy: "markdown"})
					if err == nil {
						_, err = s.client().Operation(t.Context(), op.ID, 10*time.Second)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				s.kill()
				c.has = tree(t, d.Backing)
			}},
		{name: "doctor", has: has, args: "doctor --data D/data", beside: "data/*", says: says},
		{name: "a public key", has: map[string]string{"key.pem": "no key"}, args: "serve --data D/data --jwt-issuer i --jwt-audience a --jwt-public-key D/key.pem",
			fails: "PEM"},
		{name: "the demonstration", has: map[string]string{"tmp/": ""}, env: []string{"TMPDIR=D/tmp"}, args: "demo --bytes 100000",
			kinds: []string{disk.Mkdir, disk.Rmdir}, every: 3, says: says},
	}
}
