package api

import (
	"bufio"
	"net/http"
	"strings"

	"chunkstream/chunk"
	"chunkstream/export"
	"chunkstream/store"
)

// downloadFormats are the values of format.
func downloadFormats() []string { return append(export.Formats(), "parquet") }

// download is GET /v1/operations/{id}/download: the chunks of an ended operation as one file. It is streamed page by page;
// when a page cannot be read the connection is cut, so that a part is never taken for the whole.
func (a *API) download(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query() // checked by the route
	format := query.Get("format")
	if !query.Has("format") {
		format = "jsonl"
	}
	media, ending, ok := export.Media(format)
	if !ok {
		p := problem("invalid_value", "format", "format must be one of %s, not %q", strings.Join(downloadFormats(), ", "), clip(format))
		if like := nearest(format, downloadFormats()); like != "" {
			return p.suggest(use(like))
		}
		return p.suggest("leave it out for jsonl")
	}
	text, err := flag(query, "text", true)
	if err != nil {
		return err
	}
	utf16, err := flag(query, "utf16", false)
	if err != nil {
		return err
	}
	op, err := a.operation(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if !op.Status.Final() {
		return problem("operation_not_ended", "id", "the operation is %s", op.Status).
			suggest("wait for its end, or read its chunks as they come")
	}
	plan, err := a.plans.get(op.Strategy, op.Settings)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Chunkstream-Operation-Status"] = []string{string(op.Status)}
	h.Set("Content-Type", media)
	h.Set("Content-Disposition", `attachment; filename="`+op.ID+ending+`"`)
	h.Set("Cache-Control", "private, no-cache")
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	rec := chunkRecorder{op: op, plan: plan, unit: unitOf(plan), utf16: utf16, noText: !text}
	out := bufio.NewWriterSize(w, 64<<10)
	put, end := records(format, out)
	const pageSize = 256
	for from := int64(0); ; {
		// Sizes and openings are told from the texts, so these are read in any case.
		stored, err := a.cfg.Store.Chunks(r.Context(), op.Owner, op.ID, from, pageSize, store.Texts|store.Places)
		if err != nil {
			return orNotFound(err, noOperation)
		}
		for _, c := range stored {
			if err := put(rec.record(c)); err != nil {
				return err
			}
			from = c.Index + 1
		}
		if len(stored) < pageSize {
			break
		}
	}
	if err := end(); err != nil {
		return err
	}
	return out.Flush()
}

// records writes one record after the other in a format, and the end of it.
func records(format string, out *bufio.Writer) (put func(*export.Record) error, end func() error) {
	if format == "parquet" {
		p := export.NewParquet(out)
		return p.Write, p.Close
	}
	f, _ := export.New(format)
	var buf []byte
	next := f.Open()
	return func(r *export.Record) (err error) {
			if buf, err = f.Append(append(buf[:0], next...), r); err != nil {
				return err
			}
			next = f.Between()
			_, err = out.Write(buf)
			return err
		}, func() error {
			if len(buf) == 0 { // not one record
				if _, err := out.WriteString(next); err != nil {
					return err
				}
			}
			_, err := out.WriteString(f.Close())
			return err
		}
}

// chunkRecorder makes records of stored chunks, one after the other from the first on.
type chunkRecorder struct {
	op            store.Operation
	plan          chunk.Plan
	unit          string
	utf16, noText bool
	before        [256]struct { // the last chunk of each level
		some     bool
		start    int64
		end      int64
		text     string
		boundary chunk.Boundary
	}
}

func (x *chunkRecorder) record(c store.Chunk) *export.Record {
	f := c.Facts
	r := &export.Record{
		Document: x.op.Name, Strategy: x.op.Strategy, Unit: x.unit, UTF16: x.utf16, NoText: x.noText,
		Detail: chunk.Detail{
			Chunk: chunk.Chunk{
				Span:     chunk.Span{Start: int(c.StartByte), End: int(c.EndByte)},
				Boundary: f.Boundary, Reason: f.Reason, Kind: f.Kind, Level: f.Level, Up: f.Up,
			},
			Index: int(c.Index), Text: c.Text, Size: x.plan.Size(c.Text), Opens: chunk.End,
		},
	}
	if r.Document == "" {
		r.Document = x.op.DocumentID
	}
	for _, k := range f.Context {
		r.Context = &chunk.Context{
			Span: chunk.Span{Start: int(k.StartByte), End: int(k.EndByte)}, Text: k.Text, Kind: k.Kind, Level: k.Level, Up: r.Context,
		}
	}
	r.ID = chunk.ID(x.op.DocumentSHA256, x.op.Strategy, x.op.Settings, r.Chunk)
	p := c.Placed
	r.From = chunk.Place{Byte: r.Start, Char: int(c.StartChar), Line: int(p.FirstLine - 1), UTF16: int(p.StartUTF16)}
	r.To = chunk.Place{Byte: r.End, Char: int(c.EndChar), Line: int(p.LastLine - 1), UTF16: int(p.EndUTF16)}
	if strings.HasSuffix(c.Text, "\n") {
		r.To.Line++ // it ends at the start of the next line
	}
	if p.Decoded {
		r.Encoding, r.SourceStart, r.SourceEnd = x.op.Source.Encoding, int(p.SourceStart), int(p.SourceEnd)
	}
	last := &x.before[f.Level]
	if last.some {
		r.Overlap, r.Opens = int(max(0, last.end-c.StartByte)), last.boundary
		if r.Overlap > 0 && c.StartByte > last.start {
			r.Opens = chunk.Opening(last.text, int(c.StartByte-last.start))
		}
	}
	last.some, last.start, last.end, last.text, last.boundary = true, c.StartByte, c.EndByte, c.Text, f.Boundary
	return r
}
