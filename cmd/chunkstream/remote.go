package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"chunkstream/chunk"
	"chunkstream/client"
	"chunkstream/event"
	"chunkstream/secret"
)

// keyFlags are how a command shows a server who is asking.
type keyFlags struct {
	APIKey     secret.Text `name:"api-key" env:"CHUNKSTREAM_API_KEY" hidden:"" help:"Use the environment variable: a flag can be seen by every process on the machine."`
	APIKeyFile string      `name:"api-key-file" env:"CHUNKSTREAM_API_KEY_FILE" placeholder:"FILE" help:"File that has the server's key; else CHUNKSTREAM_API_KEY has it."`
}

// client gives a client of the server at an address.
func (k *keyFlags) client(address string) (*client.Client, error) {
	key := k.APIKey.Reveal()
	if k.APIKeyFile != "" {
		b, err := os.ReadFile(k.APIKeyFile)
		if err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("--api-key-file: %w", err), ""}
		}
		key = strings.TrimSpace(string(b))
	}
	c, err := client.New(address, client.Options{APIKey: key})
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("--server: %w", err), "--server http://127.0.0.1:8484"}
	}
	return c, nil
}

// fromServer gives what a server refused, or that it could not be reached, the exit code for it.
func fromServer(err error) error {
	if err == nil {
		return nil
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		code, hint := exitFailed, p.Suggestion
		switch {
		case p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden:
			code, hint = exitDenied, "export CHUNKSTREAM_API_KEY=…, or --api-key-file FILE"
		case p.Status == http.StatusBadGateway || p.Status == http.StatusServiceUnavailable || p.Status == http.StatusGatewayTimeout:
			code = exitNoReach
		}
		words := p.Detail
		if words == "" {
			words = fmt.Sprintf("the server answered %d %s", p.Status, p.Title)
		}
		return &exitError{code, errors.New(words), hint}
	}
	var refused *net.OpError
	var broken *url.Error
	if errors.As(err, &refused) || errors.As(err, &broken) {
		return &exitError{exitNoReach, err, "chunkstream serve, or --server with the address of a running one"}
	}
	return err
}

// remote has a server cut a text, and gives its chunks. moved is told how many bytes it has done since the last time. When
// ctx ends first, the operation is cancelled.
func remote(ctx context.Context, c *client.Client, name, text string, plan chunk.Plan, moved func(bytes int64)) (given, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(plan.Settings, &fields); err != nil {
		return nil, err
	}
	settings := url.Values{}
	for field, value := range fields {
		var s string
		if json.Unmarshal(value, &s) != nil {
			s = string(value)
		}
		settings.Set(field, s)
	}
	if n := []rune(name); len(n) > 255 {
		name = string(n[len(n)-255:])
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// The answer is waited for a little beyond an interrupt: without its id there is nothing to cancel.
	outlives, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(2*time.Second, done) })
	defer stop()
	op, err := c.Submit(outlives, client.Submission{Text: strings.NewReader(text), Name: name, Strategy: plan.Strategy, Settings: settings})
	if err != nil {
		return nil, fromServer(err)
	}
	defer func() {
		if ctx.Err() == nil {
			return
		}
		// Nobody is left who would read its chunks. What has ended says so, and what cannot be reached ends by itself.
		within, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer done()
		_, _ = c.Cancel(within, op.ID)
	}()
	last := int64(0)
	for e, err := range c.Watch(ctx, op.ID, client.FromNow) {
		switch {
		case err != nil:
			return nil, fromServer(err)
		case e.Data.BytesDone > last:
			moved(e.Data.BytesDone - last)
			last = e.Data.BytesDone
		}
		if e.Type == event.Failed || e.Type == event.Cancelled || e.Type == event.Snapshot && event.Type(e.Data.Status).Terminal() && e.Data.Status != "completed" {
			if e.Data.Error != nil {
				return nil, fmt.Errorf("%s: %s (%s)", op.ID, e.Data.Error.Detail, e.Data.Error.Code)
			}
			return nil, fmt.Errorf("%s was %s", op.ID, e.Data.Status)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	moved(-last) // from here on the caller counts
	var all given
	for x, err := range c.Chunks(ctx, op.ID) {
		if err != nil {
			return nil, fromServer(err)
		}
		one, err := chunkOf(x, len(text))
		if err != nil {
			return nil, fmt.Errorf("%s: chunk %d: %w", op.ID, x.Index, err)
		}
		all = append(all, one)
	}
	return all, nil
}

// given is a splitter whose chunks were cut elsewhere.
type given []chunk.Chunk

func (g given) Split(string) iter.Seq[chunk.Chunk] { return slices.Values(g) }

// chunkOf is a server's chunk in our terms. Names of a newer server that are not known here become the lowest of their kind.
func chunkOf(x client.Chunk, size int) (chunk.Chunk, error) {
	c := chunk.Chunk{Span: chunk.Span{Start: int(x.StartByte), End: int(x.EndByte)}, Boundary: named[chunk.Boundary](x.Boundary, chunk.End),
		Reason: named[chunk.Reason](x.Reason, chunk.AtEnd), Kind: named[chunk.Kind](x.Kind, chunk.Mixed)}
	if c.Start < 0 || c.End > size || c.Start >= c.End {
		return c, fmt.Errorf("bytes %d to %d are not of the text, which has %d", c.Start, c.End, size)
	}
	if x.Level != nil {
		c.Level = uint8(*x.Level)
	}
	if x.ParentIndex != nil {
		c.Up = int(x.Index - *x.ParentIndex)
	}
	for _, around := range x.Context {
		c.Context = &chunk.Context{Span: chunk.Span{Start: int(around.StartByte), End: int(around.EndByte)}, Text: around.Text,
			Kind: named[chunk.ContextKind](around.Kind, chunk.Element), Level: around.Level, Up: c.Context}
	}
	return c, nil
}

// named is the value of an enumeration up to last that has a name.
func named[T interface {
	~uint8
	fmt.Stringer
}](name string, last T) T {
	for v := range last + 1 {
		if v.String() == name {
			return v
		}
	}
	return 0
}
