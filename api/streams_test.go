package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"chunkstream/api"
	"chunkstream/event"
)

var wsHeaders = []string{
	"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
}

// stream opens SSE and gives its events as they come; it ends with the test.
func (s *server) stream(path string, headers ...string) (*http.Response, func() event.Event) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.base, "GET", s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { res.Body.Close() })
	lines := bufio.NewReader(res.Body)
	return res, func() event.Event {
		s.t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				s.t.Fatalf("%s: %v", path, err)
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				var e event.Event
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					s.t.Fatalf("%s: %q: %v", path, data, err)
				}
				return e
			}
		}
	}
}

func TestOperationEvents(t *testing.T) {
	s := start(t)
	op := s.submit("?chunk_size=20&wait=20", sample)
	path := op["links"].(map[string]any)["events"].(string)
	res, next := s.stream(path + "?since=0")
	for header, want := range map[string]string{"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"} {
		if got := res.Header.Get(header); got != want {
			t.Errorf("%s: got %q, want %q", header, got, want)
		}
	}
	for seq := int64(1); ; seq++ {
		e := next()
		if e.Seq != seq || e.OperationID != op["id"] {
			t.Fatalf("got event %d %s of %s, want %d", e.Seq, e.Type, e.OperationID, seq)
		}
		if e.Type.Terminal() {
			if float64(seq) != op["seq"] || e.Type != event.Completed {
				t.Errorf("ended with %d %s, want %v completed", seq, e.Type, op["seq"])
			}
			break
		}
	}
	_, next = s.stream(path)
	if e := next(); e.Type != event.Snapshot || float64(e.Data.Seq) != op["seq"] || e.Data.Status != "completed" {
		t.Errorf("without a position: got %+v, want a snapshot", e)
	}
	// A position from the future is answered with the state, not with an error.
	res, next = s.stream(path, "Last-Event-ID: 1000000")
	if e := next(); res.StatusCode != 200 || e.Type != event.Resync || e.Data.Status != "completed" {
		t.Errorf("from the future: got %d %+v, want 200 and a resync", res.StatusCode, e)
	}
	if a := s.get(path, "Last-Event-ID: "+fmt.Sprint(op["seq"])); a.status != http.StatusNoContent {
		t.Errorf("after the end: got %d, want 204", a.status)
	}
	for _, bad := range []string{"abc", "-1", "1.5", "99999999999999999999"} {
		wantProblem(t, bad, s.get(path, "Last-Event-ID: "+bad), 422, "invalid_value")
	}
}

func TestAllEvents(t *testing.T) {
	s := idle(t)
	first := s.submit("", sample)
	_, next := s.stream("/v1/events")
	if e := next(); e.Type != event.Snapshot || e.OperationID != first["id"] {
		t.Fatalf("got %+v, want a snapshot of %v", e, first["id"])
	}
	second := s.submit("", "another text")
	if e := next(); e.Type != event.Queued || e.OperationID != second["id"] || e.Seq != 1 {
		t.Errorf("got %+v, want event 1 of %v", e, second["id"])
	}
	s.post("/v1/operations/"+first["id"].(string)+"/cancel", "")
	if e := next(); e.Type != event.Cancelled || e.OperationID != first["id"] || e.Seq != 2 {
		t.Errorf("got %+v, want the end of %v", e, first["id"])
	}
}

// handshake opens a WebSocket by hand, so that nothing checks it but the server.
func (s *server) handshake(path string, headers ...string) answer {
	s.t.Helper()
	c := s.dial()
	s.t.Cleanup(func() { c.Close() })
	host := strings.TrimPrefix(s.url, "http://")
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n", path, host, strings.Join(append(headers, wsHeaders...),
		"\r\n"))
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: "GET"})
	if err != nil {
		s.t.Fatal(err)
	}
	a := answer{status: res.StatusCode, header: res.Header}
	if res.StatusCode != http.StatusSwitchingProtocols {
		if a.body, err = io.ReadAll(res.Body); err != nil {
			s.t.Fatal(err)
		}
	}
	return a
}

func TestSockets(t *testing.T) {
	s := idle(t)
	op := s.submit("", sample)
	path := op["links"].(map[string]any)["ws"].(string)
	host := strings.TrimPrefix(s.url, "http://")
	for _, p := range []string{path, path + "?since=0", "/v1/ws"} {
		if a := s.handshake(p); a.status != http.StatusSwitchingProtocols {
			t.Errorf("%s: got %d %s", p, a.status, a.body)
		}
		if a := s.handshake(p, "Origin: http://"+host); a.status != http.StatusSwitchingProtocols {
			t.Errorf("%s from our own page: got %d %s", p, a.status, a.body)
		}
		for _, origin := range []string{"http://evil.example", "null", "http://" + host + ".evil.example",
			"http://localhost:1"} {
			wantProblem(t, p+" from "+origin, s.handshake(p, "Origin: "+origin), 403, "cross_origin")
		}
		a := s.get(p)
		wantProblem(t, p+" without a handshake", a, 426, "upgrade_required")
		if got := a.header.Get("Upgrade"); got != "websocket" {
			t.Errorf("%s: got Upgrade %q", p, got)
		}
	}
	wantProblem(t, "since", s.handshake(path+"?since=x"), 422, "invalid_value")
	wantProblem(t, "unknown", s.handshake("/v1/operations/op_1/ws"), 404, "not_found")
	wantProblem(t, "no key", s.get(path, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"), 400,
		"invalid_request")
}

// TestSocketKey: a browser sends its key as a subprotocol, and drops the connection unless the answer names one.
func TestSocketKey(t *testing.T) {
	s := idle(t, keyed(t), func(c *api.Config) { c.Loopback = false })
	for what, tt := range map[string]struct {
		headers []string
		status  int
		echo    string
	}{
		"none":      {nil, 401, ""},
		"not yet":   {[]string{"Sec-WebSocket-Protocol: chunkstream"}, 101, "chunkstream"}, // its first message has to say who it is
		"wrong":     {[]string{"Sec-WebSocket-Protocol: chunkstream, access_token.wrong"}, 401, ""},
		"header":    {[]string{"Authorization: Bearer " + key}, 101, ""},
		"protocol":  {[]string{"Sec-WebSocket-Protocol: chunkstream, access_token." + key}, 101, "chunkstream"},
		"key first": {[]string{"Sec-WebSocket-Protocol: access_token." + key + ", chunkstream"}, 101, "chunkstream"},
	} {
		a := s.handshake("/v1/ws", tt.headers...)
		if got := a.header.Get("Sec-WebSocket-Protocol"); a.status != tt.status || got != tt.echo {
			t.Errorf("%s: got %d and protocol %q, want %d and %q", what, a.status, got, tt.status, tt.echo)
		}
	}
	wantProblem(t, "in the URL", s.handshake("/v1/ws?access_token="+key), 401, "unauthenticated")
}
