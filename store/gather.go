package store

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
)

// gatherer makes one transaction of those that wait at the same time, as SQLite's writer does: one wait for the disk and
// a few round trips for all of them. A caller who is alone notices nothing.
//
// There are no savepoints, which would cost a statement or two for each caller: when anything goes wrong in a group, it
// is rolled back, and everyone's transaction runs again alone.
type gatherer struct {
	p      *postgres
	ctx    context.Context // of groups: a caller's own ends its waiting alone
	jobs   chan *job
	closed chan struct{} // closed first: nobody may send any more
	once   sync.Once
	wait   sync.WaitGroup
}

const (
	// groupsAtOnce transactions run at a time: while one waits for the disk, others do their statements.
	groupsAtOnce = 3
	// mostTogether bounds a group, so that the first caller's wait stays short.
	mostTogether = 64
)

func gather(ctx context.Context, p *postgres) *gatherer {
	g := &gatherer{p: p, ctx: context.WithoutCancel(ctx), jobs: make(chan *job), closed: make(chan struct{})}
	for range groupsAtOnce {
		g.wait.Go(g.run)
	}
	return g
}

// close waits for the groups that run.
func (g *gatherer) close() {
	g.once.Do(func() { close(g.closed) })
	g.wait.Wait()
}

func (g *gatherer) doShort(ctx context.Context, order int64, fn func(*tx) error) error {
	return (&job{fn: fn, ctx: ctx, order: order}).send(ctx, g.jobs, g.closed)
}

func (g *gatherer) run() {
	for {
		var first *job
		select {
		case first = <-g.jobs:
		case <-g.closed:
			return
		}
		group := []*job{first}
	gather:
		for len(group) < mostTogether {
			select {
			case j := <-g.jobs:
				group = append(group, j)
			default:
				break gather
			}
		}
		g.commit(group)
	}
}

// commit runs a group and ends its jobs.
func (g *gatherer) commit(group []*job) {
	live, state := group[:0], int32(jobRunning)
	if len(group) == 1 {
		state = jobAlone
	}
	for _, j := range group {
		if j.state.CompareAndSwap(jobWaiting, state) {
			live = append(live, j)
		} else {
			j.finish(context.Canceled) // nobody waits
		}
	}
	if len(live) > 1 {
		slices.SortStableFunc(live, func(a, b *job) int { return cmp.Compare(a.order, b.order) })
		if err := g.p.together(g.ctx, live); err == nil || errors.Is(err, ErrUnknownOutcome) {
			for _, j := range live {
				j.finish(err)
			}
			return
		}
	}
	var all sync.WaitGroup
	for _, j := range live {
		j.state.Store(jobAlone)
		all.Go(func() { j.finish(g.p.do(j.ctx, j.fn)) })
	}
	all.Wait()
}

// together runs the jobs in one transaction. They take turns: each goes on until it needs an answer, then what all of
// them ask travels in one round trip. Unless the error is ErrUnknownOutcome, nothing has happened.
func (p *postgres) together(ctx context.Context, jobs []*job) error {
	conn, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	lead := &pgSession{ctx: ctx, p: p, conn: conn.Conn(), begin: []string{`BEGIN`}}
	if err = lead.interleave(jobs); err == nil {
		err = lead.commit()
	}
	if err == nil {
		return nil
	}
	lost := p.lost(ctx, conn)
	if !lost {
		lead.rollback()
	}
	return explain(ctx, err, lost)
}

var errGroupOver = errors.New("the group's transaction is over")

// interleave runs the jobs' functions, in turns, up to their ends.
func (s *pgSession) interleave(jobs []*job) error {
	type member struct {
		pgSession
		err  error
		next func() (struct{}, bool) // lets it go on; false: it has ended
	}
	members := make([]*member, len(jobs))
	for i, j := range jobs {
		m := &member{pgSession: pgSession{ctx: s.ctx, p: s.p}}
		var stop func()
		m.next, stop = iter.Pull(func(yield func(struct{}) bool) {
			m.yield = func() error {
				if !yield(struct{}{}) {
					return errGroupOver
				}
				return nil
			}
			m.err = (&tx{&m.pgSession}).call(j.fn)
		})
		defer stop()
		members[i] = m
	}
	for waiting := members; len(waiting) > 0; {
		var left []*member
		for _, m := range waiting {
			_, more := m.next()
			if m.err != nil {
				return m.err
			}
			for i, q := range m.batch.QueuedQueries {
				s.queue(q.SQL, q.Arguments, m.takers[i])
			}
			m.batch, m.takers = pgx.Batch{}, nil
			if more {
				left = append(left, m)
			}
		}
		if waiting = left; len(waiting) > 0 {
			if err := s.send(); err != nil {
				return err
			}
		}
	}
	return nil
}
