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
	"slices"
	"strings"
	"sync"
	"syscall"

	"chunkstream/check"
	"chunkstream/chunk"
	"chunkstream/client"
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

	Format string `placeholder:"NAME" aliases:"to" help:"jsonl, json, csv, text, parquet, langchain, qdrant or pgvector, see docs/formats.md. Default: by the ending of -o; else jsonl, or on a terminal a table."`
	JSON   bool   `name:"json" help:"JSON Lines: the same as --format jsonl."`
	Output string `short:"o" placeholder:"FILE" help:"Write there instead of standard output; it is replaced when all is written."`
	NoText bool   `help:"Offsets alone, without the texts."`
	UTF16  bool   `name:"utf16" help:"Also offsets in UTF-16 code units, as JavaScript counts."`
	Count  string `placeholder:"TOKENIZER" help:"Also count the tokens of each chunk, by cl100k_base, o200k_base, p50k_base or r50k_base."`

	sourceFlags

	View  bool `help:"Show the text itself with its chunks in colours, in place."`
	Stats bool `help:"Show a line of figures for each file instead of its chunks; with --json as JSON Lines."`
	Lint  bool `help:"Also check the chunks as the command lint does: say what is wrong with them, and exit with 1 if something is."`

	Server string `placeholder:"URL" help:"Have this service cut the files, and follow it live."`
	keyFlags

	Resume bool `help:"With -o: go on from where an earlier run ended or was interrupted. Files whose bytes and settings are the same are not cut again, failed ones are."`
	Watch  bool `help:"Go on: cut again what changes, until interrupted. With -o the whole output is kept up to date, else chunks of changed files are printed."`

	Jobs  int  `short:"j" placeholder:"N" help:"Files at once; default: one a processor."`
	Quiet bool `short:"q" help:"No progress and no summary."`

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
func (c *chunkCmd) Run(ctx context.Context, screen *screen) error {
	c.stdin, c.stdout, c.stderr = screen.in, screen.out, screen.err
	job, err := c.job(screen.in)
	if err != nil {
		return err
	}
	found, err := c.find()
	if err != nil {
		return err
	}
	if c.View || c.Stats {
		return c.show(ctx, job, screen, found)
	}
	format, err := c.format()
	if err != nil {
		return err
	}
	if format == "" {
		return c.show(ctx, job, screen, found)
	}
	job.format, _ = export.New(format)
	if c.Jobs <= 0 {
		c.Jobs = runtime.GOMAXPROCS(0)
	}
	if c.Resume && c.Output == "" {
		return &exitError{exitUsage, errors.New("--resume: it needs the file to go on with"), "-o chunks.jsonl"}
	}
	if format == "parquet" && (c.Resume || c.Watch) {
		return &exitError{exitUsage, errors.New("a Parquet file is written as a whole: nothing of an earlier one can be taken over"), "-o chunks.jsonl"}
	}
	if c.Watch {
		return c.watch(ctx, func(found []files.File) error { return c.write(ctx, job, found, format) })
	}
	return c.write(ctx, job, found, format)
}

// find gives the files to cut, the output not among them.
func (c *chunkCmd) find() ([]files.File, error) {
	found, err := c.sourceFlags.find(c.Paths, c.stderr)
	found = slices.DeleteFunc(found, func(f files.File) bool { return c.ours(f.Path) })
	if err == nil && len(found) == 0 {
		err = &exitError{exitNothing, errors.New("the output is the only file"), "-o with another name"}
	}
	return found, err
}

// write cuts the files once and writes their chunks.
func (c *chunkCmd) write(ctx context.Context, job *cutting, found []files.File, format string) error {
	var out io.Writer
	var commit func(keep bool) error
	var err error
	if c.Resume || c.Watch && c.Output != "" {
		if job.resume, err = openResume(c.Output, c.settingsOf(format)); err != nil {
			return &exitError{exitUsage, fmt.Errorf("--resume: %w", err), ""}
		}
		out, commit = job.resume, job.resume.commit
	} else if out, commit, err = c.open(); err != nil {
		return err
	}
	file := out
	var rows *parquetFormat
	if format == "parquet" {
		rows = newParquetFormat(out)
		file, job.format = rows, rows
	}
	talks := !c.Quiet && (isTerminal(c.stderr) || c.Output != "")
	if talks {
		c.scanned(c.stderr, len(found))
	}
	meter := newMeter(c.stderr, found, c.Quiet)
	err = job.all(ctx, file, found, c.Jobs, meter)
	meter.stop()
	if rows != nil && (err == nil || errors.Is(err, errSomeFailed) || errors.Is(err, errWrong)) {
		if cerr := rows.file.Close(); cerr != nil {
			err = written(cerr)
		}
	}
	if cerr := commit(err == nil || errors.Is(err, errSomeFailed) || errors.Is(err, errWrong)); err == nil {
		err = cerr
	}
	if talks {
		meter.summary(c.Output)
	}
	return err
}

// settingsOf is all that a file's chunks follow from beside the file.
func (c *chunkCmd) settingsOf(format string) string {
	settings, _ := json.Marshal(c.settingFlags) // they are strings and numbers
	return fmt.Sprint(version(), " ", chunk.Version, " ", format, " ", c.Strategy, " ", string(settings), " ", c.NoText, c.UTF16, " ", c.Count,
		" ", c.Encoding, " ", c.Invalid, " ", c.Server)
}

// job is how each file is read and cut.
func (c *chunkCmd) job(stdin io.Reader) (*cutting, error) {
	job := &cutting{describer: chunk.Describer{UTF16: c.UTF16}, noText: c.NoText, lint: c.Lint, stdin: stdin, encoding: c.Encoding, flags: &c.sourceFlags}
	var err error
	if job.policy, err = c.policy(); err != nil {
		return nil, err
	}
	if c.Strategy == "auto" {
		job.choose = c.byFormat
	} else if job.plan, err = c.plan(c.Strategy); err != nil {
		return nil, err
	}
	if c.Server != "" {
		if job.server, err = c.client(c.Server); err != nil {
			return nil, err
		}
	}
	if c.Count != "" {
		if job.describer.Tokens, err = token.Get(c.Count); err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("--count: %w", err), "--count cl100k_base"}
		}
	}
	return job, nil
}

// format is the format's name, or "" for the table on a terminal.
func (c *chunkCmd) format() (string, error) {
	switch {
	case c.JSON && c.Format != "" && c.Format != "jsonl":
		return "", &exitError{exitUsage, fmt.Errorf("--json is --format jsonl, and --format is %s", c.Format), "give one of them"}
	case c.JSON:
		return "jsonl", nil
	case c.Format != "":
		if _, _, ok := export.Media(c.Format); !ok {
			return "", &exitError{exitUsage, fmt.Errorf("--format: %q is not a format", c.Format),
				"--format " + strings.Join(append(export.Formats(), "parquet"), ", or ")}
		}
		return c.Format, nil
	case c.Output != "":
		ending := strings.TrimPrefix(filepath.Ext(c.Output), ".")
		switch ending {
		case "txt":
			ending = "text"
		case "sql":
			ending = "pgvector"
		}
		if _, _, ok := export.Media(ending); ok {
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
	f, err := newWholeFile(c.Output, 0o644)
	if err != nil {
		return nil, nil, &exitError{exitUsage, fmt.Errorf("-o: %w", err), "-o with a file in a folder that is there and may be written to"}
	}
	return f, func(keep bool) error {
		if !keep {
			return f.discard()
		}
		return f.keep()
	}, nil
}

// byFormat is the plan for a file of some format: the strategy for it, or recursive.
func (s settingFlags) byFormat(f extract.Format) (chunk.Plan, error) {
	settings := s
	name := chunk.DefaultStrategy
	switch f.Kind {
	case extract.Markdown, extract.HTML, extract.Code:
		name = string(f.Kind)
	case extract.CSV, extract.TSV:
		name = "table"
	}
	if f.Kind == extract.Code && f.Language != "" {
		settings.Set = maps.Clone(s.Set)
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
	flags     *sourceFlags
	policy    extract.Policy
	describer chunk.Describer
	format    export.Writer
	noText    bool
	lint      bool
	count     string // the tokenizer that flags name for looking
	stdin     io.Reader
	resume    *resume        // nil without --resume
	server    *client.Client // nil to cut here
	written   chan []byte    // blocks that may be filled again
}

// block is bytes of a file's chunks; goesOn says that nothing may stand between it and the one before.
type block struct {
	bytes  []byte
	goesOn bool
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
		blocks chan block
		outcome
		err error // this and outcome are read when blocks is closed
	}
	results := make([]result, len(found))
	c.written = make(chan []byte, jobs*blocks)
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
			results[i].blocks = make(chan block, blocks)
			wg.Go(func() {
				r := &results[i]
				r.outcome, r.err = c.file(ctx, found[i], r.blocks, m)
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
	write := func(between string, b []byte) error {
		if _, err := io.WriteString(out, between); err != nil {
			return err
		}
		_, err := out.Write(b)
		return err
	}
	if c.resume != nil {
		write = c.resume.write
	}
	some, failed := false, 0
	for i := range ready {
		if c.resume != nil {
			c.resume.begin(found[i].Path)
		}
		for b := range results[i].blocks {
			between := ""
			if some && !b.goesOn {
				between = c.format.Between()
			}
			if err := write(between, b.bytes); err != nil {
				return written(err)
			}
			select {
			case c.written <- b.bytes:
			default:
			}
			some = true
		}
		if ctx.Err() != nil {
			break
		}
		if hopeless(results[i].err) {
			return results[i].err
		}
		if r := &results[i]; c.resume != nil {
			if err := c.resume.end(r.key, r.chunks, r.text, r.err); err != nil {
				return written(err)
			}
		}
		m.files.Add(1)
		if err := results[i].err; err != nil {
			failed++
			m.failed(found[i].Path, err)
		}
		m.problems(found[i].Path, results[i].problems)
	}
	if ctx.Err() != nil {
		hint := "what was written are whole chunks, but not all of them"
		if c.resume != nil {
			hint = "the same command goes on from there"
		}
		return &exitError{exitInterrupted, errors.New("interrupted"), hint}
	}
	if _, err := io.WriteString(out, c.format.Close()); err != nil {
		return written(err)
	}
	if err := c.flags.failed(failed, len(found)); err != nil {
		return err
	}
	return m.wrong()
}

// hopeless reports whether an error would be every file's: the server does not let us in, or cannot be reached.
func hopeless(err error) bool {
	e, ok := errors.AsType[*exitError](err)
	return ok && (e.code == exitDenied || e.code == exitNoReach)
}

// written is the error of writing chunks. A reader that has seen enough, such as head, is no failure.
func written(err error) error {
	if err == nil || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return fmt.Errorf("write chunks: %w", err)
}

// outcome is what file says of a file beside its records.
type outcome struct {
	problems     []check.Problem // with lint
	key          string          // with resume
	chunks, text int64
}

// file cuts one file and sends its records, block by block.
func (c *cutting) file(ctx context.Context, f files.File, to chan<- block, m *meter) (o outcome, err error) {
	send := func(b block) error {
		select {
		case to <- b:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	source, err := c.source(f)
	if err != nil {
		return o, err
	}
	if c.resume != nil {
		o.key = c.resume.key(f.Path, source)
		if k, ok := c.resume.find(o.key); ok && !c.lint {
			o.chunks, o.text = k.Chunks, k.Text
			m.unchanged(f, int(k.Text), k.Chunks)
			return o, copyKept(k, send)
		}
	}
	doc, plan, err := c.decode(f, source)
	if err != nil {
		return o, err
	}
	text := doc.Text
	m.size(f, len(text))
	var sum [sha256.Size]byte
	if string(source) == text { // of UTF-8, mostly: nothing need be copied
		sum = sha256.Sum256(source)
	} else {
		sum = sha256.Sum256([]byte(text))
	}
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
	o.text = int64(len(text))
	room := min(blockSize+blockSize/4, 1024+2*len(text))
	records := c.room(room)
	done := 0
	splitter := plan.Splitter
	if c.server != nil {
		if splitter, err = remote(ctx, c.server, f.Path, text, plan, func(n int64) { m.bytes.Add(n) }); err != nil {
			return o, err
		}
	}
	var all []chunk.Detail // to be checked
	for d, err := range c.describer.DescribeFrom(plan, splitter, text) {
		if err != nil {
			return o, err
		}
		if c.lint {
			all = append(all, d)
		}
		if len(records) > 0 {
			records = append(records, c.format.Between()...)
		}
		r.Detail = d
		r.ID = chunk.ID(hash, plan.Strategy, plan.Settings, d.Chunk)
		if r.Encoding != "" {
			r.SourceStart, r.SourceEnd = doc.Offsets.Source(d.Start), doc.Offsets.Source(d.End)
		}
		if records, err = c.format.Append(records, &r); err != nil {
			return o, err
		}
		m.chunks.Add(1)
		o.chunks++
		if len(records) >= blockSize {
			m.bytes.Add(int64(d.End - done))
			done = d.End
			if err := send(block{bytes: records}); err != nil {
				return o, err
			}
			records = c.room(room)
		}
	}
	m.bytes.Add(int64(len(text) - done))
	if len(records) > 0 {
		if err := send(block{bytes: records}); err != nil {
			return o, err
		}
	}
	if c.lint {
		o.problems = check.Chunks(plan, doc.Format.Kind, text, all).Problems
	}
	return o, nil
}

// room is an empty block for n bytes: one that was written, if there is one.
func (c *cutting) room(n int) []byte {
	select {
	case b := <-c.written:
		if cap(b) >= n {
			return b[:0]
		}
	default:
	}
	return make([]byte, 0, n)
}

// read gives a file's text, and how to cut it.
func (c *cutting) read(f files.File) (*extract.Document, chunk.Plan, error) {
	data, err := c.source(f)
	if err != nil {
		return nil, c.plan, err
	}
	return c.decode(f, data)
}

// source is a file's bytes.
func (c *cutting) source(f files.File) ([]byte, error) {
	if f.Path == "-" {
		return io.ReadAll(c.stdin)
	}
	return os.ReadFile(f.Path)
}

// decode makes text of a file's bytes, and says how to cut it.
func (c *cutting) decode(f files.File, data []byte) (*extract.Document, chunk.Plan, error) {
	name := f.Path
	if name == "-" {
		name = ""
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
