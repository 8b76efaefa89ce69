package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"chunkstream/chunk"
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

// TestWireReopens: a request over a connection that the server closed meanwhile is sent once more, whole, over a new one. One
// that fails over a new connection, or whose answer had begun, is not.
func TestWireReopens(t *testing.T) {
	var asked atomic.Int64
	var mode atomic.Value // what the server does with a request that was read
	mode.Store("answer")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if text, err := io.ReadAll(r.Body); err != nil || string(text) != "a text" {
			t.Errorf("got %q, %v", text, err)
		}
		how := mode.Load().(string)
		if how == "answer" {
			return
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if how == "begin" {
			_, err = io.WriteString(conn, "HTTP/1.1 200 O")
		}
		if err = errors.Join(err, conn.Close()); err != nil {
			t.Error(err)
		}
	}))
	defer s.Close()
	wire := &wire{}
	defer wire.close()
	ask := func(what string, ok bool, want int64) {
		t.Helper()
		before := asked.Load()
		if err := post(t.Context(), &http.Client{Transport: wire}, s.URL, []byte("a text")); (err == nil) != ok {
			t.Errorf("%s: got the error %v", what, err)
		}
		if got := asked.Load() - before; got != want {
			t.Errorf("%s: the server was asked %d times, want %d", what, got, want)
		}
	}
	ask("at first", true, 1)
	ask("over the same connection", true, 1)
	s.CloseClientConnections()
	ask("over one that was closed", true, 1)
	mode.Store("begin")
	ask("an answer that had begun", false, 1)
	mode.Store("close")
	ask("a new one that is closed", false, 1)
	mode.Store("answer")
	ask("a new one", true, 1)
	mode.Store("close")
	ask("each one that is closed", false, 2)
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

func TestRedisSpread(t *testing.T) {
	read := func(within1, within2, all int) map[float64]int64 {
		b, err := commandBuckets(strings.NewReader(fmt.Sprintf(`# HELP chunkstream_redis_command_seconds How long
chunkstream_redis_command_seconds_bucket{role="blocking",le="0.001"} 7
chunkstream_redis_command_seconds_bucket{role="commands",le="0.001"} %d
chunkstream_redis_command_seconds_bucket{role="commands",le="0.002"} %d
chunkstream_redis_command_seconds_bucket{role="commands",le="+Inf"} %d
chunkstream_redis_command_seconds_count{role="commands"} 1e+06
`, within1, within2, all)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	before := read(1000, 1000, 5000) // slow ones before the load do not count
	if got := redisSpread(before, read(1900, 1995, 6000)); got == nil || *got != (RedisSpread{1000, 1, 2}) {
		t.Errorf("got %+v, want 1000 commands, half within 1 ms and 99 in 100 within 2", got)
	}
	if got := redisSpread(before, before); got != nil {
		t.Errorf("no commands give %+v", got)
	}
}

func TestBenchChunk(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for name, text := range map[string]string{
		"a.txt": strings.Repeat("Words of one sentence. ", 100), "b.md": "# One\n\nText.\n", "c.bin": "\xff\x00", ".hidden": "not",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, code := program(t, "bench", "chunk", folder, "--chunk-size", "50", "--json",
		"--duration", "1ms")
	var got ChunkSpeeds
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, out)
	}
	if got.Documents != 2 || got.Skipped != 1 || got.Bytes != 2313 || len(got.Results) != len(chunk.Strategies()) {
		t.Errorf("got %d documents of %d bytes, %d skipped, %d results: want 2 of 2313, 1, and one for each strategy",
			got.Documents, got.Bytes, got.Skipped, len(got.Results))
	}
	for _, r := range got.Results {
		if r.Refused == "" && (r.Chunks < 2 || r.MBPerSec <= 0) {
			t.Errorf("%s: got %d chunks at %f MB/s, want at least two", r.Strategy, r.Chunks, r.MBPerSec)
		}
	}
	for _, args := range [][]string{
		{"--chunk-size", "0"}, {"--unit", "pages"}, {"--strategy", "nonesuch"}, {filepath.Join(folder, "none")},
		{filepath.Join(folder, "c.bin")},
	} {
		if out, code := program(t, append([]string{"bench", "chunk", "--duration", "1ms"}, args...)...); code != exitUsage {
			t.Errorf("%q: got exit code %d, want %d\n%s", args, code, exitUsage, out)
		}
	}
}

// TestCutFrame cuts what a server sends wherever a read may end.
func TestCutFrame(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
		payload := bytes.Repeat([]byte("x"), size)
		frame := []byte{frameText, byte(size)}
		switch {
		case size > 65535:
			frame = binary.BigEndian.AppendUint64([]byte{frameText, 127}, uint64(size))
		case size > 125:
			frame = binary.BigEndian.AppendUint16([]byte{frameText, 126}, uint16(size))
		}
		frame = append(frame, payload...)
		for _, n := range []int{0, 1, 2, 3, 9, len(frame) - 1} {
			if _, _, _, ok := cutFrame(frame[:min(n, len(frame)-1)]); ok {
				t.Errorf("size %d: a frame of %d bytes is whole after %d", size, len(frame), n)
			}
		}
		kind, got, rest, ok := cutFrame(append(frame, framePing, 0))
		if !ok || kind != frameText || !bytes.Equal(got, payload) || !bytes.Equal(rest, []byte{framePing, 0}) {
			t.Errorf("size %d: got kind %#x, %d bytes, rest %v, %v", size, kind, len(got), rest, ok)
		}
	}
}

// TestBare: the bare server is asked at the rate, and leaves nothing behind.
func TestBare(t *testing.T) {
	folder := t.TempDir()
	b := &BenchServiceCmd{Clients: 2, Rate: 500, Duration: 50 * time.Millisecond}
	got, err := b.bare(t.Context(), folder, []byte("a text"))
	if err != nil || got.P50 <= 0 || got.P99 < got.P50 || got.Max < got.P99 {
		t.Errorf("got %v, %v, want times", got, err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := b.bare(t.Context(), filepath.Join(folder, "none"), nil); err == nil {
		t.Error("a folder that is not there was written into")
	}
}
