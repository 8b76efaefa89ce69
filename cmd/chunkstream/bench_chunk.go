package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"chunkstream/chunk"
)

// BenchChunkCmd cuts texts with every strategy, on one core, and says how fast that was and what came out.
type BenchChunkCmd struct {
	Path      string   `arg:"" optional:"" help:"A file, or a folder with all its files; default: 8 MB of generated prose."`
	Strategy  []string `placeholder:"NAME" help:"Only these strategies; default: all."`
	ChunkSize int      `default:"1000" help:"Of a chunk at most, in the unit."`
	Unit      string   `default:"chars" help:"What sizes are in: chars, bytes, words or tokens."`
	Tokenizer string   `placeholder:"NAME" help:"What counts tokens; default: that of the strategy."`

	Duration time.Duration `default:"200ms" help:"How long to measure, three times for each strategy."`

	JSON bool `name:"json" help:"Print one JSON object instead of a table."`
}

// ChunkSpeed is one line of what --json prints. Sizes are characters (code points).
type ChunkSpeed struct {
	Strategy string  `json:"strategy"`
	MBPerSec float64 `json:"megabytes_per_second"` // 10^6 bytes of text, the best of three runs
	Chunks   int     `json:"chunks"`
	Mean     float64 `json:"mean_chars"`
	Largest  int     `json:"largest_chars"`
	Refused  string  `json:"refused,omitempty"` // why the strategy does not take the settings
}

// ChunkSpeeds is what --json prints.
type ChunkSpeeds struct {
	Version   int          `json:"version"` // of this format
	Documents int          `json:"documents"`
	Bytes     int          `json:"bytes"`
	Skipped   int          `json:"skipped"` // files that are not text in UTF-8
	ChunkSize int          `json:"chunk_size"`
	Unit      string       `json:"unit"`
	Go        string       `json:"go"`
	Results   []ChunkSpeed `json:"results"`
}

// Run measures and prints.
func (b *BenchChunkCmd) Run(ctx context.Context) error {
	settings := map[string]any{"chunk_size": b.ChunkSize, "unit": b.Unit}
	if b.Tokenizer != "" {
		settings["tokenizer"] = b.Tokenizer
	}
	config, err := json.Marshal(settings)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	names := b.Strategy
	for _, info := range chunk.Strategies() {
		if len(b.Strategy) == 0 {
			names = append(names, info.Name)
		}
	}
	var plans []chunk.Plan
	var refused []ChunkSpeed
	for _, name := range names {
		plan, err := parser.Parse(name, config)
		if wrong := (*chunk.ParamError)(nil); errors.As(err, &wrong) && len(b.Strategy) == 0 {
			refused = append(refused, ChunkSpeed{Strategy: name, Refused: wrong.Error()})
		} else if err != nil {
			return &exitError{exitUsage, fmt.Errorf("bench: %w", err), ""}
		} else {
			plans = append(plans, plan)
		}
	}
	if len(plans) == 0 {
		return &exitError{exitUsage, fmt.Errorf("bench: no strategy takes %s: %s", config, refused[0].Refused), ""}
	}
	texts, skipped, err := b.texts()
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("bench: %w", err), "chunkstream bench chunk FOLDER"}
	}
	result := ChunkSpeeds{
		Version: 1, Documents: len(texts), Skipped: skipped, ChunkSize: b.ChunkSize, Unit: b.Unit, Go: runtime.Version(),
	}
	for _, text := range texts {
		result.Bytes += len(text)
	}
	for _, plan := range plans {
		one, err := speed(ctx, plan, texts, result.Bytes, b.Duration)
		if err != nil {
			return err
		}
		result.Results = append(result.Results, one)
	}
	result.Results = append(result.Results, refused...)
	return result.print(os.Stdout, b.JSON)
}

// texts reads what is named: all files below it, without hidden ones and those that are not UTF-8.
func (b *BenchChunkCmd) texts() (texts []string, skipped int, err error) {
	if b.Path == "" {
		return []string{string(prose(8e6, 1))}, 0, nil
	}
	err = filepath.WalkDir(b.Path, func(path string, d fs.DirEntry, err error) error {
		if err != nil { // without an entry, when what is named is not there
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && path != b.Path
		switch {
		case hidden && d.IsDir():
			return filepath.SkipDir
		case hidden || path != b.Path && !d.Type().IsRegular() || d.IsDir():
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
			skipped++
		} else if len(text) > 0 {
			texts = append(texts, string(text))
		}
		return nil
	})
	if err == nil && len(texts) == 0 {
		err = fmt.Errorf("no text in %s (%d files are not UTF-8)", b.Path, skipped)
	}
	return texts, skipped, err
}

// speed walks over all texts again and again, three times for a while.
func speed(ctx context.Context, plan chunk.Plan, texts []string, size int, enough time.Duration) (
	ChunkSpeed, error,
) {
	one := ChunkSpeed{Strategy: plan.Strategy}
	total := 0
	for _, text := range texts { // this also warms up
		for c := range plan.Splitter.Split(text) {
			n := utf8.RuneCountInString(text[c.Start:c.End])
			one.Chunks++
			one.Largest = max(one.Largest, n)
			total += n
		}
	}
	one.Mean = float64(total) / float64(max(one.Chunks, 1))
	for range 3 {
		begin := time.Now()
		for walks := 1; ; walks++ {
			for _, text := range texts {
				for range plan.Splitter.Split(text) {
				}
			}
			if took := time.Since(begin); took >= enough {
				one.MBPerSec = max(one.MBPerSec, float64(walks)*float64(size)/1e6/took.Seconds())
				break
			}
		}
		if ctx.Err() != nil {
			return one, ctx.Err()
		}
	}
	return one, nil
}

func (r ChunkSpeeds) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(format string, values ...any) { _, _ = fmt.Fprintf(t, format+"\n", values...) }
	row("%.1f MB in %d documents (%d files skipped: not UTF-8) · at most %d %s · one core", float64(r.Bytes)/1e6,
		r.Documents, r.Skipped, r.ChunkSize, r.Unit)
	row("strategy\tMB/s\tchunks\tmean characters\tlargest")
	for _, s := range r.Results {
		if s.Refused != "" {
			row("%s\t%s", s.Strategy, s.Refused)
			continue
		}
		row("%s\t%.0f\t%d\t%.0f\t%d", s.Strategy, s.MBPerSec, s.Chunks, s.Mean, s.Largest)
	}
	return t.Flush() // reports what the rows ran into
}
