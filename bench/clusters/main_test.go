package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"

	"chunkstream/chunk"
)

// What is committed is what Unicode says.
func TestGenerate(t *testing.T) {
	want, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../chunk/clusterdata.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("chunk/clusterdata.go is not what the generator writes: cd bench && go run ./clusters ../chunk/clusterdata.go")
	}
}

// breaks are the ends of the clusters of text, by what fixed_size does at every limit: it ends a chunk there, if it can.
func breaks(t *testing.T, text string) (ends []int) {
	t.Helper()
	n := 0
	for i := range text {
		if n > 0 {
			plan, err := chunk.Parse("fixed_size", fmt.Appendf(nil, `{"chunk_size":%d}`, n))
			if err != nil {
				t.Fatal(err)
			}
			for c := range plan.Splitter.Split(text) {
				if c.End == i {
					ends = append(ends, i)
				}
				break
			}
		}
		n++
	}
	return append(ends, len(text))
}

func compare(t *testing.T, text string) {
	t.Helper()
	text = "yx" + text // where no end is near, the limit is one: there always is one behind the y
	var want []int
	for c := graphemes.FromString(text); c.Next(); {
		want = append(want, c.End())
	}
	if got := breaks(t, text); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+q: got %v, want %v", text, got, want)
	}
}

// samples are characters of every class.
var samples = []rune("a \r\n\u0301\u200c\u200d\u0600\u0d4e\u0903\u0915\u094d\u09b0\u09cd\u1100\u1160\u11a8가각😀❤\ufe0f🏽🇩\u00ad\u1039\u1000\u0e33中\uff9e")

func TestClusters(t *testing.T) {
	for _, a := range samples {
		for _, b := range samples {
			for _, c := range samples {
				compare(t, string([]rune{a, b, c}))
			}
		}
	}
}

func FuzzClusters(f *testing.F) {
	f.Add([]byte("abcdefghijklmnop"), "")
	f.Add([]byte{}, "न\u094d\u200dत😀\u200d😀🇩🇪🇫")
	f.Fuzz(func(t *testing.T, picks []byte, text string) {
		for _, p := range picks {
			text += string(samples[int(p)%len(samples)])
		}
		text = strings.ToValidUTF8(text, "")
		if n := utf8.RuneCountInString(text); n > 30 { // of longer clusters only the last 32 characters count
			return
		}
		compare(t, text)
	})
}
