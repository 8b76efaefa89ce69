package store_test

import (
	"errors"
	"slices"
	"testing"

	"chunkstream/store"
)

// TestPlacesInChunks: which chunks hold a place, on both stores; nobody learns it of another owner's.
func TestPlacesInChunks(t *testing.T) {
	onEach(t, func(t *testing.T, on backend) {
		s := on.open(t, store.Config{})
		create(t, s, "ääää bbbb cccc")
		run := claim(t, s, store.Small)
		chunks := []store.Chunk{{StartByte: 0, EndByte: 8, StartChar: 0, EndChar: 4}, {StartByte: 6, EndByte: 13, StartChar: 3, EndChar: 9}, {StartByte: 15, EndByte: 18, StartChar: 11, EndChar: 14}}
		if _, err := run.Commit(t.Context(), store.Batch{Chunks: chunks, BytesDone: 18, Last: true}); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			at      store.Offset
			holding []int64
			nearest int64
		}{
			{store.Offset{At: 0}, []int64{0}, 0}, {store.Offset{At: 6}, []int64{0, 1}, 1}, {store.Offset{At: 13}, nil, 2}, {store.Offset{At: 18}, nil, 2},
			{store.Offset{At: 3, Chars: true}, []int64{0, 1}, 1}, {store.Offset{At: 6, Chars: true}, []int64{1}, 1}, {store.Offset{At: 1 << 62, Chars: true}, nil, 2},
		} {
			holding, nearest, err := s.ChunksAt(t.Context(), owner, run.Operation.ID, tt.at, 10)
			if err != nil || !slices.Equal(holding, tt.holding) || nearest != tt.nearest {
				t.Errorf("%+v: got %v, %d, %v; want %v, %d", tt.at, holding, nearest, err, tt.holding, tt.nearest)
			}
		}
		if holding, nearest, err := s.ChunksAt(t.Context(), owner, run.Operation.ID, store.Offset{At: 6}, 1); err != nil || len(holding) != 1 || nearest != 0 {
			t.Errorf("with a limit: got %v, %d, %v", holding, nearest, err)
		}
		index, err := s.FindChunk(t.Context(), owner, run.Operation.ID, func(c store.Chunk) bool { return c.StartByte == 15 && c.EndByte == 18 })
		if err != nil || index != 2 {
			t.Errorf("find: got %d, %v", index, err)
		}
		_, err = s.FindChunk(t.Context(), owner, run.Operation.ID, func(store.Chunk) bool { return false })
		_, _, foreign := s.ChunksAt(t.Context(), "mallory", run.Operation.ID, store.Offset{}, 1)
		_, other := s.FindChunk(t.Context(), "mallory", run.Operation.ID, func(store.Chunk) bool { return true })
		for what, err := range map[string]error{"none": err, "foreign place": foreign, "foreign chunk": other} {
			if !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: got %v, want ErrNotFound", what, err)
			}
		}
		none := create(t, s, "nothing yet")
		if holding, nearest, err := s.ChunksAt(t.Context(), owner, none.ID, store.Offset{}, 1); err != nil || holding != nil || nearest != -1 {
			t.Errorf("without chunks: got %v, %d, %v", holding, nearest, err)
		}
	})
}

// TestWhatAnOperationWasMadeWith: the configuration and the trace are kept, and the events name the trace.
func TestWhatAnOperationWasMadeWith(t *testing.T) {
	onEach(t, func(t *testing.T, on backend) {
		s := on.open(t, store.Config{})
		saved, err := s.SaveConfiguration(t.Context(), store.Configuration{Owner: owner, Name: "n", Strategy: "recursive", Settings: []byte(`{}`)})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{saved.ID, "n"} {
			if got, err := s.ConfigurationNamed(t.Context(), owner, name); err != nil || got.ID != saved.ID {
				t.Errorf("%s: got %+v, %v", name, got, err)
			}
			if _, err := s.ConfigurationNamed(t.Context(), "mallory", name); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s, another owner: got %v", name, err)
			}
		}
		// A name that looks like an id does not hide the one that has it.
		if _, err := s.SaveConfiguration(t.Context(), store.Configuration{Owner: owner, Name: saved.ID, Strategy: "sentence", Settings: []byte(`{}`)}); err != nil {
			t.Fatal(err)
		}
		if got, err := s.ConfigurationNamed(t.Context(), owner, saved.ID); err != nil || got.Name != "n" {
			t.Errorf("by id: got %+v, %v", got, err)
		}
		for _, bad := range []string{"", "x", "\x00", "\xff"} {
			if _, err := s.ConfigurationNamed(t.Context(), owner, bad); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%q: got %v", bad, err)
			}
		}
		used, trace := store.UsedConfiguration{ID: saved.ID, Name: "n", Version: 1}, "4bf92f3577b34da6a3ce929d0e0e4736"
		made, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Staged: stage(t, s, "text"), Strategy: "recursive", Settings: []byte(`{}`),
			SplitterVersion: version, Configuration: used, Trace: trace})
		if err != nil || made.Operation.Configuration != used || made.Event.Event.Data.TraceID != trace {
			t.Fatalf("got %+v, %v", made, err)
		}
		read, err := s.Operation(t.Context(), owner, made.Operation.ID)
		if err != nil || read.Configuration != used || read.Trace != trace {
			t.Errorf("read: got %+v, %v", read, err)
		}
		run := claim(t, s, store.Small)
		if run.Operation.Configuration != used || run.Started.Event.Data.TraceID != trace {
			t.Errorf("claimed: got %+v", run.Operation)
		}
	})
}

// TestReplaceInBatch: one operation stands where another one stood, for its owner alone, and once.
func TestReplaceInBatch(t *testing.T) {
	onEach(t, func(t *testing.T, on backend) {
		s := on.open(t, store.Config{})
		a, b, c := create(t, s, "a"), create(t, s, "b"), create(t, s, "c")
		id := store.NewBatchID()
		if err := s.CreateBatch(t.Context(), owner, id, "", []string{a.ID, b.ID}); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			owner, former, operation string
			want                     []string
		}{
			{"mallory", a.ID, c.ID, []string{a.ID, b.ID}}, {owner, a.ID, "op_0", []string{a.ID, b.ID}}, {owner, c.ID, a.ID, []string{a.ID, b.ID}},
			{owner, a.ID, c.ID, []string{c.ID, b.ID}}, {owner, a.ID, b.ID, []string{c.ID, b.ID}},
		} {
			if err := s.ReplaceInBatch(t.Context(), step.owner, id, step.former, step.operation); err != nil {
				t.Fatal(err)
			}
			got, err := s.Batch(t.Context(), owner, id)
			if err != nil || len(got.Operations) != 2 || got.Operations[0].ID != step.want[0] || got.Operations[1].ID != step.want[1] {
				t.Errorf("%+v: got %+v, %v", step, got, err)
			}
		}
	})
}

// TestBatchOfWhatIsDeleted: an operation that is deleted leaves its batch, also where its number is given to another one; a repetition
// fills its place, and no other one; with the last one the batch goes.
func TestBatchOfWhatIsDeleted(t *testing.T) {
	onEach(t, func(t *testing.T, on backend) {
		s := on.open(t, store.Config{})
		made := func(text string) store.Operation {
			op := create(t, s, text)
			complete(t, claim(t, s, store.Small), text)
			return op
		}
		remove := func(op store.Operation) {
			if err := s.DeleteDocument(t.Context(), owner, op.DocumentID); err != nil {
				t.Fatal(err)
			}
			reap(t, s)
		}
		id := store.NewBatchID()
		want := func(what string, all ...store.Operation) {
			t.Helper()
			b, err := s.Batch(t.Context(), owner, id)
			if len(all) == 0 && errors.Is(err, store.ErrNotFound) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.EqualFunc(b.Operations, all, func(a, b store.Operation) bool { return a.ID == b.ID }) {
				t.Errorf("%s: got %+v, want %+v", what, b.Operations, all)
			}
		}
		a, b := made("a"), made("b")
		if err := s.CreateBatch(t.Context(), owner, id, "", []string{a.ID, b.ID}); err != nil {
			t.Fatal(err)
		}
		remove(b)
		want("without b", a)
		c := made("c")
		want("beside c", a)
		if err := s.CreateBatch(t.Context(), owner, id, "", []string{c.ID, c.ID}); err != nil {
			t.Fatal(err)
		}
		want("with c for b", a, c)
		if err := s.CreateBatch(t.Context(), "mallory", id, "", []string{c.ID, c.ID, c.ID}); err != nil {
			t.Fatal(err)
		}
		want("after another owner", a, c)
		remove(a)
		want("without a", c)
		remove(c)
		want("nothing")
		sound(t, s, true)
	})
}
