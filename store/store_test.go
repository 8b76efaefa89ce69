package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"go.uber.org/goleak"

	"chunkstream/chunk"
	"chunkstream/event"
	"chunkstream/secret"
	"chunkstream/store"
)

func TestMain(m *testing.M) {
	if os.Getenv(dieAt) != "" {
		if err := migrateAsChild(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if sparse { // a command line says otherwise
		if err := flag.Set("rapid.checks", "30"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := stopServers(); err != nil {
			fmt.Fprintln(os.Stderr, "stop Postgres:", err)
			code = 1
		}
		os.Exit(code)
	}))
}

// backend gives the place of an empty database that is the test's own. The contract below speaks only of what it
// returns, so that each backend keeps all of it.
type backend func(t testing.TB) store.Config

// onEach runs a test of the contract on each backend.
func onEach(t *testing.T, test func(*testing.T, backend)) {
	t.Parallel()
	for name, on := range map[string]backend{"sqlite": onSQLite, "postgres": onPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, on)
		})
	}
}

func (on backend) open(t testing.TB, cfg store.Config) *store.Store {
	t.Helper()
	at := on(t)
	cfg.Path, cfg.DatabaseURL = at.Path, at.DatabaseURL
	return openAt(t, cfg)
}

func onSQLite(t testing.TB) store.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a b%20c?.db")
	empty, err := emptyDatabase()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, empty, 0o600); err != nil {
		t.Fatal(err)
	}
	return store.Config{Path: path}
}

// emptyDatabase migrates once for all tests: under the race detector that is most of what a small one costs.
var emptyDatabase = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "chunkstream")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "empty.db")
	s, err := store.Open(context.Background(), store.Config{Path: path})
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func openAt(t testing.TB, cfg store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

const (
	owner   = "alice"
	version = "v1"
	lease   = time.Minute
)

func stage(t testing.TB, s *store.Store, text string) *store.Staged {
	t.Helper()
	st, err := s.Stage(t.Context(), owner, strings.NewReader(text), 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func create(t testing.TB, s *store.Store, text string) store.Operation {
	t.Helper()
	c, err := s.Create(t.Context(), store.NewOperation{
		Owner: owner, Name: "a.txt", Staged: stage(t, s, text), Strategy: "recursive", Settings: []byte(`{"chunk_size":10}`),
		SplitterVersion: version,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c.Operation
}

func claim(t testing.TB, s *store.Store, lane store.Lane) *store.Run {
	t.Helper()
	runs, _, err := s.Claim(t.Context(), store.Claim{Worker: "w", Lane: lane, Slots: 1, Bytes: 1 << 40, SplitterVersion: version,
		Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	if len(runs) == 0 {
		return nil
	}
	return runs[0]
}

// cut gives spans of n bytes (and characters: the texts are ASCII where it is used).
func cut(first int64, text string, n int) []store.Chunk {
	var cs []store.Chunk
	edge := func(at int) int64 {
		for at < len(text) && !utf8.RuneStart(text[at]) {
			at++
		}
		return int64(min(at, len(text)))
	}
	for at := int(first) * n; at < len(text); at += n {
		start, end := edge(at), edge(at+n)
		cs = append(cs, store.Chunk{StartByte: start, EndByte: end, StartChar: start, EndChar: end})
	}
	return cs
}

func complete(t testing.TB, r *store.Run, text string) {
	t.Helper()
	_, err := r.Commit(t.Context(), store.Batch{First: r.Operation.Chunks, Chunks: cut(r.Operation.Chunks, text, 10),
		BytesDone: int64(len(text)), Last: true})
	if err != nil {
		t.Fatal(err)
	}
}

// sound fails the test when an invariant is broken. Operations that have not ended are fine unless all have to.
func sound(t testing.TB, s *store.Store, ended bool) {
	t.Helper()
	lines, err := s.CheckInvariants(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if ended || !strings.HasPrefix(l, "I1 ") && !strings.HasPrefix(l, "I12 a lease") {
			t.Error(l)
		}
	}
}

func types(t testing.TB, s *store.Store, id string) string {
	t.Helper()
	evs, err := s.Events(t.Context(), owner, id, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i, e := range evs {
		if e.Seq != int64(i+1) {
			t.Errorf("event %d has seq %d", i, e.Seq)
		}
		names = append(names, string(e.Type))
	}
	return strings.Join(names, " ")
}

func TestWalk(t *testing.T) { onEach(t, testWalk) }

func testWalk(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	text := strings.Repeat("0123456789", 5) + "tail"
	op := create(t, s, text)
	if op.Status != store.Queued || op.Seq != 1 || op.BytesTotal != int64(len(text)) {
		t.Fatalf("created %+v", op)
	}
	r := claim(t, s, store.Small)
	if r == nil || r.Operation.ID != op.ID || r.Operation.Attempt != 1 || r.Started.Event.Seq != 2 {
		t.Fatalf("claimed %+v", r)
	}
	if claim(t, s, store.Small) != nil {
		t.Fatal("claimed twice")
	}
	got, err := r.Text(t.Context())
	if err != nil || got != text {
		t.Fatalf("text %q, %v", got, err)
	}
	cs := cut(0, text, 10)
	ev, err := r.Commit(t.Context(), store.Batch{Chunks: cs[:3], BytesDone: 30, ETAMs: 7})
	if err != nil || ev.Event.Type != event.Batch || ev.Event.Seq != 3 || *ev.Event.Data.ETAMs != 7 {
		t.Fatalf("batch %+v, %v", ev, err)
	}
	ev, err = r.Commit(t.Context(), store.Batch{First: 3, Chunks: cs[3:], BytesDone: int64(len(text)), Last: true})
	if err != nil || ev.Event.Type != event.Completed || ev.Event.Data.Chunks != 6 || ev.Owner != owner {
		t.Fatalf("last %+v, %v", ev, err)
	}
	chunks, err := s.Chunks(t.Context(), owner, op.ID, 1, 2, store.Texts)
	if err != nil || len(chunks) != 2 || chunks[0].Text != "0123456789" || chunks[0].Index != 1 {
		t.Fatalf("chunks %+v, %v", chunks, err)
	}
	all, err := s.Chunks(t.Context(), owner, op.ID, 0, 100, store.Texts)
	if err != nil || all[5].Text != "tail" {
		t.Fatalf("chunks %+v, %v", all, err)
	}
	if got, want := types(t, s, op.ID), "queued started batch completed"; got != want {
		t.Errorf("events %q, want %q", got, want)
	}
	sound(t, s, true)
}

// TestCreateAndTake: an operation may be claimed in the transaction that creates it. It is then as any claimed one is.
func TestCreateAndTake(t *testing.T) { onEach(t, testCreateAndTake) }

func testCreateAndTake(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	make := func(text, key string) (store.Created, error) {
		return s.Create(t.Context(), store.NewOperation{
			Owner: owner, Staged: stage(t, s, text), Strategy: "recursive", Settings: []byte(`{}`), SplitterVersion: version,
			IdempotencyKey: key, RequestHash: "h", Take: &store.Take{Worker: "w", Lease: lease},
		})
	}
	long := strings.Repeat("0123456789", 7_000) // staged in parts
	for _, text := range []string{"ten bytes!", long} {
		made, err := make(text, "")
		if err != nil {
			t.Fatal(err)
		}
		op, r := made.Operation, made.Run
		if op.Status != store.Queued || op.Seq != 1 || made.Event.Event.Seq != 1 || r == nil {
			t.Fatalf("created %+v", made)
		}
		now, err := s.Operation(t.Context(), owner, op.ID)
		if err != nil || now.Status != store.Processing || now.Worker != "w" || now.Attempt != 1 {
			t.Errorf("now %+v, %v", now, err)
		}
		if !reflect.DeepEqual(r.Operation, now) {
			t.Errorf("the run has %+v, want %+v", r.Operation, now)
		}
		evs, err := s.Events(t.Context(), owner, op.ID, 0, 10)
		if err != nil || len(evs) != 2 || !reflect.DeepEqual(evs, []event.Event{made.Event.Event, r.Started.Event}) {
			t.Errorf("events %+v, %v, want %+v and %+v", evs, err, made.Event, r.Started)
		}
		if claim(t, s, store.Small) != nil {
			t.Error("claimed twice")
		}
		if got, err := r.Text(t.Context()); err != nil || got != text {
			t.Errorf("%d bytes of text, %v, want %d", len(got), err, len(text))
		}
		complete(t, r, text)
		if got, want := types(t, s, op.ID), "queued started completed"; got != want {
			t.Errorf("events %q, want %q", got, want)
		}
	}
	sound(t, s, true)

	// Nobody has the lease when the key's operation exists, and a worker that dies loses it as ever.
	first, err := make("under a key", "k")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := make("under a key", "k"); err != nil || !again.Replayed || again.Run != nil {
		t.Errorf("repeated: %+v, %v", again, err)
	}
	s.LapseLeases(t)
	if _, err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := claim(t, s, store.Small)
	if next == nil || next.Operation.ID != first.Operation.ID || next.Operation.Attempt != 2 {
		t.Fatalf("after the lease: %+v", next)
	}
	if _, err := first.Run.Commit(t.Context(), store.Batch{Last: true}); !errors.Is(err, store.ErrFenced) {
		t.Errorf("a zombie's commit: %v", err)
	}
	s.LapseLeases(t)
	if _, err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now, err := s.Operation(t.Context(), owner, first.Operation.ID); err != nil || now.Status != store.Failed ||
		now.Error.Code != "poison" {
		t.Errorf("after two crashes: %+v, %v", now, err)
	}
	if _, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Staged: stage(t, s, "x"), Take: &store.Take{}}); err == nil {
		t.Error("a lease of no length was taken")
	}
	sound(t, s, true)
}

// TestCreateDone: an operation may be claimed and completed in the transaction that creates it. It then looks as if all
// of that had come one by one.
func TestCreateDone(t *testing.T) { onEach(t, testCreateDone) }

func testCreateDone(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	make := func(text, key string, take *store.Take) (store.Created, error) {
		return s.Create(t.Context(), store.NewOperation{
			Owner: owner, Staged: stage(t, s, text), Strategy: "recursive", Settings: []byte(`{}`), SplitterVersion: version,
			IdempotencyKey: key, RequestHash: "h", Take: take,
		})
	}
	chunks := func(id string) []store.Chunk {
		t.Helper()
		all, err := s.Chunks(t.Context(), owner, id, 0, 1000, store.Texts)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	text := strings.Repeat("0123456789", 50)
	whole := &store.Take{Worker: "w", Lease: lease, Done: true, Chunks: cut(0, text, 10)}
	for _, take := range []*store.Take{whole, {Worker: "w", Lease: lease, Done: true}} { // white space has no chunks
		made, err := make(text, "", take)
		if err != nil {
			t.Fatal(err)
		}
		op := made.Operation
		if made.Run != nil || len(made.Done) != 2 {
			t.Fatalf("created %+v", made)
		}
		now, err := s.Operation(t.Context(), owner, op.ID)
		if err != nil || now.Status != store.Completed || !reflect.DeepEqual(op, now) {
			t.Errorf("created as %+v, now %+v, %v", op, now, err)
		}
		evs, err := s.Events(t.Context(), owner, op.ID, 0, 10)
		want := []event.Event{made.Event.Event, made.Done[0].Event, made.Done[1].Event}
		if err != nil || !reflect.DeepEqual(evs, want) {
			t.Errorf("events %+v, %v, want %+v", evs, err, want)
		}
		// The same in three transactions.
		slow, err := make(text, "", &store.Take{Worker: "w", Lease: lease})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := slow.Run.Commit(t.Context(), store.Batch{Chunks: take.Chunks, BytesDone: int64(len(text)), Last: true}); err != nil {
			t.Fatal(err)
		}
		if got, want := chunks(op.ID), chunks(slow.Operation.ID); !reflect.DeepEqual(got, want) {
			t.Errorf("chunks %+v, want %+v", got, want)
		}
		slower, err := s.Events(t.Context(), owner, slow.Operation.ID, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range slower {
			e.OperationID, e.Time = evs[i].OperationID, evs[i].Time
			if !reflect.DeepEqual(evs[i], e) {
				t.Errorf("event %+v, want %+v", evs[i], e)
			}
		}
		if again, ev, err := s.Cancel(t.Context(), owner, op.ID); err != nil || ev != nil || !reflect.DeepEqual(again, now) {
			t.Errorf("cancelled after its end: %+v, %+v, %v", again, ev, err)
		}
	}
	if claim(t, s, store.Small) != nil {
		t.Error("one that is done was claimed")
	}
	first, err := make(text, "k", whole)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := make(text, "k", whole); err != nil || !again.Replayed || again.Done != nil ||
		!reflect.DeepEqual(again.Operation, first.Operation) {
		t.Errorf("repeated: %+v, %v", again, err)
	}
	if _, err := make(text+"!", "k", whole); !errors.Is(err, store.ErrKeyReused) {
		t.Errorf("another text under the key: %v", err)
	}
	if _, err := s.Create(t.Context(), store.NewOperation{Owner: owner, DocumentID: first.Operation.DocumentID, Strategy: "x",
		Settings: []byte("{}"), SplitterVersion: version, Take: whole}); err == nil {
		t.Error("chunks of a text that was not given were taken")
	}
	sound(t, s, true)
}

func TestOwnersDoNotMeet(t *testing.T) { onEach(t, testOwnersDoNotMeet) }

func testOwnersDoNotMeet(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	op := create(t, s, "some text")
	r := claim(t, s, store.Small)
	complete(t, r, "some text")
	for name, err := range map[string]error{
		"operation": second(s.Operation(t.Context(), "eve", op.ID)),
		"events":    second(s.Events(t.Context(), "eve", op.ID, 0, 10)),
		"chunks":    second(s.Chunks(t.Context(), "eve", op.ID, 0, 10, store.Texts)),
		"document":  second(s.Document(t.Context(), "eve", op.DocumentID)),
		"text":      s.DocumentText(t.Context(), "eve", op.DocumentID, new(bytes.Buffer)),
		"delete":    s.DeleteDocument(t.Context(), "eve", op.DocumentID),
		"cancel":    third(s.Cancel(t.Context(), "eve", op.ID)),
		"missing":   second(s.Operation(t.Context(), owner, "op_none")),
		"create": second(s.Create(t.Context(), store.NewOperation{Owner: "eve", DocumentID: op.DocumentID, Strategy: "x",
			Settings: []byte("{}"), SplitterVersion: version})),
	} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", name, err)
		}
	}
	ops, more, err := s.Operations(t.Context(), "eve", store.Filter{})
	if len(ops) != 0 || more || err != nil {
		t.Errorf("eve lists %v, %v, %v", ops, more, err)
	}
}

func second[T any](_ T, err error) error        { return err }
func third[T, U any](_ T, _ U, err error) error { return err }

// TestTexts stages texts around every boundary and reads them back whole and in spans.
func TestTexts(t *testing.T) { onEach(t, testTexts) }

func testTexts(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	rng := rand.New(rand.NewPCG(1, 2))
	for i, unit := range []string{"a", "é", "日", "😀", "aé日😀"} {
		for j, size := range []int{1, 100, 8 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, store.PartBytes, store.PartBytes + 1,
			2*store.PartBytes - 1, 2*store.PartBytes + 5} {
			for k, shift := range []string{"", "x", "xyz"} {
				if sparse && k != (i+j)%3 {
					continue
				}
				text := shift + strings.Repeat(unit, size/len(unit)+1)
				st, err := s.Stage(t.Context(), owner, &chopped{text, rng}, 64<<20)
				if err != nil {
					t.Fatal(err)
				}
				c, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Staged: st, Strategy: "r", Settings: []byte("{}"),
					SplitterVersion: version})
				if err != nil {
					t.Fatal(err)
				}
				if st.Bytes != int64(len(text)) || st.Chars != int64(len([]rune(text))) {
					t.Fatalf("%q × %d: %d bytes, %d chars", unit, size, st.Bytes, st.Chars)
				}
				var b bytes.Buffer
				if err := s.DocumentText(t.Context(), owner, c.Document.ID, &b); err != nil || b.String() != text {
					t.Fatalf("%q × %d: read back %d bytes, %v", unit, size, b.Len(), err)
				}
				r := claim(t, s, store.LaneOf(st.Bytes))
				var cs []store.Chunk
				for at := 0; at < len(text); { // spans of random length on rune boundaries
					end := min(at+1+rng.IntN(40000), len(text))
					for end < len(text) && text[end]&0xC0 == 0x80 {
						end++
					}
					n := int64(len(cs))
					cs = append(cs, store.Chunk{StartByte: int64(at), EndByte: int64(end), StartChar: n, EndChar: n + 1})
					at = end
				}
				if _, err := r.Commit(t.Context(), store.Batch{Chunks: cs, BytesDone: st.Bytes, Last: true}); err != nil {
					t.Fatal(err)
				}
				got, err := s.Chunks(t.Context(), owner, c.Operation.ID, 0, len(cs), store.Texts)
				if err != nil {
					t.Fatal(err)
				}
				for _, g := range got {
					if g.Text != text[g.StartByte:g.EndByte] {
						t.Fatalf("%q × %d: chunk %d differs", unit, size, g.Index)
					}
				}
				view, err := s.ViewTexts(t.Context(), c.Operation.ID)
				if err != nil || strings.Join(view, "") != text {
					t.Fatalf("%q × %d: the view's texts differ: %v", unit, size, err)
				}
			}
		}
	}
	sound(t, s, true)
}

// What a strategy said of a chunk comes back as it was, context with its text, wherever that is.
func TestFacts(t *testing.T) { onEach(t, testFacts) }

func testFacts(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	text := "# Title\n\n" + strings.Repeat("word ", 120000) + "\n## Part\n\nrest"
	op := create(t, s, text)
	title := &chunk.Context{Span: chunk.Span{Start: 2, End: 7}, Text: "Title", Kind: chunk.Heading, Level: 1}
	at := strings.Index(text, "Part")
	part := &chunk.Context{Span: chunk.Span{Start: at, End: at + 4}, Text: "Part", Kind: chunk.Heading, Level: 2, Up: title}
	rest := at + 6
	chunks := []chunk.Chunk{
		{Span: chunk.Span{Start: 0, End: at + 5}, Boundary: chunk.Section, Reason: chunk.AtStructure, Kind: chunk.Mixed},
		{Span: chunk.Span{Start: 9, End: at - 4}, Boundary: chunk.Word, Level: 1, Up: 1, Context: title},
		{Span: chunk.Span{Start: rest, End: len(text)}, Boundary: chunk.End, Reason: chunk.AtEnd, Level: 7, Up: 2, Context: part},
	}
	var stored []store.Chunk
	for i, x := range chunks {
		stored = append(stored, store.Chunk{
			Index: int64(i), StartByte: int64(x.Start), EndByte: int64(x.End), StartChar: int64(x.Start), EndChar: int64(x.End),
			Text: text[x.Start:x.End], Facts: store.FactsOf(x),
		})
	}
	stored = append(stored, store.Chunk{ // as an earlier version stored them
		Index: 3, StartByte: int64(rest + 1), EndByte: int64(len(text)), StartChar: int64(rest + 1), EndChar: int64(len(text)),
		Text: text[rest+1:],
	})
	r := claim(t, s, store.LaneOf(int64(len(text))))
	if _, err := r.Commit(t.Context(), store.Batch{Chunks: stored, BytesDone: int64(len(text)), Last: true}); err != nil {
		t.Fatal(err)
	}
	for from := range stored {
		got, err := s.Chunks(t.Context(), owner, op.ID, int64(from), 10, store.Texts)
		if err != nil || !reflect.DeepEqual(got, stored[from:]) {
			t.Errorf("from %d: got %+v, %v", from, facts(got), err)
		}
	}
}

// facts is chunks without their texts.
func facts(chunks []store.Chunk) (all []store.Facts) {
	for _, c := range chunks {
		all = append(all, c.Facts)
	}
	return all
}

// chopped reads a string in pieces of random length.
type chopped struct {
	rest string
	rng  *rand.Rand
}

func (c *chopped) Read(p []byte) (int, error) {
	n := copy(p, c.rest[:min(len(c.rest), 1+c.rng.IntN(100000))])
	c.rest = c.rest[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func TestStageRefuses(t *testing.T) { onEach(t, testStageRefuses) }

func testStageRefuses(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	var tooLarge *store.TooLargeError
	for _, size := range []int{11, 100 << 10, 1 << 20} {
		_, err := s.Stage(t.Context(), owner, strings.NewReader(strings.Repeat("x", size)), int64(size-1))
		if !errors.As(err, &tooLarge) || tooLarge.Limit != int64(size-1) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	boom := errors.New("boom")
	for _, size := range []int{0, 10, 1 << 20} {
		_, err := s.Stage(t.Context(), owner, &failing{size, boom}, 64<<20)
		if !errors.Is(err, boom) {
			t.Errorf("failing after %d: %v", size, err)
		}
	}
	reap(t, s)
	if n := s.CountRows(t, "documents") + s.CountRows(t, "document_parts"); n != 0 {
		t.Errorf("%d rows left behind", n)
	}
}

type failing struct {
	n   int
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.n == 0 {
		return 0, f.err
	}
	n := min(len(p), f.n)
	for i := range p[:n] {
		p[i] = 'x'
	}
	f.n -= n
	return n, nil
}

func reap(t testing.TB, s *store.Store) {
	t.Helper()
	for {
		gone, err := s.Reap(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !gone.More {
			return
		}
	}
}

func TestSameTextIsOneDocument(t *testing.T) { onEach(t, testSameTextIsOneDocument) }

func testSameTextIsOneDocument(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	for _, text := range []string{"short", strings.Repeat("long ", 50_000)} {
		a, b := create(t, s, text), create(t, s, text)
		if a.DocumentID != b.DocumentID || a.ID == b.ID {
			t.Errorf("documents %s and %s, operations %s and %s", a.DocumentID, b.DocumentID, a.ID, b.ID)
		}
		st, err := s.Stage(t.Context(), "bob", strings.NewReader(text), 64<<20)
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.Create(t.Context(), store.NewOperation{Owner: "bob", Staged: st, Strategy: "r", Settings: []byte("{}"),
			SplitterVersion: version})
		if err != nil || c.Document.ID == a.DocumentID {
			t.Errorf("another owner got %s, %v", c.Document.ID, err)
		}
	}
	reap(t, s)
	if n := s.CountRows(t, "documents"); n != 4 {
		t.Errorf("%d documents, want 4", n)
	}
}

// A newer version takes what no older one has stored a chunk of, as its own; what one has begun is left to it.
func TestClaimByAnotherVersion(t *testing.T) { onEach(t, testClaimByAnotherVersion) }

func testClaimByAnotherVersion(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	text := strings.Repeat("x", 50)
	begun, fresh := create(t, s, text), create(t, s, text+"y")
	r := claim(t, s, store.Small)
	if r.Operation.ID != begun.ID {
		t.Fatalf("claimed %s, want the older %s", r.Operation.ID, begun.ID)
	}
	if _, err := r.Commit(t.Context(), store.Batch{Chunks: cut(0, text, 10)[:1], BytesDone: 10}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.HandOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	take := func(version string) (ids []string) {
		runs, _, err := s.Claim(t.Context(), store.Claim{Worker: "w", Lane: store.Small, Slots: 9, Bytes: 1 << 40,
			SplitterVersion: version, Lease: lease})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range runs {
			op, err := s.Operation(t.Context(), owner, r.Operation.ID)
			if err != nil || r.Operation.SplitterVersion != version || op.SplitterVersion != version {
				t.Errorf("claimed as %s, stored as %s, %v, want %s", r.Operation.SplitterVersion, op.SplitterVersion, err, version)
			}
			ids = append(ids, r.Operation.ID)
		}
		return ids
	}
	if got := take("v2"); !slices.Equal(got, []string{fresh.ID}) {
		t.Errorf("v2 claimed %q, want %q, which nobody has begun", got, fresh.ID)
	}
	if got := take(version); !slices.Equal(got, []string{begun.ID}) {
		t.Errorf("%s claimed %q, want its own %q", version, got, begun.ID)
	}
}

func TestClaimOrderAndBounds(t *testing.T) { onEach(t, testClaimOrderAndBounds) }

func testClaimOrderAndBounds(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	var ids []string
	for i := range 5 {
		ids = append(ids, create(t, s, fmt.Sprintf("text number %d", i)).ID)
	}
	big := create(t, s, strings.Repeat("x", store.SmallBytes+1))
	runs, _, err := s.Claim(t.Context(), store.Claim{Worker: "w", Lane: store.Small, Slots: 9, Bytes: 30, SplitterVersion: version,
		Lease: lease})
	if err != nil || len(runs) != 2 || runs[0].Operation.ID != ids[0] || runs[1].Operation.ID != ids[1] {
		t.Fatalf("30 bytes claimed %d, %v", len(runs), err)
	}
	runs, _, err = s.Claim(t.Context(), store.Claim{Worker: "w", Lane: store.Small, Slots: 2, Bytes: 1 << 40,
		SplitterVersion: version, Lease: lease})
	if err != nil || len(runs) != 2 || runs[1].Operation.ID != ids[3] {
		t.Fatalf("2 slots claimed %d, %v", len(runs), err)
	}
	for _, alone := range []bool{false, true} {
		runs, more, err := s.Claim(t.Context(), store.Claim{Worker: "w", Lane: store.Small, Slots: 1, Bytes: 3, Alone: alone,
			SplitterVersion: version, Lease: lease})
		if err != nil || !more || (len(runs) == 1) != alone {
			t.Fatalf("3 bytes, alone %v: claimed %d, more %v, %v", alone, len(runs), more, err)
		}
	}
	if r := claim(t, s, store.Large); r == nil || r.Operation.ID != big.ID {
		t.Fatalf("the large lane gave %+v", r)
	}
}

// TestEveryPair tries every pair of states by every method and compares with the table.
func TestEveryPair(t *testing.T) { onEach(t, testEveryPair) }

func testEveryPair(t *testing.T, on backend) {
	states := []store.Status{store.Queued, store.Processing, store.Completed, store.Failed, store.Cancelled}
	methods := []string{"Claim", "Commit", "CommitMore", "Fail", "FailTransient", "Crash", "CrashPoison", "HandOver", "Cancel",
		"Sweep", "SweepPoison"}
	seen := map[store.Move]bool{}
	const text = "0123456789012345"
	patient, strict := on.open(t, store.Config{PoisonAfter: 5}), on.open(t, store.Config{PoisonAfter: 1})
	for _, from := range states {
		for _, cancelAsked := range []bool{false, true} {
			if cancelAsked && from != store.Processing {
				continue
			}
			for _, m := range methods {
				s := patient
				if m == "SweepPoison" || m == "CrashPoison" {
					s = strict
				}
				s.Clear(t)
				op := create(t, s, text)
				var r *store.Run
				if from != store.Queued {
					r = claim(t, s, store.Small)
				}
				switch from {
				case store.Completed:
					complete(t, r, text)
				case store.Failed:
					must(t)(r.Fail(t.Context(), event.Failure{Code: "x"}, 0))
				case store.Cancelled:
					must3(t)(s.Cancel(t.Context(), owner, op.ID))
					must(t)(r.Fail(t.Context(), event.Failure{Code: "x"}, 0))
				}
				if cancelAsked {
					must3(t)(s.Cancel(t.Context(), owner, op.ID))
				}
				if r == nil {
					r = s.ForgedRun(t, op.ID) // a worker that never claimed
				}
				var err error
				switch m {
				case "Claim":
					_, _, err = s.Claim(t.Context(), store.Claim{Worker: "w2", Lane: store.Small, Slots: 9, Bytes: 1 << 40,
						SplitterVersion: version, Lease: lease})
				case "Commit":
					_, err = r.Commit(t.Context(), store.Batch{First: r.Operation.Chunks, BytesDone: 16, Last: true})
				case "CommitMore":
					_, err = r.Commit(t.Context(), store.Batch{First: r.Operation.Chunks, BytesDone: 3})
				case "Fail":
					_, err = r.Fail(t.Context(), event.Failure{Code: "x", Detail: "y"}, 0)
				case "FailTransient":
					_, err = r.Fail(t.Context(), event.Failure{Code: "x", Detail: "y"}, time.Second)
				case "Crash", "CrashPoison":
					_, err = r.Crash(t.Context(), event.Failure{Code: "x", Detail: "y"}, time.Second)
				case "HandOver":
					_, err = r.HandOver(t.Context())
				case "Cancel":
					_, _, err = s.Cancel(t.Context(), owner, op.ID)
				case "Sweep", "SweepPoison":
					s.LapseLeases(t)
					_, err = s.Sweep(t.Context())
				}
				if err != nil && !errors.Is(err, store.ErrFenced) {
					t.Fatalf("%s from %s: %v", m, from, err)
				}
				now, err := s.Operation(t.Context(), owner, op.ID)
				if err != nil {
					t.Fatal(err)
				}
				if now.Status == from {
					continue
				}
				by := map[string]string{"CommitMore": "Commit", "FailTransient": "Fail", "SweepPoison": "Sweep", "CrashPoison": "Crash"}[m]
				if by == "" {
					by = m
				}
				move := store.Move{From: from, To: now.Status, By: by}
				seen[move] = true
				if !store.MayMove(from, now.Status) {
					t.Errorf("%+v is not in the table", move)
				}
				sound(t, s, false)
			}
		}
	}
	for _, m := range store.Transitions {
		if !seen[m] {
			t.Errorf("%+v never happened", m)
		}
		delete(seen, m)
	}
	for m := range seen {
		t.Errorf("%+v happened but is not in the table", m)
	}
	for _, from := range states {
		for _, to := range states {
			if from.Final() && store.MayMove(from, to) {
				t.Errorf("the table lets %s go to %s", from, to)
			}
		}
	}
}

func must(t testing.TB) func(event.Owned, error) {
	return func(_ event.Owned, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func must3(t testing.TB) func(store.Operation, *event.Owned, error) {
	return func(_ store.Operation, _ *event.Owned, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestZombieChangesNothing lets a lease lapse, gives the operation to another worker and then tries every write of the
// first one.
func TestZombieChangesNothing(t *testing.T) { onEach(t, testZombieChangesNothing) }

func testZombieChangesNothing(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	text := strings.Repeat("0123456789", 4)
	op := create(t, s, text)
	zombie := claim(t, s, store.Small)
	must(t)(zombie.Commit(t.Context(), store.Batch{Chunks: cut(0, text, 10)[:1], BytesDone: 10}))
	s.LapseLeases(t)
	evs, err := s.Sweep(t.Context())
	if err != nil || len(evs) != 1 || evs[0].Event.Type != event.Retrying {
		t.Fatalf("sweep gave %+v, %v", evs, err)
	}
	for _, taken := range []bool{false, true} {
		if taken {
			r := claim(t, s, store.Small)
			if r == nil || r.Operation.Chunks != 1 || r.Operation.Attempt != 2 {
				t.Fatalf("claimed %+v", r)
			}
		}
		for name, write := range map[string]func() error{
			"batch": func() error {
				return second(zombie.Commit(t.Context(), store.Batch{First: 1, Chunks: cut(1, text, 10), BytesDone: 40, Last: true}))
			},
			"fail":     func() error { return second(zombie.Fail(t.Context(), event.Failure{Code: "x"}, 0)) },
			"retry":    func() error { return second(zombie.Fail(t.Context(), event.Failure{Code: "x"}, time.Second)) },
			"handover": func() error { return second(zombie.HandOver(t.Context())) },
		} {
			if err := write(); !errors.Is(err, store.ErrFenced) {
				t.Errorf("%s of a zombie: %v, want ErrFenced", name, err)
			}
		}
		lost, _, err := s.Renew(t.Context(), []*store.Run{zombie})
		if err != nil || len(lost) != 1 {
			t.Errorf("renewal of a zombie: %v, %v", lost, err)
		}
	}
	if got, want := types(t, s, op.ID), "queued started batch retrying started"; got != want {
		t.Errorf("events %q, want %q", got, want)
	}
	sound(t, s, false)
}

func TestPoison(t *testing.T) { onEach(t, testPoison) }

func testPoison(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	op := create(t, s, "text that kills")
	for range 2 {
		if claim(t, s, store.Small) == nil {
			t.Fatal("nothing to claim")
		}
		s.LapseLeases(t)
		if _, err := s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Operation(t.Context(), owner, op.ID)
	if err != nil || got.Status != store.Failed || got.Error.Code != "poison" {
		t.Errorf("after two crashes: %+v, %v", got, err)
	}
	sound(t, s, true)
}

// TestCrash: the death of a process that a live worker had started counts as one of its own, also beside one.
func TestCrash(t *testing.T) { onEach(t, testCrash) }

func testCrash(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	f := event.Failure{Code: "parser_memory", Detail: "it took too much"}
	op := create(t, s, "text that kills its parser")
	for i, want := range []event.Type{event.Retrying, event.Failed} {
		r := claim(t, s, store.Small)
		ev, err := r.Crash(t.Context(), f, time.Millisecond)
		if err != nil || ev.Event.Type != want {
			t.Fatalf("crash %d: %+v, %v, want %s", i+1, ev, err, want)
		}
		s.MakeDue(t)
	}
	got, err := s.Operation(t.Context(), owner, op.ID)
	if err != nil || got.Status != store.Failed || got.Error.Code != store.PoisonCode || !strings.Contains(got.Error.Detail, f.Code) {
		t.Errorf("after two deaths: %+v, %v", got, err)
	}
	mixed := create(t, s, "text that kills its worker and then a parser")
	if claim(t, s, store.Small) == nil {
		t.Fatal("nothing to claim")
	}
	s.LapseLeases(t)
	if _, err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	must(t)(claim(t, s, store.Small).Crash(t.Context(), f, time.Millisecond))
	if got, err := s.Operation(t.Context(), owner, mixed.ID); err != nil || got.Error == nil || got.Error.Code != store.PoisonCode {
		t.Errorf("after a death and a crash: %+v, %v", got, err)
	}
	text := strings.Repeat("0123456789", 9)
	moving := create(t, s, text)
	for i := range int64(4) {
		r := claim(t, s, store.Small)
		must(t)(r.Commit(t.Context(), store.Batch{First: i, Chunks: cut(i, text, 10)[:1], BytesDone: 10 * (i + 1)}))
		must(t)(r.Crash(t.Context(), f, time.Millisecond))
		s.MakeDue(t)
	}
	if got, err := s.Operation(t.Context(), owner, moving.ID); err != nil || got.Status != store.Queued {
		t.Errorf("four crashes, each after progress: %+v, %v", got, err)
	}
	sound(t, s, false)
}

// TestCrashesWithProgressAreNotPoison: progress, a hand-over and a transient error each clear the suspicion.
func TestCrashesWithProgressAreNotPoison(t *testing.T) {
	onEach(t, testCrashesWithProgressAreNotPoison)
}

func testCrashesWithProgressAreNotPoison(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	text := strings.Repeat("0123456789", 9)
	op := create(t, s, text)
	for i := range int64(8) {
		r := claim(t, s, store.Small)
		if r == nil {
			now, _ := s.Operation(t.Context(), owner, op.ID)
			t.Fatalf("round %d: nothing to claim: %+v", i, now)
		}
		if i%2 == 0 {
			must(t)(r.Commit(t.Context(), store.Batch{First: r.Operation.Chunks, Chunks: cut(r.Operation.Chunks, text, 10)[:1],
				BytesDone: 10 * (r.Operation.Chunks + 1)}))
			s.LapseLeases(t)
			if _, err := s.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		} else {
			must(t)(r.HandOver(t.Context()))
		}
	}
	sound(t, s, false)
}

func TestTransientErrorsEnd(t *testing.T) { onEach(t, testTransientErrorsEnd) }

func testTransientErrorsEnd(t *testing.T, on backend) {
	s := on.open(t, store.Config{MaxFailures: 3})
	op := create(t, s, "text")
	for i := range 3 {
		r := claim(t, s, store.Small)
		if r == nil {
			t.Fatalf("round %d: nothing to claim", i)
		}
		ev, err := r.Fail(t.Context(), event.Failure{Code: "busy", Detail: "later"}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]event.Type{true: event.Failed, false: event.Retrying}[i == 2]; ev.Event.Type != want {
			t.Errorf("round %d: %s, want %s", i, ev.Event.Type, want)
		}
		if i < 2 && claim(t, s, store.Small) != nil {
			t.Error("claimed before its backoff was over")
		}
		s.MakeDue(t)
	}
	got, err := s.Operation(t.Context(), owner, op.ID)
	if err != nil || got.Error == nil || got.Error.Code != store.ExhaustedCode ||
		!strings.Contains(got.Error.Detail, "3 attempts") || !strings.Contains(got.Error.Detail, "busy: later") {
		t.Errorf("%+v, %v", got, err)
	}
	sound(t, s, true)
}

func TestCancelWithinOneBatch(t *testing.T) { onEach(t, testCancelWithinOneBatch) }

func testCancelWithinOneBatch(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	text := strings.Repeat("0123456789", 4)
	op := create(t, s, text)
	r := claim(t, s, store.Small)
	must(t)(r.Commit(t.Context(), store.Batch{Chunks: cut(0, text, 10)[:1], BytesDone: 10}))
	must3(t)(s.Cancel(t.Context(), owner, op.ID))
	if _, asked, err := s.Renew(t.Context(), []*store.Run{r}); err != nil || len(asked) != 1 {
		t.Errorf("renew: %v, %v", asked, err)
	}
	ev, err := r.Commit(t.Context(), store.Batch{First: 1, Chunks: cut(1, text, 10), BytesDone: 40, Last: true})
	if err != nil || ev.Event.Type != event.Cancelled || ev.Event.Data.Chunks != 1 || ev.Event.Data.BytesDone != 10 {
		t.Errorf("%+v, %v", ev, err)
	}
	sound(t, s, true)
}

func TestIdempotency(t *testing.T) { onEach(t, testIdempotency) }

func testIdempotency(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	req := func(key, hash, text string) (store.Created, error) {
		return s.Create(context.Background(), store.NewOperation{Owner: owner, Staged: stage(t, s, text), Strategy: "r",
			Settings: []byte("{}"), SplitterVersion: version, IdempotencyKey: key, RequestHash: hash})
	}
	var wg sync.WaitGroup
	ids := make([]string, 20)
	made := make([]bool, 20)
	for i := range ids {
		wg.Go(func() {
			c, err := req("k", "h", "same text")
			if err != nil {
				t.Error(err)
			}
			ids[i], made[i] = c.Operation.ID, !c.Replayed
		})
	}
	wg.Wait()
	n := 0
	for i := range ids {
		if ids[i] != ids[0] {
			t.Errorf("operations %s and %s under one key", ids[i], ids[0])
		}
		if made[i] {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d callers made it, want 1", n)
	}
	if _, err := req("k", "other", "same text"); !errors.Is(err, store.ErrKeyReused) {
		t.Errorf("other settings: %v", err)
	}
	if _, err := req("k", "h", "other text"); !errors.Is(err, store.ErrKeyReused) {
		t.Errorf("other text: %v", err)
	}
	s.AgeKeys(t)
	c, err := req("k", "other", "same text")
	if err != nil || c.Replayed {
		t.Errorf("after a day: %+v, %v", c, err)
	}
	sound(t, s, false)
}

func TestDelete(t *testing.T) { onEach(t, testDelete) }

func testDelete(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	text := strings.Repeat("0123456789", 100_000)
	op := create(t, s, text)
	if err := s.DeleteDocument(t.Context(), owner, op.DocumentID); !errors.Is(err, store.ErrInUse) {
		t.Errorf("delete while queued: %v", err)
	}
	r := claim(t, s, store.Large)
	must(t)(r.Commit(t.Context(), store.Batch{Chunks: cut(0, text, 90), BytesDone: int64(len(text)), Last: true}))
	if err := s.DeleteDocument(t.Context(), owner, op.DocumentID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Operation(t.Context(), owner, op.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("operation of a deleted document: %v", err)
	}
	again := create(t, s, text) // the same text is a new document meanwhile
	if again.DocumentID == op.DocumentID {
		t.Error("a deleted document came back")
	}
	reap(t, s)
	for table, want := range map[string]int{"documents": 1, "operations": 1, "chunks": 0, "operation_events": 1, "document_parts": 4} {
		if n := s.CountRows(t, table); n != want {
			t.Errorf("%s: %d rows, want %d", table, n, want)
		}
	}
	sound(t, s, false)
}

// TestGroupsUndoOnlyTheirOwn lets good and bad callers share commits.
func TestGroupsUndoOnlyTheirOwn(t *testing.T) { onEach(t, testGroupsUndoOnlyTheirOwn) }

func testGroupsUndoOnlyTheirOwn(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	op := create(t, s, "done")
	complete(t, claim(t, s, store.Small), "done")
	zombie := s.ForgedRun(t, op.ID)
	var wg sync.WaitGroup
	for i := range 400 {
		wg.Go(func() {
			switch i % 3 {
			case 0:
				if _, err := zombie.HandOver(context.Background()); !errors.Is(err, store.ErrFenced) {
					t.Errorf("zombie: %v", err)
				}
			case 1:
				if err := s.PanicInWriter(context.Background()); err == nil || !strings.Contains(err.Error(), "panic") {
					t.Errorf("panic: %v", err)
				}
			default:
				st, err := s.Stage(context.Background(), owner, strings.NewReader(fmt.Sprint("text ", i)), 1000)
				if err == nil {
					_, err = s.Create(context.Background(), store.NewOperation{Owner: owner, Staged: st, Strategy: "r",
						Settings: []byte("{}"), SplitterVersion: version})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := s.CountRows(t, "operations"); n != 1+133 {
		t.Errorf("%d operations, want 134", n)
	}
	sound(t, s, false)
}

func TestGivenUpCallers(t *testing.T) { onEach(t, testGivenUpCallers) }

func testGivenUpCallers(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	release := s.HoldWriter(t)
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		close(started)
		_, err := s.Create(ctx, store.NewOperation{Owner: owner, Staged: stage(t, s, "never"), Strategy: "r",
			Settings: []byte("{}"), SplitterVersion: version})
		errs <- err
	}()
	<-started
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("given up while waiting: %v", err)
	}
	release()
	if _, err := s.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	create(t, s, "flush") // after it the abandoned job has been passed over
	if n := s.CountRows(t, "operations"); n != 1 {
		t.Errorf("%d operations, want 1", n)
	}
}

// TestTwoProcessesOnOneFile: whatever a transaction has read on SQLite, nobody writes before it has; so its own write never
// fails because another process was faster.
func TestTwoProcessesOnOneFile(t *testing.T) {
	t.Parallel()
	at := onSQLite(t)
	s := openAt(t, at)
	create(t, s, "text")
	other, err := sql.Open("sqlite", "file:"+(&url.URL{Path: at.Path}).EscapedPath()+"?_pragma=busy_timeout(0)")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	write := func() error {
		_, err := other.ExecContext(t.Context(), `UPDATE operations SET name = name || 'a'`)
		return err
	}
	if err := s.ReadThenWrite(func() {
		if err := write(); err == nil || !strings.Contains(err.Error(), "locked") {
			t.Errorf("while a transaction runs another process writes: %v, want that the database is locked", err)
		}
	}); err != nil {
		t.Errorf("the transaction that had read: %v", err)
	}
	if err := write(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestManyMigrateOneFile opens an empty file from several sides at once.
func TestManyMigrateOneFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new.db")
	var all sync.WaitGroup
	ready := make(chan struct{})
	for range 8 {
		all.Go(func() {
			<-ready
			s, err := store.Open(context.Background(), store.Config{Path: path})
			if err != nil {
				t.Error(err)
				return
			}
			if info, err := s.Info(context.Background()); err != nil || info.Migration < 1 {
				t.Errorf("%+v, %v", info, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	close(ready)
	all.Wait()
}

func TestClosed(t *testing.T) { onEach(t, testClosed) }

func testClosed(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	st := stage(t, s, "text")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	_, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Staged: st, Strategy: "r", Settings: []byte("{}"),
		SplitterVersion: version})
	if !errors.Is(err, store.ErrClosed) {
		t.Errorf("create after close: %v", err)
	}
}

func TestReopenKeepsEverything(t *testing.T) { onEach(t, testReopenKeepsEverything) }

func testReopenKeepsEverything(t *testing.T, on backend) {
	at := on(t)
	first, err := store.Open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	op := create(t, first, "kept")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := openAt(t, at)
	got, err := second.Operation(t.Context(), owner, op.ID)
	if err != nil || got.Status != store.Queued {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestLists(t *testing.T) { onEach(t, testLists) }

func testLists(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	var ids []string
	for i := range 7 {
		ids = append(ids, create(t, s, fmt.Sprint("text ", i)).ID)
	}
	complete(t, claim(t, s, store.Small), "text 0")
	page, more, err := s.Operations(t.Context(), owner, store.Filter{Limit: 3})
	if err != nil || !more || len(page) != 3 || page[0].ID != ids[6] {
		t.Fatalf("%v %v %v", page, more, err)
	}
	page, more, err = s.Operations(t.Context(), owner, store.Filter{Limit: 4, Before: page[2].ID})
	if err != nil || more || len(page) != 4 || page[3].ID != ids[0] {
		t.Fatalf("%v %v %v", page, more, err)
	}
	page, _, err = s.Operations(t.Context(), owner, store.Filter{Status: store.Completed})
	if err != nil || len(page) != 1 || page[0].ID != ids[0] {
		t.Fatalf("%v %v", page, err)
	}
	if _, _, err := s.Operations(t.Context(), owner, store.Filter{Before: "op_x"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown cursor: %v", err)
	}
	active, err := s.Active(t.Context(), owner)
	if err != nil || len(active) != 6 || active[0].ID != ids[1] {
		t.Errorf("%v %v", active, err)
	}
	heads, err := s.Heads(t.Context(), []string{ids[0], "op_none", ids[1]})
	if err != nil || len(heads) != 2 {
		t.Errorf("%v %v", heads, err)
	}
	live, now, err := s.OwnerHeads(t.Context(), owner, time.Time{})
	if err != nil || len(live) != 6 {
		t.Errorf("%v %v", live, err)
	}
	all, _, err := s.OwnerHeads(t.Context(), owner, now.Add(-time.Minute))
	if err != nil || len(all) != 7 {
		t.Errorf("%v %v", all, err)
	}
	st, err := s.Stats(t.Context())
	if err != nil || st.Queued != 6 || st.Processing != 0 {
		t.Errorf("%+v %v", st, err)
	}
}

// TestOneTextManyCallers lets callers create the same text, short and long, at the same moment.
func TestOneTextManyCallers(t *testing.T) { onEach(t, testOneTextManyCallers) }

func testOneTextManyCallers(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	for _, text := range []string{"short", strings.Repeat("long ", 20_000)} {
		var wg sync.WaitGroup
		docs := make([]string, 16)
		for i := range docs {
			wg.Go(func() {
				st, err := s.Stage(context.Background(), owner, strings.NewReader(text), 64<<20)
				if err != nil {
					t.Error(err)
					return
				}
				c, err := s.Create(context.Background(), store.NewOperation{Owner: owner, Staged: st, Strategy: "r",
					Settings: []byte("{}"), SplitterVersion: version})
				if err != nil {
					t.Error(err)
				}
				docs[i] = c.Document.ID
			})
		}
		wg.Wait()
		for _, d := range docs {
			if d != docs[0] {
				t.Errorf("documents %s and %s", docs[0], d)
			}
		}
	}
	reap(t, s)
	if n := s.CountRows(t, "documents"); n != 2 {
		t.Errorf("%d documents, want 2", n)
	}
	sound(t, s, false)
}

// TestDeleteBesideCreate: an operation on a document that is being deleted is either refused, or refuses the deletion.
func TestDeleteBesideCreate(t *testing.T) { onEach(t, testDeleteBesideCreate) }

func testDeleteBesideCreate(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	for i := range 40 {
		text := fmt.Sprint("text ", i)
		op := create(t, s, text)
		complete(t, claim(t, s, store.Small), text)
		var wg sync.WaitGroup
		var made, deleted error
		wg.Go(func() {
			_, made = s.Create(context.Background(), store.NewOperation{Owner: owner, DocumentID: op.DocumentID, Strategy: "r",
				Settings: []byte("{}"), SplitterVersion: version})
		})
		wg.Go(func() { deleted = s.DeleteDocument(context.Background(), owner, op.DocumentID) })
		wg.Wait()
		if !(made == nil && errors.Is(deleted, store.ErrInUse)) && !(errors.Is(made, store.ErrNotFound) && deleted == nil) {
			t.Fatalf("create: %v, delete: %v", made, deleted)
		}
		if made == nil {
			complete(t, claim(t, s, store.Small), text)
		}
	}
	reap(t, s)
	sound(t, s, true)
}

// TestClaimersNeverMeet lets many claimers work a queue off, while others sweep, renew and cancel.
func TestClaimersNeverMeet(t *testing.T) { onEach(t, testClaimersNeverMeet) }

func testClaimersNeverMeet(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	const n = 300
	var mu sync.Mutex
	var ids []string
	taken, ended := map[string]string{}, 0
	var fill sync.WaitGroup
	for g := range 10 {
		fill.Go(func() {
			for i := range n / 10 {
				st, err := s.Stage(context.Background(), owner, strings.NewReader(fmt.Sprint("text ", g, " ", i)), 100)
				if err != nil {
					t.Error(err)
					continue
				}
				c, err := s.Create(context.Background(), store.NewOperation{Owner: owner, Staged: st, Strategy: "r",
					Settings: []byte("{}"), SplitterVersion: version})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				ids = append(ids, c.Operation.ID)
				mu.Unlock()
			}
		})
	}
	fill.Wait()
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() { // cancels just where the claimers are
			for i := g; i < n; i += 5 {
				_, ev, err := s.Cancel(context.Background(), owner, ids[i])
				if err != nil {
					t.Errorf("cancel: %v", err)
				}
				if ev != nil {
					mu.Lock()
					ended++
					mu.Unlock()
				}
			}
		})
	}
	for g := range 16 {
		worker := fmt.Sprint("w", g)
		wg.Go(func() {
			for {
				runs, _, err := s.Claim(context.Background(), store.Claim{Worker: worker, Lane: store.Small, Slots: 1 + g%3,
					Bytes: 1 << 40, SplitterVersion: version, Lease: lease})
				if err != nil {
					t.Errorf("claim: %v", err)
					return
				}
				if len(runs) == 0 {
					if st, err := s.Stats(context.Background()); err != nil || st.Queued == 0 {
						return
					}
					continue
				}
				if lost, _, err := s.Renew(context.Background(), runs); err != nil || len(lost) != 0 {
					t.Errorf("renew: %d lost, %v", len(lost), err)
				}
				for _, r := range runs {
					mu.Lock()
					if first := taken[r.Operation.ID]; first != "" {
						t.Errorf("%s was claimed by %s and %s", r.Operation.ID, first, worker)
					}
					taken[r.Operation.ID] = worker
					mu.Unlock()
					if r.Operation.BytesTotal%2 == 0 {
						if _, _, err := s.Cancel(context.Background(), owner, r.Operation.ID); err != nil {
							t.Errorf("cancel: %v", err)
						}
					}
					if _, err := r.Commit(context.Background(), store.Batch{Chunks: cut(0, "0123456789"[:r.Operation.BytesTotal], 3),
						BytesDone: r.Operation.BytesTotal, Last: true}); err != nil {
						t.Errorf("commit: %v", err)
					}
				}
				if _, err := s.Sweep(context.Background()); err != nil {
					t.Errorf("sweep: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if len(taken)+ended != n {
		t.Errorf("%d operations claimed and %d cancelled in the queue, want %d", len(taken), ended, n)
	}
	sound(t, s, true)
}

// TestTextsThatCannotBeKept: what one database could not store is refused, not found or replaced on both.
func TestTextsThatCannotBeKept(t *testing.T) { onEach(t, testTextsThatCannotBeKept) }

func testTextsThatCannotBeKept(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	for _, bad := range []string{"a\x00b", "a\xffb"} {
		_, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Name: bad, Staged: stage(t, s, "text"), Strategy: "r",
			Settings: []byte("{}"), SplitterVersion: version})
		if !errors.Is(err, store.ErrInvalidText) {
			t.Errorf("create with the name %q: %v, want ErrInvalidText", bad, err)
		}
		for name, err := range map[string]error{
			"operation": second(s.Operation(t.Context(), owner, bad)),
			"document":  second(s.Document(t.Context(), owner, bad)),
			"delete":    s.DeleteDocument(t.Context(), owner, bad),
			"cancel":    third(s.Cancel(t.Context(), owner, bad)),
			"cursor":    third(s.Operations(t.Context(), owner, store.Filter{Before: bad})),
		} {
			if !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s of %q: %v, want ErrNotFound", name, bad, err)
			}
		}
		if ops, _, err := s.Operations(t.Context(), owner, store.Filter{DocumentID: bad}); len(ops) != 0 || err != nil {
			t.Errorf("list of %q: %v, %v", bad, ops, err)
		}
		op := create(t, s, "text "+fmt.Sprintf("%q", bad))
		must(t)(claim(t, s, store.Small).Fail(t.Context(), event.Failure{Code: "x", Detail: bad}, 0))
		got, err := s.Operation(t.Context(), owner, op.ID)
		if err != nil || got.Error == nil || got.Error.Detail != "a\uFFFDb" {
			t.Errorf("failed with %q: %+v, %v", bad, got.Error, err)
		}
	}
	sound(t, s, true)
}

func TestInfo(t *testing.T) { onEach(t, testInfo) }

func testInfo(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	info, err := s.Info(t.Context())
	if err != nil || info.Engine == "" || info.Version == "" || info.Migration < 1 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, cfg := range []store.Config{
		{},
		{Path: "a.db", DatabaseURL: secret.New("postgres:///a")},
		{Path: filepath.Join(t.TempDir(), "no", "folder", "a.db")},
		{DatabaseURL: secret.New("postgres://[bad")},
		{DatabaseURL: secret.New("postgres:///a?host=" + t.TempDir())},
		{Path: filepath.Join(t.TempDir(), "a.db"), PoisonAfter: -1},
		{DatabaseURL: secret.New("postgres:///a"), Connections: -1},
	} {
		if s, err := store.Open(t.Context(), cfg); err == nil {
			t.Errorf("%+v was opened", cfg)
			s.Close()
		}
	}
}

// durably are the backends as they are in production: what is committed is on the disk.
var durably = map[string]backend{"sqlite": onSQLite, "postgres": onDurablePostgres}

func BenchmarkCycle(b *testing.B) {
	for name, on := range durably {
		b.Run(name, func(b *testing.B) { benchmarkCycle(b, on.open(b, store.Config{})) })
	}
}

func benchmarkCycle(b *testing.B, s *store.Store) {
	body := strings.Repeat("some words of a text. ", 190)
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			text := fmt.Sprint(rand.Uint64(), body)
			st, err := s.Stage(context.Background(), owner, strings.NewReader(text), 1<<20)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := s.Create(context.Background(), store.NewOperation{Owner: owner, Staged: st, Strategy: "r",
				Settings: []byte("{}"), SplitterVersion: version}); err != nil {
				b.Fatal(err)
			}
			runs, _, err := s.Claim(context.Background(), store.Claim{Worker: "w", Lane: store.Small, Slots: 1, Bytes: 1 << 40,
				SplitterVersion: version, Lease: lease})
			if err != nil {
				b.Fatal(err)
			}
			for _, r := range runs {
				text, err := r.Text(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				if _, err := r.Commit(context.Background(), store.Batch{Chunks: cut(0, text, 1000), BytesDone: int64(len(text)),
					Last: true}); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "operations/s")
}

func BenchmarkStage5MB(b *testing.B) {
	for name, on := range durably {
		b.Run(name, func(b *testing.B) { benchmarkStage5MB(b, on.open(b, store.Config{})) })
	}
}

func benchmarkStage5MB(b *testing.B, s *store.Store) {
	body := strings.Repeat("some words of a text. ", 5<<20/22)
	b.SetBytes(int64(len(body)))
	for i := 0; b.Loop(); i++ {
		whole(b, s, fmt.Sprint(i, body))
	}
}

// whole takes a large text from its arrival to its last chunk.
func whole(b *testing.B, s *store.Store, body string) {
	st, err := s.Stage(context.Background(), owner, strings.NewReader(body), 64<<20)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.Create(context.Background(), store.NewOperation{Owner: owner, Staged: st, Strategy: "r",
		Settings: []byte("{}"), SplitterVersion: version}); err != nil {
		b.Fatal(err)
	}
	r := claim(b, s, store.Large)
	text, err := r.Text(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	for first := int64(0); ; {
		cs := cut(first, text, 1000)
		last := len(cs) <= 1000
		if !last {
			cs = cs[:1000]
		}
		if _, err := r.Commit(context.Background(), store.Batch{First: first, Chunks: cs, BytesDone: cs[len(cs)-1].EndByte,
			Last: last}); err != nil {
			b.Fatal(err)
		}
		first += int64(len(cs))
		if last {
			break
		}
	}
}

// A page's places come from the parts it reads, also for parts that were stored before places were kept.
func TestPlaces(t *testing.T) { onEach(t, testPlaces) }

func testPlaces(t *testing.T, on backend) {
	s := on.open(t, store.Config{})
	text := strings.Repeat("line 😀 of text\nünd\n", 40_000) // several parts
	op, spans := thousands(t, s, text)
	check := func() {
		t.Helper()
		for from := int64(0); from < int64(len(spans)); from += 97 {
			got, err := s.Chunks(t.Context(), owner, op.ID, from, 3, store.Places)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range got {
				before, piece := text[:c.StartByte], text[c.StartByte:c.EndByte]
				want := store.Placed{
					FirstLine: int64(1 + strings.Count(before, "\n")), StartUTF16: int64(len(utf16.Encode([]rune(before)))),
				}
				want.LastLine = want.FirstLine + int64(strings.Count(strings.TrimSuffix(piece, "\n"), "\n"))
				want.EndUTF16 = want.StartUTF16 + int64(len(utf16.Encode([]rune(piece))))
				if c.Text != "" || c.Placed == nil || *c.Placed != want {
					t.Fatalf("chunk %d: got %+v, want %+v", c.Index, c.Placed, want)
				}
			}
		}
	}
	check()
	s.Spoil(t, `UPDATE document_parts SET lines = NULL, astral = NULL`)
	check()
	sound(t, s, true)
}

// thousands makes an operation with chunks of about 1000 bytes.
func thousands(t testing.TB, s *store.Store, text string) (op store.Operation, spans []store.Chunk) {
	t.Helper()
	op = create(t, s, text)
	r := claim(t, s, store.Large)
	for at, char := 0, 0; at < len(text); {
		end := at + 1000
		if end < len(text) {
			for !utf8.RuneStart(text[end]) {
				end++
			}
		}
		end = min(end, len(text))
		to := char + utf8.RuneCountInString(text[at:end])
		spans = append(spans, store.Chunk{Index: int64(len(spans)), StartByte: int64(at), EndByte: int64(end), StartChar: int64(char), EndChar: int64(to)})
		at, char = end, to
	}
	for first := 0; first < len(spans); first += 1000 {
		some := spans[first:min(first+1000, len(spans))]
		last := first+len(some) == len(spans)
		_, err := r.Commit(t.Context(), store.Batch{First: int64(first), Chunks: some, BytesDone: some[len(some)-1].EndByte, Last: last})
		if err != nil {
			t.Fatal(err)
		}
	}
	return op, spans
}

// BenchmarkChunks reads a page of 100 chunks, a thousand bytes each, at the start and at the end of 32 MB.
func BenchmarkChunks(b *testing.B) {
	s := backend(onSQLite).open(b, store.Config{})
	op, spans := thousands(b, s, strings.Repeat("a line of text, and an é in it\n", 1<<20))
	for _, at := range []struct {
		name string
		from int
	}{{"start", 0}, {"end", len(spans) - 100}} {
		for name, want := range map[string]store.Want{"spans": 0, "texts": store.Texts, "places": store.Texts | store.Places} {
			b.Run(at.name+"/"+name, func(b *testing.B) {
				for b.Loop() {
					if got, err := s.Chunks(b.Context(), owner, op.ID, int64(at.from), 100, want); err != nil || len(got) != 100 {
						b.Fatal(len(got), err)
					}
				}
			})
		}
	}
}
