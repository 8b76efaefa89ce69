package api

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/semaphore"
)

// Answers of text and JSON are packed while they are written, with the coding that the client likes best of zstd and gzip
// (RFC 9110, section 12.5.3). An answer that fails in the middle never gets the end of its packed form: who unpacks it sees
// that it is not whole, as who reads it unpacked does.
const (
	// leastPacked is how many bytes an answer has at least that is packed: what fits into a packet or two arrives no sooner.
	leastPacked = 2 << 10
	// packersAtOnce bounds the memory of encoders, about 1 MiB each; beyond that answers go out as they are.
	packersAtOnce = 32
)

// encoder is what packs one answer, of gzip or zstd.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// packers are the encoders of a process.
type packers struct {
	idle map[string]*sync.Pool // by coding
	free *semaphore.Weighted
}

func newPackers() *packers {
	return &packers{free: semaphore.NewWeighted(packersAtOnce), idle: map[string]*sync.Pool{
		"gzip": {New: func() any {
			z, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
			if err != nil {
				panic(err) // a level that there is
			}
			return z
		}},
		"zstd": {New: func() any {
			// One goroutine, the request's own; a window that browsers take (RFC 9659) and that costs little.
			z, err := zstd.NewWriter(io.Discard, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
				zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
			if err != nil {
				panic(err) // options that there are
			}
			return z
		}},
	}}
}

// take gives an encoder that writes to w, or nil while too many are in use.
func (p *packers) take(coding string, w io.Writer) encoder {
	if !p.free.TryAcquire(1) {
		return nil
	}
	e := p.idle[coding].Get().(encoder)
	e.Reset(w)
	return e
}

// put takes an encoder back, whether it came to its end or not.
func (p *packers) put(coding string, e encoder) {
	e.Reset(io.Discard) // without a word of what is left in it
	p.idle[coding].Put(e)
	p.free.Release(1)
}

// What an answer may be packed with, what gets smaller first; they cost about the same.
var (
	codings   = []string{"zstd", "gzip"}
	gzipAlone = codings[1:]
)

// codingOf gives the one of the codings offered that an answer of size bytes is to have, or "" for none. Where size is not known
// it is negative, and the second result is how many bytes the answer needs to be worth it. Of those liked equally well the
// first is taken; none is the last choice, unless it is said to be liked better.
func codingOf(accept []string, size int64, offered []string) (coding string, least int) {
	if len(accept) == 0 {
		return "", 0
	}
	best := 0.0
	for _, name := range offered {
		if q := liking(accept, name, 0); q > best {
			coding, best = name, q
		}
	}
	none := liking(accept, "identity", -1)
	least = leastPacked
	if none == 0 {
		least = 0 // it must not go out as it is
	}
	if coding == "" || none > best || size >= 0 && size < int64(least) {
		return "", least
	}
	return coding, least
}

// liking is the weight that Accept-Encoding gives a coding, by its name or else by *; otherwise where it says nothing. That
// other codings are liked says nothing of identity, unless * refuses all the rest.
func liking(accept []string, coding string, otherwise float64) float64 {
	any, identity := -1.0, coding == "identity"
	for _, line := range accept {
		for part := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(part, ";")
			name = strings.TrimSpace(name)
			q, ok := quality(params)
			switch {
			case !ok:
			case strings.EqualFold(name, coding), coding == "gzip" && strings.EqualFold(name, "x-gzip"): // the same (RFC 9110, section 8.4.1.3)
				return q
			case name == "*" && (!identity || q == 0):
				any = q
			}
		}
	}
	if any >= 0 {
		return any
	}
	return otherwise
}

// quality reads the weight among the parameters of a member (RFC 9110, section 12.4.2): 1 without one. What is no weight is
// passed over with its member.
func quality(params string) (float64, bool) {
	if params == "" {
		return 1, true
	}
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		return q, err == nil && q >= 0 && q <= 1
	}
	return 1, true
}

// variant is the ETag of what has tag when it is packed: a strong one names the bytes that are sent (RFC 9110, section
// 8.8.3.3).
func variant(tag, coding string) string {
	if coding == "" {
		return tag
	}
	return strings.TrimSuffix(tag, `"`) + "-" + coding + `"`
}

// packable reports whether an answer that begins so may be packed at all: a whole one, of a type that gets smaller by it, that
// nobody has packed yet. A stream is not, as its events are to leave one by one; neither are parts of a text.
func (rec *recorder) packable(status int) bool {
	h := rec.Header()
	if rec.streams || rec.packers == nil || status < 200 || status >= 300 || status == http.StatusNoContent || status == http.StatusPartialContent ||
		len(h["Content-Encoding"]) > 0 || len(h["Content-Type"]) == 0 {
		return false
	}
	media, _, _ := strings.Cut(h["Content-Type"][0], ";")
	switch media {
	case "application/json", linesType, "application/sql", "text/plain", "text/csv", "text/html":
		return true
	}
	return false
}

// hold decides whether an answer that begins so is packed. true: its header goes out later.
func (rec *recorder) hold(status int) bool {
	if !rec.packable(status) {
		return false
	}
	h := rec.Header()
	vary(h)
	size := int64(-1)
	if given := h["Content-Length"]; len(given) == 1 {
		size, _ = strconv.ParseInt(given[0], 10, 64) // our own
	}
	coding, least := codingOf(rec.req.Header["Accept-Encoding"], size, codings)
	if tag := h["Etag"]; coding == "" || len(tag) == 1 && !strings.HasSuffix(tag[0], "-"+coding+`"`) {
		return false // the ETag would be of other bytes
	}
	rec.coding, rec.least, rec.held = coding, least, true
	if size >= 0 {
		rec.begin()
	}
	return true
}

var acceptEncoding = []string{"Accept-Encoding"}

// vary says that the answer depends on Accept-Encoding too.
func vary(h http.Header) {
	switch have := h["Vary"]; {
	case len(have) == 0:
		h["Vary"] = acceptEncoding
	case !strings.Contains(strings.Join(have, ","), "Accept-Encoding"):
		h["Vary"] = []string{strings.Join(have, ", ") + ", Accept-Encoding"}
	}
}

// begin sends the header that was held, of a packed answer where there is an encoder for it, and then what was held.
func (rec *recorder) begin() {
	rec.extend()
	h := rec.Header()
	rec.held = false
	if rec.req.Method != http.MethodHead {
		if rec.encoder = rec.packers.take(rec.coding, sender{rec}); rec.encoder == nil {
			if tag := h["Etag"]; len(tag) == 1 {
				h["Etag"] = []string{strings.TrimSuffix(tag[0], "-"+rec.coding+`"`) + `"`}
			}
			rec.release()
			return
		}
	}
	h["Content-Encoding"] = []string{rec.coding}
	delete(h, "Content-Length")
	delete(h, "Accept-Ranges") // ranges are of what is not packed
	rec.ResponseWriter.WriteHeader(rec.status)
	if rec.encoder != nil && len(rec.waiting) > 0 {
		_, _ = rec.encoder.Write(rec.waiting) // a gone client shows at the next write
	}
	rec.waiting = nil
}

// release sends what was held as it is.
func (rec *recorder) release() {
	rec.extend()
	rec.held = false
	rec.ResponseWriter.WriteHeader(rec.status)
	if len(rec.waiting) > 0 {
		_, _ = rec.ResponseWriter.Write(rec.waiting) // the client may be gone; there is nobody else to tell
	}
	rec.waiting = nil
}

// end ends an answer that is whole.
func (rec *recorder) end() {
	switch {
	case rec.held:
		if rec.req.Method != http.MethodHead || len(rec.waiting) > 0 { // a handler may leave out what HEAD does not show
			rec.Header()["Content-Length"] = []string{strconv.Itoa(len(rec.waiting))}
		}
		rec.release()
	case rec.encoder != nil:
		_ = rec.encoder.Close() // the client may be gone; there is nobody else to tell
	}
}

// drop gives the encoder back. Of an answer that has not ended, nothing more is sent.
func (rec *recorder) drop() {
	if rec.encoder != nil {
		rec.packers.put(rec.coding, rec.encoder)
		rec.encoder = nil
	}
}

// sender is where an encoder writes: the answer itself.
type sender struct{ rec *recorder }

func (s sender) Write(p []byte) (int, error) {
	s.rec.extend()
	return s.rec.ResponseWriter.Write(p)
}
