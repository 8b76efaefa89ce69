package api_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"chunkstream/auth"
	"chunkstream/event"
	"chunkstream/store"
)

// rawSocket is a WebSocket by hand (RFC 6455), so that nothing is shared with what is tested.
type rawSocket struct {
	s *server
	c io.ReadWriteCloser
	r *bufio.Reader
}

func (s *server) openSocket(path string, headers ...string) *rawSocket {
	s.t.Helper()
	c := s.dial()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n", path, strings.TrimPrefix(s.url, "http://"),
		strings.Join(append(headers, wsHeaders...), "\r\n"))
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, &http.Request{Method: "GET"})
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		s.t.Fatalf("%s: %v, %+v", path, err, res)
	}
	return &rawSocket{s, c, r}
}

// say sends a text frame of at most 125 bytes, masked with zeros.
func (k *rawSocket) say(text string) {
	k.s.t.Helper()
	frame := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)
	if len(text) > 125 {
		frame = append([]byte{0x81, 0x80 | 126, byte(len(text) >> 8), byte(len(text)), 0, 0, 0, 0}, text...)
	}
	if _, err := k.c.Write(frame); err != nil {
		k.s.t.Fatal(err)
	}
}

// next gives the next event's JSON, or the code and reason of the close frame.
func (k *rawSocket) next() (text string, code int, reason string) {
	k.s.t.Helper()
	for {
		var head [2]byte
		if _, err := io.ReadFull(k.r, head[:]); err != nil {
			k.s.t.Fatal("the socket ended without a close frame: ", err)
		}
		n := uint64(head[1] & 0x7f)
		switch n {
		case 126:
			var long [2]byte
			_, _ = io.ReadFull(k.r, long[:]) // the body tells
			n = uint64(binary.BigEndian.Uint16(long[:]))
		case 127:
			var long [8]byte
			_, _ = io.ReadFull(k.r, long[:])
			n = binary.BigEndian.Uint64(long[:])
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(k.r, body); err != nil {
			k.s.t.Fatal(err)
		}
		switch head[0] & 0xf {
		case 1:
			return string(body), 0, ""
		case 8:
			return "", int(binary.BigEndian.Uint16(body)), string(body[2:])
		}
	}
}

// TestSessionsEnd: sockets and streams that are open when their key is revoked or expires, or their owner blocked, are closed
// within seconds, and no event comes after that; a stream by a ticket ends with the key that made it.
func TestSessionsEnd(t *testing.T) {
	s := gated(t)
	ctx := t.Context()
	ends := map[string]func(owner, id string) error{
		"revoked": func(_, id string) error { _, err := s.store.RevokeKey(ctx, id, store.Act{}); return err },
		"blocked": func(owner, _ string) error { _, err := s.store.Block(ctx, "owner", owner, "", store.Act{}); return err },
		"expired": nil,
	}
	for how, end := range ends {
		owner := "owner-" + how
		life := time.Duration(0)
		if end == nil {
			life = 3 * time.Second
		}
		k, id := s.key(owner, auth.EveryDay, life)
		op := s.post("/v1/operations", "Text of "+owner, bearer(k)).json(t)["id"].(string)
		ticket := s.post("/v1/tickets", `{}`, asJSON, bearer(k)).str(t, "ticket")
		sockets := []*rawSocket{s.openSocket("/v1/operations/"+op+"/ws", bearer(k)), s.openSocket("/v1/ws", "Sec-WebSocket-Protocol: chunkstream, access_token."+k),
			s.openSocket("/v1/ws", bearer(ticket))}
		_, nextSSE := s.stream("/v1/operations/"+op+"/events", bearer(k))
		res, err := http.DefaultClient.Do(mustRequest(t, s.url+"/v1/events", bearer(k)))
		if err != nil {
			t.Fatal(err)
		}
		for _, socket := range sockets {
			if text, code, _ := socket.next(); code != 0 || !strings.Contains(text, op) {
				t.Errorf("%s: began with %q, %d", how, text, code)
			}
		}
		if e := nextSSE(); e.Type != event.Snapshot {
			t.Errorf("%s: SSE began with %v", how, e.Type)
		}
		if end != nil {
			if err := end(owner, id); err != nil {
				t.Fatal(err)
			}
		}
		for i, socket := range sockets {
			if text, code, reason := socket.next(); code != 4401 || reason != "access has ended" {
				t.Errorf("%s: socket %d got %q, %d %q; want 4401", how, i, text, code, reason)
			}
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Errorf("%s: SSE: %v, want its end", how, err)
		}
		res.Body.Close()
		for s.get("/v1/me", bearer(k)).status != 401 { // decisions are kept for a moment
			if ctx.Err() != nil {
				t.Fatal(ctx.Err())
			}
			time.Sleep(20 * time.Millisecond)
		}
		wantProblem(t, how+": resume", s.get("/v1/operations/"+op+"/events?since=1", bearer(k)), 401, "unauthenticated")
	}
}

func mustRequest(t *testing.T, url, header string) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	name, value, _ := strings.Cut(header, ": ")
	r.Header.Set(name, value)
	return r
}

// TestFirstMessage: a socket that shows nothing in its handshake says with its first message who it is.
func TestFirstMessage(t *testing.T) {
	s := gated(t)
	k, _ := s.key("alice", auth.EveryDay, 0)
	other, _ := s.key("bob", auth.EveryDay, 0)
	lacking, _ := s.key("alice", auth.DocumentsRead, 0)
	op := s.post("/v1/operations", "Text", bearer(k)).json(t)["id"].(string)
	one := "/v1/operations/" + op + "/ws"
	message := func(key string) string { return `{"type":"auth","token":"` + key + `"}` }
	ticket := func(body string) string { return s.post("/v1/tickets", body, asJSON, bearer(k)).str(t, "ticket") }
	used := ticket(`{}`)
	const protocol = "Sec-WebSocket-Protocol: chunkstream"
	for i, want := range []int{0, 4401} {
		socket := s.openSocket(one, protocol)
		socket.say(message(used))
		if _, code, _ := socket.next(); code != want {
			t.Errorf("ticket, time %d: got %d, want %d", i+1, code, want)
		}
	}
	for _, tt := range []struct {
		path, first string
		code        int
	}{
		{one, message(k), 0}, {"/v1/ws", message(k), 0}, {one, message(key), 4404}, {one, message(other), 4404}, {"/v1/operations/op_0/ws", message(k), 4404},
		{"/v1/operations/op_0/ws", message(other), 4404}, {one, message(ticket(`{"operation_id":"` + op + `"}`)), 0},
		{"/v1/ws", message(ticket(`{"operation_id":"` + op + `"}`)), 4404}, {one, message(lacking), 4401}, {one, message(auth.NewKey()), 4401},
		{one, message(""), 4401}, {one, k, 4401}, {one, `{}`, 4401}, {one, `{"type":"auth"}`, 4401}, {one, `{"type":"hello","token":"` + k + `"}`, 4401},
		{one, `{"type":"auth","token":"` + k + `","token":"x"}`, 4401}, {one, `{"type":"auth","Token":"` + k + `"}`, 4401}, {one, "\xff", 1007},
		{one + "?access_token=" + k, "", -1},
	} {
		if tt.code < 0 { // a parameter that does not exist
			wantProblem(t, tt.path, s.get(tt.path, append(wsHeaders, protocol)...), 422, "unknown_field")
			continue
		}
		socket := s.openSocket(tt.path, protocol)
		socket.say(tt.first)
		text, code, reason := socket.next()
		if code != tt.code && (tt.code != 1007 || code != 4401) || code == 0 && !strings.Contains(text, op) {
			t.Errorf("%s %.60q: got %q, %d %q; want %d", tt.path, tt.first, text, code, reason, tt.code)
		}
	}
	wantProblem(t, "the origin first", s.get(one, append(wsHeaders, protocol, "Origin: https://evil.example")...), 403, "cross_origin")
	if strings.Contains(s.log.String(), k) {
		t.Error("the log has the key")
	}
}
