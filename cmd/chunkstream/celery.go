package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/celery"
	"chunkstream/chunk"
	"chunkstream/extract"
	"chunkstream/redisconn"
	"chunkstream/secret"
	"chunkstream/store"
)

type celeryFlags struct {
	CeleryBroker     secret.Text   `placeholder:"URL" help:"Also take Celery's process_chunking_operation tasks from this Redis, and write their results there: redis://host/0."`
	CeleryQueue      []string      `default:"celery" placeholder:"NAME" help:"Celery queues to take, of this task alone."`
	CeleryVisibility time.Duration `default:"15s" help:"How long a worker that has died keeps its Celery tasks from the others."`
}

// taskDoor is the door for Celery producers with what it stands on. A nil one does nothing.
type taskDoor struct {
	conns   *redisconn.Conns
	door    *celery.Door
	end     context.CancelFunc
	running errgroup.Group
}

// open makes the door, when one is asked for, and starts nothing but what connects to Redis.
func (c *celeryFlags) open(ctx context.Context, s *service) (*taskDoor, error) {
	if c.CeleryBroker.Empty() {
		return nil, nil
	}
	hint := "--celery-broker redis://127.0.0.1:6379/0 --celery-queue celery"
	// A message may be a document of many megabytes, so a command has more time than on the request path.
	conns, err := redisconn.Open(ctx, redisconn.Config{URL: c.CeleryBroker, Logger: s.log,
		ClientName: "chunkstream-celery", CommandTimeout: 3 * time.Second, Connections: 1})
	if err != nil {
		return nil, &exitError{exitUsage, err, hint}
	}
	door, err := celery.New(celery.Config{Commands: conns.Commands, Queues: c.CeleryQueue, Submit: s.submitTask,
		Look: s.lookAtTasks, Visibility: c.CeleryVisibility, Log: s.log})
	if err != nil {
		return nil, errors.Join(&exitError{exitUsage, err, hint}, conns.Close())
	}
	return &taskDoor{conns: conns, door: door}, nil
}

// start lets tasks in; ctx lends its values and not its end, which is stop.
func (d *taskDoor) start(ctx context.Context) {
	if d == nil {
		return
	}
	ctx, d.end = context.WithCancel(context.WithoutCancel(ctx))
	d.running.Go(func() error { return d.door.Run(ctx) })
}

// stop gives back the tasks that have no result yet, and waits.
func (d *taskDoor) stop() error {
	if d == nil {
		return nil
	}
	d.end()
	return d.running.Wait()
}

func (d *taskDoor) close() error {
	if d == nil {
		return nil
	}
	return d.conns.Close()
}

// submitTask makes an operation of a task. The task's id is the idempotency key, so that a task that comes again is the
// same operation.
func (s *service) submitTask(ctx context.Context, t celery.Task) (op celery.Operation, err error) {
	plan, err := parser.Parse(t.Strategy, t.Config)
	if err != nil {
		return op, refused("ValueError", err.Error())
	}
	unprintable := func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }
	if utf8.RuneCountInString(t.OperationID) > 255 || strings.ContainsFunc(t.OperationID, unprintable) {
		return op, refused("ValueError", "operation_id may have 255 characters, without control characters")
	}
	owner := auth.Local.Owner
	n := store.NewOperation{Owner: owner, Name: t.OperationID, DocumentID: t.DocumentID, Strategy: plan.Strategy,
		Settings: plan.Settings, SplitterVersion: chunk.Version, IdempotencyKey: "celery:" + digest(t.ID)}
	if t.Text != nil {
		if n.Staged, err = s.db.Stage(ctx, owner, extract.NewText(strings.NewReader(*t.Text)), api.MaxText); err != nil {
			var tooLarge *store.TooLargeError
			var bad *extract.Error
			if errors.As(err, &tooLarge) || errors.As(err, &bad) {
				err = refused("ValueError", "text: "+err.Error())
			}
			return op, err
		}
		if n.Staged.Bytes == 0 {
			return op, errors.Join(refused("ValueError", "the document has no text"), n.Staged.Discard(ctx))
		}
	}
	request, err := json.Marshal([]string{n.DocumentID, n.Name, n.Strategy, string(n.Settings)})
	if err != nil {
		return op, err
	}
	n.RequestHash = digest(string(request))
	made, err := s.db.Create(ctx, n)
	if err != nil {
		switch {
		case errors.Is(err, store.ErrNotFound):
			err = refused("LookupError", "there is no such document here: "+
				"give the id of one that POST /v1/operations has taken in, or the keyword argument text")
		case errors.Is(err, store.ErrKeyReused):
			err = refused("ValueError", "this task id was used with other arguments within a day")
		case errors.Is(err, store.ErrInvalidText):
			err = refused("ValueError", "document_id is not the id of a document")
		}
		if n.Staged != nil {
			err = errors.Join(err, n.Staged.Discard(context.WithoutCancel(ctx)))
		}
		return op, err
	}
	if !made.Replayed {
		s.hub.Publish(made.Event)
		s.wakeLane(store.LaneOf(made.Operation.BytesTotal), made.Operation.ID)
	}
	return celery.Operation{ID: made.Operation.ID, DocumentID: made.Document.ID}, nil
}

func refused(kind, problem string) error {
	return &celery.Refusal{Module: "builtins", Type: kind, Problem: problem}
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// lookAtTasks reads those operations that have a newer event than the one seen.
func (s *service) lookAtTasks(ctx context.Context, seen map[string]int64) (map[string]celery.State, error) {
	heads, err := s.db.Heads(ctx, slices.Collect(maps.Keys(seen)))
	if err != nil {
		return nil, err
	}
	exist, states := map[string]bool{}, map[string]celery.State{}
	for _, h := range heads {
		exist[h.OperationID] = true
		if seen[h.OperationID] == h.Seq {
			continue
		}
		op, err := s.db.Operation(ctx, auth.Local.Owner, h.OperationID)
		if err != nil {
			return nil, err
		}
		states[op.ID] = taskState(op)
	}
	for id := range seen {
		if !exist[id] {
			states[id] = celery.State{Ended: true,
				Refusal: &celery.Refusal{Module: "builtins", Type: "LookupError", Problem: "the operation was deleted"}}
		}
	}
	return states, nil
}

func taskState(op store.Operation) celery.State {
	st := celery.State{Seq: op.Seq, Started: op.Status == store.Processing, Ended: op.Status.Final(),
		Cancelled: op.Status == store.Cancelled, Chunks: op.Chunks, Bytes: op.BytesTotal}
	if op.Status == store.Failed {
		st.Refusal = &celery.Refusal{Module: "builtins", Type: "RuntimeError", Problem: "the operation failed"}
		if op.Error != nil {
			st.Refusal.Problem = op.Error.Code + ": " + op.Error.Detail
		}
	}
	return st
}
