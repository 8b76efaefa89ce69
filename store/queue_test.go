package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"chunkstream/event"
	"chunkstream/store"
)

// submit creates an operation of one owner.
func submit(t testing.TB, s *store.Store, owner, text string) store.Operation {
	t.Helper()
	staged, err := s.Stage(t.Context(), owner, strings.NewReader(text), 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Staged: staged, Strategy: "recursive", Settings: []byte(`{}`),
		SplitterVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	return c.Operation
}

// TestTurns: while one owner has much more queued than there is room for, the others are served as if it were not there,
// and it is served too.
func TestTurns(t *testing.T) { onEach(t, testTurns) }

func testTurns(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	first := submit(t, s, "many", "text")
	s.Copy(t, first.ID, 10_000) // all older than what the others submit
	var want []string
	for _, owner := range []string{"a", "n", "z"} {
		want = append(want, submit(t, s, owner, "one text").ID)
	}
	for _, slots := range []int{1, 3, 16} {
		turn, served := "", 0
		var got []string
		for range 4 { // many, and each of the others, come up once in four turns
			runs, more, err := s.Claim(t.Context(), store.Claim{Worker: "w", Lane: store.Small, Slots: slots, Bytes: 1 << 40,
				SplitterVersion: version, Lease: lease, Turn: &turn})
			if err != nil || !more || len(runs) != slots {
				t.Fatalf("claim: %d runs, more %v, %v", len(runs), more, err)
			}
			for _, r := range runs {
				if r.Operation.Owner == "many" {
					served++
				} else if !slices.Contains(got, r.Operation.ID) {
					got = append(got, r.Operation.ID)
				}
				must(t)(r.HandOver(t.Context()))
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || served == 0 {
			t.Errorf("%d slots: four claims serve %d of the owner of many and %q of the others, want %q", slots, served, got, want)
		}
	}
	// Without turns the oldest come first, and none of the others is among them: the test can fail.
	runs, _, err := s.Claim(t.Context(), store.Claim{Worker: "w", Lane: store.Small, Slots: 16, Bytes: 1 << 40, SplitterVersion: version,
		Lease: lease})
	if err != nil || len(runs) != 16 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	for _, r := range runs {
		if r.Operation.Owner != "many" {
			t.Errorf("without turns %s of %s came before older ones", r.Operation.ID, r.Operation.Owner)
		}
	}
	load, err := s.Load(t.Context())
	if err != nil || load.Operations != 10_001+3-16 || load.Owners["a"].Operations != 1 || load.Owners["a"].Bytes != int64(len("one text")) ||
		load.Owners["many"].Operations != 10_001-16 || len(load.Owners) != 4 {
		t.Errorf("load: %+v, %v", load, err)
	}
}

// TestDeadLetters: what failed for good because its attempts are exhausted is one list, counted, and of use to nobody
// until somebody repeats it by hand; what failed otherwise is not among it.
func TestDeadLetters(t *testing.T) { onEach(t, testDeadLetters) }

func testDeadLetters(t *testing.T, on backend) {
	s := on.open(t, store.Config{MaxFailures: 1})
	want := map[string]string{}
	for _, end := range []string{"poison", "attempts_exhausted", "other", "cancelled", "completed"} {
		op := create(t, s, "text "+end)
		switch end {
		case "poison":
			for range 2 {
				must(t)(claim(t, s, store.Small).Crash(t.Context(), event.Failure{Code: "x", Detail: "y"}, time.Millisecond))
				s.MakeDue(t)
			}
			want[op.ID] = end
		case "attempts_exhausted":
			must(t)(claim(t, s, store.Small).Fail(t.Context(), event.Failure{Code: "x", Detail: "y"}, time.Second))
			want[op.ID] = end
		case "other":
			must(t)(claim(t, s, store.Small).Fail(t.Context(), event.Failure{Code: "x", Detail: "y"}, 0))
		case "cancelled":
			must3(t)(s.Cancel(t.Context(), owner, op.ID))
		case "completed":
			complete(t, claim(t, s, store.Small), "text "+end)
		}
	}
	ops, _, err := s.Operations(t.Context(), owner, store.Filter{DeadLetter: true})
	if err != nil || len(ops) != len(want) {
		t.Fatalf("%+v, %v", ops, err)
	}
	for _, op := range ops {
		if op.Error == nil || op.Error.Code != want[op.ID] || !op.DeadLetter() || !strings.Contains(op.Error.Detail, "x: y") {
			t.Errorf("%+v, want code %q and the last error", op, want[op.ID])
		}
	}
	if st, err := s.Stats(t.Context()); err != nil || st.Poisoned != 1 || st.Exhausted != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	if ops, _, err := s.Operations(t.Context(), "somebody else", store.Filter{DeadLetter: true}); err != nil || len(ops) != 0 {
		t.Errorf("another owner sees %+v, %v", ops, err)
	}
	sound(t, s, true)
}

// TestQuarantine: a text that ended as poison is refused under the same strategy, version and owner, but not otherwise,
// and not when somebody repeats it by hand.
func TestQuarantine(t *testing.T) { onEach(t, testQuarantine) }

func testQuarantine(t *testing.T, on backend) {
	s := on.open(t, store.Config{PoisonAfter: 1})
	op := create(t, s, "text that kills")
	must(t)(claim(t, s, store.Small).Crash(t.Context(), event.Failure{Code: "x"}, time.Millisecond))
	again := func(change func(*store.NewOperation)) error {
		n := store.NewOperation{Owner: owner, Strategy: op.Strategy, Settings: op.Settings, SplitterVersion: version}
		change(&n)
		if n.DocumentID == "" {
			staged, err := s.Stage(t.Context(), n.Owner, strings.NewReader("text that kills"), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			n.Staged = staged
		}
		_, err := s.Create(t.Context(), n)
		return err
	}
	for name, change := range map[string]func(*store.NewOperation){
		"the same text": func(*store.NewOperation) {}, "the same document": func(n *store.NewOperation) { n.DocumentID = op.DocumentID },
	} {
		if q, ok := errors.AsType[*store.QuarantinedError](again(change)); !ok || q.OperationID != op.ID {
			t.Errorf("%s: %v, want *QuarantinedError", name, q)
		}
	}
	for name, change := range map[string]func(*store.NewOperation){
		"by hand":          func(n *store.NewOperation) { n.DocumentID, n.RetryOf = op.DocumentID, op.ID },
		"another strategy": func(n *store.NewOperation) { n.Strategy = "fixed_size" },
		"another version":  func(n *store.NewOperation) { n.SplitterVersion = "next" },
		"another owner":    func(n *store.NewOperation) { n.Owner = "somebody else" },
	} {
		if err := again(change); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Spoil(t, `UPDATE operations SET finished_at = 1 WHERE status = 'failed'`)
	if err := again(func(*store.NewOperation) {}); err != nil {
		t.Errorf("after a day: %v", err)
	}
}

// everything are the tables that grow with use.
var everything = []string{"documents", "document_parts", "operations", "operation_events", "chunks", "idempotency_keys"}

// TestRetention: each kind goes when its time is over, with all that hangs on it, in bounded pieces; what runs, what has
// not begun and what is kept stay whole.
func TestRetention(t *testing.T) { onEach(t, testRetention) }

func testRetention(t *testing.T, on backend) {
	s := on.open(t, store.Config{Keep: store.Keep{Completed: time.Hour, Failed: 2 * time.Hour}})
	text := strings.Repeat("0123456789", 12_000) // more chunks than one piece removes
	make := func(end string) store.Operation {
		c, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Staged: stage(t, s, text+end), Strategy: "recursive",
			Settings: []byte(`{}`), SplitterVersion: version, IdempotencyKey: end})
		if err != nil {
			t.Fatal(err)
		}
		switch end {
		case "completed", "completed too":
			complete(t, claim(t, s, store.Small), text+end)
		case "failed":
			must(t)(claim(t, s, store.Small).Fail(t.Context(), event.Failure{Code: "x"}, 0))
		case "cancelled":
			must3(t)(s.Cancel(t.Context(), owner, c.Operation.ID))
		case "running":
			if _, err := claim(t, s, store.Small).Commit(t.Context(), store.Batch{Chunks: cut(0, text, 10)[:5], BytesDone: 50}); err != nil {
				t.Fatal(err)
			}
		}
		return c.Operation
	}
	kept := map[string]store.Operation{"running": make("running"), "cancelled": make("cancelled"), "queued": make("queued")}
	before := counts(t, s)
	queued := kept["queued"]
	must(t)(claim(t, s, store.Small).HandOver(t.Context())) // it is the only one due, and goes behind the others
	before["operation_events"] += 2
	s.Spoil(t, `UPDATE operations SET run_after = run_after + 3600000 WHERE id = '`+queued.ID+`'`)
	gone := []store.Operation{make("completed"), make("completed too"), make("failed")}

	reap(t, s)
	if n := s.CountRows(t, "operations"); n != 6 {
		t.Fatalf("%d operations, want all 6 before their time", n)
	}
	age := func(by time.Duration) {
		s.Spoil(t, fmt.Sprintf(`UPDATE operations SET finished_at = finished_at - %d WHERE finished_at > 0`, by.Milliseconds()))
	}
	age(90 * time.Minute)
	pieces := 0
	var removed []string
	for {
		did, err := s.Reap(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		removed = append(removed, did.Operations...)
		// Half-removed ones are nobody's business.
		if !sparse || pieces%3 == 1 {
			sound(t, s, false)
		}
		for _, op := range gone[:2] {
			if _, err := s.Operation(t.Context(), owner, op.ID); pieces > 2 && !errors.Is(err, store.ErrNotFound) && slices.Contains(removed, op.ID) {
				t.Errorf("%s is gone and there: %v", op.ID, err)
			}
		}
		if !did.More {
			break
		}
		pieces++
	}
	if slices.Sort(removed); len(removed) != 2 || !slices.Contains(removed, gone[0].ID) || !slices.Contains(removed, gone[1].ID) {
		t.Errorf("removed %q, want the completed %q, %q", removed, gone[0].ID, gone[1].ID)
	}
	if pieces < 6 { // 12,000 chunks each
		t.Errorf("all went in %d pieces, which are then not bounded", pieces)
	}
	if op, err := s.Operation(t.Context(), owner, gone[2].ID); err != nil || op.Status != store.Failed {
		t.Errorf("the failed one, before its time: %+v, %v", op, err)
	}
	age(time.Hour)
	reap(t, s)
	if after := counts(t, s); after != nil && !equalCounts(after, before) {
		t.Errorf("after all times %v, want what is kept alone: %v", after, before)
	}
	for name, op := range kept {
		if _, err := s.Operation(t.Context(), owner, op.ID); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	sound(t, s, false)
}

func counts(t testing.TB, s *store.Store) map[string]int {
	t.Helper()
	all := map[string]int{}
	for _, table := range everything {
		all[table] = s.CountRows(t, table)
	}
	return all
}

func equalCounts(a, b map[string]int) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// TestDeleteTakesAll: after a deletion every table is as it was before the document came; a document that another
// operation was created on in the same moment stays.
func TestDeleteTakesAll(t *testing.T) { onEach(t, testDeleteTakesAll) }

func testDeleteTakesAll(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	before := counts(t, s)
	text := strings.Repeat("0123456789", 8_000)
	var op store.Operation
	for i := range 3 {
		c, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Staged: stage(t, s, text), Strategy: "recursive", Settings: []byte(`{}`),
			SplitterVersion: version, IdempotencyKey: fmt.Sprint("key", i), RequestHash: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		complete(t, claim(t, s, store.Small), text)
		op = c.Operation
	}
	if err := s.DeleteDocument(t.Context(), owner, op.DocumentID); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for {
		did, err := s.Reap(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, did.Operations...)
		if !did.More {
			break
		}
	}
	if after := counts(t, s); !equalCounts(after, before) {
		t.Errorf("after the deletion %v, want %v", after, before)
	}
	if len(ids) != 3 || !slices.Contains(ids, op.ID) {
		t.Errorf("the operations that went are %q", ids)
	}
	sound(t, s, true)
}

// TestCancelInEveryState: a cancel of a queued operation ends it, also one that waits for its backoff; of a running one
// it is remembered over everything that can happen to it; of an ended one it changes nothing.
func TestCancelInEveryState(t *testing.T) { onEach(t, testCancelInEveryState) }

func testCancelInEveryState(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	const text = "0123456789"
	transient := event.Failure{Code: "x", Detail: "y"}
	for name, c := range map[string]struct {
		before, after func(*store.Run, store.Operation)
		want          store.Status
	}{
		"queued":       {nil, nil, store.Cancelled},
		"backing off":  {func(r *store.Run, _ store.Operation) { must(t)(r.Fail(t.Context(), transient, time.Hour)) }, nil, store.Cancelled},
		"handed over":  {func(r *store.Run, _ store.Operation) { must(t)(r.HandOver(t.Context())) }, nil, store.Cancelled},
		"crashed":      {func(r *store.Run, _ store.Operation) { must(t)(r.Crash(t.Context(), transient, time.Hour)) }, nil, store.Cancelled},
		"then batch":   {func(*store.Run, store.Operation) {}, func(r *store.Run, _ store.Operation) { complete(t, r, text) }, store.Cancelled},
		"then retried": {func(*store.Run, store.Operation) {}, func(r *store.Run, _ store.Operation) { must(t)(r.Fail(t.Context(), transient, time.Second)) }, store.Cancelled},
		"then crash":   {func(*store.Run, store.Operation) {}, func(r *store.Run, _ store.Operation) { must(t)(r.Crash(t.Context(), transient, time.Second)) }, store.Cancelled},
		"then handed over": {func(*store.Run, store.Operation) {}, func(r *store.Run, _ store.Operation) { must(t)(r.HandOver(t.Context())) },
			store.Cancelled},
		"then lapsed": {func(*store.Run, store.Operation) {}, func(*store.Run, store.Operation) {
			s.LapseLeases(t)
			if _, err := s.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, store.Cancelled},
		"completed": {func(r *store.Run, _ store.Operation) { complete(t, r, text) }, nil, store.Completed},
		"failed":    {func(r *store.Run, _ store.Operation) { must(t)(r.Fail(t.Context(), transient, 0)) }, nil, store.Failed},
	} {
		op := create(t, s, text)
		var r *store.Run
		if c.before != nil {
			r = claim(t, s, store.Small)
			c.before(r, op)
		}
		for range 2 { // twice is once
			must3(t)(s.Cancel(t.Context(), owner, op.ID))
		}
		if c.after != nil {
			c.after(r, op)
		}
		got, err := s.Operation(t.Context(), owner, op.ID)
		if err != nil || got.Status != c.want {
			t.Errorf("%s: %+v, %v, want %s", name, got, err, c.want)
		}
	}
	sound(t, s, true)
}

// TestReapBesideCreate lets a document lose its last operation to retention while another is created on it: either the
// creation came first and the document stays, or it comes with a text and makes the document anew.
func TestReapBesideCreate(t *testing.T) { onEach(t, testReapBesideCreate) }

func testReapBesideCreate(t *testing.T, on backend) {
	s := on.open(t, store.Config{Keep: store.Keep{Completed: time.Millisecond}})
	const text = "0123456789"
	done := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		for {
			if _, err := s.Reap(context.Background()); err != nil || ctx.Err() != nil {
				done <- err
				return
			}
		}
	}()
	for range 100 {
		op := create(t, s, text)
		r := claim(t, s, store.Small)
		if r == nil || r.Operation.ID != op.ID {
			t.Fatalf("claimed %+v, want %s", r, op.ID)
		}
		got, err := r.Text(t.Context())
		if err != nil || got != text {
			t.Fatalf("the text of a fresh operation: %q, %v", got, err)
		}
		complete(t, r, text)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	sound(t, s, true)
}

// TestReapOfANumberThatIsTakenAgain: SQLite gives the number of the newest document again once that is gone. A reaper that
// saw it before must leave the text that has it now alone.
func TestReapOfANumberThatIsTakenAgain(t *testing.T) { onEach(t, testReapOfANumberThatIsTakenAgain) }

func testReapOfANumberThatIsTakenAgain(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	text := strings.Repeat("0123456789", 60_000)
	staged, err := s.Stage(t.Context(), owner, strings.NewReader(text), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	s.ReapDocument(t, staged)
	c, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Staged: staged, Strategy: "r", Settings: []byte("{}"), SplitterVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CountRows(t, "document_parts"); n != 3 || c.Document.Bytes != int64(len(text)) {
		t.Errorf("%d parts of %d bytes are left, want 3", n, c.Document.Bytes)
	}
}
