package main

import (
	"bytes"
	"testing"
	"time"
	"unicode/utf8"
)

func TestProse(t *testing.T) {
	for _, n := range []int{64, 4000, saltEvery - 1, saltEvery + 30, 300_001} {
		for seed := range uint64(40) {
			text := prose(n, seed)
			first, second := bytes.Clone(text), bytes.Clone(text)
			season(first, 7)
			season(second, 123_456_789)
			for _, b := range [][]byte{text, first, second} {
				if len(b) != n || !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
					t.Fatalf("%d bytes, seed %d: got %d bytes, valid UTF-8 %v", n, seed, len(b), utf8.Valid(b))
				}
			}
			for at := 0; at+32 < n; at += saltEvery {
				if part := min(at+saltEvery, n); bytes.Equal(first[at:part], second[at:part]) {
					t.Fatalf("%d bytes, seed %d: the part at %d is the same in two documents", n, seed, at)
				}
			}
			season(second, 7)
			if !bytes.Equal(first, second) {
				t.Fatalf("%d bytes, seed %d: the same number gives two texts", n, seed)
			}
		}
	}
}

func TestByteSize(t *testing.T) {
	for text, want := range map[string]byteSize{
		"4KB": 4000, "100KB": 100_000, "5MB": 5_000_000, "1MiB": 1 << 20, "64": 64, "12B": 12, "8 KiB": 8192,
	} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "KB", "4 GB", "x", "-"} {
		if err := new(byteSize).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got no error", text)
		}
	}
}

func TestSpread(t *testing.T) {
	var all []time.Duration
	for i := range 101 {
		all = append(all, time.Duration(100-i)*time.Millisecond)
	}
	if got, want := spread(all), (Spread{50, 99, 100}); got != want {
		t.Errorf("0 to 100 ms: got %v, want %v", got, want)
	}
	if got := spread(nil); got != (Spread{}) {
		t.Errorf("of nothing: got %v", got)
	}
}
