package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"chunkstream/event"
	"chunkstream/store"
)

// Document is a document as clients see it.
type Document struct {
	ID        string     `json:"id" example:"doc_0199c2f1a4c77d0e9f6b3a5c"`
	Name      string     `json:"name" doc:"As first given; may be empty"`
	SHA256    string     `json:"sha256" doc:"Of the text's UTF-8 bytes"`
	Bytes     int64      `json:"bytes"`
	Chars     int64      `json:"chars" doc:"Code points"`
	Source    *Source    `json:"source" doc:"What it was made from, as first uploaded; null for a document of a version that did not keep it"`
	CreatedAt event.Time `json:"created_at"`
	Links     struct {
		Self string `json:"self"`
		Text string `json:"text"`
	} `json:"links"`
}

type (
	documentInput struct {
		ID string `path:"id" doc:"The document" example:"doc_0199c2f1a4c77d0e9f6b3a5c"`
	}
	documentOutput struct {
		Body Document
	}
)

func (a *API) document(ctx context.Context, id string) (store.Document, error) {
	if !validID("doc_", id) {
		return store.Document{}, noDocument()
	}
	doc, err := a.cfg.Store.Document(ctx, owner(ctx), id)
	return doc, orNotFound(err, noDocument)
}

func (a *API) getDocument(ctx context.Context, in *documentInput) (*documentOutput, error) {
	doc, err := a.document(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &documentOutput{viewOfDocument(doc)}, nil
}

func viewOfDocument(doc store.Document) Document {
	v := Document{
		ID: doc.ID, Name: doc.Name, SHA256: doc.SHA256, Bytes: doc.Bytes, Chars: doc.Chars,
		Source: viewOfSource(doc.Source, doc.Bytes, doc.SHA256), CreatedAt: event.Time{Time: doc.CreatedAt},
	}
	v.Links.Self = "/v1/documents/" + doc.ID
	v.Links.Text = v.Links.Self + "/text"
	return v
}

func (a *API) deleteDocument(ctx context.Context, in *documentInput) (*struct{}, error) {
	if !validID("doc_", in.ID) {
		return nil, noDocument()
	}
	return nil, orNotFound(a.cfg.Store.DeleteDocument(ctx, owner(ctx), in.ID), noDocument)
}

// documentText is GET /v1/documents/{id}/text: the exact bytes that all offsets refer to.
func (a *API) documentText(w http.ResponseWriter, r *http.Request) error {
	doc, err := a.document(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	tag := `"` + doc.SHA256 + `"`
	h := w.Header()
	from, to, partial, wrong := rangeOf(r, tag, doc.Bytes)
	if !partial && wrong == nil { // ranges are of what is not packed
		coding, _ := codingOf(r.Header["Accept-Encoding"], doc.Bytes, codings)
		tag = variant(tag, coding)
	}
	h.Set("Etag", tag)
	h.Set("Cache-Control", "private, no-cache")
	vary(h)
	if matches(r.Header["If-None-Match"], tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if wrong != nil {
		return wrong
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Length", strconv.FormatInt(to-from, 10))
	if partial {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, doc.Bytes))
		w.WriteHeader(http.StatusPartialContent)
		return orNotFound(a.cfg.Store.DocumentRange(r.Context(), doc.Owner, doc.ID, from, to, w), noDocument)
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	return orNotFound(a.cfg.Store.DocumentText(r.Context(), doc.Owner, doc.ID, w), noDocument)
}

// rangeOf reads the header Range (RFC 9110, section 14): the bytes [from, to) that are to be sent, and whether they are
// less than all that was asked for. What is no single range of bytes is passed over, as the RFC allows; one that begins
// beyond the end is refused.
func rangeOf(r *http.Request, tag string, size int64) (from, to int64, partial bool, err error) {
	given := r.Header["Range"]
	spec, bytes := "", false
	if len(given) == 1 && r.Method == http.MethodGet {
		spec, bytes = strings.CutPrefix(given[0], "bytes=")
	}
	if condition := r.Header.Get("If-Range"); !bytes || condition != "" && condition != tag {
		return 0, size, false, nil
	}
	first, last, ok := strings.Cut(spec, "-")
	a, errA := strconv.ParseUint(first, 10, 63)
	b, errB := strconv.ParseUint(last, 10, 63)
	switch {
	case !ok || first == "" && last == "" || first != "" && errA != nil || last != "" && errB != nil || first != "" && last != "" && b < a:
		return 0, size, false, nil
	case first == "":
		from, to = max(0, size-int64(b)), size
	case last == "":
		from, to = int64(a), size
	default:
		from, to = int64(a), int64(min(b, uint64(size)))+1
	}
	if to = min(to, size); from >= to {
		p := problem("invalid_range", "Range", "the text has %d bytes", size).suggest(fmt.Sprintf("begin below %d", size))
		p.header = http.Header{"Content-Range": {fmt.Sprintf("bytes */%d", size)}}
		return 0, 0, false, p
	}
	return from, to, true, nil
}

type (
	documentsInput struct {
		Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most"`
		Cursor string `query:"cursor" doc:"next_cursor of the page before"`
	}
	documentsOutput struct {
		Body DocumentPage
	}
)

// DocumentPage is one page of a list, newest first.
type DocumentPage struct {
	Data       []Document `json:"data"`
	HasMore    bool       `json:"has_more"`
	NextCursor string     `json:"next_cursor" doc:"Empty on the last page"`
}

func (a *API) listDocuments(ctx context.Context, in *documentsInput) (*documentsOutput, error) {
	before := ""
	if in.Cursor != "" {
		var ok bool
		if before, ok = openCursor("documents", in.Cursor); !ok || !validID("doc_", before) {
			return nil, badCursor()
		}
	}
	docs, err := a.cfg.Store.Documents(ctx, owner(ctx), before, in.Limit+1)
	if err != nil {
		return nil, orNotFound(err, badCursor)
	}
	page := DocumentPage{Data: []Document{}, HasMore: len(docs) > in.Limit}
	for _, doc := range docs[:min(len(docs), in.Limit)] {
		page.Data = append(page.Data, viewOfDocument(doc))
	}
	if page.HasMore {
		page.NextCursor = cursor("documents", page.Data[in.Limit-1].ID)
	}
	return &documentsOutput{page}, nil
}

// matches reports whether If-None-Match names the entity tag (RFC 9110, section 13.1.2).
func matches(header []string, tag string) bool {
	for _, line := range header {
		for one := range strings.SplitSeq(line, ",") {
			if one = strings.TrimPrefix(strings.TrimSpace(one), "W/"); one == tag || one == "*" {
				return true
			}
		}
	}
	return false
}
