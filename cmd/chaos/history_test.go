package main

import (
	"errors"
	"testing"

	"github.com/anishathalye/porcupine"

	"chunkstream/client"
)

// TestHistories: histories that may be are taken, and those that may not are not.
func TestHistories(t *testing.T) {
	t.Parallel()
	submit, other, cancel, get := asked{what: "submit", text: "a"}, asked{what: "submit", text: "b"}, asked{what: "cancel"}, asked{what: "get"}
	live := told{id: "1", status: "processing"}
	completed, cancelled := told{id: "1", status: "completed"}, told{id: "1", status: "cancelled"}
	going := told{id: "1", status: "processing", asked: true}
	call := func(a asked, from, to int64, answer told) porcupine.Operation {
		return porcupine.Operation{Input: a, Call: from, Return: to, Output: answer}
	}
	for name, c := range map[string]struct {
		sound bool
		calls []porcupine.Operation
	}{
		"one after the other": {true, []porcupine.Operation{
			call(submit, 1, 2, live), call(submit, 3, 4, live), call(get, 5, 6, completed), call(cancel, 7, 8, completed), call(get, 9, 10, completed)}},
		"at the same time":            {true, []porcupine.Operation{call(submit, 1, 9, live), call(submit, 2, 8, completed), call(get, 3, 4, live)}},
		"the end before the answer":   {true, []porcupine.Operation{call(submit, 1, 2, live), call(get, 3, 9, live), call(get, 4, 5, completed)}},
		"nobody knows":                {true, []porcupine.Operation{call(submit, 1, unknown, told{}), call(other, 3, 4, live), call(submit, 5, 6, told{refused: true})}},
		"nobody knows, it was":        {true, []porcupine.Operation{call(submit, 1, unknown, told{}), call(other, 3, 4, told{refused: true})}},
		"a cancel nobody knows of":    {true, []porcupine.Operation{call(submit, 1, 2, live), call(cancel, 3, unknown, told{}), call(get, 5, 6, live), call(get, 7, 8, cancelled)}},
		"a cancel that came too late": {true, []porcupine.Operation{call(submit, 1, 2, live), call(cancel, 3, 4, completed), call(get, 5, 6, completed)}},
		"a cancel":                    {true, []porcupine.Operation{call(submit, 1, 2, live), call(cancel, 3, 4, going), call(get, 5, 6, cancelled)}},

		"a stale read":                  {false, []porcupine.Operation{call(submit, 1, 2, live), call(get, 3, 4, completed), call(get, 5, 6, live)}},
		"a stale answer to a repeat":    {false, []porcupine.Operation{call(submit, 1, 2, live), call(get, 3, 4, completed), call(submit, 5, 6, live)}},
		"two operations":                {false, []porcupine.Operation{call(submit, 1, 5, live), call(submit, 2, 4, told{id: "2", status: "queued"})}},
		"two documents":                 {false, []porcupine.Operation{call(submit, 1, 2, live), call(other, 3, 4, live)}},
		"refused for nothing":           {false, []porcupine.Operation{call(submit, 1, 2, told{refused: true})}},
		"a cancel that does not hold":   {false, []porcupine.Operation{call(submit, 1, 2, live), call(cancel, 3, 4, going), call(get, 5, 6, completed)}},
		"a cancel that is forgotten":    {false, []porcupine.Operation{call(submit, 1, 2, live), call(cancel, 3, 4, going), call(get, 5, 6, live)}},
		"cancelled by nobody":           {false, []porcupine.Operation{call(submit, 1, 2, live), call(get, 3, 4, cancelled)}},
		"another end":                   {false, []porcupine.Operation{call(submit, 1, 2, live), call(cancel, 3, 4, cancelled), call(get, 5, 6, completed)}},
		"there before it was asked for": {false, []porcupine.Operation{call(get, 1, 2, live), call(submit, 3, 4, live)}},
	} {
		if wrong := (&history{calls: c.calls}).check(); (wrong == "") != c.sound {
			t.Errorf("%s: sound should be %v: %s", name, c.sound, wrong)
		}
	}
}

// TestRecord: what has an answer is kept with it; a question without an answer is kept when it may have changed something.
func TestRecord(t *testing.T) {
	t.Parallel()
	h := &history{}
	for _, err := range []error{nil, errors.New("reset"), &client.Problem{Status: 422}, &client.Problem{Status: 503}} {
		for _, what := range []string{"submit", "get"} {
			if _, got := h.record(asked{what: what}, func() (client.Operation, error) { return client.Operation{ID: "1"}, err }); got != err {
				t.Errorf("%v became %v", err, got)
			}
		}
	}
	known := 0
	for _, c := range h.calls {
		if c.Return != unknown {
			known++
		}
	}
	if len(h.calls) != 6 || known != 4 {
		t.Errorf("%d calls, %d with an answer, want 6 and 4: %+v", len(h.calls), known, h.calls)
	}
}
