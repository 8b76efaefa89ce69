package api

import (
	"bytes"
	"context"
	"math/bits"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"chunkstream/auth"
	"chunkstream/chunk"
	"chunkstream/extract"
	"chunkstream/store"
)

// The bounds of a comparison.
const (
	minCompared = 2
	maxCompared = 6
	maxCuts     = 20_000          // places that an answer lists
	compareTime = 5 * time.Second // for all strategies, the wait for a free processor included
)

// CompareBody is the body of POST /v1/compare; exactly one of text and document_id is given.
type CompareBody struct {
	Text       string           `json:"text,omitempty" doc:"At most 1 MiB"`
	DocumentID string           `json:"document_id,omitempty" doc:"A document of at most 1 MiB that is there already"`
	Strategies []StrategyChoice `json:"strategies" minItems:"2" maxItems:"6" doc:"What to compare; the same strategy may come with different configs"`
	Cuts       bool             `json:"cuts,omitempty" default:"true" doc:"false leaves the list of cuts out"`
	Count      string           `json:"count,omitempty" example:"cl100k_base" doc:"A tokenizer in which the tokens of all chunks are counted too"`
}

// StrategyChoice is a strategy with its settings.
type StrategyChoice struct {
	Strategy      string `json:"strategy,omitempty" default:"recursive"`
	Config        object `json:"config,omitempty" doc:"The strategy's settings, see GET /v1/strategies"`
	Configuration string `json:"configuration,omitempty" doc:"A saved configuration, by id or name, in place of strategy and config"`
}

// ComparePage is the answer to POST /v1/compare. Nothing of it is stored.
type ComparePage struct {
	BytesTotal int64      `json:"bytes_total"`
	CharsTotal int64      `json:"chars_total"`
	Data       []Compared `json:"data" doc:"In the order of the request"`
	Cuts       []Cut      `json:"cuts" doc:"Every place where at least one of them cuts, in order, without the end of the text; at most 20000"`
	CutsTotal  int64      `json:"cuts_total" doc:"How many such places there are"`
	CutsShared int64      `json:"cuts_shared" doc:"How many of those places all of them share"`
}

// Compared is what one strategy made of the text.
type Compared struct {
	Strategy string `json:"strategy"`
	Config   object `json:"config" doc:"The settings, with the defaults filled in"`

	Configuration *UsedConfiguration `json:"configuration,omitempty" doc:"The saved configuration that they are from"`

	Unit         string           `json:"unit" doc:"What sizes count"`
	Chunks       int64            `json:"chunks"`
	Sizes        Sizes            `json:"sizes"`
	Boundaries   map[string]int64 `json:"boundaries" doc:"How many chunks end at each kind of place"`
	Reasons      map[string]int64 `json:"reasons" doc:"How many chunks end there for each reason: limit, structure, end"`
	OverlapBytes int64            `json:"overlap_bytes" doc:"Bytes that a chunk shares with the one before it, together"`
	GoodCuts     float64          `json:"good_cuts" doc:"Share of the cuts that are at the end of a sentence or something better; 1 without cuts"`
	TornWords    float64          `json:"torn_words" doc:"Share of the cuts that are inside of a word"`
	Cuts         int64            `json:"cuts" doc:"Places where it cuts"`
	SharedCuts   int64            `json:"shared_cuts" doc:"Those that the first strategy has too"`
	OnlyCuts     int64            `json:"only_cuts" doc:"Those that no other one has"`
	Tokens       *int64           `json:"tokens,omitempty" doc:"Of all chunks together, each counted by itself, if count asks for it: what an embedding model is sent"`
	TimeMs       float64          `json:"time_ms" doc:"To cut and describe the text once, on one core, here, when it was first asked for"`
}

// Sizes describes how large chunks are, in the unit of their config. Without chunks all is 0.
type Sizes struct {
	Least     int     `json:"least"`
	Median    int     `json:"median"`
	Mean      float64 `json:"mean"`
	P95       int     `json:"p95"`
	Most      int     `json:"most"`
	Histogram []int64 `json:"histogram" doc:"How many chunks have a size in each of ten equal ranges from 0 to most"`
}

// Cut is a place where strategies cut.
type Cut struct {
	Byte int64 `json:"byte"`
	Char int64 `json:"char" doc:"In code points"`
	By   []int `json:"by" doc:"Which of data cut here, from 0"`
}

func compareOperation(a *API) huma.Operation {
	return huma.Operation{
		Method: "POST", Path: "/v1/compare", OperationID: "compare", Tags: chunkingTag, Security: needs(auth.ChunkingRun),
		Summary: "Cut a text in two to six ways and compare them, without storing anything",
		Description: "Sizes, the kinds of place where chunks end, where the ways differ, and how long each took. The text " +
			"has at most 1 MiB and all of it may take 5 s.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {
			Schema: schemaOf[CompareBody](a), Example: map[string]any{
				"text":       "# One\n\nOne sentence. Another one.\n\n# Two\n\nThe last one.",
				"strategies": []any{map[string]any{"strategy": "recursive", "config": map[string]any{"chunk_size": 30}}, map[string]any{"strategy": "markdown"}},
			},
		}}},
		Responses: a.responses(http.StatusOK, "The comparison", map[string]*huma.Schema{"application/json": schemaOf[ComparePage](a)}),
	}
}

func (a *API) compare(w http.ResponseWriter, r *http.Request) error {
	f, err := a.readJSON(w, r, 6*MaxPreview+512<<10, "text", "document_id", "strategies", "cuts", "count")
	if err != nil {
		return err
	}
	if err := f.needs("strategies"); err != nil {
		return err
	}
	plans, used, err := a.choices(r.Context(), f)
	if err != nil {
		return err
	}
	cuts, err := f.boolean("cuts", true)
	if err != nil {
		return err
	}
	count, err := a.tokenizer(f, "count", "")
	if err != nil {
		return err
	}
	text, err := a.smallText(r.Context(), f)
	if err != nil {
		return err
	}
	parts := []string{text, strconv.FormatBool(cuts), count}
	for i, plan := range plans {
		parts = append(parts, plan.Strategy, string(plan.Settings), used[i].ID, used[i].Name, strconv.FormatInt(used[i].Version, 10))
	}
	return a.answerCached(w, keyOf(owner(r.Context()), "compare", parts...), func() (any, error) {
		ctx, cancel := context.WithTimeout(r.Context(), compareTime)
		defer cancel()
		if err := a.acquirePreview(ctx, r); err != nil {
			return nil, err
		}
		defer a.previews.Release(1)
		page, err := compare(ctx, plans, text, cuts)
		for i := range page.Data {
			page.Data[i].Configuration = viewOfUsed(used[i])
			if count != "" && err == nil {
				page.Data[i].Tokens, err = a.countTokens(ctx, count, plans[i], text)
			}
		}
		return page, err
	})
}

// choices reads the member strategies.
func (a *API) choices(ctx context.Context, f fields) (plans []chunk.Plan, used []store.UsedConfiguration, err error) {
	all, err := f.list("strategies", minCompared, maxCompared)
	if err != nil {
		return nil, nil, err
	}
	for i, raw := range all {
		if raw[0] != '{' {
			return nil, nil, f.wrong("strategies", "an array of objects")
		}
		path := f.at("strategies", i)
		one, err := objectFields(path, raw, []string{"strategy", "config", "configuration"})
		if err != nil {
			return nil, nil, err
		}
		plan, from, err := a.choice(ctx, one)
		if err != nil {
			return nil, nil, err
		}
		plans, used = append(plans, plan), append(used, from)
	}
	return plans, used, nil
}

// choice reads the members strategy and config, or configuration in their place.
func (a *API) choice(ctx context.Context, f fields) (plan chunk.Plan, used store.UsedConfiguration, err error) {
	strategy, err := f.text("strategy")
	if err != nil {
		return plan, used, err
	}
	config, err := f.object("config")
	if err != nil {
		return plan, used, err
	}
	if f.has("configuration") {
		name, err := f.text("configuration")
		switch {
		case err != nil:
			return plan, used, err
		case f.has("strategy"), f.has("config"):
			return plan, used, both(f.path + "configuration")
		}
		plan, used, err = a.saved(ctx, name)
		return plan, used, below(f.path, err)
	}
	plan, err = a.plans.get(strategy, config)
	return plan, used, below(f.path, err)
}

// smallText gives the text that the members text or document_id name, at most MaxPreview bytes.
func (a *API) smallText(ctx context.Context, f fields) (string, error) {
	text, err := f.text("text")
	if err != nil {
		return "", err
	}
	id, err := f.text("document_id")
	switch {
	case err != nil:
		return "", err
	case f.has("text") && f.has("document_id"):
		return "", problem("invalid_value", "document_id", "give either text or document_id, not both").suggest("send one of the two")
	case f.has("document_id") && !principal(ctx).May(auth.DocumentsRead):
		return "", lacks(auth.DocumentsRead)
	case f.has("document_id"):
		doc, err := a.document(ctx, id)
		if err != nil {
			return "", orNotFound(err, noDocumentID)
		}
		if doc.Bytes > MaxPreview {
			return "", tooLong(MaxPreview)
		}
		var b bytes.Buffer
		err = a.cfg.Store.DocumentText(ctx, doc.Owner, doc.ID, &b)
		return b.String(), orNotFound(err, noDocumentID)
	case !f.has("text"):
		return "", problem("missing_field", "text", "the text is missing").suggest("use text or document_id")
	case text == "":
		return "", problem("empty_document", "text", "the text is empty").suggest("send some, or document_id in its place")
	case len(text) > MaxPreview:
		return "", tooLong(MaxPreview)
	}
	var b bytes.Buffer
	_, err = b.ReadFrom(extract.NewText(bytes.NewReader([]byte(text))))
	return b.String(), err
}

func noDocumentID() error {
	return problem("not_found", "document_id", "there is no such document here").suggest("look it up with GET /v1/documents, or send its text")
}

// acquirePreview waits for a free processor for something that is answered at once.
func (a *API) acquirePreview(ctx context.Context, r *http.Request) error {
	if a.previews.Acquire(ctx, 1) == nil {
		return nil
	}
	if err := r.Context().Err(); err != nil {
		return err
	}
	return problem("busy", "", "too many previews at once")
}

// compare cuts text by each plan in turn. Where they cut is kept as one bit a plan for every byte of the text.
func compare(ctx context.Context, plans []chunk.Plan, text string, list bool) (ComparePage, error) {
	page := ComparePage{
		BytesTotal: int64(len(text)), CharsTotal: int64(chunk.Chars(text)), Data: make([]Compared, len(plans)), Cuts: []Cut{},
	}
	by := make([]uint8, len(text)+1)
	for i, plan := range plans {
		if err := page.Data[i].measure(ctx, plan, text, by, 1<<i); err != nil {
			return page, err
		}
	}
	all := uint8(1)<<len(plans) - 1
	var ruler chunk.Ruler
	for at, who := range by[:len(text)] {
		if who == 0 {
			continue
		}
		page.CutsTotal++
		if who == all {
			page.CutsShared++
		}
		for i := range plans {
			c := &page.Data[i]
			switch {
			case who>>i&1 == 0:
				continue
			case who&1 == 1:
				c.SharedCuts++
			}
			if bits.OnesCount8(who) == 1 {
				c.OnlyCuts++
			}
		}
		if list && len(page.Cuts) < maxCuts {
			cut := Cut{Byte: int64(at), Char: int64(ruler.At(text, at).Char)}
			for i := range plans {
				if who>>i&1 == 1 {
					cut.By = append(cut.By, i)
				}
			}
			page.Cuts = append(page.Cuts, cut)
		}
	}
	return page, nil
}

// measure cuts text by plan and sets bit in by at each place where it cuts.
func (c *Compared) measure(ctx context.Context, plan chunk.Plan, text string, by []uint8, bit uint8) error {
	*c = Compared{
		Strategy: plan.Strategy, Config: object(plan.Settings), Unit: unitOf(plan),
		Boundaries: map[string]int64{}, Reasons: map[string]int64{}, GoodCuts: 1,
	}
	var sizes []int
	var good, torn int64
	began := time.Now()
	for d, err := range (chunk.Describer{}).Describe(plan, text) {
		if err != nil {
			return err
		}
		if err := compareLate(ctx); err != nil {
			return err
		}
		sizes = append(sizes, d.Size)
		c.Boundaries[d.Boundary.String()]++
		c.Reasons[d.Reason.String()]++
		c.OverlapBytes += int64(d.Overlap)
		if d.Boundary == chunk.End || by[d.End]&bit != 0 { // a level below ends where the one above it does
			continue
		}
		by[d.End] |= bit
		c.Cuts++
		if d.Boundary >= chunk.Sentence {
			good++
		}
		if d.Boundary == chunk.Character {
			torn++
		}
	}
	c.TimeMs = float64(time.Since(began).Microseconds()) / 1000
	c.Chunks, c.Sizes = int64(len(sizes)), sizesOf(sizes)
	if c.Cuts > 0 {
		c.GoodCuts, c.TornWords = float64(good)/float64(c.Cuts), float64(torn)/float64(c.Cuts)
	}
	return nil
}

// compareLate says that ctx is over, and why.
func compareLate(ctx context.Context) error {
	switch ctx.Err() {
	case nil:
		return nil
	case context.Canceled:
		return context.Canceled
	}
	return problem("preview_timeout", "", "the comparison took longer than %s", compareTime).suggest("take less text or fewer strategies")
}

// countTokens sums the tokens of all chunks of text.
func (a *API) countTokens(ctx context.Context, tokenizer string, plan chunk.Plan, text string) (*int64, error) {
	sum := int64(0)
	for d, err := range (chunk.Describer{}).Describe(plan, text) {
		if err != nil {
			return nil, err
		}
		if err := compareLate(ctx); err != nil {
			return nil, err
		}
		ends, err := a.cfg.Tokens(tokenizer, text[d.Start:d.End])
		if err != nil {
			return nil, err
		}
		sum += int64(len(ends))
	}
	return &sum, nil
}

// sizesOf sorts all.
func sizesOf(all []int) Sizes {
	s := Sizes{Histogram: make([]int64, 10)}
	if len(all) == 0 {
		return s
	}
	slices.Sort(all)
	at := func(share float64) int { return all[min(len(all)-1, int(share*float64(len(all))))] }
	s.Least, s.Median, s.P95, s.Most = all[0], at(0.5), at(0.95), all[len(all)-1]
	sum := 0
	for _, n := range all {
		sum += n
		s.Histogram[min(9, n*10/(s.Most+1))]++
	}
	s.Mean = float64(sum) / float64(len(all))
	return s
}
