package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"chunkstream/chunk"
	"chunkstream/extract"
	"chunkstream/store"
)

// Preview is the answer to POST /v1/preview. Nothing of it is stored.
type Preview struct {
	Data     []PreviewChunk `json:"data"`
	HasMore  bool           `json:"has_more" doc:"The text has more chunks than were asked for"`
	Strategy string         `json:"strategy"`
	Config   object         `json:"config" doc:"The settings, with the defaults filled in"`

	Configuration *UsedConfiguration `json:"configuration" doc:"The saved configuration that they are from, or null"`

	BytesTotal int64   `json:"bytes_total"`
	CharsTotal int64   `json:"chars_total"`
	Source     *Source `json:"source" doc:"What the text was made from"`

	sha256 string // of the text
}

// PreviewChunk is a chunk of a preview.
type PreviewChunk struct {
	Chunk
	Size int `json:"size" doc:"How much it holds, in the unit of the config"`
}

// maxSpans is how many chunks a preview gives without their texts, which the client has.
const maxSpans = 20_000

// previewTime bounds the cutting of a preview, its wait for a free processor included.
const previewTime = 2 * time.Second

func (a *API) preview(w http.ResponseWriter, r *http.Request) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	var text []byte
	var seen *watched
	in, err := a.receive(w, r, query, envelope{
		fields: []string{"strategy", "configuration", "limit", "texts"}, rawFields: []string{"name", "encoding", "invalid"}, maxText: MaxPreview, maxJSON: 6*MaxPreview + 64<<10, // all of it may be \u0041
	}, func(from io.Reader) error {
		var buf bytes.Buffer
		if n := r.ContentLength; n > 0 && n <= MaxPreview {
			buf.Grow(int(n) + bytes.MinRead)
		}
		seen = watch(from)
		n, err := buf.ReadFrom(io.LimitReader(seen, MaxPreview+1))
		if n > MaxPreview {
			return tooLong(MaxPreview)
		}
		text = buf.Bytes()
		return err
	})
	if err != nil {
		return err
	}
	if len(text) == 0 {
		return problem("empty_document", "text", "there is no text")
	}
	declared, err := in.declaration()
	if err != nil {
		return err
	}
	var from store.Source
	switch {
	case in.unicode && seen.fault != nil:
		err = seen.fault
	case in.unicode:
		from = utf8Source(extract.Recognise(in.name, seen.head), seen.head)
	case declared.asItIs(seen):
		from, err = source(in.name, seen.head)
	default:
		var doc *extract.Document
		if doc, from, err = decodeBytes(in.name, declared, text); err == nil {
			text = []byte(doc.Text)
		}
	}
	if err != nil {
		return err
	}
	limit, most, texts := defaultChunks, maxChunks, true
	switch in.texts {
	case "", "true":
	case "false":
		texts, most = false, maxSpans
	default:
		return problem("invalid_value", "texts", "texts must be true or false").suggest("give true or false, or leave it out")
	}
	if in.limit != "" {
		if limit, err = atoi("limit", in.limit, 1, most); err != nil {
			return err
		}
	}
	source, err := encode(from)
	if err != nil {
		return err
	}
	key := keyOf(owner(r.Context()), "preview", string(text), in.plan.Strategy, string(in.plan.Settings), strconv.Itoa(limit),
		strconv.FormatBool(texts), string(source), in.used.ID, in.used.Name, strconv.FormatInt(in.used.Version, 10))
	return a.answerCached(w, key, func() (any, error) {
		ctx, cancel := context.WithTimeout(r.Context(), previewTime)
		defer cancel()
		if err := a.acquirePreview(ctx, r); err != nil {
			return nil, err
		}
		defer a.previews.Release(1)
		p, err := cut(ctx, in.plan, string(text), limit, texts)
		p.Source, p.Configuration = viewOfSource(from, p.BytesTotal, p.sha256), viewOfUsed(in.used)
		return p, err
	})
}

// cut gives the first limit chunks of text, without their texts if texts is false. A strategy is pulled chunk by chunk, so ctx is looked at between two of
// them; each pull examines a bounded stretch of text.
func cut(ctx context.Context, plan chunk.Plan, text string, limit int, texts bool) (Preview, error) {
	sum := sha256.Sum256([]byte(text))
	hash := hex.EncodeToString(sum[:])
	p := Preview{
		Data: []PreviewChunk{}, Strategy: plan.Strategy, Config: object(plan.Settings), BytesTotal: int64(len(text)),
		CharsTotal: int64(chunk.Chars(text)), sha256: hash,
	}
	for d, err := range (chunk.Describer{}).Describe(plan, text) {
		if err != nil {
			return p, err
		}
		if ctx.Err() != nil {
			if ctx.Err() == context.Canceled {
				return p, ctx.Err()
			}
			return p, problem("preview_timeout", "", "the preview took longer than %s", previewTime)
		}
		if len(p.Data) == limit {
			p.HasMore = true
			break
		}
		lines := &store.Placed{FirstLine: int64(d.From.Line) + 1, LastLine: int64(d.To.Line) + 1}
		if strings.HasSuffix(d.Text, "\n") {
			lines.LastLine--
		}
		p.Data = append(p.Data, PreviewChunk{viewOfChunk(hash, plan.Strategy, plan.Settings, store.Chunk{
			Index: int64(d.Index), StartByte: int64(d.Start), EndByte: int64(d.End),
			StartChar: int64(d.From.Char), EndChar: int64(d.To.Char),
			Text: d.Text, Facts: store.FactsOf(d.Chunk), Overlap: int64(d.Overlap), Placed: lines,
		}, texts, false), d.Size})
	}
	return p, nil
}
