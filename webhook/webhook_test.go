package webhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"chunkstream/event"
	"chunkstream/secret"
	"chunkstream/store"
	"chunkstream/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const owner = "alice"

// loop lets deliveries go to this machine, where the tests' receivers are.
var loop = webhook.Policy{HTTP: true, Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}

func open(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "test.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func hook(t *testing.T, s *store.Store, url string) (store.Webhook, secret.Text) {
	t.Helper()
	signing := webhook.NewSecret()
	w, err := s.CreateWebhook(t.Context(), store.NewWebhook{Owner: owner, URL: url, Secret: signing, Everything: true,
		Events: []event.Type{event.Completed, event.Failed, event.Cancelled}})
	if err != nil {
		t.Fatal(err)
	}
	return w, signing
}

// end makes an operation that has ended.
func end(t *testing.T, s *store.Store, text string) store.Operation {
	t.Helper()
	staged, err := s.Stage(t.Context(), owner, strings.NewReader(text), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Name: "name of " + text, Staged: staged, Strategy: "recursive",
		Settings: []byte(`{}`), SplitterVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	op, _, err := s.Cancel(t.Context(), owner, made.Operation.ID)
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// run delivers until the test ends.
func run(t *testing.T, cfg webhook.Config) *webhook.Deliverer {
	t.Helper()
	cfg.Poll = 20 * time.Millisecond
	d, err := webhook.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = d.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return d
}

// until waits for what is true sooner or later.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

func delivery(t *testing.T, s *store.Store, hook string) store.Delivery {
	t.Helper()
	all, err := s.Deliveries(t.Context(), owner, hook, "", "", 10)
	if err != nil || len(all) != 1 {
		t.Fatalf("got %+v, %v, want one delivery", all, err)
	}
	return all[0]
}

// received is a delivery as a receiver got it.
type received struct {
	header http.Header
	body   []byte
}

// verify checks the signature as any library of Standard Webhooks does.
func (r received) verify(signing secret.Text) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(signing.Reveal(), "whsec_"))
	if err != nil {
		return err
	}
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "%s.%s.%s", r.header.Get("webhook-id"), r.header.Get("webhook-timestamp"), r.body)
	want := "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
	for one := range strings.FieldsSeq(r.header.Get("webhook-signature")) {
		if hmac.Equal([]byte(one), []byte(want)) {
			return nil
		}
	}
	return errors.New("no signature is right")
}

// receiver answers with what status gives for each delivery and keeps what came.
func receiver(t *testing.T, status func(n int) int) (url string, got func() []received) {
	t.Helper()
	var mu sync.Mutex
	var all []received
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender has gone
		}
		mu.Lock()
		all = append(all, received{r.Header.Clone(), body})
		n := len(all)
		mu.Unlock()
		w.Header().Set("Location", "http://127.0.0.1:1/")
		w.WriteHeader(status(n))
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []received {
		mu.Lock()
		defer mu.Unlock()
		return append([]received(nil), all...)
	}
}

func always(status int) func(int) int { return func(int) int { return status } }

// TestDelivery: what arrives is signed, says what has happened, and arrives once when it is taken.
func TestDelivery(t *testing.T) {
	s := open(t)
	url, got := receiver(t, always(204))
	w, signing := hook(t, s, url+"/path?a=b")
	d := run(t, webhook.Config{Store: s, Policy: loop, Version: "1.2"})
	op := end(t, s, "a text")
	d.Wake()
	until(t, "delivered", func() bool { return delivery(t, s, w.ID).State == store.DeliveryDelivered })
	if n := len(got()); n != 1 {
		t.Fatalf("%d arrived", n)
	}
	one := got()[0]
	if err := one.verify(signing); err != nil {
		t.Error(err)
	}
	if one.verify(webhook.NewSecret()) == nil {
		t.Error("another secret verifies it too")
	}
	if h := one.header; h.Get("Content-Type") != "application/json" || h.Get("User-Agent") != "chunkstream/1.2" || h.Get("Webhook-Id") != delivery(t, s, w.ID).ID {
		t.Errorf("got %v", h)
	}
	var m webhook.Message
	if err := json.Unmarshal(one.body, &m); err != nil || m.Type != "operation.cancelled" || m.Data.OperationID != op.ID || m.Data.DocumentID != op.DocumentID ||
		m.Data.Name != "name of a text" || m.Data.Event.Type != event.Cancelled || m.Data.Event.Seq != op.Seq || m.Timestamp.IsZero() {
		t.Errorf("got %s, %v", one.body, err)
	}
	rotated := webhook.NewSecret()
	if _, err := s.RotateWebhook(t.Context(), owner, w.ID, rotated, time.Hour); err != nil {
		t.Fatal(err)
	}
	end(t, s, "another text")
	until(t, "the second one", func() bool { return len(got()) == 2 })
	if first, second := got()[1].verify(rotated), got()[1].verify(signing); first != nil || second != nil {
		t.Errorf("after a rotation: %v, %v", first, second)
	}
}

// TestRedirects: nothing is asked of the place that an answer leads to, though it be one that an owner might have given.
func TestRedirects(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		asked := make(chan string, 10)
		inner := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Method + " " + r.URL.Path }))
		t.Cleanup(inner.Close)
		leads := httptest.NewServer(http.RedirectHandler(inner.URL+"/inside", status))
		t.Cleanup(leads.Close)
		s := open(t)
		w, _ := hook(t, s, leads.URL)
		run(t, webhook.Config{Store: s, Policy: loop, Timeout: 30 * time.Second})
		end(t, s, "a text")
		until(t, "an attempt", func() bool {
			d := delivery(t, s, w.ID)
			return d.Error != "" || d.State == store.DeliveryDelivered
		})
		if d := delivery(t, s, w.ID); d.Status != status || d.Error != "redirects are not followed" {
			t.Errorf("%d: got %+v", status, d)
		}
		if len(asked) > 0 {
			t.Errorf("%d: the place it leads to was asked %s", status, <-asked)
		}
	}
}

// TestFailedAttempts: each failure is written down in words that tell nothing of the inside, and tried again later, at 410 never.
func TestFailedAttempts(t *testing.T) {
	hanging := make(chan struct{})
	hang, _ := receiver(t, func(int) int { <-hanging; return 200 })
	t.Cleanup(func() { close(hanging) })
	closed, _ := receiver(t, always(200))
	s := open(t)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	answering := func(status int) string {
		url, _ := receiver(t, always(status))
		return url
	}
	for _, tt := range []struct {
		url, want string
		status    int
		state     store.DeliveryState
		lookup    string
	}{
		{answering(500), "the receiver answered 500", 500, store.DeliveryPending, ""},
		{answering(404), "the receiver answered 404", 404, store.DeliveryPending, ""},
		{answering(302), "redirects are not followed", 302, store.DeliveryPending, ""},
		{answering(308), "redirects are not followed", 308, store.DeliveryPending, ""},
		{answering(410), "the receiver answered 410", 410, store.DeliveryDead, ""},
		{hang, "the receiver did not answer in time", 0, store.DeliveryPending, ""},
		{"http://127.0.0.1:1", "refused: the address is not allowed", 0, store.DeliveryPending, ""},
		{strings.Replace(closed, "127.0.0.1", "127.0.0.9", 1), "the receiver cannot be reached", 0, store.DeliveryPending, ""},
		{secure.URL, "the receiver's certificate is not valid", 0, store.DeliveryPending, ""},
		{"http://name.example:8080/", "refused: the address is not allowed", 0, store.DeliveryPending, "10.0.0.1"},
		{"http://name.example:8080/", "the host name cannot be found", 0, store.DeliveryPending, "none"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			w, _ := hook(t, s, tt.url)
			cfg := webhook.Config{Store: s, Policy: loop, Timeout: 30 * time.Second}
			if tt.url == hang {
				cfg.Timeout = 100 * time.Millisecond
			}
			cfg.Lookup = func(context.Context, string) ([]netip.Addr, error) {
				if tt.lookup == "none" {
					return nil, &net.DNSError{IsNotFound: true}
				}
				return []netip.Addr{netip.MustParseAddr(tt.lookup)}, nil
			}
			run(t, cfg)
			end(t, s, tt.url+tt.want)
			until(t, tt.want, func() bool { return delivery(t, s, w.ID).Error != "" })
			if d := delivery(t, s, w.ID); d.Error != tt.want && tt.want != "the receiver cannot be reached" || d.Status != tt.status || d.State != tt.state || d.Attempts != 1 {
				t.Errorf("%s: got %+v, want %q and %d", tt.url, d, tt.want, tt.status)
			} else if d.State == store.DeliveryPending && !d.DueAt.After(time.Now().Add(time.Second)) {
				t.Errorf("%s: tried again at %v", tt.url, d.DueAt)
			}
			if err := s.DeleteWebhook(t.Context(), owner, w.ID); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOneOwnerDoesNotHoldUpOthers: an owner whose receiver hangs has only some of the attempts.
func TestOneOwnerDoesNotHoldUpOthers(t *testing.T) {
	s := open(t)
	hanging := make(chan struct{})
	hang, waiting := receiver(t, func(int) int { <-hanging; return 200 })
	open := sync.OnceFunc(func() { close(hanging) })
	t.Cleanup(open)
	hook(t, s, hang)
	for i := range 20 {
		end(t, s, fmt.Sprint("text ", i))
	}
	url, got := receiver(t, always(200))
	if _, err := s.CreateWebhook(t.Context(), store.NewWebhook{Owner: "bob", URL: url, Secret: webhook.NewSecret(), Everything: true, Events: []event.Type{event.Cancelled}}); err != nil {
		t.Fatal(err)
	}
	run(t, webhook.Config{Store: s, Policy: loop, Timeout: 30 * time.Second})
	until(t, "four hang", func() bool { return len(waiting()) == 4 })
	staged, err := s.Stage(t.Context(), "bob", strings.NewReader("his"), 100)
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.Create(t.Context(), store.NewOperation{Owner: "bob", Staged: staged, Strategy: "recursive", Settings: []byte(`{}`), SplitterVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Cancel(t.Context(), "bob", made.Operation.ID); err != nil {
		t.Fatal(err)
	}
	until(t, "the other owner's", func() bool { return len(got()) == 1 })
	if n := len(waiting()); n != 4 {
		t.Errorf("%d of one owner are under way", n)
	}
	open()
	until(t, "the rest", func() bool { return len(waiting()) == 20 })
}

// TestStop: what is under way when everything stops is due again at once.
func TestStop(t *testing.T) {
	s := open(t)
	hanging := make(chan struct{})
	hang, waiting := receiver(t, func(int) int { <-hanging; return 200 })
	t.Cleanup(func() { close(hanging) })
	w, _ := hook(t, s, hang)
	end(t, s, "text")
	d, err := webhook.New(webhook.Config{Store: s, Policy: loop})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = d.Run(ctx) })
	until(t, "under way", func() bool { return len(waiting()) == 1 })
	cancel()
	running.Wait()
	if got := delivery(t, s, w.ID); got.State != store.DeliveryPending || got.Error != "the service was stopped" || got.DueAt.After(time.Now()) {
		t.Errorf("got %+v", got)
	}
}

// TestTLS: a receiver whose certificate is good is spoken to by its name, at the address that was checked.
func TestTLS(t *testing.T) {
	s := open(t)
	arrived := make(chan string, 1)
	secure := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { arrived <- r.Host }))
	t.Cleanup(secure.Close)
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(secure.URL, "https://"))
	w, _ := hook(t, s, "https://example.com:"+port)
	run(t, webhook.Config{Store: s, Policy: webhook.Policy{Networks: loop.Networks}, TLS: &tls.Config{RootCAs: roots},
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}})
	end(t, s, "text")
	if got := <-arrived; got != "example.com:"+port {
		t.Errorf("got %s", got)
	}
	until(t, "delivered", func() bool { return delivery(t, s, w.ID).State == store.DeliveryDelivered })
}

// TestNothingSecretIsLogged: neither secrets nor addresses, which may have tokens in them, stand in the log.
func TestNothingSecretIsLogged(t *testing.T) {
	s := open(t)
	var log lockedBuffer
	url, got := receiver(t, always(500))
	w, signing := hook(t, s, url+"/token-canary?key=canary")
	run(t, webhook.Config{Store: s, Policy: loop, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	end(t, s, "text canary")
	until(t, "tried", func() bool { return len(got()) == 1 && delivery(t, s, w.ID).Error != "" })
	until(t, "logged", func() bool { return strings.Contains(log.String(), w.ID[4:]) })
	for _, canary := range []string{signing.Reveal(), signing.Reveal()[6:], "canary", url} {
		if strings.Contains(log.String(), canary) {
			t.Errorf("%q stands in the log: %s", canary, log.String())
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
