package api_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"chunkstream/api"
)

// unpack undoes a content coding.
func unpack(coding string, b []byte) ([]byte, error) {
	switch coding {
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(z)
	case "zstd":
		z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		return io.ReadAll(z)
	}
	return b, nil
}

func TestCodingOf(t *testing.T) {
	const long, short = api.LeastPacked, api.LeastPacked - 1
	for _, tt := range []struct {
		accept string
		size   int64
		want   string
	}{
		{"gzip", long, "gzip"}, {"zstd", long, "zstd"}, {"gzip, zstd", long, "zstd"}, {"gzip, deflate, br, zstd", -1, "zstd"}, {"GZip", long, "gzip"},
		{"x-gzip", long, "gzip"}, {"*", long, "zstd"}, {"br, *;q=0.1", long, "zstd"}, {"zstd;q=0, *", long, "gzip"}, {"gzip;q=1.0, zstd;q=0.9", long, "gzip"},
		{"gzip ; q = 0.5 , zstd;q=0.501", long, "zstd"}, {"gzip;q=0.001", long, "gzip"},
		{"", long, ""}, {"identity", long, ""}, {"br", long, ""}, {"gzip;q=0", long, ""}, {"gzip;q=0.000, zstd;q=0", long, ""}, {"*;q=0", long, ""},
		{"gzip;q=0.5, identity", long, ""}, {"gzip;q=0.5, identity;q=0.4", long, "gzip"}, {"gzip;q=0.5, identity;q=0.5", long, "gzip"}, {"gzip;q=0.5, *;q=0.6", long, "zstd"},
		{"gzip;q=2", long, ""}, {"gzip;q=x", long, ""}, {"gzip;q=-1", long, ""}, {"gzip;q=NaN", long, ""}, {",, ;q=1, gzip", long, "gzip"},
		{"gzip", short, ""}, {"gzip, identity;q=0", short, "gzip"}, {"gzip, *;q=0", 1, "gzip"}, {"identity;q=0", long, ""}, {"gzip, identity;q=0.1, *;q=0", short, ""},
	} {
		if got := api.CodingOf(tt.accept, tt.size); got != tt.want {
			t.Errorf("%q, %d bytes: got %q, want %q", tt.accept, tt.size, got, tt.want)
		}
	}
}

// TestPacked: every route that answers with much gives the same bytes packed and not, and says so in its headers.
func TestPacked(t *testing.T) {
	s := start(t)
	op := s.submit("?chunk_size=60&wait=30", strings.Repeat("Grün und 日本. Another sentence.\n", 500))
	self, text := "/v1/operations/"+op["id"].(string), "/v1/documents/"+op["document_id"].(string)+"/text"
	for _, route := range []struct{ path, accept string }{
		{self + "/chunks", "application/json"}, {self + "/chunks", "application/x-ndjson"}, {self + "/download?format=json", ""}, {self + "/download?format=csv", ""},
		{self + "/download?format=text", ""}, {self + "/download?format=pgvector", ""}, {self + "/download", ""}, {text, ""}, {"/v1/strategies", ""},
		{"/openapi.json", ""}, {"/errors", ""}, {"/docs/elements-9.0.25.css", ""},
	} {
		plain := s.get(route.path, "Accept: "+route.accept, "Accept-Encoding: identity")
		if plain.status != 200 || len(plain.body) < api.LeastPacked || plain.header.Get("Content-Encoding") != "" || !strings.Contains(plain.header.Get("Vary"), "Accept-Encoding") {
			t.Errorf("%v: got %d, %d bytes, %v", route, plain.status, len(plain.body), plain.header)
		}
		tag := plain.header.Get("Etag")
		for _, coding := range []string{"gzip", "zstd"} {
			ready := strings.HasPrefix(route.path, "/openapi") || strings.HasPrefix(route.path, "/docs/")
			if ready && coding == "zstd" {
				continue // packed with gzip when it was built
			}
			a := s.get(route.path, "Accept: "+route.accept, "Accept-Encoding: "+coding)
			if a.status != 200 || a.header.Get("Content-Encoding") != coding || len(a.body) >= len(plain.body) || !strings.Contains(a.header.Get("Vary"), "Accept-Encoding") {
				t.Errorf("%v, %s: got %d, %d bytes of %d, %v", route, coding, a.status, len(a.body), len(plain.body), a.header)
			}
			if b, err := unpack(coding, a.body); err != nil || !bytes.Equal(b, plain.body) {
				t.Errorf("%v, %s: unpacked it is %d bytes, %v; want %d", route, coding, len(b), err, len(plain.body))
			}
			for _, name := range []string{"Content-Type", "Cache-Control", "Content-Disposition", "Chunkstream-Operation-Status", "Content-Security-Policy"} {
				if a.header.Get(name) != plain.header.Get(name) {
					t.Errorf("%v, %s: %s is %q, unpacked %q", route, coding, name, a.header.Get(name), plain.header.Get(name))
				}
			}
			if packed := a.header.Get("Etag"); (tag == "") != (packed == "") || tag != "" && packed == tag {
				t.Errorf("%v, %s: the ETag is %q, unpacked %q: other bytes need another", route, coding, packed, tag)
			} else if tag != "" {
				if same := s.get(route.path, "Accept-Encoding: "+coding, "If-None-Match: "+packed); same.status != 304 || same.header.Get("Etag") != packed || len(same.body) != 0 || same.header.Get("Content-Encoding") != "" {
					t.Errorf("%v, %s: with its own ETag got %d %v", route, coding, same.status, same.header)
				}
				if other := s.get(route.path, "Accept-Encoding: "+coding, "If-None-Match: "+tag); other.status != 200 {
					t.Errorf("%v, %s: with the ETag of what is not packed got %d", route, coding, other.status)
				}
				head := s.do("HEAD", route.path, nil, "Accept-Encoding: "+coding)
				if head.status != 200 || head.header.Get("Etag") != packed || head.header.Get("Content-Encoding") != coding || len(head.body) != 0 {
					t.Errorf("HEAD %v, %s: got %d %v", route, coding, head.status, head.header)
				}
			}
		}
	}
}

// TestNotPacked: what is short, a part, a stream, packed already, refused or not asked for goes out as it is.
func TestNotPacked(t *testing.T) {
	s := start(t)
	op := s.submit("?chunk_size=60&wait=30", strings.Repeat("Grün und 日本. Another sentence.\n", 2000))
	self, text := "/v1/operations/"+op["id"].(string), "/v1/documents/"+op["document_id"].(string)+"/text"
	whole := s.get(text, "Accept-Encoding: identity")
	tag, packed := whole.header.Get("Etag"), s.get(text, "Accept-Encoding: gzip").header.Get("Etag")
	part := s.get(text, "Range: bytes=0-9999", "Accept-Encoding: gzip, zstd")
	if part.status != 206 || part.header.Get("Content-Encoding") != "" || !bytes.Equal(part.body, whole.body[:10000]) || part.header.Get("Etag") != tag {
		t.Errorf("a range: got %d %v", part.status, part.header)
	}
	// A range continues what is not packed; with the ETag of what is, all comes again.
	if a := s.get(text, "Range: bytes=0-9999", "If-Range: "+tag, "Accept-Encoding: gzip"); a.status != 206 {
		t.Errorf("If-Range with the ETag of what is not packed: got %d", a.status)
	}
	if a := s.get(text, "Range: bytes=0-9999", "If-Range: "+packed, "Accept-Encoding: gzip"); a.status != 200 || a.header.Get("Etag") != packed {
		t.Errorf("If-Range with the ETag of what is packed: got %d %v", a.status, a.header)
	}
	wantProblem(t, "beyond the end", s.get(text, "Range: bytes=9999999-", "Accept-Encoding: gzip"), 416, "invalid_range")
	for _, tt := range []struct{ path, accept string }{
		{self, "gzip, zstd"}, {self + "/chunks", "gzip;q=0"}, {self + "/chunks", "br"}, {self + "/chunks", "identity, gzip;q=0.5"}, {text, "zstd;q=0.0"},
		{self + "/download?format=parquet", "gzip, zstd"}, {self + "/events?since=0", "gzip, zstd"}, {"/healthz", "gzip"}, {"/docs/elements-9.0.25.css", "zstd"},
		{"/v1/operations/op_0", "gzip, zstd, identity;q=0"},
	} {
		if a := s.get(tt.path, "Accept-Encoding: "+tt.accept); a.header.Get("Content-Encoding") != "" || len(a.body) == 0 {
			t.Errorf("%s, %s: got %d bytes, %v", tt.path, tt.accept, len(a.body), a.header)
		}
	}
	if a := s.get(self, "Accept-Encoding: gzip, identity;q=0"); a.header.Get("Content-Encoding") != "gzip" {
		t.Errorf("identity;q=0: a short answer was not packed: %v", a.header)
	} else if b, err := unpack("gzip", a.body); err != nil || len(b) >= api.LeastPacked || !bytes.Equal(b, s.get(self).body) {
		t.Errorf("identity;q=0: got %q, %v", b, err)
	}
	if a := s.get("/metrics", "Accept-Encoding: gzip"); a.header.Get("Content-Encoding") != "gzip" {
		t.Errorf("metrics: %v", a.header)
	} else if b, err := unpack("gzip", a.body); err != nil || !bytes.Contains(b, []byte("# HELP")) { // and not packed twice
		t.Errorf("metrics: got %.20q, %v", b, err)
	}
}

// TestHalfPacked: what fails in the middle of a packed answer ends neither as an answer does nor as what is packed does.
func TestHalfPacked(t *testing.T) {
	s := start(t)
	op := s.submit("?chunk_size=20&wait=30", strings.Repeat("One more line here.\n", 4000))
	if op["status"] != "completed" {
		t.Fatalf("got %v", op)
	}
	s.damage(`UPDATE chunks SET start_char = 'nowhere' WHERE idx = 3000`)
	long := s.submit("", strings.Repeat("a text of several parts ", 60_000))
	s.damage(`DELETE FROM document_parts WHERE key % 65536 = 4`)
	self, begun := "/v1/operations/"+op["id"].(string), 0
	for _, path := range []string{self + "/chunks", self + "/download?format=jsonl", self + "/download?format=json", self + "/download?format=csv",
		"/v1/documents/" + long["document_id"].(string) + "/text"} {
		for _, coding := range []string{"gzip", "zstd"} {
			c := s.dial()
			if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\nAccept-Encoding: %s\r\n\r\n", path, coding)
			res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: "GET"})
			if err != nil { // nothing of it had left the server
				c.Close()
				continue
			}
			begun++
			body, err := io.ReadAll(res.Body)
			c.Close()
			if res.Header.Get("Content-Encoding") != coding || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s, %s: got %v and %d bytes that end with %v", path, coding, res.Header, len(body), err)
			}
			if b, err := unpack(coding, body); err == nil {
				t.Errorf("%s, %s: half of it unpacks to %d bytes as if it were whole", path, coding, len(b))
			}
		}
	}
	if begun < 5 {
		t.Errorf("only %d answers had begun", begun)
	}
}

// TestPackedPiecemeal: what is flushed is there before the rest is written, whatever the sizes of the pieces; a handler may
// write nothing; and when all encoders are in use the answer comes unpacked.
func TestPackedPiecemeal(t *testing.T) {
	next := make(chan struct{})
	piece := strings.Repeat("a piece ", 100)
	s := httptest.NewServer(api.Recorded(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		if r.URL.Path == "/nothing" {
			w.WriteHeader(http.StatusCreated)
			return
		}
		for range 5 {
			_, _ = io.WriteString(w, piece)
			if r.URL.Path == "/flush" {
				w.(http.Flusher).Flush()
			}
			if r.URL.Path != "/bytes" {
				<-next
			}
		}
	}))
	defer s.Close()
	open := func(path, accept string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", accept)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	for _, coding := range []string{"gzip", "zstd"} {
		res := open("/flush", coding)
		var z io.Reader
		var err error
		if coding == "gzip" {
			z, err = gzip.NewReader(res.Body)
		} else {
			z, err = zstd.NewReader(res.Body, zstd.WithDecoderConcurrency(1))
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 5 { // each is here before the next is written
			got := make([]byte, len(piece))
			if _, err := io.ReadFull(z, got); err != nil || string(got) != piece {
				t.Fatalf("%s: got %q, %v", coding, got, err)
			}
			next <- struct{}{}
		}
		if rest, err := io.ReadAll(z); err != nil || len(rest) != 0 {
			t.Errorf("%s: after the end %q, %v", coding, rest, err)
		}
		res.Body.Close()
	}
	res := open("/nothing", "gzip")
	if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 201 || res.ContentLength != 0 || len(b) != 0 {
		t.Errorf("nothing: got %d %q %v", res.StatusCode, b, res.Header)
	}
	res.Body.Close()
	var many []*http.Response
	for range api.PackersAtOnce {
		many = append(many, open("/flush", "gzip"))
	}
	res = open("/bytes", "gzip")
	if b, err := io.ReadAll(res.Body); err != nil || res.Header.Get("Content-Encoding") != "" || string(b) != strings.Repeat(piece, 5) {
		t.Errorf("beside many: got %d bytes, %v, %v", len(b), err, res.Header)
	}
	res.Body.Close()
	var ended sync.WaitGroup
	for _, one := range many {
		ended.Go(func() {
			_, _ = io.Copy(io.Discard, one.Body)
			one.Body.Close()
		})
	}
	for range 5 * api.PackersAtOnce {
		next <- struct{}{}
	}
	ended.Wait()
}

// BenchmarkPacked is an answer in JSON of each length, as it is and with each coding: the cost of packing is what they differ in.
func BenchmarkPacked(b *testing.B) {
	text, err := os.ReadFile("../docs/api.md")
	if err != nil {
		b.Fatal(err)
	}
	var page bytes.Buffer
	for i := 0; len(text) >= 100; i, text = i+1, text[100:] {
		fmt.Fprintf(&page, `{"id":"chk_%x","index":%d,"text":%q,"start_byte":%d,"end_byte":%d},`, sha256.Sum256(text[:100]), i, text[:100], 100*i, 100*i+100)
	}
	for _, size := range []int{1 << 10, 3 << 10, page.Len()} {
		body := page.Bytes()[:size]
		h := api.Recorded(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{"application/json"}
			_, _ = w.Write(body)
		})
		for _, coding := range []string{"identity", "gzip", "zstd"} {
			b.Run(fmt.Sprintf("%dKB/%s", size>>10, coding), func(b *testing.B) {
				r := httptest.NewRequest("GET", "/", nil)
				r.Header["Accept-Encoding"] = []string{coding}
				sent := &counted{header: http.Header{}}
				b.SetBytes(int64(size))
				for b.Loop() {
					clear(sent.header)
					sent.bytes = 0
					h.ServeHTTP(sent, r)
				}
				b.ReportMetric(float64(size)/float64(sent.bytes), "times_smaller")
			})
		}
	}
}

// counted takes an answer and counts its bytes.
type counted struct {
	header http.Header
	bytes  int
}

func (c *counted) Header() http.Header         { return c.header }
func (c *counted) WriteHeader(int)             {}
func (c *counted) Write(p []byte) (int, error) { c.bytes += len(p); return len(p), nil }
