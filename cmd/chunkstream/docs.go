package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

type docsCmd struct {
	List   docsListCmd   `cmd:"" help:"List the documents of my operations, newest first."`
	Get    docsGetCmd    `cmd:"" help:"Show a document, or print its text."`
	Delete docsDeleteCmd `cmd:"" help:"Delete documents with all their operations and chunks."`
}

// Help is what --help shows below the commands.
func (docsCmd) Help() string {
	return `Examples:
  chunkstream docs list
  chunkstream docs get doc_… --text > original.txt
  chunkstream docs delete doc_… --yes

The service is --server or CHUNKSTREAM_SERVER, its key CHUNKSTREAM_API_KEY or --api-key-file.`
}

type docsListCmd struct {
	serverFlags
	Limit int `default:"50" placeholder:"N" help:"At most so many; 0 for all."`
}

// Listed is one line of what docs list --json prints: a document by the newest operation on it.
type Listed struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Bytes     int64  `json:"bytes"`
	Operation string `json:"operation_id"`
	Status    string `json:"status"`
}

// Run lists.
func (c *docsListCmd) Run(ctx context.Context, screen *screen) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(screen.out, 0, 0, 2, ' ', 0)
	row := func(values ...any) { _, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", values...) } // Flush reports what went wrong
	seen := map[string]bool{}
	for op, err := range server.Operations(ctx, "") {
		if err != nil {
			return fromServer(err)
		}
		if seen[op.DocumentID] {
			continue
		}
		seen[op.DocumentID] = true
		switch {
		case c.JSON:
			err = json.NewEncoder(screen.out).Encode(Listed{op.DocumentID, op.Name, op.BytesTotal, op.ID, op.Status})
		case len(seen) == 1:
			row("id", "bytes", "newest operation", "status", "name")
			fallthrough
		default:
			row(op.DocumentID, grouped(int(op.BytesTotal)), op.ID, op.Status, oneLine(op.Name, 60))
		}
		if err != nil {
			return written(err)
		}
		if len(seen) == c.Limit {
			break
		}
	}
	return written(t.Flush())
}

type docsGetCmd struct {
	serverFlags
	ID   string `arg:"" help:"The document."`
	Text bool   `help:"Print its text, which all offsets of its chunks refer to."`
}

// Run shows a document.
func (c *docsGetCmd) Run(ctx context.Context, screen *screen) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	if c.Text {
		text, err := server.DocumentText(ctx, c.ID)
		if err != nil {
			return fromServer(err)
		}
		_, err = io.Copy(screen.out, text)
		return written(errors.Join(err, text.Close()))
	}
	d, err := server.Document(ctx, c.ID)
	if err != nil {
		return fromServer(err)
	}
	if c.JSON {
		return written(json.NewEncoder(screen.out).Encode(d))
	}
	_, err = fmt.Fprintf(screen.out, "%s  %s\n  size      %s bytes · %s characters\n  sha256    %s\n  created   %s\n", d.ID, oneLine(d.Name, 60),
		grouped(int(d.Bytes)), grouped(int(d.Chars)), d.SHA256, d.CreatedAt.Format(time.RFC3339))
	return written(err)
}

type docsDeleteCmd struct {
	serverFlags
	IDs []string `arg:"" name:"id" help:"Documents."`
	Yes bool     `short:"y" help:"Do not ask. Without a terminal it must be given."`
}

// Run deletes, when that was meant.
func (c *docsDeleteCmd) Run(ctx context.Context, screen *screen) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	if !c.Yes {
		in, ok := screen.in.(*os.File)
		if !ok || !isTerminal(in) {
			return &exitError{exitUsage, errors.New("deleting cannot be undone"), "--yes, if it is meant"}
		}
		fmt.Fprintf(screen.err, "Delete %d documents with all their operations and chunks? This cannot be undone. [y/N] ", len(c.IDs))
		answer, err := bufio.NewReader(in).ReadString('\n')
		if answer = strings.ToLower(strings.TrimSpace(answer)); err != nil || answer != "y" && answer != "yes" {
			return &exitError{exitInterrupted, errors.New("nothing was deleted"), ""}
		}
	}
	for i, id := range c.IDs {
		if err := server.DeleteDocument(ctx, id); err != nil {
			if i > 0 {
				fmt.Fprintf(screen.err, "%d documents were deleted before\n", i)
			}
			return fromServer(fmt.Errorf("%s: %w", id, err))
		}
		if c.JSON {
			err = json.NewEncoder(screen.out).Encode(map[string]string{"deleted": id})
		} else {
			_, err = fmt.Fprintln(screen.out, "deleted", id)
		}
		if err != nil {
			return written(err)
		}
	}
	return nil
}
