package store_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"chunkstream/event"
	"chunkstream/store"
)

// TestModel does random things to the store and to a model of it, in random orders, and compares the two after each. The
// model is what docs/design.md says of the states, in fifty lines; rapid shrinks what differs to the shortest way there.
// More of it: go test -run TestModel -rapid.checks 10000 ./store.
func TestModel(t *testing.T) { onEach(t, testModel) }

const (
	modelText     = "0123456789012345678901234567890123456789" // four chunks of ten
	modelPoison   = 2
	modelFailures = 3
)

// modelled is an operation as the model has it.
type modelled struct {
	id                               string
	owner                            string
	status                           store.Status
	epoch, chunks, crashes, failures int64
	seq                              int64
	asked                            bool // a cancel was requested
	due                              bool
	code                             string
}

func (m *modelled) end(s store.Status, code string) { m.status, m.code, m.seq = s, code, m.seq+1 }

// requeue is what a run's end that is no progress leads to.
func (m *modelled) requeue(failed bool, code, failedCode string, due bool) {
	switch {
	case m.asked:
		m.end(store.Cancelled, "")
	case failed:
		m.end(store.Failed, failedCode)
	default:
		m.end(store.Queued, code)
		m.due = due
	}
}

func testModel(t *testing.T, on backend) {
	s := on.open(t, store.Config{PoisonAfter: modelPoison, MaxFailures: modelFailures})
	rapid.Check(t, func(rt *rapid.T) {
		s.Clear(t)
		var ops []*modelled
		byKey := map[string]*modelled{}
		type held struct {
			op  *modelled
			run *store.Run
		}
		var runs []held // also those whose lease is lost: what they write must change nothing
		ctx := context.Background()
		fail := event.Failure{Code: "x", Detail: "y"}

		// with picks a run, does something to it, and says whether it may have an effect.
		with := func(rt *rapid.T, do func(*store.Run) error, effect func(*modelled)) {
			if len(runs) == 0 {
				return
			}
			h := rapid.SampledFrom(runs).Draw(rt, "run")
			ours := h.op.status == store.Processing && h.op.epoch == h.run.Operation.Attempt
			err := do(h.run)
			if ours != (err == nil) || err != nil && !errors.Is(err, store.ErrFenced) {
				rt.Fatalf("a run that holds its lease (%v): %v", ours, err)
			}
			if ours {
				effect(h.op)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"create": func(rt *rapid.T) {
				owner := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "owner")
				key := rapid.SampledFrom([]string{"", "", "k1", "k2"}).Draw(rt, "key")
				text := modelText[:rapid.SampledFrom([]int{40, 30}).Draw(rt, "bytes")]
				staged, err := s.Stage(ctx, owner, strings.NewReader(text), 1<<20)
				if err != nil {
					rt.Fatal(err)
				}
				made, err := s.Create(ctx, store.NewOperation{Owner: owner, Staged: staged, Strategy: "r", Settings: []byte("{}"),
					SplitterVersion: version, IdempotencyKey: key, RequestHash: fmt.Sprint(len(text)), RetryOf: "op_by_hand"})
				first := byKey[owner+key+fmt.Sprint(len(text))]
				other := key != "" && first == nil && (byKey[owner+key+"40"] != nil || byKey[owner+key+"30"] != nil)
				switch {
				case key != "" && first != nil:
					if err != nil || !made.Replayed || made.Operation.ID != first.id {
						rt.Fatalf("the same again: %+v, %v, want %s", made.Operation, err, first.id)
					}
				case other:
					if !errors.Is(err, store.ErrKeyReused) {
						rt.Fatalf("another request under the same key: %v", err)
					}
				case err != nil || made.Replayed:
					rt.Fatalf("%+v, %v", made, err)
				default:
					m := &modelled{id: made.Operation.ID, owner: owner, status: store.Queued, seq: 1, due: true}
					ops = append(ops, m)
					if key != "" {
						byKey[owner+key+fmt.Sprint(len(text))] = m
					}
				}
			},
			"claim": func(rt *rapid.T) {
				c := store.Claim{Worker: "w", Lane: store.Small, Slots: rapid.IntRange(1, 3).Draw(rt, "slots"), Bytes: 1 << 30,
					SplitterVersion: version, Lease: time.Hour}
				if turn := ""; rapid.Bool().Draw(rt, "turns") {
					c.Turn = &turn
				}
				got, _, err := s.Claim(ctx, c)
				due := 0
				for _, m := range ops {
					if m.status == store.Queued && m.due {
						due++
					}
				}
				if err != nil || len(got) != min(due, c.Slots) {
					rt.Fatalf("%d runs of %d due with %d slots, %v", len(got), due, c.Slots, err)
				}
				for _, r := range got {
					m := ops[slices.IndexFunc(ops, func(m *modelled) bool { return m.id == r.Operation.ID })]
					if m.status != store.Queued || !m.due {
						rt.Fatalf("claimed %+v", m)
					}
					m.end(store.Processing, m.code) // the last attempt's error is told until there is progress
					m.epoch++
					m.crashes++
					runs = append(runs, held{m, r})
				}
			},
			"batch": func(rt *rapid.T) {
				with(rt, func(r *store.Run) error {
					text := modelText[:r.Operation.BytesTotal]
					next := r.Operation.Chunks + 1
					_, err := r.Commit(ctx, store.Batch{First: r.Operation.Chunks, Chunks: cut(r.Operation.Chunks, text, 10)[:min(1, len(cut(r.Operation.Chunks, text, 10)))],
						BytesDone: min(10*next, r.Operation.BytesTotal), Last: 10*next >= r.Operation.BytesTotal})
					return err
				}, func(m *modelled) {
					if m.asked {
						m.end(store.Cancelled, "")
						return
					}
					m.chunks, m.crashes, m.failures = m.chunks+1, 0, 0
					m.end(store.Processing, "")
					for _, h := range runs {
						if h.op == m && h.run.Operation.Attempt == m.epoch && h.run.Operation.Chunks*10 >= h.run.Operation.BytesTotal {
							m.status = store.Completed
						}
					}
				})
			},
			"fail": func(rt *rapid.T) {
				with(rt, func(r *store.Run) error { _, err := r.Fail(ctx, fail, 0); return err },
					func(m *modelled) { m.requeue(true, "", "x", false) })
			},
			"fail for now": func(rt *rapid.T) {
				with(rt, func(r *store.Run) error { _, err := r.Fail(ctx, fail, time.Hour); return err }, func(m *modelled) {
					m.failures, m.crashes = m.failures+1, 0
					m.requeue(m.failures >= modelFailures, "x", store.ExhaustedCode, false)
				})
			},
			"crash": func(rt *rapid.T) {
				with(rt, func(r *store.Run) error { _, err := r.Crash(ctx, fail, time.Hour); return err },
					func(m *modelled) { m.requeue(m.crashes >= modelPoison, "x", store.PoisonCode, false) })
			},
			"hand over": func(rt *rapid.T) {
				with(rt, func(r *store.Run) error { _, err := r.HandOver(ctx); return err }, func(m *modelled) {
					m.crashes = max(0, m.crashes-1)
					m.requeue(false, m.code, "", true)
				})
			},
			"renew": func(rt *rapid.T) {
				var all []*store.Run
				want := ""
				for _, h := range runs {
					all = append(all, h.run)
				}
				lost, cancel, err := s.Renew(ctx, all)
				if err != nil {
					rt.Fatal(err)
				}
				got := ""
				slices.SortFunc(runs, func(a, b held) int { return cmp.Compare(a.op.id, b.op.id) })
				for _, h := range runs {
					ours := h.op.status == store.Processing && h.op.epoch == h.run.Operation.Attempt
					want += fmt.Sprintln(h.op.id, !ours, ours && h.op.asked)
					got += fmt.Sprintln(h.op.id, slices.Contains(lost, h.run), slices.Contains(cancel, h.run))
				}
				if got != want {
					rt.Fatalf("lost and to be cancelled:\n%swant\n%s", got, want)
				}
			},
			"cancel": func(rt *rapid.T) {
				if len(ops) == 0 {
					return
				}
				m := rapid.SampledFrom(ops).Draw(rt, "operation")
				if _, _, err := s.Cancel(ctx, m.owner, m.id); err != nil {
					rt.Fatal(err)
				}
				switch m.status {
				case store.Queued:
					m.end(store.Cancelled, "")
				case store.Processing:
					m.asked = true
				}
			},
			"leases lapse": func(rt *rapid.T) {
				s.LapseLeases(t)
				if _, err := s.Sweep(ctx); err != nil {
					rt.Fatal(err)
				}
				for _, m := range ops {
					if m.status == store.Processing {
						m.requeue(m.crashes >= modelPoison, "lease_lapsed", store.PoisonCode, true)
					}
				}
			},
			"time passes": func(*rapid.T) {
				s.MakeDue(t)
				for _, m := range ops {
					m.due = true
				}
			},
			"": func(rt *rapid.T) {
				for _, m := range ops {
					op, err := s.Operation(ctx, m.owner, m.id)
					if err != nil {
						rt.Fatal(err)
					}
					code := ""
					if op.Error != nil && op.Status != store.Cancelled {
						code = op.Error.Code
					}
					if m.status == store.Cancelled {
						m.code = ""
					}
					got := fmt.Sprint(op.Status, " attempt ", op.Attempt, " chunks ", op.Chunks, " seq ", op.Seq, " failures ", op.Failures, " ", code)
					want := fmt.Sprint(m.status, " attempt ", m.epoch, " chunks ", m.chunks, " seq ", m.seq, " failures ", m.failures, " ", m.code)
					if m.status == store.Failed && m.code == "x" { // it counts no further
						want = fmt.Sprint(m.status, " attempt ", m.epoch, " chunks ", m.chunks, " seq ", m.seq, " failures ", op.Failures, " x")
					}
					if m.status != store.Cancelled && got != want {
						rt.Fatalf("%s is %s, want %s", m.id, got, want)
					} else if m.status != op.Status || m.seq != op.Seq {
						rt.Fatalf("%s is %s, want %s", m.id, got, want)
					}
				}
			},
		})
		lines, err := s.CheckInvariants(ctx)
		if err != nil {
			rt.Fatal(err)
		}
		for _, l := range lines {
			if !strings.HasPrefix(l, "I1 ") && !strings.HasPrefix(l, "I12 a lease") {
				rt.Error(l)
			}
		}
	})
}
