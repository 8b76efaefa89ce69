package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"chunkstream/event"
	"chunkstream/secret"
	"chunkstream/store"
)

// TestSecretDoesNotPrint: what a webhook is made of shows its secret to no log.
func TestSecretDoesNotPrint(t *testing.T) {
	n := store.NewWebhook{Owner: "o", Secret: secret.New("whsec_hush")}
	var all strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&all, verb, n)
		fmt.Fprintf(&all, verb, &n)
	}
	for _, log := range []*slog.Logger{slog.New(slog.NewJSONHandler(&all, nil)), slog.New(slog.NewTextHandler(&all, nil))} {
		log.Info("made", "webhook", n, "at", &n)
	}
	b, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	all.Write(b)
	if got := all.String(); strings.Contains(got, "hush") || strings.Contains(got, "68757368") || !strings.Contains(got, "***") {
		t.Errorf("got %s", got)
	}
}

func newHook(t testing.TB, s *store.Store, whose string, everything bool, events ...event.Type) store.Webhook {
	t.Helper()
	if events == nil {
		events = []event.Type{event.Completed, event.Failed, event.Cancelled}
	}
	w, err := s.CreateWebhook(t.Context(), store.NewWebhook{Owner: whose, Name: "n", URL: "https://example.com", Secret: secret.New("whsec_1"), Events: events, Everything: everything})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func deliveries(t testing.TB, s *store.Store, w store.Webhook) []store.Delivery {
	t.Helper()
	all, err := s.Deliveries(t.Context(), w.Owner, w.ID, "", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestOutbox: with every end of an operation there is one delivery for each webhook that is to be told of it, and none else.
func TestOutbox(t *testing.T) {
	onEach(t, func(t *testing.T, on backend) {
		s := on.open(t, store.Config{})
		all, named, failures, foreign := newHook(t, s, owner, true), newHook(t, s, owner, false), newHook(t, s, owner, true, event.Failed), newHook(t, s, "bob", true)
		make := func(text, hook string) store.Operation {
			t.Helper()
			made, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Staged: stage(t, s, text), Strategy: "recursive", Settings: []byte(`{}`), SplitterVersion: version, Webhook: hook})
			if err != nil {
				t.Fatal(err)
			}
			return made.Operation
		}
		want := func(after string, counts ...int) {
			t.Helper()
			for i, w := range []store.Webhook{all, named, failures, foreign} {
				if got := deliveries(t, s, w); len(got) != counts[i] {
					t.Errorf("after %s: webhook %d has %d deliveries, want %d", after, i, len(got), counts[i])
				}
			}
		}
		completed := make("completed", named.ID)
		if completed.Webhook != named.ID {
			t.Errorf("got webhook %q", completed.Webhook)
		}
		run := claim(t, s, store.Small)
		want("a claim", 0, 0, 0, 0)
		n := run.Operation.BytesTotal
		if _, err := run.Commit(t.Context(), store.Batch{Chunks: []store.Chunk{{EndByte: n, EndChar: n}}, BytesDone: n, Last: true}); err != nil {
			t.Fatal(err)
		}
		want("a completed one", 1, 1, 0, 0)
		if _, err := run.Commit(t.Context(), store.Batch{First: 1, BytesDone: n, Last: true}); !errors.Is(err, store.ErrFenced) {
			t.Fatal(err)
		}
		want("a fenced write", 1, 1, 0, 0)
		make("failed", "")
		run = claim(t, s, store.Small)
		if _, err := run.Fail(t.Context(), event.Failure{Code: "x"}, time.Hour); err != nil {
			t.Fatal(err)
		}
		want("a failure that is tried again", 1, 1, 0, 0)
		s.MakeDue(t)
		run = claim(t, s, store.Small)
		if _, err := run.Fail(t.Context(), event.Failure{Code: "x"}, 0); err != nil {
			t.Fatal(err)
		}
		want("a failed one", 2, 1, 1, 0)
		cancelled := make("cancelled", foreign.ID)
		if _, _, err := s.Cancel(t.Context(), owner, cancelled.ID); err != nil {
			t.Fatal(err)
		}
		want("a cancelled one that names another owner's webhook", 3, 1, 1, 0)
		if op, err := s.Operation(t.Context(), owner, cancelled.ID); err != nil || op.Webhook != "" {
			t.Errorf("got webhook %q, %v", op.Webhook, err)
		}

		// One after the other is taken, and each once.
		seen := map[string]bool{}
		for range 5 {
			a, err := s.ClaimDelivery(t.Context(), time.Minute, nil)
			if err != nil || a == nil || seen[a.ID] || a.Number != 1 || a.URL == "" || !slices.Equal(revealed(a), []string{"whsec_1"}) || !a.Event.Type.Terminal() {
				t.Fatalf("got %+v, %v", a, err)
			}
			seen[a.ID] = true
		}
		if a, err := s.ClaimDelivery(t.Context(), time.Minute, nil); err != nil || a != nil {
			t.Errorf("a sixth: %+v, %v", a, err)
		}

		// What is deleted is not told of.
		if err := s.DeleteDocument(t.Context(), owner, completed.DocumentID); err != nil {
			t.Fatal(err)
		}
		want("the deletion of a document", 2, 0, 1, 0)
		for more := true; more; {
			r, err := s.Reap(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			more = r.More
		}
		if n := s.CountRows(t, "webhook_deliveries"); n != 3 {
			t.Errorf("%d rows are left", n)
		}
		if err := s.DeleteWebhook(t.Context(), owner, all.ID); err != nil {
			t.Fatal(err)
		}
		if n := s.CountRows(t, "webhook_deliveries"); n != 1 {
			t.Errorf("%d rows are left without the webhook", n)
		}
		sound(t, s, false)
	})
}

// TestOutboxOfShortTexts: what is completed in the transaction that creates it is told of too.
func TestOutboxOfShortTexts(t *testing.T) {
	onEach(t, func(t *testing.T, on backend) {
		s := on.open(t, store.Config{})
		w := newHook(t, s, owner, true)
		made, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Staged: stage(t, s, "text"), Strategy: "recursive", Settings: []byte(`{}`), SplitterVersion: version,
			Take: &store.Take{Worker: "w", Lease: lease, Chunks: []store.Chunk{{EndByte: 4, EndChar: 4}}, Done: true}})
		if err != nil || made.Operation.Status != store.Completed {
			t.Fatalf("got %+v, %v", made.Operation, err)
		}
		if got := deliveries(t, s, w); len(got) != 1 || got[0].OperationID != made.Operation.ID {
			t.Errorf("got %+v", got)
		}
		if a, err := s.ClaimDelivery(t.Context(), time.Minute, nil); err != nil || a == nil || a.Event.Type != event.Completed {
			t.Errorf("got %+v, %v", a, err)
		}
		sound(t, s, true)
	})
}

// TestDeliveriesEnd: an attempt whose time is over is fenced, one that fails comes again until a day is over, and what is
// dead can be tried again.
func TestDeliveriesEnd(t *testing.T) {
	onEach(t, func(t *testing.T, on backend) {
		s := on.open(t, store.Config{})
		w := newHook(t, s, owner, true)
		op := create(t, s, "text")
		if _, _, err := s.Cancel(t.Context(), owner, op.ID); err != nil {
			t.Fatal(err)
		}
		take := func(busy ...string) *store.Attempt {
			t.Helper()
			a, err := s.ClaimDelivery(t.Context(), time.Minute, busy)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		due := func() { s.Spoil(t, `UPDATE webhook_deliveries SET due_at = 1 WHERE state = 'pending'`) }
		end := func(a *store.Attempt, o store.Outcome, want store.DeliveryState) {
			t.Helper()
			if got, err := s.EndDelivery(t.Context(), a, o); err != nil || got != want {
				t.Fatalf("%+v: got %s, %v, want %s", o, got, err, want)
			}
		}
		if a := take(owner); a != nil {
			t.Fatalf("a busy owner's: %+v", a)
		}
		first := take("bob")
		if take() != nil {
			t.Fatal("it is taken twice")
		}
		due() // its process has died
		second := take()
		if second.ID != first.ID || second.Number != 2 {
			t.Fatalf("got %+v after %+v", second, first)
		}
		if _, err := s.EndDelivery(t.Context(), first, store.Outcome{Delivered: true}); !errors.Is(err, store.ErrFenced) {
			t.Errorf("the first attempt: got %v, want ErrFenced", err)
		}
		end(second, store.Outcome{RetryIn: time.Hour, Status: 500, Error: "500"}, store.DeliveryPending)
		if d := deliveries(t, s, w)[0]; d.Status != 500 || d.Error != "500" || d.Attempts != 2 || !d.EndedAt.IsZero() || d.DueAt.Before(time.Now().Add(time.Minute)) {
			t.Errorf("got %+v", d)
		}
		due()
		end(take(), store.Outcome{RetryIn: 25 * time.Hour, Error: "late"}, store.DeliveryDead)
		due()
		if a := take(); a != nil {
			t.Errorf("dead and taken: %+v", a)
		}
		if n, err := s.Redeliver(t.Context(), owner, w.ID); err != nil || n != 1 {
			t.Errorf("redeliver: %d, %v", n, err)
		}
		end(take(), store.Outcome{Dead: true, Status: 410}, store.DeliveryDead)
		if n, err := s.Redeliver(t.Context(), owner, w.ID); err != nil || n != 1 {
			t.Errorf("redeliver: %d, %v", n, err)
		}
		last := take()
		end(last, store.Outcome{Delivered: true, Status: 204}, store.DeliveryDelivered)
		if _, err := s.EndDelivery(t.Context(), last, store.Outcome{Dead: true}); !errors.Is(err, store.ErrFenced) {
			t.Errorf("after the end: got %v", err)
		}
		if d := deliveries(t, s, w)[0]; d.State != store.DeliveryDelivered || d.EndedAt.IsZero() || !d.DueAt.IsZero() || d.Error != "" {
			t.Errorf("got %+v", d)
		}
		if st, err := s.Stats(t.Context()); err != nil || st.Undelivered != 0 || st.Dead != 0 {
			t.Errorf("stats: %+v, %v", st, err)
		}
		// A week later nothing is left of it.
		s.Spoil(t, `UPDATE webhook_deliveries SET ended_at = 1`)
		if _, err := s.Reap(t.Context()); err != nil || len(deliveries(t, s, w)) != 0 {
			t.Errorf("after a week: %v, %v", deliveries(t, s, w), err)
		}
	})
}

// TestWebhooksOfOwners: nobody sees or changes another owner's, and there are bounds.
func TestWebhooksOfOwners(t *testing.T) {
	onEach(t, func(t *testing.T, on backend) {
		s := on.open(t, store.Config{})
		w := newHook(t, s, owner, true)
		_, read := s.Webhook(t.Context(), "bob", w.ID)
		_, rotated := s.RotateWebhook(t.Context(), "bob", w.ID, secret.New("x"), 0)
		_, listed := s.Deliveries(t.Context(), "bob", w.ID, "", "", 10)
		_, again := s.Redeliver(t.Context(), "bob", w.ID)
		for what, err := range map[string]error{"read": read, "rotate": rotated, "list": listed, "redeliver": again, "delete": s.DeleteWebhook(t.Context(), "bob", w.ID)} {
			if !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: got %v, want ErrNotFound", what, err)
			}
		}
		if all, err := s.Webhooks(t.Context(), "bob"); err != nil || len(all) != 0 {
			t.Errorf("got %v, %v", all, err)
		}
		now, err := s.RotateWebhook(t.Context(), owner, w.ID, secret.New("whsec_2"), time.Hour)
		if err != nil || !now.FormerUntil.After(time.Now()) {
			t.Errorf("rotated: %+v, %v", now, err)
		}
		op := create(t, s, "text")
		if _, _, err := s.Cancel(t.Context(), owner, op.ID); err != nil {
			t.Fatal(err)
		}
		if a, err := s.ClaimDelivery(t.Context(), time.Minute, nil); err != nil || !slices.Equal(revealed(a), []string{"whsec_2", "whsec_1"}) {
			t.Errorf("got %+v, %v", a, err)
		}
		for range store.MaxWebhooks - 1 {
			newHook(t, s, owner, false)
		}
		if _, err := s.CreateWebhook(t.Context(), store.NewWebhook{Owner: owner}); !errors.Is(err, store.ErrTooMany) {
			t.Errorf("one more: got %v", err)
		}
	})
}

// TestDeliveriesAreTakenOnce by many who take them at the same time.
func TestDeliveriesAreTakenOnce(t *testing.T) {
	onEach(t, func(t *testing.T, on backend) {
		s := on.open(t, store.Config{})
		newHook(t, s, owner, true)
		const n = 20
		for i := range n {
			op := create(t, s, fmt.Sprint(i))
			if _, _, err := s.Cancel(t.Context(), owner, op.ID); err != nil {
				t.Fatal(err)
			}
		}
		type taken struct {
			id  string
			err error
		}
		all := make(chan taken)
		for range 4 {
			go func() {
				for {
					a, err := s.ClaimDelivery(t.Context(), time.Minute, nil)
					if a == nil {
						all <- taken{"", err}
						return
					}
					all <- taken{a.ID, nil}
				}
			}()
		}
		seen := map[string]int{}
		for ended := 0; ended < 4; {
			one := <-all
			if one.err != nil {
				t.Error(one.err)
			}
			if one.id == "" {
				ended++
				continue
			}
			if seen[one.id]++; seen[one.id] > 1 {
				t.Errorf("%s is taken twice", one.id)
			}
		}
		if len(seen) > n {
			t.Errorf("%d are taken of %d", len(seen), n)
		}
		// Whoever met a lock may have left one to the next look.
		for {
			a, err := s.ClaimDelivery(t.Context(), time.Minute, nil)
			if err != nil {
				t.Fatal(err)
			}
			if a == nil {
				break
			}
			seen[a.ID]++
		}
		if len(seen) != n {
			t.Errorf("%d were taken, want %d", len(seen), n)
		}
	})
}

// revealed gives what a delivery is signed with.
func revealed(a *store.Attempt) (all []string) {
	for _, one := range a.Secrets {
		all = append(all, one.Reveal())
	}
	return all
}
