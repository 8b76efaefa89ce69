package api

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chunkstream/auth"
)

// call is what one request carries besides itself.
type call struct {
	id    string
	trace string     // id of the caller's trace; empty when none was named
	from  netip.Addr // not valid without a network
	who   auth.Principal
	// unknown is set on a WebSocket that shows nothing in its handshake: its first message has to.
	unknown bool
}

// address is from in words; empty when it is not known.
func (c *call) address() string {
	if !c.from.IsValid() {
		return ""
	}
	return c.from.String()
}

type callKey struct{}

// addressOf is where the request of a context came from, for the log.
func addressOf(ctx context.Context) string {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c.address()
	}
	return ""
}

func requestID(ctx context.Context) string {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c.id
	}
	return ""
}

// principal is whom the request speaks for. A request that did not pass the gate has none and never gets here.
func principal(ctx context.Context) auth.Principal { return ctx.Value(callKey{}).(*call).who }

// owner is whose objects the request may see.
func owner(ctx context.Context) string { return principal(ctx).Owner }

// recorder sees the status of an answer, and turns the mux's own plain-text refusals into problems.
type recorder struct {
	http.ResponseWriter
	req      *http.Request
	status   int
	replaced bool // the handler's body is not wanted: a problem has been written instead
	streams  bool // the handler bounds its writes itself
	grace    time.Duration
	extended time.Time

	packers *packers // nil: nothing is packed
	coding  string   // of the answer, once it is held or packed
	least   int      // bytes that it needs to be packed
	held    bool     // it has begun for the handler, but not for the client: it waits for least bytes or its end
	waiting []byte   // what was written while held
	encoder encoder  // while it is packed
}

// A client that takes nothing of an answer for writeGrace is cut off.
const writeGrace = 30 * time.Second

// extend moves the deadline of writes. Every answer sets one, as that of the answer before stays on the connection.
func (rec *recorder) extend() {
	if rec.streams {
		return
	}
	if now := time.Now(); now.Sub(rec.extended) > rec.grace/20 {
		rec.extended = now
		// What has no deadline has no network either, and a closed connection shows at the write.
		_ = http.NewResponseController(rec.ResponseWriter).SetWriteDeadline(now.Add(rec.grace))
	}
}

// WriteHeader begins the answer.
func (rec *recorder) WriteHeader(status int) {
	rec.extend()
	if rec.status != 0 {
		rec.ResponseWriter.WriteHeader(status) // net/http logs the mistake
		return
	}
	if rec.req.Pattern == "" && status >= 400 && rec.Header().Get("Content-Type") != problemType {
		rec.replaced = true
		p := noPage()
		if status == http.StatusMethodNotAllowed {
			p = problem("method_not_allowed", "", "%s is not allowed here", clip(rec.req.Method)).
				suggest("use " + rec.Header().Get("Allow"))
		}
		p.RequestID = requestID(rec.req.Context())
		rec.status = p.Status
		writeProblem(rec.ResponseWriter, p)
		return
	}
	if status >= 200 || status == http.StatusSwitchingProtocols {
		rec.status = status
	}
	if !rec.hold(status) {
		rec.ResponseWriter.WriteHeader(status)
	}
}

func noPage() *Problem {
	return problem("not_found", "", "there is no such page").suggest("see /docs for what there is")
}

// Write sends a piece of the answer.
func (rec *recorder) Write(p []byte) (int, error) {
	if rec.replaced {
		return len(p), nil
	}
	if rec.status == 0 {
		rec.WriteHeader(http.StatusOK)
	}
	if rec.held {
		if len(rec.waiting)+len(p) < max(rec.least, 1) {
			rec.waiting = append(rec.waiting, p...)
			return len(p), nil
		}
		rec.begin()
	}
	if rec.encoder != nil {
		return rec.encoder.Write(p)
	}
	rec.extend()
	return rec.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach deadlines.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// Flush sends what is buffered.
func (rec *recorder) Flush() {
	if rec.status == 0 {
		rec.WriteHeader(http.StatusOK)
	}
	if rec.held {
		rec.begin()
	}
	if rec.encoder != nil {
		_ = rec.encoder.Flush()
	}
	_ = http.NewResponseController(rec.ResponseWriter).Flush() // a gone client shows at the next write
}

// Hijack gives the connection away, as a WebSocket handshake needs it.
func (rec *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(rec.ResponseWriter).Hijack()
	if err == nil {
		rec.status = http.StatusSwitchingProtocols
	}
	return conn, buf, err
}

// ServeHTTP answers every request there is: each check of a request that does not depend on its route is here, in the
// order in which they happen.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	c := &call{id: requestIDOf(r), trace: traceOf(r.Header), from: clientAddress(r, a.cfg.Proxies)}
	r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
	rec := &recorder{ResponseWriter: w, req: r, grace: a.writeGrace, packers: a.packers}
	h := w.Header()
	h["X-Request-Id"] = []string{c.id}
	SecureHeaders(h)
	if r.TLS != nil {
		h["Strict-Transport-Security"] = aYear
	}
	if len(r.TransferEncoding) > 0 {
		// There may have been a Content-Length too, which net/http drops: whoever is in front may have gone by that, and
		// what follows would be a request to one of us alone (RFC 9112, section 6.3).
		h["Connection"] = closes
	}
	if r.ContentLength != 0 {
		// net/http reads the rest of a body that no handler has read, before it sends the answer. A body that is wanted
		// gets more time as it arrives.
		_ = http.NewResponseController(w).SetReadDeadline(started.Add(a.bodyGrace)) // without a network there is none
	}
	defer func() {
		thrown := recover()
		rec.drop()
		if thrown != nil && thrown != http.ErrAbortHandler {
			a.cfg.Log.LogAttrs(r.Context(), slog.LevelError, "panic", traced(r.Context(), slog.String("request_id", c.id),
				slog.String("route", r.Pattern), slog.String("address", c.address()), slog.Any("panic", thrown), slog.String("stack", string(debug.Stack())))...)
			if rec.status == 0 {
				p := problem("internal", "", "the log has the cause under this request id")
				p.RequestID = c.id
				writeProblem(rec, p)
				thrown = nil
			} else {
				thrown = http.ErrAbortHandler // the answer has begun; it must not look complete
			}
		}
		a.metrics.observe(r, rec.status, time.Since(started))
		if thrown != nil {
			panic(thrown)
		}
	}()
	if err := a.admit(rec, r, c); err != nil {
		a.fail(rec, r, err)
		return
	}
	a.mux.ServeHTTP(rec, r)
	rec.end()
}

// admit refuses what no route may see.
func (a *API) admit(w http.ResponseWriter, r *http.Request, c *call) error {
	if a.cfg.Loopback && !a.cfg.Gate.Keyed() && !LoopbackHost(r.Host) {
		// A name that an attacker points to 127.0.0.1 would make this server part of the attacker's site.
		return problem("host_not_allowed", "Host",
			"without a key this server answers to localhost, 127.0.0.0/8 and [::1] alone")
	}
	if err := a.origin.Check(r); err != nil {
		return problem("cross_origin", "Origin", "a page of another origin may not change anything here")
	}
	if err := a.authorise(w, r, c); err != nil {
		return err
	}
	// The mux would redirect a path with empty, . or .. segments to what they lead to; here they are just not found.
	if p := r.URL.EscapedPath(); strings.Contains(p, "//") || strings.Contains(p, "/.") {
		return noPage()
	}
	return nil
}

// LoopbackHost reports whether a Host header names this machine itself.
func LoopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() && ip.Zone() == ""
}

// sameOrigin checks the Origin of a WebSocket handshake, which no browser keeps to its own origin by itself
// (RFC 6455, section 10.2). No Origin at all means that it is not a browser.
func sameOrigin(r *http.Request) error {
	switch origins := r.Header["Origin"]; len(origins) {
	case 0:
		return nil
	case 1:
		scheme, host, ok := strings.Cut(origins[0], "://")
		if ok && (scheme == "http" || scheme == "https") && host != "" && strings.EqualFold(host, r.Host) {
			return nil
		}
	}
	return problem("cross_origin", "Origin", "a page of another origin may not open a socket here")
}

// The headers that every answer has. Pages with more freedom say so themselves.
var (
	noSniff    = []string{"nosniff"}
	noReferrer = []string{"no-referrer"}
	aYear      = []string{"max-age=31536000"} // on TLS (RFC 6797)
	noContent  = []string{nothingCSP}
	ownOrigin  = []string{"same-origin"}
	noStore    = []string{"no-store"}
	closes     = []string{"close"}
)

// nothingCSP is for what is no page: nothing in it may be loaded, run or shown in another page.
const nothingCSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// SecureHeaders gives an answer the headers that every answer of the program has: nothing in it is run, shown inside of
// another page, guessed at or kept.
func SecureHeaders(h http.Header) {
	h["X-Content-Type-Options"] = noSniff
	h["Referrer-Policy"] = noReferrer
	h["Content-Security-Policy"] = noContent
	h["Cross-Origin-Opener-Policy"] = ownOrigin
	h["Cross-Origin-Resource-Policy"] = ownOrigin
	h["Cache-Control"] = noStore
}

// requestIDOf takes the client's X-Request-Id if it is 1 to 128 letters, digits and -_.: characters, and makes one
// otherwise, so that nobody writes lines into the log.
func requestIDOf(r *http.Request) string {
	if ids := r.Header["X-Request-Id"]; len(ids) == 1 && wellFormed(ids[0], 128, "-_.:") {
		return ids[0]
	}
	return "req_" + rand.Text()
}

// traceOf gives the id of the trace that a request belongs to (W3C Trace Context, section 3.2.2): 32 lower-case hex digits,
// or nothing where there is none that is well-formed.
func traceOf(h http.Header) string {
	values := h["Traceparent"]
	if len(values) != 1 {
		return ""
	}
	parts := strings.Split(values[0], "-")
	if len(parts) < 4 || parts[0] == "00" && len(parts) > 4 || parts[0] == "ff" {
		return ""
	}
	for i, digits := range []int{2, 32, 16, 2} {
		if len(parts[i]) != digits || strings.Trim(parts[i], "0123456789abcdef") != "" || i > 0 && i < 3 && strings.Trim(parts[i], "0") == "" {
			return ""
		}
	}
	return parts[1]
}

// traced adds the request's trace, if it has one, to what the log says of it.
func traced(ctx context.Context, attrs ...slog.Attr) []slog.Attr {
	if c, ok := ctx.Value(callKey{}).(*call); ok && c.trace != "" {
		attrs = append(attrs, slog.String("trace_id", c.trace))
	}
	return attrs
}

// wellFormed reports whether s is 1 to limit letters, digits and characters of more.
func wellFormed(s string, limit int, more string) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return true
}

// clip shortens what a client sent to what an answer or a log line may repeat.
func clip(s string) string {
	const most = 64
	s = strings.ToValidUTF8(s, "\uFFFD")
	n := 0
	for i := range s {
		if n++; n > most {
			return s[:i] + "…"
		}
	}
	return s
}

// metrics counts requests by route pattern, never by path.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	refused  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chunkstream_http_requests_total", Help: "HTTP requests by route pattern and status.",
		}, []string{"route", "code"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chunkstream_refused_total",
			Help: "Requests that showed something which does not open (unauthenticated), may not do that (forbidden), or was not looked at after too many failures (too_many).",
		}, []string{"reason"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "chunkstream_http_request_duration_seconds",
			Help:    "Time to answer, by route pattern; streams and requests with wait included.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30},
		}, []string{"route"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.refused} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("api: register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) observe(r *http.Request, status int, took time.Duration) {
	route := r.Pattern
	if route == "" {
		route = "none"
	}
	if status == 0 {
		status = http.StatusOK
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}
