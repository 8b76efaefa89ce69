package chunk_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// checkWindows compares what s yields for all of text with what it yields when it is shown the text bit by bit.
func checkWindows(t *testing.T, s chunk.Splitter, text string) {
	t.Helper()
	want := slices.Collect(s.Split(text))
	seed := uint32(1)
	for name, sizes := range map[string]func() int{
		"7 bytes": func() int { return 7 },
		"random": func() int {
			seed = seed*1664525 + 1013904223
			return int(seed>>24) + 1
		},
	} {
		got, ok := chunk.Windows(s, text, sizes)
		if !ok {
			t.Fatal("cannot be streamed")
		}
		if !slices.EqualFunc(got, want, chunktest.Same) {
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || !chunktest.Same(got[i], want[i]) {
					t.Errorf("%s: chunk %d of %d and %d: got %+v, want %+v", name, i, len(got), len(want),
						got[min(i, len(got)-1):min(i+1, len(got))], want[min(i, len(want)-1):min(i+1, len(want))])
					break
				}
			}
		}
	}
}

// A document that arrives bit by bit gives the chunks of one that is there.
func TestWindows(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ strategy, settings string }{
		{"recursive", `{"chunk_size":60}`},
		{"recursive", `{"chunk_size":200,"chunk_overlap":50,"unit":"bytes"}`},
		{"recursive", `{"chunk_size":12,"chunk_overlap":4,"unit":"words","overlap_mode":"boundary"}`},
		{"recursive", `{"chunk_size":16,"chunk_overlap":4,"unit":"tokens"}`},
		{"recursive", `{"chunk_size":90,"soft_chunk_size":50,"min_chunk_size":30}`},
		{"fixed_size", `{"chunk_size":50,"chunk_overlap":49}`},
		{"fixed_size", `{"chunk_size":8,"unit":"tokens"}`},
	} {
		t.Run(test.strategy+test.settings, func(t *testing.T) {
			t.Parallel()
			plan, err := parser.Parse(test.strategy, []byte(test.settings))
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range texts() {
				if checkWindows(t, plan.Splitter, text.Text); t.Failed() {
					t.Fatalf("text: %s", text.Name)
				}
			}
		})
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	plan, err := chunk.Parse("", []byte(`{"chunk_size":700,"chunk_overlap":"10%"}`))
	if err != nil {
		t.Fatal(err)
	}
	text := chunktest.Prose(200<<10) + chunktest.Han(100<<10)
	want := slices.Collect(plan.Splitter.Split(text))
	for name, r := range map[string]io.Reader{
		"whole": strings.NewReader(text), "one byte": iotest.OneByteReader(strings.NewReader(text)),
		"half": iotest.HalfReader(strings.NewReader(text)), "data with the end": iotest.DataErrReader(strings.NewReader(text)),
	} {
		n := 0
		for piece, err := range chunk.Stream(plan.Splitter, r) {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if n >= len(want) || !chunktest.Same(piece.Chunk, want[n]) || piece.Text != text[piece.Start:piece.End] {
				t.Fatalf("%s: chunk %d is %+v %.20q", name, n, piece.Chunk, piece.Text)
			}
			n++
		}
		if n != len(want) {
			t.Errorf("%s: got %d chunks, want %d", name, n, len(want))
		}
	}
}

// A reader that fails ends the stream with its error, after the chunks that cannot change any more.
func TestStreamErrors(t *testing.T) {
	t.Parallel()
	plan, err := chunk.Parse("", nil)
	if err != nil {
		t.Fatal(err)
	}
	text := chunktest.Prose(100 << 10)
	want := slices.Collect(plan.Splitter.Split(text))
	broken := errors.New("broken")
	var got []chunk.Chunk
	var last error
	for piece, err := range chunk.Stream(plan.Splitter, io.MultiReader(strings.NewReader(text[:70<<10]), iotest.ErrReader(broken))) {
		if last != nil {
			t.Fatal("something came after the error")
		}
		if last = err; err == nil {
			got = append(got, piece.Chunk)
		}
	}
	if !errors.Is(last, broken) || !strings.Contains(last.Error(), fmt.Sprint(70<<10)) {
		t.Errorf("got %v, want %v and where", last, broken)
	}
	if len(got) == 0 || !slices.EqualFunc(got, want[:len(got)], chunktest.Same) {
		t.Errorf("got %d chunks that are not the first of the document", len(got))
	}
	for _, err := range chunk.Stream(chunktest.Spans{{0, 1}}, strings.NewReader("x")) {
		if !errors.Is(err, chunk.ErrNotStreamed) {
			t.Errorf("got %v, want %v", err, chunk.ErrNotStreamed)
		}
	}
	for _, err := range chunk.Stream(plan.Splitter, silent{}) {
		if !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("got %v, want %v", err, io.ErrNoProgress)
		}
	}
}

type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

func FuzzWindows(f *testing.F) {
	for i, text := range chunktest.Texts() {
		f.Add(text.Text[:min(len(text.Text), 300, mostText)], uint8(5*i), uint8(3*i), uint8(i), uint8(i))
	}
	f.Fuzz(func(t *testing.T, text string, size, overlap, which, how uint8) {
		limits := anyLimits(t, size, overlap, which)
		names := chunk.Strategies()
		s, err := sized(names[int(how)%len(names)].Name, limits, how)
		if err != nil {
			return // some strategies want more room
		}
		checkWindows(t, s, text)
	})
}

// sized is tryParse with more settings, chosen by how.
func sized(strategy string, limits chunktest.Limits, how uint8) (chunk.Splitter, error) {
	more := ""
	soft := limits.Size
	if how&1 != 0 && limits.Overlap+1 < limits.Size {
		soft = limits.Overlap + 1 + (limits.Size-limits.Overlap-1)*int(how>>4)/16
		more += fmt.Sprintf(`,"soft_chunk_size":%d`, soft)
	}
	if how&2 != 0 {
		more += fmt.Sprintf(`,"min_chunk_size":%d`, soft/2)
	}
	if how&4 != 0 {
		more += `,"overlap_mode":"boundary"`
	}
	return tryParse(strategy, limits, more)
}

func FuzzSizes(f *testing.F) {
	for i, text := range chunktest.Texts() {
		f.Add(text.Text[:min(len(text.Text), 300, mostText)], uint8(5*i), uint8(3*i), uint8(i), uint8(i))
	}
	f.Fuzz(func(t *testing.T, text string, size, overlap, which, how uint8) {
		limits := anyLimits(t, size, overlap, which)
		limits.AtMost = how&4 != 0
		for _, strategy := range strategies {
			s, err := sized(strategy, limits, how)
			if err != nil {
				t.Fatal(err)
			}
			chunktest.Check(t, s, text, limits)
		}
	})
}
