package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/mattn/go-isatty"

	"chunkstream/chunk"
	"chunkstream/export"
	"chunkstream/extract"
	"chunkstream/files"
	"chunkstream/token"
)

// chunkCmd cuts files on this machine; no server takes part.
type chunkCmd struct {
	Paths    []string `arg:"" name:"path" help:"Files, folders, patterns such as 'docs/**/*.md', or - for standard input."`
	Strategy string   `default:"recursive" help:"How to cut, see docs/strategies.md; auto: by what each file is."`
	settingFlags

	Format string `placeholder:"NAME" help:"jsonl, json, csv or text. Default: by the ending of -o; else jsonl, or on a terminal a table."`
	JSON   bool   `name:"json" help:"JSON Lines: the same as --format jsonl."`
	Output string `short:"o" placeholder:"FILE" help:"Write there instead of standard output; it is replaced when all is written."`
	NoText bool   `help:"Offsets alone, without the texts."`
	UTF16  bool   `name:"utf16" help:"Also offsets in UTF-16 code units, as JavaScript counts."`
	Count  string `placeholder:"TOKENIZER" help:"Also count the tokens of each chunk, by cl100k_base, o200k_base, p50k_base or r50k_base."`

	Encoding string `placeholder:"NAME" help:"Of the files; default: found out for each, see docs/formats.md."`
	Invalid  string `default:"reject" enum:"reject,replace,bytes" help:"What becomes of bytes that the encoding does not allow: reject the file, replace them by U+FFFD, or bytes: keep each as a character."`

	Include  []string `placeholder:"PATTERN" help:"In folders, only files like this. May be given again."`
	Exclude  []string `placeholder:"PATTERN" help:"In folders, no files like this. May be given again."`
	Hidden   bool     `help:"In folders, also hidden files."`
	NoIgnore bool     `help:"In folders, also what .gitignore and .chunkstreamignore leave out."`
	MaxSize  byteSize `default:"64MiB" placeholder:"SIZE" help:"In folders, no larger files; 0 for any."`

	Jobs    int  `short:"j" placeholder:"N" help:"Files at once; default: one a processor."`
	Quiet   bool `short:"q" help:"No progress and no summary."`
	Verbose bool `short:"v" help:"List what was left out, and why."`

	stdin          io.Reader
	stdout, stderr io.Writer
}

// Exit codes of commands that work on files.
const (
	exitNothing     = 3
	exitInterrupted = 130
)

// Help is what --help shows below the flags.
func (chunkCmd) Help() string {
	return `Examples:
  chunkstream chunk README.md                            a table of its chunks
  chunkstream chunk README.md --json | head -1           one chunk, for programs
  chunkstream chunk docs/ -o chunks.jsonl                a whole folder
  chunkstream chunk 'src/**/*.go' --unit tokens --chunk-size 512 --format csv
  cat notes.txt | chunkstream chunk - --strategy sentence --json

Exit codes: 0 all done; 1 some files failed; 2 wrong flags; 3 nothing matched; 130 interrupted.`
}

// Run cuts the files and writes their chunks in the order of the files.
func (c *chunkCmd) Run(ctx context.Context) error {
	if c.stdout == nil {
		c.stdin, c.stdout, c.stderr = os.Stdin, os.Stdout, os.Stderr
	}
	job := cutting{describer: chunk.Describer{UTF16: c.UTF16}, noText: c.NoText, stdin: c.stdin, encoding: c.Encoding}
	var err error
	if job.policy, err = extract.ParsePolicy(c.Invalid); err != nil {
		return &exitError{exitUsage, fmt.Errorf("--invalid: %w", err), ""}
	}
	if _, ok := extract.Charset(c.Encoding); c.Encoding != "" && !ok {
		return &exitError{exitUsage, fmt.Errorf("--encoding: %q is not an encoding that is known", c.Encoding), "--encoding windows-1252"}
	}
	if c.Strategy == "auto" {
		job.choose = c.byFormat
	} else if job.plan, err = c.plan(c.Strategy); err != nil {
		return err
	}
	if c.Count != "" {
		if job.describer.Tokens, err = token.Get(c.Count); err != nil {
			return &exitError{exitUsage, fmt.Errorf("--count: %w", err), "--count cl100k_base"}
		}
	}
	found, err := c.find()
	if err != nil {
		return err
	}
	format, err := c.format()
	if err != nil {
		return err
	}
	if format == "" {
		return job.table(ctx, c.stdout, found)
	}
	job.format, _ = export.New(format)
	if c.Jobs <= 0 {
		c.Jobs = runtime.GOMAXPROCS(0)
	}
	out, commit, err := c.open()
	if err != nil {
		return err
	}
	meter := newMeter(c.stderr, found, c.Quiet)
	err = job.all(ctx, out, found, c.Jobs, meter)
	meter.stop()
	if cerr := commit(err == nil || errors.Is(err, errSomeFailed)); err == nil {
		err = cerr
	}
	if !c.Quiet && (isTerminal(c.stderr) || c.Output != "") {
		meter.summary(c.Output)
	}
	return err
}

// find gives the files, "-" among them, and says what was left out.
func (c *chunkCmd) find() ([]files.File, error) {
	var paths []string
	stdin := 0
	for _, p := range c.Paths {
		if p == "-" {
			stdin++
			continue
		}
		paths = append(paths, p)
	}
	if stdin > 1 || stdin == 1 && len(paths) > 0 {
		return nil, &exitError{exitUsage, errors.New("- is standard input, and can only be given alone"), "chunkstream chunk -"}
	}
	if stdin == 1 {
		return []files.File{{Path: "-"}}, nil
	}
	found, skipped, err := files.Find(paths, files.Options{
		Include: c.Include, Exclude: c.Exclude, Hidden: c.Hidden, NoIgnore: c.NoIgnore, MaxBytes: int64(c.MaxSize),
	})
	if c.Verbose {
		for _, s := range skipped {
			fmt.Fprintf(c.stderr, "left out  %s: %s\n", s.Path, s.Why)
		}
	}
	switch {
	case errors.Is(err, files.ErrNothing):
		hint := "give a file, a folder with text files, or a pattern in quotes"
		if len(skipped) > 0 {
			hint = fmt.Sprintf("-v lists the %d that were left out", len(skipped))
		}
		return nil, &exitError{exitNothing, err, hint}
	case errors.Is(err, os.ErrNotExist):
		return nil, &exitError{exitUsage, err, "to cut text itself, pipe it in: echo … | chunkstream chunk -"}
	case err != nil:
		return nil, &exitError{exitUsage, err, ""}
	}
	return found, nil
}

// format is the format's name, or "" for the table on a terminal.
func (c *chunkCmd) format() (string, error) {
	switch {
	case c.JSON && c.Format != "" && c.Format != "jsonl":
		return "", &exitError{exitUsage, fmt.Errorf("--json is --format jsonl, and --format is %s", c.Format), "give one of them"}
	case c.JSON:
		return "jsonl", nil
	case c.Format != "":
		if _, ok := export.New(c.Format); !ok {
			return "", &exitError{exitUsage, fmt.Errorf("--format: %q is not a format", c.Format),
				"--format " + strings.Join(export.Formats(), ", or ")}
		}
		return c.Format, nil
	case c.Output != "":
		ending := strings.TrimPrefix(filepath.Ext(c.Output), ".")
		if ending == "txt" {
			ending = "text"
		}
		if _, ok := export.New(ending); ok {
			return ending, nil
		}
		return "jsonl", nil
	case isTerminal(c.stdout):
		return "", nil
	}
	return "jsonl", nil
}

// open gives where chunks go, and what ends that: a file appears whole, or not at all.
func (c *chunkCmd) open() (io.Writer, func(keep bool) error, error) {
	if c.Output == "" {
		w := bufio.NewWriterSize(c.stdout, 256<<10)
		return w, func(bool) error { return w.Flush() }, nil
	}
	f, err := os.CreateTemp(filepath.Dir(c.Output), ".chunkstream-*")
	if err != nil {
		return nil, nil, &exitError{exitUsage, fmt.Errorf("-o: %w", err), ""}
	}
	return f, func(keep bool) error {
		err := f.Close()
		if keep && err == nil {
			if err = os.Chmod(f.Name(), 0o644); err == nil {
				err = os.Rename(f.Name(), c.Output)
			}
		}
		if !keep || err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
		return err
	}, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// byFormat is the plan for a file of some format: the strategy for it, or recursive.
func (c *chunkCmd) byFormat(f extract.Format) (chunk.Plan, error) {
	settings := c.settingFlags
	name := chunk.DefaultStrategy
	switch f.Kind {
	case extract.Markdown, extract.HTML, extract.Code:
		name = string(f.Kind)
	case extract.CSV, extract.TSV:
		name = "table"
	}
	if f.Kind == extract.Code && f.Language != "" {
		settings.Set = maps.Clone(c.Set)
		if settings.Set == nil {
			settings.Set = map[string]string{}
		}
		if _, given := settings.Set["language"]; !given {
			settings.Set["language"] = f.Language
		}
	}
	return settings.plan(name)
}

// cutting is how each file is cut and written.
type cutting struct {
	plan      chunk.Plan
	choose    func(extract.Format) (chunk.Plan, error) // the plan for each file; nil for the same for all
	encoding  string
	policy    extract.Policy
	describer chunk.Describer
	format    export.Writer
	noText    bool
	stdin     io.Reader
}

// errSomeFailed says that some files failed, which were told of; the others are written.
var errSomeFailed = errors.New("some files failed")

// blockSize is how much one file gathers before it is handed on to be written, in bytes, and blocks how often it may do
// so before it waits: files are written in their order, so those that are early wait.
const (
	blockSize = 256 << 10
	blocks    = 4
)

// all cuts files side by side and writes what they give in their order.
func (c *cutting) all(ctx context.Context, out io.Writer, found []files.File, jobs int, m *meter) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	type result struct {
		blocks chan []byte
		err    error // read when blocks is closed
	}
	results := make([]result, len(found))
	turn := make(chan struct{}, jobs)
	ready := make(chan int, jobs)
	wg.Go(func() {
		defer close(ready)
		for i := range found {
			select {
			case turn <- struct{}{}:
			case <-ctx.Done():
				return
			}
			results[i].blocks = make(chan []byte, blocks)
			wg.Go(func() {
				r := &results[i]
				r.err = c.file(ctx, found[i], r.blocks, m)
				close(r.blocks)
				<-turn
			})
			select {
			case ready <- i:
			case <-ctx.Done():
				return
			}
		}
	})

	if _, err := io.WriteString(out, c.format.Open()); err != nil {
		return written(err)
	}
	some, failed := false, 0
	for i := range ready {
		for b := range results[i].blocks {
			if some {
				if _, err := io.WriteString(out, c.format.Between()); err != nil {
					return written(err)
				}
			}
			if _, err := out.Write(b); err != nil {
				return written(err)
			}
			some = true
		}
		if err := results[i].err; err != nil && ctx.Err() == nil {
			failed++
			m.failed(found[i].Path, err)
		}
	}
	if ctx.Err() != nil {
		return &exitError{exitInterrupted, errors.New("interrupted"), "what was written are whole chunks, but not all of them"}
	}
	if _, err := io.WriteString(out, c.format.Close()); err != nil {
		return written(err)
	}
	if failed > 0 {
		return &exitError{exitFailed, fmt.Errorf("%w: %d of %d", errSomeFailed, failed, len(found)), ""}
	}
	return nil
}

// written is the error of writing chunks. A reader that has seen enough, such as head, is no failure.
func written(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return fmt.Errorf("write chunks: %w", err)
}

// file cuts one file and sends its records, block by block.
func (c *cutting) file(ctx context.Context, f files.File, to chan<- []byte, m *meter) error {
	doc, plan, err := c.read(f)
	if err != nil {
		return err
	}
	text := doc.Text
	m.size(f, len(text))
	sum := sha256.Sum256([]byte(text))
	r := export.Record{
		Document: f.Path, Strategy: plan.Strategy, Unit: unitOf(plan), UTF16: c.describer.UTF16,
		Tokens: c.describer.Tokens != nil, NoText: c.noText,
	}
	if doc.Encoding.Name != "utf-8" || doc.Encoding.Undecodable > 0 {
		r.Encoding = doc.Encoding.Name
	}
	if f.Path == "-" {
		r.Document = ""
	}
	hash := hex.EncodeToString(sum[:])
	send := func(b []byte) error {
		select {
		case to <- b:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	room := min(blockSize+blockSize/4, 1024+2*len(text))
	block := make([]byte, 0, room)
	done := 0
	for d, err := range c.describer.Describe(plan, text) {
		if err != nil {
			return err
		}
		if len(block) > 0 {
			block = append(block, c.format.Between()...)
		}
		r.Detail = d
		r.ID = chunk.ID(hash, plan.Strategy, plan.Settings, d.Chunk)
		if r.Encoding != "" {
			r.SourceStart, r.SourceEnd = doc.Offsets.Source(d.Start), doc.Offsets.Source(d.End)
		}
		if block, err = c.format.Append(block, &r); err != nil {
			return err
		}
		m.chunks.Add(1)
		if len(block) >= blockSize {
			m.bytes.Add(int64(d.End - done))
			done = d.End
			if err := send(block); err != nil {
				return err
			}
			block = make([]byte, 0, room)
		}
	}
	m.bytes.Add(int64(len(text) - done))
	if len(block) > 0 {
		return send(block)
	}
	return nil
}

// read gives a file's text, and how to cut it.
func (c *cutting) read(f files.File) (*extract.Document, chunk.Plan, error) {
	var data []byte
	var err error
	name := f.Path
	if name == "-" {
		name = ""
		data, err = io.ReadAll(c.stdin)
	} else {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, c.plan, err
	}
	doc, err := extract.Text(name, c.encoding, data, c.policy)
	if err != nil {
		return nil, c.plan, err
	}
	plan := c.plan
	if c.choose != nil {
		plan, err = c.choose(doc.Format)
	}
	return doc, plan, err
}

// unitOf is the unit in a plan's settings, which are canonical.
func unitOf(p chunk.Plan) string {
	var s struct{ Unit string }
	if json.Unmarshal(p.Settings, &s) != nil || s.Unit == "" {
		return "chars"
	}
	return s.Unit
}
