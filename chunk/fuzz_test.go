package chunk_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
	"chunkstream/token"
)

// fuzzLimits makes limits that Parse takes of any numbers, small enough that short texts give many chunks.
func fuzzLimits(size, overlap uint8, inBytes bool) chunktest.Limits {
	limits := chunktest.Limits{Unit: "chars", Size: 1 + int(size)}
	if inBytes {
		limits = chunktest.Limits{Unit: "bytes", Size: 4 + int(size)}
	}
	limits.Overlap = int(overlap) % limits.Size
	return limits
}

// wordLimits is fuzzLimits in words and tokens.
func wordLimits(tb testing.TB, size, overlap uint8, which byte) chunktest.Limits {
	limits := chunktest.Limits{Unit: "words", Size: 1 + int(size)}
	if names := token.Names(); int(which)%(len(names)+1) < len(names) {
		limits = chunktest.Limits{Unit: "tokens", Size: 8 + int(size), Sizer: sizer(tb, names[int(which)%(len(names)+1)])}
	}
	limits.Overlap = int(overlap) % limits.Size
	return limits
}

// anyLimits is one of these two, as which says.
func anyLimits(tb testing.TB, size, overlap, which uint8) chunktest.Limits {
	if which&2 == 0 {
		return wordLimits(tb, size, overlap, which>>2)
	}
	return fuzzLimits(size, overlap, which&1 == 0)
}

// checkGuard checks that Guard has nothing to say of a strategy.
func checkGuard(t *testing.T, strategy string, s chunk.Splitter, text string) {
	t.Helper()
	for _, err := range chunk.Guard(strategy, s, text) {
		if err != nil {
			t.Error(err)
		}
	}
}

func addTexts(f *testing.F) {
	for i, text := range chunktest.Texts() {
		short := text.Text[:min(len(text.Text), 300, mostText)]
		f.Add(short, uint8(7*i), uint8(0), i%2 == 0)
		f.Add(short, uint8(11*i), uint8(5*i), i%2 == 1)
	}
}

func fuzzContract(f *testing.F, strategy string) {
	addTexts(f)
	f.Fuzz(func(t *testing.T, text string, size, overlap uint8, inBytes bool) {
		limits := fuzzLimits(size, overlap, inBytes)
		s := parse(t, strategy, limits)
		chunktest.Check(t, s, text, limits)
		checkGuard(t, strategy, s, text)
	})
}

func FuzzFixedSize(f *testing.F) { fuzzContract(f, "fixed_size") }

func FuzzRecursive(f *testing.F) { fuzzContract(f, "recursive") }

func FuzzWordsAndTokens(f *testing.F) {
	for i, text := range chunktest.Texts() {
		short := text.Text[:min(len(text.Text), 300, mostText)]
		f.Add(short, uint8(i%9), uint8(0), byte(i))
		f.Add(short, uint8(i), uint8(3*i), byte(i+1))
	}
	f.Fuzz(func(t *testing.T, text string, size, overlap uint8, which byte) {
		limits := wordLimits(t, size, overlap, which)
		for _, strategy := range strategies {
			s := parse(t, strategy, limits)
			chunktest.Check(t, s, text, limits)
			checkGuard(t, strategy, s, text)
			if limits.Unit == "words" && len(text) <= 1000 {
				if got, want := chunktest.Collect(s, text), slowly(strategy, limits, text); !slices.Equal(got, want) {
					t.Errorf("%s %+v on %q:\n got %v\nwant %v", strategy, limits, text, got, want)
				}
			}
		}
	})
}

func FuzzFastIsSlow(f *testing.F) {
	addTexts(f)
	f.Fuzz(func(t *testing.T, text string, size, overlap uint8, inBytes bool) {
		if len(text) > 1000 {
			return // the slow one is quadratic
		}
		limits := fuzzLimits(size, overlap, inBytes)
		for _, strategy := range strategies {
			got, want := chunktest.Collect(parse(t, strategy, limits), text), slowly(strategy, limits, text)
			if !slices.Equal(got, want) {
				t.Errorf("%s %+v on %q:\n got %v\nwant %v", strategy, limits, text, got, want)
			}
		}
	})
}

func FuzzChars(f *testing.F) {
	addTexts(f)
	f.Fuzz(func(t *testing.T, text string, _, _ uint8, _ bool) {
		want := 0
		for i := range len(text) {
			if utf8.RuneStart(text[i]) {
				want++
			}
		}
		if got := chunk.Chars(text); got != want {
			t.Errorf("got %d, want %d, for %q", got, want, text)
		}
		if got := chunk.Chars(text); utf8.ValidString(text) && got != utf8.RuneCountInString(text) {
			t.Errorf("got %d, want %d code points, for %q", got, utf8.RuneCountInString(text), text)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, test := range badSettings {
		f.Add(test.strategy, test.settings)
	}
	for _, test := range goodSettings {
		f.Add(test.strategy, test.settings)
	}
	f.Fuzz(func(t *testing.T, strategy, settings string) {
		plan, err := parser.Parse(strategy, []byte(settings))
		if err != nil {
			var perr *chunk.ParamError
			if !errors.As(err, &perr) || perr.Param == "" || perr.Problem == "" || perr.Code == "" {
				t.Fatalf("got %#v, want a whole *ParamError", err)
			}
			if len(perr.Error()) > 1000 || !utf8.ValidString(perr.Error()) {
				t.Errorf("got a message no reply should carry: %q", perr.Error())
			}
			return
		}
		if s := strings.TrimSpace(settings); s != "" && !json.Valid([]byte(s)) {
			t.Errorf("took %q, which is not JSON", settings)
		}
		again, err := parser.Parse(plan.Strategy, plan.Settings)
		if err != nil {
			t.Fatalf("canonical %s %s: %v", plan.Strategy, plan.Settings, err)
		}
		if again.Strategy != plan.Strategy || !bytes.Equal(again.Settings, plan.Settings) {
			t.Errorf("%s %s became %s %s", plan.Strategy, plan.Settings, again.Strategy, again.Settings)
		}
	})
}
