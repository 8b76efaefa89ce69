package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"chunkstream/client"
	"chunkstream/event"
)

// serverFlags are of commands that ask a server.
type serverFlags struct {
	Server string `default:"http://127.0.0.1:8484" placeholder:"URL" help:"The service."`
	keyFlags
	JSON bool `name:"json" help:"Print JSON, a line for each thing."`
}

func (s *serverFlags) client() (*client.Client, error) { return s.keyFlags.client(s.Server) }

type opsCmd struct {
	List   opsListCmd   `cmd:"" help:"List operations, newest first."`
	Show   opsShowCmd   `cmd:"" help:"Show operations as they are now."`
	Watch  opsWatchCmd  `cmd:"" help:"Follow an operation to its end, or all of mine."`
	Cancel opsCancelCmd `cmd:"" help:"End operations that have not ended."`
	Retry  opsRetryCmd  `cmd:"" help:"Run operations again that have ended."`
}

// Help is what --help shows below the commands.
func (opsCmd) Help() string {
	return `Examples:
  chunkstream ops list --status failed             what went wrong
  chunkstream ops watch op_…                       follow one to its end
  chunkstream ops list --status failed --json | jq -r .id | xargs chunkstream ops retry

The service is --server or CHUNKSTREAM_SERVER, its key CHUNKSTREAM_API_KEY or --api-key-file.

Exit codes: 0 done; 1 an operation failed or there is none; 2 wrong flags; 4 not authorised; 5 the server cannot be reached.`
}

type opsListCmd struct {
	serverFlags
	Status string `enum:",queued,processing,completed,failed,cancelled" default:"" placeholder:"STATUS" help:"Only queued, processing, completed, failed or cancelled ones."`
	Limit  int    `default:"50" placeholder:"N" help:"At most so many; 0 for all."`
}

// Run lists.
func (c *opsListCmd) Run(ctx context.Context, screen *screen) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(screen.out, 0, 0, 2, ' ', 0)
	row := func(values ...any) { _, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", values...) } // Flush reports what went wrong
	n := 0
	for op, err := range server.Operations(ctx, c.Status) {
		if err != nil {
			return fromServer(err)
		}
		switch {
		case c.JSON:
			err = json.NewEncoder(screen.out).Encode(op)
		case n == 0:
			row("id", "status", "strategy", "bytes", "chunks", "age", "name")
			fallthrough
		default:
			row(op.ID, op.Status, op.Strategy, grouped(int(op.BytesTotal)), grouped(int(op.Chunks)), age(op.CreatedAt.Time), oneLine(op.Name, 60))
		}
		if err != nil {
			return written(err)
		}
		if n++; n == c.Limit {
			break
		}
	}
	return written(t.Flush())
}

// age is how long ago something was, for people.
func age(t time.Time) string {
	switch d := time.Since(t); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d d", int(d.Hours()/24))
	}
}

// eachOp does something to each of some operations and shows what became of it. One that fails does not keep it from the rest.
func (s *serverFlags) eachOp(screen *screen, ids []string, do func(*client.Client, string) (client.Operation, error)) error {
	server, err := s.client()
	if err != nil {
		return err
	}
	var failed error
	for _, id := range ids {
		op, err := do(server, id)
		if err != nil {
			failed = fromServer(err)
			fmt.Fprintf(screen.err, "! %s: %v\n", id, failed)
			if e, ok := errors.AsType[*exitError](failed); ok && e.code != exitFailed {
				return failed // the server will not answer the rest either
			}
			continue
		}
		if s.JSON {
			err = json.NewEncoder(screen.out).Encode(op)
		} else {
			err = showOp(screen, op)
		}
		if err != nil {
			return written(err)
		}
	}
	if failed != nil {
		return &exitError{exitFailed, fmt.Errorf("not for all: %w", failed), ""}
	}
	return nil
}

func showOp(screen *screen, op client.Operation) error {
	words := fmt.Sprintf("%s  %s", op.ID, op.Status)
	if op.CancelRequested && !op.Final() {
		words += ", to be cancelled"
	}
	words += fmt.Sprintf("\n  document  %s  %s\n  strategy  %s %s\n  progress  %s of %s bytes · %s chunks · attempt %d\n  created   %s",
		op.DocumentID, oneLine(op.Name, 60), op.Strategy, op.Config, grouped(int(op.BytesDone)), grouped(int(op.BytesTotal)), grouped(int(op.Chunks)),
		op.Attempt, op.CreatedAt.Time.Format(time.RFC3339))
	if op.FinishedAt != nil {
		words += "  finished  " + op.FinishedAt.Format(time.RFC3339)
	}
	if op.Worker != "" {
		words += "\n  worker    " + oneLine(op.Worker, 60)
	}
	if op.RetryOf != "" {
		words += "\n  retry of  " + op.RetryOf
	}
	if op.Error != nil {
		words += fmt.Sprintf("\n  error     %s: %s", op.Error.Code, oneLine(op.Error.Detail, 200))
	}
	_, err := fmt.Fprintln(screen.out, words)
	return err
}

type opsShowCmd struct {
	serverFlags
	IDs  []string      `arg:"" name:"id" help:"Operations."`
	Wait time.Duration `placeholder:"TIME" help:"Wait so long for the end of each, at most 1m."`
}

// Run shows.
func (c *opsShowCmd) Run(ctx context.Context, screen *screen) error {
	return c.eachOp(screen, c.IDs, func(server *client.Client, id string) (client.Operation, error) {
		return server.Operation(ctx, id, c.Wait)
	})
}

type opsCancelCmd struct {
	serverFlags
	IDs []string `arg:"" name:"id" help:"Operations."`
}

// Run cancels.
func (c *opsCancelCmd) Run(ctx context.Context, screen *screen) error {
	return c.eachOp(screen, c.IDs, func(server *client.Client, id string) (client.Operation, error) { return server.Cancel(ctx, id) })
}

type opsRetryCmd struct {
	serverFlags
	IDs []string `arg:"" name:"id" help:"Operations."`
}

// Run retries. What it shows are the new operations.
func (c *opsRetryCmd) Run(ctx context.Context, screen *screen) error {
	return c.eachOp(screen, c.IDs, func(server *client.Client, id string) (client.Operation, error) { return server.Retry(ctx, id) })
}

type opsWatchCmd struct {
	serverFlags
	ID string `arg:"" optional:"" help:"The operation; without it all of mine, until interrupted."`
}

// Run follows. On a terminal one operation is a bar; else, and for all, each event is a line. It fails when the operation did
// not complete.
func (c *opsWatchCmd) Run(ctx context.Context, screen *screen) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	events := server.WatchAll(ctx)
	if c.ID != "" {
		events = server.Watch(ctx, c.ID, client.FromNow)
	}
	drawn := c.ID != "" && !c.JSON && isTerminal(screen.out)
	var last event.Event
	for e, err := range events {
		if err != nil && ctx.Err() == nil {
			return fromServer(err)
		} else if err != nil {
			break
		}
		switch last = e; {
		case c.JSON:
			err = json.NewEncoder(screen.out).Encode(e)
		case drawn:
			_, err = fmt.Fprintf(screen.out, "\r\x1b[K%s  %s", bar(e.Data.BytesDone, e.Data.BytesTotal), state(e))
		default:
			_, err = fmt.Fprintf(screen.out, "%s  %s  %-10s %s\n", e.Time.Local().Format(time.TimeOnly), e.OperationID, e.Type, state(e))
		}
		if err != nil {
			return written(err)
		}
	}
	if drawn {
		fmt.Fprintln(screen.out)
	}
	switch {
	case c.ID == "":
		return nil
	case ctx.Err() != nil:
		return &exitError{exitInterrupted, errors.New("interrupted; the operation goes on"), "chunkstream ops cancel " + c.ID}
	case last.Data.Status != "completed":
		return &exitError{exitFailed, fmt.Errorf("%s was %s", c.ID, last.Data.Status), ""}
	}
	return nil
}

// state is an event's state in words.
func state(e event.Event) string {
	d := e.Data
	words := fmt.Sprintf("%s · %s of %s · %s chunks", d.Status, bytesText(d.BytesDone), bytesText(d.BytesTotal), grouped(int(d.Chunks)))
	if d.Attempt > 1 {
		words += fmt.Sprintf(" · attempt %d", d.Attempt)
	}
	if d.ETAMs != nil {
		words += " · ETA " + (time.Duration(*d.ETAMs) * time.Millisecond).Round(time.Second).String()
	}
	if e.Type == event.Stalled {
		words += " · its worker is silent: another takes over"
	}
	if d.Error != nil {
		words += fmt.Sprintf(" · %s: %s", d.Error.Code, oneLine(d.Error.Detail, 200))
	}
	return words
}
