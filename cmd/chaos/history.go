package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"chunkstream/client"
)

// history is what clients asked for under one idempotency key, when, and what they were told. However many ask at the same
// time and of however many processes, there must be an order of it in which each answer is right and nothing is before
// what had been answered when it was asked (linearizability: Herlihy and Wing, 1990).
type history struct {
	mu    sync.Mutex
	calls []porcupine.Operation
}

// asked is what a client asks for.
type asked struct {
	what string // submit, cancel or get
	text string // of a submission
}

func (a asked) String() string {
	if len(a.text) > 20 {
		a.text = a.text[:20] + "…"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %q", a.what, a.text))
}

// told is the answer. The zero told is none: nobody knows whether it was done.
type told struct {
	id      string
	status  string
	asked   bool // a cancel is under way
	refused bool // the key stands for another document
}

// unknown is when what has no answer has ended at the latest.
const unknown = math.MaxInt64

var clock = time.Now()

// record has a client ask for something, and notes the answer.
func (h *history) record(a asked, ask func() (client.Operation, error)) (client.Operation, error) {
	began := time.Now()
	op, err := ask()
	h.note(began, a, op, err)
	return op, err
}

// note notes what somebody began to ask for then, and the answer.
func (h *history) note(began time.Time, a asked, op client.Operation, err error) {
	call := porcupine.Operation{Input: a, Call: int64(began.Sub(clock)), Output: told{}, Return: unknown}
	problem := (*client.Problem)(nil)
	switch {
	case err == nil:
		call.Output, call.Return = told{id: op.ID, status: op.Status, asked: op.CancelRequested}, int64(time.Since(clock))
	case errors.As(err, &problem) && problem.Status == 422:
		call.Output, call.Return = told{refused: true}, int64(time.Since(clock))
	}
	if a.what == "get" && call.Return == unknown {
		return // it says nothing
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, call)
}

// truth is what stands behind a key. What a worker does is no call: an operation that has not ended may end at any time,
// so that it has is known when the first one is told so.
type truth struct {
	text   string
	made   bool
	id     string // "" while nobody has been told
	status string // "" until somebody has been told of its end
	asked  bool   // a cancel was taken: it ends by that
}

// after gives what may be true when a call has been answered so; nothing when it cannot be.
func (t truth) after(a asked, answer told) (all []truth) {
	none := answer == told{}
	switch a.what {
	case "submit":
		made := t
		if !t.made {
			made = truth{made: true, text: a.text}
		}
		switch {
		case none:
			return []truth{t, made}
		case answer.refused:
			if t.made && t.text != a.text {
				return []truth{t}
			}
			return nil
		case made.text != a.text:
			return nil
		}
		return made.seen(answer)
	case "cancel":
		if !t.made {
			return nil
		}
		cancelled := t
		if t.status == "" {
			cancelled.asked = true
		}
		if none { // or it had ended by itself, which nobody has been told yet
			return []truth{t, cancelled}
		}
		if answer.status == "completed" || answer.status == "failed" {
			return t.seen(answer)
		}
		return cancelled.seen(answer)
	case "get":
		if t.made {
			return t.seen(answer)
		}
	}
	return nil
}

// seen is the truth once somebody has been told so of it.
func (t truth) seen(answer told) []truth {
	if t.id != "" && t.id != answer.id {
		return nil
	}
	t.id = answer.id
	ended := slices.Contains([]string{"completed", "failed", "cancelled"}, answer.status)
	switch {
	case t.status != "":
		if t.status != answer.status {
			return nil
		}
	case ended:
		if t.asked != (answer.status == "cancelled") {
			return nil
		}
		t.status = answer.status
	case t.asked != answer.asked:
		return nil
	}
	return []truth{t}
}

var linear = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{truth{}} },
	Step: func(state, input, output any) (all []any) {
		for _, t := range state.(truth).after(input.(asked), output.(told)) {
			all = append(all, t)
		}
		return all
	},
}).ToModel()

// check says what is wrong with the history, or nothing.
func (h *history) check() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if porcupine.CheckOperationsTimeout(linear, h.calls, 10*time.Second) == porcupine.Ok {
		return ""
	}
	var lines []string
	for _, c := range h.calls {
		end := "never"
		if c.Return != unknown {
			end = time.Duration(c.Return).String()
		}
		lines = append(lines, fmt.Sprintf("%v to %s: %v: %+v", time.Duration(c.Call), end, c.Input, c.Output))
	}
	return "there is no order in which all of it is right:\n  " + strings.Join(lines, "\n  ")
}
