package api

import (
	"sync"

	"chunkstream/chunk"
)

// plans remembers what settings came to: clients send the same ones with every text, and reading them strictly takes as
// long as cutting a short text. Settings that are wrong are read each time. Any number of goroutines may use it at once.
type plans struct {
	parse func(strategy string, settings []byte) (chunk.Plan, error)

	mu   sync.Mutex
	made map[asked]chunk.Plan
}

// asked is a strategy and settings as they were given.
type asked struct{ strategy, settings string }

// What is remembered: so many plans, and then none of them, of settings with so many bytes.
const (
	plansKept    = 256
	plannedBytes = 1 << 10
)

// get is parse. Nobody may change the settings of a plan.
func (p *plans) get(strategy string, settings []byte) (chunk.Plan, error) {
	if len(settings) > plannedBytes {
		return p.parse(strategy, settings)
	}
	key := asked{strategy, string(settings)}
	p.mu.Lock()
	plan, ok := p.made[key]
	p.mu.Unlock()
	if ok {
		return plan, nil
	}
	plan, err := p.parse(strategy, settings)
	if err != nil {
		return plan, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made == nil || len(p.made) >= plansKept {
		p.made = map[asked]chunk.Plan{}
	}
	p.made[key] = plan
	return plan, nil
}
