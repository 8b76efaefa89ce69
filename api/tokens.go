package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"chunkstream/auth"
	"chunkstream/chunk"
)

// TokensBody is the body of POST /v1/tokens.
type TokensBody struct {
	Text      string `json:"text" doc:"At most 256 KiB of UTF-8"`
	Tokenizer string `json:"tokenizer,omitempty" default:"cl100k_base" doc:"One of those that strategies take"`
}

// Tokens is what a text is to a tokenizer.
type Tokens struct {
	Tokenizer string `json:"tokenizer"`
	Count     int    `json:"count"`
	Ends      []int  `json:"ends" doc:"Where each token ends, in bytes of UTF-8; it may be inside of a character"`
}

// maxTokens is how many bytes of text POST /v1/tokens takes: it is for chunks, not for documents.
const maxTokens = 256 << 10

func tokensOperation(a *API) huma.Operation {
	return huma.Operation{
		Method: "POST", Path: "/v1/tokens", OperationID: "listTokens", Tags: chunkingTag, Security: needs(auth.ChunkingRun),
		Summary:     "Where the tokens of a text end",
		Description: "The text by itself, as a chunk is counted. Nothing is stored.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {
			Schema: schemaOf[TokensBody](a), Example: map[string]any{"text": "Grüße, tokens!"}}}},
		Responses: a.responses(http.StatusOK, "The tokens", map[string]*huma.Schema{"application/json": schemaOf[Tokens](a)}),
	}
}

func (a *API) tokens(w http.ResponseWriter, r *http.Request) error {
	f, err := a.readJSON(w, r, 6*maxTokens+1<<10, "text", "tokenizer") // all of it may be \u0041
	if err != nil {
		return err
	}
	if err := f.needs("text"); err != nil {
		return err
	}
	text, err := f.text("text")
	if err != nil {
		return err
	}
	if len(text) > maxTokens {
		return problem("too_large", "text", "tokens are listed for %s of text", size(maxTokens)).suggest("send a chunk at a time")
	}
	name, err := a.tokenizer(f, "tokenizer", chunk.DefaultTokenizer)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), previewTime)
	defer cancel()
	if err := a.acquirePreview(ctx, r); err != nil {
		return err
	}
	defer a.previews.Release(1)
	ends, err := a.cfg.Tokens(name, text)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, Tokens{name, len(ends), append([]int{}, ends...)}) // [] for none
	return nil
}

// tokenizer reads a member that names one, standard when it is left out, which may be none. What strategies do not take is refused
// in the same words.
func (a *API) tokenizer(f fields, member, standard string) (string, error) {
	name, err := f.text(member)
	if err != nil {
		return "", err
	}
	if !f.has(member) {
		name = standard
		if name == "" {
			return "", nil
		}
	}
	settings, err := json.Marshal(map[string]string{"unit": "tokens", "tokenizer": name})
	if err != nil {
		return "", err
	}
	if _, err = a.plans.get("", settings); err != nil {
		p := problemOf(err)
		p.Detail, p.Param = strings.Replace(p.Detail, p.Param, member, 1), member
		return "", p
	}
	return name, nil
}
