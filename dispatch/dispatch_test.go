package dispatch_test

import (
	"sync"
	"testing"

	"chunkstream/dispatch"
)

func TestWakeUpsMergeAndDoNotCross(t *testing.T) {
	t.Parallel()
	var m dispatch.Memory
	small := m.Woken("small")
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { m.Wake("small", "op_1") })
	}
	wg.Wait()
	select {
	case <-m.Woken("large"):
		t.Error("a wake-up of one lane woke another")
	default:
	}
	select {
	case <-small:
	default:
		t.Error("the wake-up is lost")
	}
	select {
	case <-small:
		t.Error("100 wake-ups were not merged into one")
	default:
	}
}
