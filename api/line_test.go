package api

import (
	"context"
	"errors"
	"runtime"
	"testing"
)

// TestLine: as many go in as may, the others in the order in which they came; whoever gives up takes nobody's place.
func TestLine(t *testing.T) {
	t.Parallel()
	var l line
	var in []func()
	enter := func() {
		t.Helper()
		done, err := l.turn(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, done)
	}
	for range lineMost {
		enter()
	}
	came := make(chan int)
	wait := func(ctx context.Context, n int) <-chan error {
		t.Helper()
		before, ended := waits(&l), make(chan error, 1)
		go func() {
			done, err := l.turn(ctx, "a")
			if err == nil {
				came <- n
				done()
			}
			ended <- err
		}()
		for waits(&l) == before {
			runtime.Gosched()
		}
		return ended
	}
	first := wait(t.Context(), 1)
	gone, leave := context.WithCancel(t.Context())
	second := wait(gone, 2)
	third := wait(t.Context(), 3)
	leave()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("whoever gave up got %v", err)
	}
	if err := l.refuses("a"); err != nil {
		t.Errorf("a short line refuses: %v", err)
	}
	in[0]()
	for want := 1; want <= 3; want += 2 {
		if got := <-came; got != want {
			t.Errorf("%d came, want %d", got, want)
		}
	}
	if err := errors.Join(<-first, <-third); err != nil {
		t.Error(err)
	}
	for _, done := range in[1:] {
		done()
	}
	if l.in != 0 || len(l.waiting) != 0 {
		t.Errorf("%d are in and %d wait when all have gone", l.in, len(l.waiting))
	}
	// One owner's are refused before others', and all when the line is as long as it gets.
	for n := range lineWaiting {
		l.waiting = append(l.waiting, waiting{owner: []string{"a", "b"}[n/lineOwn]})
		for owner, want := range map[string]string{"a": "", "b": ""} {
			switch {
			case owner == "a" && n+1 >= lineOwn:
				want = "owner_limit"
			case n+1 == lineWaiting:
				want = "overloaded"
			}
			err, p := l.refuses(owner), (*Problem)(nil)
			if errors.As(err, &p) != (want != "") || p != nil && (p.Code != want || p.header.Get("Retry-After") == "") {
				t.Errorf("with %d waiting %s is told %v, want %q", n+1, owner, err, want)
			}
		}
	}
}

func waits(l *line) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// TestLineFollows: a queue that grows lets in fewer and fewer, one that does not slowly more, and a short one as many as ever.
func TestLineFollows(t *testing.T) {
	t.Parallel()
	var l line
	for _, c := range []struct {
		queued int64
		most   int
	}{
		{lineBacklog - 1, 64}, {lineBacklog, 32}, {2000, 16}, {2500, 8}, {2400, 9}, {2400, 10}, {2401, 5}, {2402, 2}, {2403, 1}, {9999, 1},
		{9000, 2}, {lineBacklog - 1, 64},
	} {
		if l.follow(c.queued); lineMost-l.fewer != c.most {
			t.Errorf("with %d queued %d may go in, want %d", c.queued, lineMost-l.fewer, c.most)
		}
	}
	// Whoever waits goes in when more may.
	l.follow(1 << 40)
	l.in = lineMost - l.fewer
	mine := make(chan struct{})
	l.waiting = append(l.waiting, waiting{turn: mine})
	l.follow(0)
	select {
	case <-mine:
	default:
		t.Error("more may go in, and whoever waits does not")
	}
}
