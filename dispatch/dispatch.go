// Package dispatch carries wake-ups: "look now". A wake-up is a hint and nothing else: it may be lost, merged or
// repeated, and whoever is woken asks the store what is due in its lane, which need not be the operation that the hint
// names. Workers poll the store as well, so a lost hint costs at most one poll interval.
package dispatch

import "sync"

// Memory carries wake-ups inside one process. The zero value is ready; it starts no goroutine. All methods may be
// called concurrently.
type Memory struct {
	mu    sync.Mutex
	bells map[string]chan struct{}
}

func (m *Memory) bell(lane string) chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bells == nil {
		m.bells = map[string]chan struct{}{}
	}
	b := m.bells[lane]
	if b == nil {
		b = make(chan struct{}, 1)
		m.bells[lane] = b
	}
	return b
}

// listened reports whether anybody has asked for the lane's bell.
func (m *Memory) listened(lane string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bells[lane] != nil
}

// Wake rings the lane's bell and never blocks. A bell that is already ringing stays so: many wake-ups are one. The
// operation is not needed here.
func (m *Memory) Wake(lane, _ string) {
	select {
	case m.bell(lane) <- struct{}{}:
	default:
	}
}

// Woken gives the lane's bell: it can be received from once after any number of wake-ups. One worker should listen per
// lane; of several, one is woken.
func (m *Memory) Woken(lane string) <-chan struct{} { return m.bell(lane) }
