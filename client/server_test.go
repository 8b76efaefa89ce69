package client_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/client"
	"chunkstream/dispatch"
	"chunkstream/event"
	"chunkstream/live"
	"chunkstream/secret"
	"chunkstream/store"
	"chunkstream/worker"
)

const key = "a-key-of-some-length-for-the-tests-of-the-client"

// realServer runs the service in this process, without a worker until work is called, and gives a client of it.
func realServer(t *testing.T) (c *client.Client, work func()) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "test.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	hub := live.NewHub(api.LiveSource(db), live.Config{})
	run(t, hub.Run)
	gate, err := auth.New(auth.Config{StaticKey: secret.New(key)})
	if err != nil {
		t.Fatal(err)
	}
	var wake dispatch.Memory
	handler, err := api.New(api.Config{
		Store: db, Hub: hub, Wake: func(l store.Lane, id string) { wake.Wake(string(l), id) },
		Publish: hub.Publish, Gate: gate,
		Version: "test", Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		Ready: func(context.Context) api.Readiness { return api.Readiness{OK: true} },
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	t.Cleanup(func() {
		if err := hub.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	c, err = client.New(server.URL, client.Options{APIKey: key, HTTP: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return c, func() {
		w, err := worker.New(worker.Config{
			Store: db, Publish: hub.Publish, Woken: func(l store.Lane) <-chan struct{} { return wake.Woken(string(l)) },
		})
		if err != nil {
			t.Fatal(err)
		}
		run(t, w.Run)
	}
}

// run keeps a loop going until the test ends, and waits for it.
func run(t *testing.T, loop func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- loop(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestWholeJob takes one document through every method of the client.
func TestWholeJob(t *testing.T) {
	c, work := realServer(t)
	ctx := t.Context()
	text := strings.Repeat("Ein Satz mit Umlauten: äöü. ", 4000)
	submission := func() client.Submission {
		return client.Submission{
			Text: strings.NewReader(text), Name: "sätze.txt", Strategy: "fixed_size",
			Settings: url.Values{"chunk_size": {"100"}, "chunk_overlap": {"10"}}, IdempotencyKey: "once",
		}
	}
	op, err := c.Submit(ctx, submission())
	if err != nil || op.Status != "queued" || op.Name != "sätze.txt" || op.BytesTotal != int64(len(text)) {
		t.Fatalf("Submit: got %+v, %v", op, err)
	}
	if again, err := c.Submit(ctx, submission()); err != nil || again.ID != op.ID {
		t.Errorf("Submit again under the same key: got %s, %v, want %s", again.ID, err, op.ID)
	}
	other, err := c.Submit(ctx, client.Submission{Text: strings.NewReader("another text")})
	if err != nil {
		t.Fatal(err)
	}
	if other, err = c.Cancel(ctx, other.ID); err != nil || other.Status != "cancelled" {
		t.Errorf("Cancel: got %s, %v", other.Status, err)
	}

	type heard struct {
		name   string
		events []event.Event
	}
	watching, streams := make(chan string), make(chan heard)
	for name, events := range map[string]func(func(event.Event, error) bool){
		"WebSocket": c.Watch(ctx, op.ID, client.FromNow), "SSE": c.WatchSSE(ctx, op.ID, client.FromNow),
		"all": c.WatchAll(ctx),
	} {
		go func() {
			h := heard{name: name}
			for e, err := range events {
				if err != nil {
					t.Errorf("%s: %v", name, err)
					break
				}
				if h.events = append(h.events, e); len(h.events) == 1 {
					watching <- name
				}
				if e.Type.Terminal() {
					break
				}
			}
			streams <- h
		}()
	}
	for range 3 {
		<-watching
	}
	work()
	for range 3 {
		h := <-streams
		last := h.events[len(h.events)-1]
		if h.events[0].Type != event.Snapshot || h.events[0].Data.Seq != 1 || last.Type != event.Completed {
			t.Errorf("%s: got %v to %v, want a snapshot to completed", h.name, h.events[0], last)
		}
	}
	if op, err = c.Operation(ctx, op.ID, 0); err != nil || !op.Final() || op.Status != "completed" {
		t.Fatalf("Operation: got %+v, %v", op, err)
	}
	replayed := heardTypes(t, c.WatchSSE(ctx, op.ID, 0))
	if !strings.HasPrefix(replayed, "queued started") || !strings.HasSuffix(replayed, "completed") {
		t.Errorf("replay: got %s", replayed)
	}
	if past := heardTypes(t, c.Watch(ctx, op.ID, op.Seq)); past != "" {
		t.Errorf("from the last event on: got %s", past)
	}

	body, err := c.DocumentText(ctx, op.DocumentID)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil || string(got) != text {
		t.Errorf("DocumentText: got %d bytes, %v, want the %d that were sent", len(got), err, len(text))
	}
	preview, err := c.Preview(ctx, text, "fixed_size", submission().Settings, 3)
	if err != nil || len(preview) != 3 {
		t.Fatalf("Preview: got %d chunks, %v, want 3", len(preview), err)
	}
	n, end := int64(0), int64(0)
	for chunk, err := range c.Chunks(ctx, op.ID) {
		if err != nil {
			t.Fatal(err)
		}
		if chunk.Index != n || chunk.StartByte > end || chunk.Text != text[chunk.StartByte:chunk.EndByte] {
			t.Fatalf("chunk %d: got %+v", n, chunk)
		}
		if n < 3 && !reflect.DeepEqual(chunk, preview[n]) {
			t.Errorf("chunk %d: got %+v, previewed was %+v", n, chunk, preview[n])
		}
		n, end = n+1, chunk.EndByte
	}
	if n != op.Chunks || end != int64(len(text)) {
		t.Errorf("got %d chunks up to byte %d, want %d up to %d", n, end, op.Chunks, len(text))
	}

	retried, err := c.Retry(ctx, op.ID)
	if err != nil || retried.RetryOf != op.ID {
		t.Fatalf("Retry: got %+v, %v", retried, err)
	}
	if retried, err = c.Operation(ctx, retried.ID, 30*time.Second); err != nil || retried.Chunks != op.Chunks {
		t.Errorf("the retried one: got %d chunks, %v, want %d", retried.Chunks, err, op.Chunks)
	}
	var completed []string
	for o, err := range c.Operations(ctx, "completed") {
		if err != nil {
			t.Fatal(err)
		}
		completed = append(completed, o.ID)
	}
	if len(completed) != 2 || completed[0] != retried.ID || completed[1] != op.ID {
		t.Errorf("Operations: got %v, want %s and %s", completed, retried.ID, op.ID)
	}

	doc, err := c.Document(ctx, op.DocumentID)
	if err != nil || doc.ID != op.DocumentID || doc.Bytes != int64(len(text)) || len(doc.SHA256) != 64 {
		t.Errorf("Document: got %+v, %v", doc, err)
	}
	if err := c.DeleteDocument(ctx, doc.ID); err != nil {
		t.Errorf("DeleteDocument: %v", err)
	}
	var gone *client.Problem
	if _, err := c.Document(ctx, doc.ID); !errors.As(err, &gone) || gone.Status != 404 {
		t.Errorf("the deleted document: got %v, want 404", err)
	}
	if err := c.DeleteDocument(ctx, doc.ID); !errors.As(err, &gone) || gone.Status != 404 {
		t.Errorf("deleted twice: got %v, want 404", err)
	}
}

func heardTypes(t *testing.T, events func(func(event.Event, error) bool)) string {
	t.Helper()
	var types []string
	for e, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		types = append(types, string(e.Type))
	}
	return strings.Join(types, " ")
}

// TestOperationsPages: a list longer than a page is given whole, and one that is not read to its end asks no further.
func TestOperationsPages(t *testing.T) {
	c, _ := realServer(t)
	const many = 203
	for range many {
		if _, err := c.Submit(t.Context(), client.Submission{Text: strings.NewReader("one text")}); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for op, err := range c.Operations(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		seen[op.ID] = true
	}
	if len(seen) != many {
		t.Errorf("got %d operations, want %d", len(seen), many)
	}
}

// TestRefusals: every way of calling gives the server's own problem.
func TestRefusals(t *testing.T) {
	c, _ := realServer(t)
	ctx := t.Context()
	var broken client.Submission
	broken.Text, broken.Settings = strings.NewReader("text"), url.Values{"chunk_sise": {"3"}}
	for name, try := range map[string]func() error{
		"422 unknown_field": func() error { _, err := c.Submit(ctx, broken); return err },
		"422 empty_document": func() error {
			_, err := c.Submit(ctx, client.Submission{Text: strings.NewReader("")})
			return err
		},
		"404 not_found":        func() error { _, err := c.Retry(ctx, "op_nobody"); return err },
		"404 not_found ":       func() error { return last(c.Watch(ctx, "op_nobody", 0)) },
		"404 not_found (SSE)":  func() error { return last(c.WatchSSE(ctx, "../x", 0)) },
		"404 not_found (text)": func() error { _, err := c.DocumentText(ctx, "doc_*"); return err },
	} {
		p, want := (*client.Problem)(nil), strings.Fields(name)[1]
		if err := try(); !errors.As(err, &p) || p.Code != want || p.RequestID == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	failing := io.MultiReader(strings.NewReader("some text"), failingReader{})
	if _, err := c.Submit(ctx, client.Submission{Text: failing}); !errors.Is(err, errReading) {
		t.Errorf("a text that cannot be read: got %v, want the reader's error", err)
	}
	for range c.Operations(ctx, "") {
		t.Error("something was created by what was refused")
	}
}

var errReading = errors.New("the disk is gone")

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errReading }

func last(events func(func(event.Event, error) bool)) (err error) {
	for _, err = range events {
		continue
	}
	return err
}
