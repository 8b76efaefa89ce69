package redisconn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func splitLines(s string) []string { return strings.Split(strings.ReplaceAll(s, "\r", ""), "\n") }

// heard is what a Feed under test delivered.
type heard struct {
	mu       sync.Mutex
	messages []string
	gaps     int
}

func (h *heard) handler() FeedHandler {
	return FeedHandler{
		Message: func(channel, payload string) {
			h.mu.Lock()
			h.messages = append(h.messages, channel+"="+payload)
			h.mu.Unlock()
		},
		Gap: func() {
			h.mu.Lock()
			h.gaps++
			h.mu.Unlock()
		},
	}
}

func (h *heard) has(gaps int, messages ...string) func() error {
	return func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if got := strings.Join(h.messages, " "); h.gaps != gaps || got != strings.Join(messages, " ") {
			return fmt.Errorf("%d gaps and messages %q, want %d and %q", h.gaps, got, gaps, messages)
		}
		return nil
	}
}

// running runs a Feed until the test ends.
func running(t testing.TB, f *Feed) *heard {
	h := &heard{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx, h.handler()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) && !errors.Is(err, ErrClosed) {
			t.Errorf("Run: got %v", err)
		}
	})
	return h
}

func TestFeed(t *testing.T) {
	s := redis(t)
	conns := open(t, Config{URL: s.url()})
	c, f, ctx := conns.Commands, conns.Feed, t.Context()
	up(t, c)
	wants(t, "Subscribe before Run", f.Subscribe(ctx, "early"), ClassUnavailable, true)
	h := running(t, f)
	eventually(t, 5*time.Second, "the first connection is a gap", h.has(1))
	if err := f.Subscribe(ctx, "late"); err != nil {
		t.Fatal(err)
	}
	for _, channel := range []string{"early", "late", "other"} {
		want := int64(1)
		if channel == "other" {
			want = 0
		}
		if n := must[int64](t)(c.Publish(ctx, channel, "1")); n != want {
			t.Errorf("%s: %d listeners, want %d", channel, n, want)
		}
	}
	eventually(t, 5*time.Second, "both messages", h.has(1, "early=1", "late=1"))

	s.do("CLIENT", "KILL", "TYPE", "pubsub")
	eventually(t, 5*time.Second, "the lost connection is a gap", h.has(2, "early=1", "late=1"))
	must[int64](t)(c.Publish(ctx, "late", "2"))
	eventually(t, 5*time.Second, "it listens again by itself", h.has(2, "early=1", "late=1", "late=2"))

	if err := f.Unsubscribe(ctx, "late"); err != nil {
		t.Fatal(err)
	}
	if n := must[int64](t)(c.Publish(ctx, "late", "3")); n != 0 {
		t.Errorf("after Unsubscribe: %d listeners", n)
	}
	if st := f.State(); !st.Connected || st.Channels != 1 || st.Messages != 3 || st.Gaps != 2 {
		t.Errorf("State: got %+v", st)
	}
	wants(t, "a second Run", f.Run(ctx, h.handler()), ClassRefused, true)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wants(t, "Subscribe after Close", f.Subscribe(ctx, "x"), ClassClosed, true)
	wants(t, "Run after Close", f.Run(ctx, h.handler()), ClassClosed, true)
}

// TestFeedIsOneConnection: thousands of channels, changed by many goroutines, with the connection killed meanwhile.
func TestFeedIsOneConnection(t *testing.T) {
	s := redis(t)
	conns := open(t, Config{URL: s.url()})
	f := conns.Feed
	up(t, conns.Commands)
	h := running(t, f)
	eventually(t, 5*time.Second, "connected", h.has(1))
	const people, each = 20, 50
	var wg sync.WaitGroup
	for p := range people {
		wg.Go(func() {
			for i := range each {
				_ = f.Subscribe(t.Context(), fmt.Sprintf("c%d-%d", p, i), "shared")
				if i%2 == 0 {
					_ = f.Unsubscribe(t.Context(), fmt.Sprintf("c%d-%d", p, i), "shared")
				}
			}
		})
	}
	for range 3 {
		_, _ = s.cli("CLIENT", "KILL", "TYPE", "pubsub")
	}
	wg.Wait()
	eventually(t, 10*time.Second, "Redis and the Feed agree on the channels", func() error {
		want := people*each/2 + 1
		got := len(splitLines(s.do("PUBSUB", "CHANNELS")))
		if st := f.State(); !st.Connected || st.Channels != want || got != want {
			return fmt.Errorf("Redis knows %d channels, the Feed %+v, want %d", got, st, want)
		}
		return nil
	})
	if n := s.named()["chunkstream-feed"]; n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
