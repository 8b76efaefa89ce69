package api

import (
	"context"
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
	v := Document{
		ID: doc.ID, Name: doc.Name, SHA256: doc.SHA256, Bytes: doc.Bytes, Chars: doc.Chars,
		Source: viewOfSource(doc.Source, doc.Bytes, doc.SHA256), CreatedAt: event.Time{Time: doc.CreatedAt},
	}
	v.Links.Self = "/v1/documents/" + doc.ID
	v.Links.Text = v.Links.Self + "/text"
	return &documentOutput{v}, nil
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
	h.Set("Etag", tag)
	h.Set("Cache-Control", "private, no-cache")
	if matches(r.Header["If-None-Match"], tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.FormatInt(doc.Bytes, 10))
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	return orNotFound(a.cfg.Store.DocumentText(r.Context(), doc.Owner, doc.ID, w), noDocument)
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
