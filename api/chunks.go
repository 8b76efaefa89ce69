package api

import (
	"cmp"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"chunkstream/chunk"
	"chunkstream/store"
)

// Chunk is one chunk as clients see it. Offsets are half-open and refer to the document's text.
type Chunk struct {
	ID        string  `json:"id" doc:"A hash of text, config and place: the same on every run" example:"chk_ab2c…"`
	Index     int64   `json:"index" doc:"From 0"`
	Text      *string `json:"text,omitempty" doc:"text[start_byte:end_byte], verbatim; absent with text=false"`
	StartByte int64   `json:"start_byte"`
	EndByte   int64   `json:"end_byte"`
	StartChar int64   `json:"start_char" doc:"In code points"`
	EndChar   int64   `json:"end_char"`
	CharCount int64   `json:"char_count"`
	StartLine int64   `json:"start_line" doc:"The line of its first character, from 1; LF ends a line"`
	EndLine   int64   `json:"end_line" doc:"The line of its last character"`

	StartUTF16 *int64 `json:"start_utf16,omitempty" doc:"In UTF-16 code units, with utf16=true"`
	EndUTF16   *int64 `json:"end_utf16,omitempty"`
	// Where the text was decoded from another encoding.
	SourceStartByte *int64 `json:"source_start_byte,omitempty" doc:"In the bytes that were uploaded, where the text was decoded from another encoding"`
	SourceEndByte   *int64 `json:"source_end_byte,omitempty"`
	Strategy        string `json:"strategy"`
	OverlapBytes    int64  `json:"overlap_bytes" doc:"How many of its bytes are also in the chunk before it, of the same level; 0 for the first"`

	Boundary    string    `json:"boundary,omitempty" enum:"character,word,clause,sentence,line,row,paragraph,separator,topic,block,section,end" doc:"The kind of place the chunk ends at"`
	Reason      string    `json:"reason,omitempty" enum:"limit,structure,end" doc:"Why it ends there and not further on"`
	Kind        string    `json:"kind,omitempty" doc:"What it holds, where the strategy knows: prose, list, table, code, …"`
	Level       *int      `json:"level,omitempty" doc:"Of a hierarchical chunk; 0 is the largest size"`
	ParentIndex *int64    `json:"parent_index,omitempty" doc:"The index of the chunk of the level above that this one lies in"`
	Context     []Context `json:"context,omitempty" doc:"Text elsewhere that belongs to the chunk, the outermost first: headings, a table's header"`
}

// Context is a piece of text elsewhere in the document without which a chunk is hard to understand.
type Context struct {
	Kind      string  `json:"kind" enum:"heading,table_header,fence,declaration,element"`
	Level     int     `json:"level,omitempty" doc:"Of a heading"`
	StartByte int64   `json:"start_byte"`
	EndByte   int64   `json:"end_byte"`
	Text      *string `json:"text,omitempty" doc:"Verbatim; absent with text=false"`
}

// ChunkPage is one page of an operation's chunks.
type ChunkPage struct {
	Data            []Chunk `json:"data"`
	HasMore         bool    `json:"has_more" doc:"More chunks are stored already"`
	NextCursor      string  `json:"next_cursor" doc:"Empty on the last page"`
	OperationID     string  `json:"operation_id" doc:"Whose chunks they are"`
	OperationStatus string  `json:"operation_status" doc:"completed: these are all; otherwise more may come"`
	At              []int64 `json:"at,omitempty" doc:"With at_byte or at_char: the indexes of the chunks that hold the place, at most 100; absent when none does"`
}

// How many chunks a page has.
const (
	defaultChunks = 100
	maxChunks     = 1000
	maxAround     = 100
	maxHolding    = 100 // chunks that hold one place
)

// chunkID needs of c its span and its level alone.
func chunkID(sha256, strategy string, settings []byte, c store.Chunk) string {
	return chunk.ID(sha256, strategy, settings, chunk.Chunk{
		Span: chunk.Span{Start: int(c.StartByte), End: int(c.EndByte)}, Level: c.Facts.Level,
	})
}

func viewOfChunk(sha256, strategy string, settings []byte, c store.Chunk, text, utf16 bool) Chunk {
	v := Chunk{
		ID:    chunkID(sha256, strategy, settings, c),
		Index: c.Index, StartByte: c.StartByte, EndByte: c.EndByte, StartChar: c.StartChar, EndChar: c.EndChar,
		CharCount: c.EndChar - c.StartChar, Strategy: strategy, OverlapBytes: c.Overlap,
	}
	if text {
		v.Text = &c.Text
	}
	if p := c.Placed; p != nil {
		v.StartLine, v.EndLine = p.FirstLine, p.LastLine
		if utf16 {
			v.StartUTF16, v.EndUTF16 = &p.StartUTF16, &p.EndUTF16
		}
		if p.Decoded {
			v.SourceStartByte, v.SourceEndByte = &p.SourceStart, &p.SourceEnd
		}
	}
	if f := c.Facts; f.Known {
		v.Boundary, v.Reason, v.Kind = f.Boundary.String(), f.Reason.String(), f.Kind.String()
		if strategy == "hierarchical" {
			level := int(f.Level)
			v.Level = &level
		}
		if f.Up > 0 {
			parent := c.Index - int64(f.Up)
			v.ParentIndex = &parent
		}
		for i := range f.Context {
			x := Context{Kind: f.Context[i].Kind.String(), Level: f.Context[i].Level,
				StartByte: f.Context[i].StartByte, EndByte: f.Context[i].EndByte}
			if text {
				x.Text = &f.Context[i].Text
			}
			v.Context = append(v.Context, x)
		}
	}
	return v
}

// chunkQuery is what of an operation's chunks is asked for.
type chunkQuery struct {
	lines       bool // NDJSON
	limit       int  // 0: no end
	text, utf16 bool // what is to be in them
	at          *store.Offset
	around      int // chunks beside those that hold at
	cursor      string
}

// chunkQueryOf reads the query of a route that gives chunks. The route has refused what it does not know.
func chunkQueryOf(r *http.Request) (q chunkQuery, err error) {
	query := r.URL.Query()
	q = chunkQuery{lines: wantsLines(r), limit: defaultChunks, around: 1, cursor: query.Get("cursor")}
	if q.lines {
		q.limit = 0
	}
	if query.Has("limit") {
		if q.limit, err = atoi("limit", query.Get("limit"), 1, maxChunks); err != nil {
			return q, err
		}
	}
	if q.text, err = flag(query, "text", true); err != nil {
		return q, err
	}
	if q.utf16, err = flag(query, "utf16", false); err != nil {
		return q, err
	}
	for _, name := range []string{"at_byte", "at_char"} {
		if !query.Has(name) {
			continue
		}
		at, err := atoi(name, query.Get(name), 0, math.MaxInt)
		switch {
		case err != nil:
			return q, err
		case q.at != nil:
			return q, problem("invalid_value", name, "give either at_byte or at_char, not both").suggest("send one of the two")
		case query.Has("cursor"), query.Has("limit"):
			return q, problem("invalid_value", name, "%s says where the page begins and around how long it is", name).suggest("leave cursor and limit out")
		}
		q.at = &store.Offset{At: int64(at), Chars: name == "at_char"}
	}
	if query.Has("around") {
		if q.at == nil {
			return q, problem("missing_field", "at_byte", "around needs at_byte or at_char").suggest("use limit")
		}
		if q.around, err = atoi("around", query.Get("around"), 0, maxAround); err != nil {
			return q, err
		}
	}
	return q, nil
}

// chunks is GET /v1/operations/{id}/chunks, a page of JSON or all of them as NDJSON.
func (a *API) chunks(w http.ResponseWriter, r *http.Request) error {
	q, err := chunkQueryOf(r)
	if err != nil {
		return err
	}
	// The state is read before the chunks: when it says completed, all of them are there.
	op, err := a.operation(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return a.answerChunks(w, r, op, q)
}

// documentChunks is GET /v1/documents/{id}/chunks: those of the newest completed operation. A cursor stays with the
// operation that it is of, so that pages fit together also when another one completes meanwhile.
func (a *API) documentChunks(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	q, err := chunkQueryOf(r)
	if err != nil {
		return err
	}
	doc, err := a.document(ctx, r.PathValue("id"))
	if err != nil {
		return orNotFound(err, noDocument)
	}
	if q.cursor != "" {
		place, ok := openCursor("chunks", q.cursor)
		id, _, _ := strings.Cut(place, " ")
		if !ok || !validID("op_", id) {
			return badCursor()
		}
		op, err := a.cfg.Store.Operation(ctx, doc.Owner, id)
		if err != nil || op.DocumentID != doc.ID {
			return orNotFound(cmp.Or(err, error(badCursor())), badCursor)
		}
		return a.answerChunks(w, r, op, q)
	}
	ops, _, err := a.cfg.Store.Operations(ctx, doc.Owner, store.Filter{
		DocumentID: doc.ID, Status: store.Completed, Strategy: r.URL.Query().Get("strategy"), Limit: 1,
	})
	if err != nil {
		return err
	}
	if len(ops) == 0 {
		return problem("not_found", "id", "no operation on the document has completed").suggest("submit one with document_id")
	}
	return a.answerChunks(w, r, ops[0], q)
}

// oneChunk is GET /v1/operations/{id}/chunks/{chunk}, by its id or its index.
func (a *API) oneChunk(w http.ResponseWriter, r *http.Request) error {
	ctx, query, name := r.Context(), r.URL.Query(), r.PathValue("chunk")
	text, err := flag(query, "text", true)
	if err != nil {
		return err
	}
	utf16, err := flag(query, "utf16", false)
	if err != nil {
		return err
	}
	op, err := a.operation(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	noChunk := func() error {
		return problem("not_found", "chunk", "the operation has no such chunk").suggest("use an index from 0, or the id of one of its chunks")
	}
	var index int64
	switch {
	case validID("chk_", name):
		index, err = a.cfg.Store.FindChunk(ctx, op.Owner, op.ID, func(c store.Chunk) bool {
			return chunkID(op.DocumentSHA256, op.Strategy, op.Settings, c) == name
		})
		if err != nil {
			return orNotFound(err, noChunk)
		}
	default:
		if index, err = strconv.ParseInt(name, 10, 64); err != nil || index < 0 || strconv.FormatInt(index, 10) != name {
			return noChunk()
		}
	}
	stored, err := a.cfg.Store.Chunks(ctx, op.Owner, op.ID, index, 1, wanted(text))
	if err != nil {
		return orNotFound(err, noOperation)
	}
	if len(stored) == 0 || stored[0].Index != index {
		return noChunk()
	}
	writeJSON(w, http.StatusOK, viewOfChunk(op.DocumentSHA256, op.Strategy, op.Settings, stored[0], text, utf16))
	return nil
}

// answerChunks answers with chunks of op.
func (a *API) answerChunks(w http.ResponseWriter, r *http.Request, op store.Operation, q chunkQuery) (err error) {
	from, limit := int64(0), q.limit
	var holding []int64
	switch {
	case q.cursor != "" || r.URL.Query().Has("cursor"):
		if from, err = openChunkCursor(op, q.cursor); err != nil {
			return err
		}
	case q.at != nil:
		var nearest int64
		if holding, nearest, err = a.cfg.Store.ChunksAt(r.Context(), op.Owner, op.ID, *q.at, maxHolding); err != nil {
			return orNotFound(err, noOperation)
		}
		first := nearest // of those that hold it and follow each other up to the nearest
		for i := len(holding) - 1; i > 0 && holding[i-1] == first-1; i-- {
			first--
		}
		from = max(first-int64(q.around), 0)
		limit = max(int(nearest+int64(q.around)+1-from), 1)
	}
	w.Header()["Chunkstream-Operation-Id"] = []string{op.ID}
	w.Header()["Chunkstream-Operation-Status"] = []string{string(op.Status)}
	w.Header()["Vary"] = []string{"Accept"}
	if q.lines {
		return a.chunkLines(w, r, op, from, limit, q.text, q.utf16)
	}
	stored, err := a.cfg.Store.Chunks(r.Context(), op.Owner, op.ID, from, limit+1, wanted(q.text))
	if err != nil {
		return orNotFound(err, noOperation)
	}
	page := ChunkPage{Data: make([]Chunk, 0, len(stored)), OperationID: op.ID, OperationStatus: string(op.Status), At: holding}
	if len(stored) > limit {
		page.HasMore, page.NextCursor = true, chunkCursor(op, stored[limit].Index)
		stored = stored[:limit]
	}
	for _, c := range stored {
		page.Data = append(page.Data, viewOfChunk(op.DocumentSHA256, op.Strategy, op.Settings, c, q.text, q.utf16))
	}
	writeJSON(w, http.StatusOK, page)
	return nil
}

// flag reads a parameter that is true or false.
func flag(query url.Values, name string, otherwise bool) (bool, error) {
	switch query.Get(name) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	if query.Has(name) {
		return false, problem("invalid_value", name, "%s must be true or false", name).suggest("give true or false, or leave it out")
	}
	return otherwise, nil
}

// wanted is what of stored chunks is to be read.
func wanted(text bool) store.Want {
	if text {
		return store.Places | store.Texts
	}
	return store.Places
}

// chunkLines streams what is stored, page by page; limit 0 is all. When a page cannot be read the connection is cut,
// so that a part is never taken for the whole.
func (a *API) chunkLines(w http.ResponseWriter, r *http.Request, op store.Operation, from int64, limit int,
	text, utf16 bool) error {
	const pageSize = 256
	for left := limit; ; {
		want := pageSize
		if limit > 0 {
			want = min(want, left)
		}
		stored, err := a.cfg.Store.Chunks(r.Context(), op.Owner, op.ID, from, want, wanted(text))
		if err != nil {
			return orNotFound(err, noOperation)
		}
		if w.Header().Get("Content-Type") == "" {
			w.Header().Set("Content-Type", linesType)
			w.WriteHeader(http.StatusOK)
		}
		for _, c := range stored {
			line, err := encode(viewOfChunk(op.DocumentSHA256, op.Strategy, op.Settings, c, text, utf16))
			if err != nil {
				return err
			}
			if _, err := w.Write(line); err != nil {
				return nil // the client has gone
			}
			from = c.Index + 1
		}
		if left -= len(stored); len(stored) < want || left == 0 {
			return nil
		}
	}
}

const linesType = "application/x-ndjson"

// wantsLines decides by Accept between JSON, which wins when both will do equally, and NDJSON.
func wantsLines(r *http.Request) bool {
	accept := strings.Join(r.Header["Accept"], ",")
	if accept == "" {
		return false
	}
	jsonQ, linesQ := -1.0, -1.0
	for part := range strings.SplitSeq(accept, ",") {
		media, params, _ := strings.Cut(part, ";")
		q := 1.0
		for param := range strings.SplitSeq(params, ";") {
			if v, ok := strings.CutPrefix(strings.TrimSpace(param), "q="); ok {
				if f, err := strconv.ParseFloat(v, 64); err == nil {
					q = f
				}
			}
		}
		switch strings.ToLower(strings.TrimSpace(media)) {
		case "application/json", "application/*", "*/*":
			jsonQ = max(jsonQ, q)
		case linesType, "application/jsonl", "application/ndjson":
			linesQ = max(linesQ, q)
		}
	}
	return linesQ > 0 && linesQ > jsonQ
}

func chunkCursor(op store.Operation, index int64) string {
	return cursor("chunks", op.ID+" "+strconv.FormatInt(index, 10))
}

func openChunkCursor(op store.Operation, c string) (int64, error) {
	place, ok := openCursor("chunks", c)
	index, found := strings.CutPrefix(place, op.ID+" ")
	from, err := strconv.ParseInt(index, 10, 64)
	if !ok || !found || err != nil || from < 0 {
		return 0, badCursor()
	}
	return from, nil
}
