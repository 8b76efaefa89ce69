package api_test

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/chunk"
	"chunkstream/event"
)

// eventually waits for something that takes no known time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(30 * time.Second); !ok(); <-look.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not in 30 s", what)
		}
	}
}

// TestSlowReaders: a client that takes nothing of its answer is cut off, so that it holds no goroutine and no memory, and one
// that reads slowly gets all of it.
func TestSlowReaders(t *testing.T) {
	s := idle(t)
	api.SetWriteGrace(s.api, 200*time.Millisecond)
	text := strings.Repeat("No two sentences of this text are the same, but for most. ", 100_000) // more than sockets hold
	doc := s.submit("", text)["document_id"].(string)
	path := "/v1/documents/" + doc + "/text"
	c := s.dial()
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	eventually(t, "the end of an answer that nobody reads", func() bool {
		return strings.Contains(string(s.get("/metrics").body), `chunkstream_http_requests_total{code="200",route="GET /v1/documents/{id}/text"} 1`)
	})
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, res.Body); err == nil || n >= int64(len(text)) {
		t.Errorf("%d bytes came, %v; want a part of %d and an error", n, err, len(text))
	}
}

// TestMadeIsMade: an operation that was made is answered as made when its end cannot be waited for: an error would let it be sent
// again.
func TestMadeIsMade(t *testing.T) {
	var s *server
	alter := func(text string) {
		db, err := sql.Open("sqlite", "file:"+s.path+"?_pragma=busy_timeout(10000)")
		if err == nil {
			_, err = db.ExecContext(s.base, text)
			err = errors.Join(err, db.Close())
		}
		if err != nil {
			t.Error(err)
		}
	}
	s = idle(t, func(c *api.Config) {
		publish := c.Publish
		c.Publish = func(e event.Owned) {
			publish(e)
			alter(`ALTER TABLE operations RENAME TO elsewhere`)
		}
	})
	a := s.post("/v1/operations?wait=20", "One. Two.")
	alter(`ALTER TABLE elsewhere RENAME TO operations`)
	if a.status != http.StatusAccepted || a.str(t, "status") != "queued" {
		t.Fatalf("got %d %s, want 202", a.status, a.body)
	}
	if !strings.Contains(s.log.String(), "not waited for") {
		t.Error("the log does not say why the answer came early")
	}
	if a := s.get("/v1/operations/" + a.str(t, "id")); a.status != http.StatusOK {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

// damage changes the database under the service.
func (s *server) damage(text string) {
	s.t.Helper()
	db, err := sql.Open("sqlite", "file:"+s.path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	res, err := db.ExecContext(s.base, text)
	if err != nil {
		s.t.Fatal(err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		s.t.Fatalf("%s changed %d rows, %v", text, n, err)
	}
}

// TestDamage: what was damaged in the database is answered with a problem that says so, and the log says of what it is and
// where; nothing of it is given out, and what is whole is.
func TestDamage(t *testing.T) {
	s := start(t)
	text := strings.Repeat("One more line here.\n", 20)
	op := s.submit("?chunk_size=40&wait=20", text)
	if op["status"] != "completed" {
		t.Fatalf("got %v", op)
	}
	id, doc := op["id"].(string), op["document_id"].(string)
	for _, wrong := range []string{"end_byte = 1099511627776", "end_byte = -7", "start_char = -1", "facts = -1"} {
		s.damage(`UPDATE chunks SET facts = 0, start_char = 0, end_char = 10, start_byte = 0, end_byte = 10 WHERE idx = 1`)
		s.damage(`UPDATE chunks SET ` + wrong + ` WHERE idx = 1`)
		for _, path := range []string{"/chunks", "/chunks?text=false", "/chunks/1", "/chunks?at_byte=5", "/download?format=jsonl", "/download?format=parquet"} {
			a := s.get("/v1/operations/" + id + path)
			wantProblem(t, wrong+" "+path, a, 500, "damaged")
			if got := a.header.Get("Content-Disposition"); got != "" {
				t.Errorf("%s: a problem is to be saved as %s", path, got)
			}
		}
		wantProblem(t, wrong+", as lines", s.get("/v1/operations/"+id+"/chunks", "Accept: application/x-ndjson"), 500, "damaged")
		if a := s.get("/v1/operations/" + id + "/chunks/0"); a.status != 200 {
			t.Errorf("the chunk before: %d %s", a.status, a.body)
		}
		if log := s.log.String(); strings.Count(log, "damaged: "+id) != strings.Count(log, "code=damaged") {
			t.Errorf("%s: the log does not say of what: %s", wrong, log)
		}
	}
	s.damage(`DELETE FROM document_parts`)
	wantProblem(t, "no text", s.get("/v1/documents/"+doc+"/text"), 500, "damaged")
	if log := s.log.String(); !strings.Contains(log, "damaged: "+doc) {
		t.Errorf("the log does not say of what: %s", log)
	}
	again := s.post("/v1/operations?wait=20", `{"document_id":"`+doc+`"}`, "Content-Type: application/json").json(t)
	failure, _ := again["error"].(map[string]any)
	if again["status"] != "failed" || failure["code"] != "damaged" {
		t.Errorf("a run of a damaged text: %v", again)
	}
}

// TestHalfAnswers: when something fails in the middle of an answer the client can tell, whatever the format: the connection
// ends before the answer does.
func TestHalfAnswers(t *testing.T) {
	s := start(t)
	op := s.submit("?chunk_size=20&wait=20", strings.Repeat("One more line here.\n", 4000))
	if op["status"] != "completed" || op["chunks"].(float64) < 3500 {
		t.Fatalf("got %v", op)
	}
	s.damage(`UPDATE chunks SET start_char = 'nowhere' WHERE idx = 3000`)
	long := s.submit("", strings.Repeat("a text of several parts ", 60_000))
	s.damage(`DELETE FROM document_parts WHERE key % 65536 = 4`)
	self := "/v1/operations/" + op["id"].(string)
	cut := 0
	for _, what := range []string{
		self + "/chunks Accept: application/x-ndjson", self + "/download?format=jsonl", self + "/download?format=json", self + "/download?format=csv",
		self + "/download?format=parquet", "/v1/documents/" + long["document_id"].(string) + "/text",
		"/v1/documents/" + long["document_id"].(string) + "/text Range: bytes=1000-1300000",
	} {
		path, header, _ := strings.Cut(what, " ")
		c := s.dial()
		if header != "" {
			header += "\r\n"
		}
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", path, header)
		res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: "GET"})
		if err != nil { // nothing of it had left the server
			cut++
			c.Close()
			continue
		}
		body, err := io.ReadAll(res.Body)
		c.Close()
		if res.StatusCode < 500 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: got %d and %d bytes that end as a whole answer does (%v)", what, res.StatusCode, len(body), err)
		}
		if err != nil {
			cut++
		}
	}
	if cut < 4 {
		t.Errorf("only %d answers were cut off", cut)
	}
}

// TestClientsLeaveNothing: no goroutine waits for a client that has gone, however its stream was opened.
func TestClientsLeaveNothing(t *testing.T) {
	s := gated(t)
	k, _ := s.key("alice", auth.EveryDay, 0)
	op := "/v1/operations/" + s.post("/v1/operations", "text", bearer(k)).json(t)["id"].(string)
	ways := map[string]func() io.Closer{
		"a socket": func() io.Closer {
			socket := s.openSocket(op+"/ws", bearer(k))
			socket.next()
			return socket.c
		},
		"a socket whose first message says who it is": func() io.Closer {
			socket := s.openSocket("/v1/ws", "Sec-WebSocket-Protocol: chunkstream")
			socket.say(`{"type":"auth","token":"` + k + `"}`)
			socket.next()
			return socket.c
		},
		"SSE": func() io.Closer {
			c := s.dial()
			fmt.Fprintf(c, "GET %s/events HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", op, bearer(k))
			if text, err := bufio.NewReader(c).ReadString('}'); err != nil {
				t.Fatalf("%q, %v", text, err)
			}
			return c
		},
		"a wait for the end": func() io.Closer {
			c := s.dial()
			fmt.Fprintf(c, "GET %s?wait=20 HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", op, bearer(k))
			return c
		},
	}
	const many = 20
	for name, open := range ways {
		_ = open().Close() // what is made once for all is there now
		gone := func() bool { now := s.hub.Stats(); return now.Sockets+now.Responses == 0 }
		eventually(t, name+": gone", gone)
		http.DefaultClient.CloseIdleConnections()
		before := runtime.NumGoroutine()
		var all []io.Closer
		for range many {
			all = append(all, open())
		}
		for _, c := range all {
			_ = c.Close()
		}
		eventually(t, name+": gone", gone)
		eventually(t, name+": no goroutine for each", func() bool { return runtime.NumGoroutine() < before+many/2 })
	}
}

// TestFilesStayInside: no name in an address leads to a file of the machine.
func TestFilesStayInside(t *testing.T) {
	s := idle(t)
	up := func(n int, one, file string) string { return strings.Repeat(one, n) + file }
	for _, name := range []string{
		up(2, "..%2f", "go.mod"), up(2, "%2e%2e%2f", "go.mod"), up(2, "%2E%2E/", "go.mod"), up(2, "..%5c", "go.mod"), up(1, "%2e%2e%2f", "ui.go"),
		up(12, "%2e%2e%2f", "etc/passwd"), up(12, "%2e%2e%2f", "etc%2fpasswd"), "%2fetc%2fpasswd", "x%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fgo.mod",
		"%252e%252e%252fgo.mod", "index.html%00.js", "file:%2f%2f%2fetc%2fpasswd",
	} {
		for _, folder := range []string{"/ui/", "/docs/", "/"} {
			path := folder + name
			a := s.exchange("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			wantProblem(t, path, a, 404, "not_found")
		}
	}
}

// TestLogHasNoSecrets: whatever goes wrong with a request, what it showed to get in is not in the log.
func TestLogHasNoSecrets(t *testing.T) {
	var broken atomic.Bool
	s := gated(t, func(c *api.Config) {
		c.Parse = func(strategy string, settings []byte) (chunk.Plan, error) {
			if broken.Load() {
				panic("as the test asked")
			}
			return chunk.Parse(strategy, settings)
		}
	})
	k, _ := s.key("alice", auth.EveryDay, 0)
	for _, one := range []string{k, key} { // so that sockets have something to say
		if a := s.post("/v1/operations", "text", bearer(one)); a.status != 202 {
			t.Fatal(a.status, string(a.body))
		}
	}
	broken.Store(true)
	op := s.post("/v1/tickets", `{}`, asJSON, bearer(k))
	secrets := []string{key, k, op.str(t, "ticket"), auth.NewKey()}
	ask := func() {
		for _, secret := range secrets {
			for _, h := range [][]string{
				{bearer(secret)}, {"Authorization: Basic " + secret}, {"Authorization: " + secret},
				{"Cookie: session=" + secret},
			} {
				s.post("/v1/preview?chunk_size=77", "text", h...) // settings that nobody has given before are read
				s.get("/v1/operations", h...)
				s.get("/v1/operations/op_0/events", h...)
				s.get("/v1/nowhere?access_token="+secret, h...)
			}
			s.handshake("/v1/ws", "Sec-WebSocket-Protocol: chunkstream, access_token."+secret)
			for _, first := range []string{`{"type":"auth","token":"` + secret + `"}`, secret, `{"token":"` + secret} {
				socket := s.openSocket("/v1/ws", "Sec-WebSocket-Protocol: chunkstream")
				socket.say(first)
				socket.next()
			}
		}
	}
	ask()
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	ask()
	log := s.log.String()
	for _, want := range []string{"msg=panic", "request failed", "code=unavailable"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q, so this shows nothing", want)
		}
	}
	for _, secret := range secrets {
		if at := strings.Index(log, secret); at >= 0 {
			t.Errorf("the log has a secret: …%s…", log[max(0, at-200):min(len(log), at+len(secret)+20)])
		}
	}
}
