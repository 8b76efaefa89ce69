package redisconn

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// LatencyBounds are the upper bounds of the buckets of Stats.Latency; a last bucket holds what took longer.
func LatencyBounds() []time.Duration { return slices.Clone(bounds[:]) }

const ms = time.Millisecond

var bounds = [...]time.Duration{ms / 10, ms / 4, ms / 2, ms, 2 * ms, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 100 * ms,
	250 * ms, 500 * ms, 1000 * ms, 2500 * ms}

// Stats is what a role has done so far and how it stands; the counters only grow.
type Stats struct {
	Role    string // "commands", "blocking" or "feed"
	Up      bool   // the last thing that Redis was asked, it answered; false before the first answer
	Open    int    // connections to Redis (with Sentinel: to the master), those to be closed included
	InUse   int    // of those, held by a call; Commands shares its connections: the calls in flight, at most Open
	Idle    int    // Open less InUse
	Waiting int    // calls that wait for one of a bounded number of connections

	Dials      int64 // connections attempted
	DialErrors int64 // connections that did not come about; a refused login counts under Errors only

	Calls   int64           // calls ended, well or not, without those refused at once
	Errors  map[Class]int64 // calls that failed, by class; with those refused at once
	Retries int64           // reads that were tried a second time
	Opened  int64           // how often the breaker opened
	Latency []int64         // calls ended by bucket of LatencyBounds; for Blocking, the time waited for is in it
	Total   time.Duration   // sum of what Latency counts
}

// Quantile is the upper bound of the bucket that the q-th part (0–1) of all calls is within; 0 without calls.
func (s Stats) Quantile(q float64) time.Duration {
	var all, sum int64
	for _, n := range s.Latency {
		all += n
	}
	for i, n := range s.Latency {
		if sum += n; all > 0 && float64(sum) >= q*float64(all) {
			return bounds[min(i, len(bounds)-1)]
		}
	}
	return 0
}

// meter is the counters behind Stats.
type meter struct {
	open, inUse, waiting              atomic.Int64
	dials, dialErrors, calls, retries atomic.Int64
	opened, total                     atomic.Int64
	latency                           [len(bounds) + 1]atomic.Int64

	mu     sync.Mutex
	errors map[Class]int64
}

func (m *meter) took(d time.Duration) {
	m.calls.Add(1)
	m.total.Add(int64(d))
	i, _ := slices.BinarySearch(bounds[:], d)
	m.latency[i].Add(1)
}

func (m *meter) failed(class Class) {
	m.mu.Lock()
	m.errors[class]++
	m.mu.Unlock()
}

func (r *role) stats() Stats {
	if r == nil {
		return Stats{}
	}
	m := &r.meter
	s := Stats{
		Role: r.name, Up: r.up.Load(), Open: int(m.open.Load()), Waiting: int(m.waiting.Load()),
		Dials: m.dials.Load(), DialErrors: m.dialErrors.Load(), Calls: m.calls.Load(), Retries: m.retries.Load(),
		Opened: m.opened.Load(), Total: time.Duration(m.total.Load()),
		Latency: make([]int64, len(m.latency)), Errors: map[Class]int64{},
	}
	s.InUse = min(int(m.inUse.Load()), s.Open)
	s.Idle = s.Open - s.InUse
	for i := range m.latency {
		s.Latency[i] = m.latency[i].Load()
	}
	m.mu.Lock()
	for class, n := range m.errors {
		s.Errors[class] = n
	}
	m.mu.Unlock()
	return s
}
