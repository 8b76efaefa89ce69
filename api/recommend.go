package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"chunkstream/auth"
	"chunkstream/chunk"
)

// RecommendBody is the body of POST /v1/recommend; exactly one of text and document_id is given.
type RecommendBody struct {
	Text       string `json:"text,omitempty" doc:"At most 1 MiB"`
	DocumentID string `json:"document_id,omitempty" doc:"A document of at most 1 MiB that is there already"`
	Config     object `json:"config,omitempty" doc:"Settings that every strategy takes: chunk_size, unit, tokenizer, chunk_overlap"`
}

// Recommendation is a strategy for a text, and why.
type Recommendation struct {
	Strategy   string         `json:"strategy"`
	Config     object         `json:"config"`
	Reasons    []string       `json:"reasons" doc:"In words, with the figures below"`
	Properties TextProperties `json:"properties" doc:"What was measured of the text"`
	Compared   []Compared     `json:"compared" doc:"What it and the plainer ways make of this text, the recommended one first"`
}

// TextProperties is what a text is made of. Shares are of its lines that are not blank.
type TextProperties struct {
	Bytes      int64   `json:"bytes"`
	Chars      int64   `json:"chars"`
	Lines      int64   `json:"lines" doc:"That are not blank"`
	Paragraphs int64   `json:"paragraphs" doc:"Runs of lines between blank ones"`
	Headings   float64 `json:"headings" doc:"Share of lines that begin as a Markdown heading"`
	Lists      float64 `json:"lists" doc:"Share of lines that begin as a list item"`
	Tables     float64 `json:"tables" doc:"Share of lines that begin and end with |"`
	Fenced     float64 `json:"fenced" doc:"Share of lines between Markdown code fences"`
	Tags       float64 `json:"tags" doc:"Share of lines that have an HTML tag"`
	Code       float64 `json:"code" doc:"Share of lines outside of fences that end as code does: { } ; or ):"`
	Sentences  float64 `json:"sentences" doc:"Share of lines that end with . ! or ?"`
}

func recommendOperation(a *API) huma.Operation {
	return huma.Operation{
		Method: "POST", Path: "/v1/recommend", OperationID: "recommend", Tags: chunkingTag, Security: needs(auth.ChunkingRun),
		Summary: "Which strategy for a text, and why",
		Description: "A few properties of the text are measured, stated rules choose by them, and the choice is measured on the text " +
			"beside plainer ones. The rules, the first that fits: tags in at least 20 % of the lines: html; code in at least 30 %: code; " +
			"headings, tables or fences in at least 2 %: markdown; otherwise: recursive.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {
			Schema: schemaOf[RecommendBody](a), Example: map[string]any{"text": "# One\n\nOne sentence. Another one."}}}},
		Responses: a.responses(http.StatusOK, "The recommendation", map[string]*huma.Schema{"application/json": schemaOf[Recommendation](a)}),
	}
}

func (a *API) recommend(w http.ResponseWriter, r *http.Request) error {
	f, err := a.readJSON(w, r, 6*MaxPreview+64<<10, "text", "document_id", "config")
	if err != nil {
		return err
	}
	config, err := f.object("config")
	if err != nil {
		return err
	}
	if _, err := a.plans.get("", config); err != nil {
		return err
	}
	text, err := a.smallText(r.Context(), f)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), compareTime)
	defer cancel()
	if err := a.acquirePreview(ctx, r); err != nil {
		return err
	}
	defer a.previews.Release(1)
	rec := Recommendation{Properties: propertiesOf(text), Compared: []Compared{}}
	rec.Strategy, rec.Reasons = choose(rec.Properties)
	var plans []chunk.Plan
	for _, name := range []string{rec.Strategy, "recursive", "fixed_size"} {
		if len(plans) > 0 && name == rec.Strategy {
			continue
		}
		plan, err := a.plans.get(name, config)
		if err != nil {
			return err // a setting that recursive has and another one lacks
		}
		plans = append(plans, plan)
	}
	page, err := compare(ctx, plans, text, false)
	if err != nil {
		return err
	}
	rec.Config, rec.Compared = object(plans[0].Settings), page.Data
	best, plain := page.Data[0], page.Data[len(page.Data)-1]
	rec.Reasons = append(rec.Reasons, fmt.Sprintf("on this text %.0f %% of its %d cuts are at the end of a sentence or something better, of fixed_size's %.0f %%",
		100*best.GoodCuts, best.Cuts, 100*plain.GoodCuts))
	writeJSON(w, http.StatusOK, rec)
	return nil
}

// choose is the rules that the description of the route states.
func choose(p TextProperties) (strategy string, reasons []string) {
	percent := func(share float64, what string) string {
		return fmt.Sprintf("%.0f %% of the lines %s", 100*share, what)
	}
	switch marks := p.Headings + p.Tables + p.Fenced; {
	case p.Tags >= 0.2:
		return "html", []string{percent(p.Tags, "have an HTML tag")}
	case p.Code >= 0.3:
		return "code", []string{percent(p.Code, "end as code does")}
	case marks >= 0.02:
		return "markdown", []string{percent(p.Headings, "are headings"), percent(p.Tables, "are rows of tables"), percent(p.Fenced, "are fenced code")}
	}
	return "recursive", []string{percent(p.Headings+p.Tables+p.Fenced, "are headings, rows of tables or fenced code: too few for markdown"),
		percent(p.Sentences, "end a sentence")}
}

// propertiesOf reads the text line by line, once.
func propertiesOf(text string) TextProperties {
	p := TextProperties{Bytes: int64(len(text)), Chars: int64(chunk.Chars(text))}
	var headings, lists, tables, fenced, tags, code, sentences int64
	inside, blank := false, true
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			blank = true
			continue
		}
		p.Lines++
		if blank {
			p.Paragraphs++
		}
		blank = false
		if strings.HasPrefix(line, "```") || strings.HasPrefix(line, "~~~") {
			inside = !inside
			fenced++
			continue
		}
		if inside {
			fenced++
			continue
		}
		hashes := len(line) - len(strings.TrimLeft(line, "#"))
		switch last := line[len(line)-1]; {
		case hashes >= 1 && hashes <= 6 && strings.HasPrefix(line[hashes:], " "):
			headings++
		case len(line) > 1 && line[0] == '|' && last == '|':
			tables++
		case strings.HasPrefix(line, "- "), strings.HasPrefix(line, "* "), strings.HasPrefix(line, "+ "):
			lists++
		case hasTag(line):
			tags++
		case last == '{', last == '}', last == ';', strings.HasSuffix(line, "):"):
			code++
		case last == '.', last == '!', last == '?':
			sentences++
		}
	}
	if n := float64(p.Lines); n > 0 {
		p.Headings, p.Lists, p.Tables, p.Fenced = float64(headings)/n, float64(lists)/n, float64(tables)/n, float64(fenced)/n
		p.Tags, p.Code, p.Sentences = float64(tags)/n, float64(code)/n, float64(sentences)/n
	}
	return p
}

// hasTag reports whether a line has < and a letter, with or without / between them, and > behind.
func hasTag(line string) bool {
	for {
		at := strings.IndexByte(line, '<')
		if at < 0 {
			return false
		}
		line = strings.TrimPrefix(line[at+1:], "/")
		if line != "" && (line[0]|0x20) >= 'a' && (line[0]|0x20) <= 'z' && strings.IndexByte(line, '>') > 0 {
			return true
		}
	}
}
