package api

import (
	"context"
	"testing"
	"time"

	"chunkstream/store"
)

// TestFarFromLimits: far from every limit a request goes on while the queue is counted, and its end waits for the count.
func TestFarFromLimits(t *testing.T) {
	begun, proceed := make(chan bool, 1), make(chan bool)
	a := newAdmission(Limits{Total: Limit{Queued: 100}}, func(context.Context) (store.Load, error) {
		begun <- true
		<-proceed
		return store.Load{}, nil
	})
	a.counted = time.Now().Add(-time.Hour)
	leave, err := a.enter(t.Context(), "alice", 10)
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	left := make(chan bool)
	go func() { leave(); close(left) }()
	select {
	case <-left:
		t.Error("the request ended before its count did")
	default:
	}
	close(proceed)
	<-left
	if a.counting || a.all != 0 {
		t.Errorf("counting %v, %d bytes arriving, after all have left", a.counting, a.all)
	}
}
