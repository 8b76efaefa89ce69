package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"chunkstream/auth"
	"chunkstream/chunk"
	"chunkstream/event"
	"chunkstream/extract"
	"chunkstream/store"
)

// maxBatch is how many documents a batch may have.
const maxBatch = 100

// BatchBody is the body of POST /v1/batches.
type BatchBody struct {
	Name     string `json:"name,omitempty" maxLength:"255" doc:"For people"`
	Strategy string `json:"strategy,omitempty" default:"recursive" doc:"For documents that name none"`
	Config   object `json:"config,omitempty" doc:"For documents that name neither strategy nor config"`

	Configuration string `json:"configuration,omitempty" doc:"A saved configuration, by id or name, in place of strategy and config"`

	Webhook   string          `json:"webhook,omitempty" doc:"The id of a webhook that is to be told of the end of each"`
	Documents []BatchDocument `json:"documents" minItems:"1" maxItems:"100"`
}

// BatchDocument is one document of a batch; exactly one of text and document_id is given.
type BatchDocument struct {
	Text       string `json:"text,omitempty"`
	DocumentID string `json:"document_id,omitempty" doc:"A document that is there already"`
	Name       string `json:"name,omitempty" maxLength:"255"`
	Strategy   string `json:"strategy,omitempty"`
	Config     object `json:"config,omitempty"`

	Configuration string `json:"configuration,omitempty" doc:"A saved configuration, by id or name, in place of strategy and config"`
}

// Batch is operations that were submitted together, and how far they are.
type Batch struct {
	ID         string         `json:"id" example:"bat_0199c2f1a4c77d0e9f6b3a5d"`
	Name       string         `json:"name"`
	CreatedAt  event.Time     `json:"created_at"`
	Total      int            `json:"total" doc:"Operations that are there still"`
	Done       int            `json:"done" doc:"Those that have ended"`
	Statuses   map[string]int `json:"statuses" doc:"How many have each status"`
	BytesTotal int64          `json:"bytes_total"`
	BytesDone  int64          `json:"bytes_done"`
	Chunks     int64          `json:"chunks"`
	Data       []Operation    `json:"data" doc:"The operations, in the order submitted"`
}

type (
	batchInput struct {
		ID string `path:"id" doc:"The batch" example:"bat_0199c2f1a4c77d0e9f6b3a5d"`
	}
	batchOutput struct {
		Body Batch
	}
)

func (a *API) registerBatches() {
	a.plain(huma.Operation{
		Method: "POST", Path: "/v1/batches", OperationID: "submitBatch", Tags: operationsTag, Security: needs(auth.OperationsWrite),
		Summary: "Submit up to 100 documents at once",
		Description: "Each becomes an operation of its own. All are checked before the first is made. With an Idempotency-Key a " +
			"repetition gives the same batch, and finishes one that was interrupted.",
		Parameters: []*huma.Param{idempotencyHeader},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {
			Schema: schemaOf[BatchBody](a), Example: map[string]any{"config": map[string]any{"chunk_size": 20},
				"documents": []any{map[string]any{"text": "The first one."}, map[string]any{"text": "The second one.", "strategy": "sentence"}}},
		}}},
		Responses: a.responses(http.StatusAccepted, "Accepted and durable", map[string]*huma.Schema{"application/json": schemaOf[Batch](a)}),
	}, a.submitBatch)
	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/batches/{id}", OperationID: "getBatch", Tags: operationsTag, Security: needs(auth.OperationsRead),
		Summary: "How far a batch is, and its operations",
	}, a.getBatch)
	a.plain(huma.Operation{
		Method: "POST", Path: "/v1/batches/{id}/retry", OperationID: "retryBatch", Tags: operationsTag, Security: needs(auth.OperationsWrite),
		Summary: "Run what has failed of a batch again",
		Description: "Each failed operation is run again as a new one, which names it in retry_of and takes its place in the batch. " +
			"Repeating the request makes no second one, unless the new one has failed too; without failed operations the batch is answered as it is.",
		Parameters: []*huma.Param{inPath("id", "The batch")},
		Responses:  a.responses(http.StatusAccepted, "The batch, with the new operations", map[string]*huma.Schema{"application/json": schemaOf[Batch](a)}),
	}, a.retryBatch)
	typed(a, huma.Operation{
		Method: "POST", Path: "/v1/batches/{id}/cancel", OperationID: "cancelBatch", Tags: operationsTag, Security: needs(auth.OperationsWrite),
		Summary: "Cancel what has not ended of a batch",
	}, a.cancelBatch)
}

// batchItem is one document of a batch, checked.
type batchItem struct {
	text, documentID, name string
	plan                   chunk.Plan
	used                   store.UsedConfiguration
}

func (a *API) submitBatch(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	key, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	if err := a.room(ctx); err != nil {
		return err
	}
	leave, err := a.admission.enter(ctx, owner(ctx), r.ContentLength)
	if err != nil {
		return err
	}
	defer leave()
	f, err := a.readJSON(w, r, MaxText, "name", "strategy", "config", "configuration", "webhook", "documents")
	if err != nil {
		return err
	}
	items, name, err := a.batchItems(ctx, f)
	if err != nil {
		return err
	}
	hook, err := f.text("webhook")
	if err == nil && f.has("webhook") {
		err = a.hook(ctx, hook)
	}
	if err != nil {
		return err
	}
	id := store.NewBatchID()
	if key != "" {
		sum := sha256.Sum256([]byte(owner(ctx) + "\x00" + key))
		id = "bat_" + hex.EncodeToString(sum[:16])
	}
	var ops, parts []string
	for _, item := range items {
		parts = append(parts, item.text, item.documentID, item.name, item.plan.Strategy, string(item.plan.Settings))
	}
	whole := requestHash(append(parts, hook)...) // a key stands for all of a batch: not for one with a document more or fewer either
	for i, item := range items {
		itemKey := ""
		if key != "" {
			sum := sha256.Sum256([]byte(fmt.Sprintf("%s\x00%d", key, i)))
			itemKey = "batch-" + hex.EncodeToString(sum[:])
		}
		op, err := a.submitItem(ctx, item, hook, itemKey, whole)
		if err != nil {
			return below(f.at("documents", i), err)
		}
		ops = append(ops, op)
	}
	if err := a.cfg.Store.CreateBatch(ctx, owner(ctx), id, name, ops); err != nil {
		return err
	}
	b, err := a.cfg.Store.Batch(ctx, owner(ctx), id)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/batches/"+id)
	writeJSON(w, http.StatusAccepted, viewOfBatch(b))
	return nil
}

// batchItems checks all of a batch before anything of it is made.
func (a *API) batchItems(ctx context.Context, f fields) (items []batchItem, name string, err error) {
	if err := f.needs("documents"); err != nil {
		return nil, "", err
	}
	if name, err = f.text("name"); err == nil {
		err = checkName(name)
	}
	if err != nil {
		return nil, "", err
	}
	standard, used, err := a.choice(ctx, f)
	if err != nil {
		return nil, "", err
	}
	all, err := f.list("documents", 1, maxBatch)
	if err != nil {
		return nil, "", err
	}
	for i, raw := range all {
		if raw[0] != '{' {
			return nil, "", f.wrong("documents", "an array of objects")
		}
		one, err := objectFields(f.at("documents", i), raw, []string{"text", "document_id", "name", "strategy", "config", "configuration"})
		if err != nil {
			return nil, "", err
		}
		item := batchItem{plan: standard, used: used}
		for to, from := range map[*string]string{&item.text: "text", &item.documentID: "document_id", &item.name: "name"} {
			if *to, err = one.text(from); err != nil {
				return nil, "", err
			}
		}
		switch {
		case checkName(item.name) != nil:
			err = one.wrong("name", "at most 255 characters without control characters")
		case one.has("text") == one.has("document_id"):
			err = problem("missing_field", one.path+"text", "give either %stext or %sdocument_id", one.path, one.path).suggest("send one of the two")
		case one.has("text") && item.text == "":
			err = problem("empty_document", one.path+"text", "%stext is empty", one.path).suggest("give it text, or leave the document out")
		case one.has("document_id") && !validID("doc_", item.documentID):
			err = problem("not_found", one.path+"document_id", "there is no such document here").suggest("look it up with GET /v1/documents, or send its text")
		case one.has("strategy") || one.has("config") || one.has("configuration"):
			item.plan, item.used, err = a.choice(ctx, one)
		}
		if err != nil {
			return nil, "", err
		}
		items = append(items, item)
	}
	return items, name, nil
}

func (a *API) submitItem(ctx context.Context, item batchItem, hook, key, whole string) (string, error) {
	var staged *store.Staged
	if item.documentID == "" {
		var err error
		if staged, err = a.cfg.Store.Stage(ctx, owner(ctx), extract.NewText(strings.NewReader(item.text)), MaxText); err != nil {
			return "", errors.Join(err, discard(ctx, staged))
		}
	}
	made, err := a.create(ctx, store.NewOperation{
		Owner: owner(ctx), Name: item.name, Staged: staged, DocumentID: item.documentID, Strategy: item.plan.Strategy,
		Settings: item.plan.Settings, SplitterVersion: chunk.Version, IdempotencyKey: key, Configuration: item.used, Webhook: hook,
		RequestHash: whole,
	}, item.plan.Splitter)
	if err != nil {
		return "", errors.Join(orNotFound(err, noDocumentID), discard(ctx, staged))
	}
	return made.Operation.ID, nil
}

func viewOfBatch(b store.SubmittedBatch) Batch {
	v := Batch{ID: b.ID, Name: b.Name, CreatedAt: event.Time{Time: b.CreatedAt}, Total: len(b.Operations), Statuses: map[string]int{}, Data: []Operation{}}
	for _, op := range b.Operations {
		v.Data = append(v.Data, viewOf(op))
		v.Statuses[string(op.Status)]++
		v.BytesTotal += op.BytesTotal
		v.BytesDone += op.BytesDone
		v.Chunks += op.Chunks
		if op.Status.Final() {
			v.Done++
		}
	}
	return v
}

func noBatch() error {
	return problem("not_found", "id", "there is no such batch here").suggest("use the id that POST /v1/batches gave")
}

func (a *API) batch(ctx context.Context, id string) (store.SubmittedBatch, error) {
	if !validID("bat_", id) {
		return store.SubmittedBatch{}, noBatch()
	}
	b, err := a.cfg.Store.Batch(ctx, owner(ctx), id)
	return b, orNotFound(err, noBatch)
}

func (a *API) getBatch(ctx context.Context, in *batchInput) (*batchOutput, error) {
	b, err := a.batch(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &batchOutput{viewOfBatch(b)}, nil
}

// retryBatch runs what has failed of a batch again. Each new operation stands in the batch where the failed one stood; its
// key makes sure that however often and however far this is repeated there is one for each.
func (a *API) retryBatch(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	b, err := a.batch(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	leave, err := a.admission.enter(ctx, b.Owner, 0)
	if err != nil {
		return err
	}
	defer leave()
	for _, op := range b.Operations {
		if op.Status != store.Failed {
			continue
		}
		made, err := a.again(ctx, op, "batch-retry-"+op.ID)
		if errors.Is(err, store.ErrNotFound) {
			continue // its document was deleted meanwhile
		}
		if err == nil {
			err = a.cfg.Store.ReplaceInBatch(ctx, b.Owner, b.ID, op.ID, made.Operation.ID)
		}
		if err != nil {
			return err
		}
	}
	if b, err = a.batch(ctx, b.ID); err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/batches/"+b.ID)
	writeJSON(w, http.StatusAccepted, viewOfBatch(b))
	return nil
}

func (a *API) cancelBatch(ctx context.Context, in *batchInput) (*batchOutput, error) {
	b, err := a.batch(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	for i, op := range b.Operations {
		if op.Status.Final() {
			continue
		}
		now, ended, err := a.cfg.Store.Cancel(ctx, op.Owner, op.ID)
		if errors.Is(err, store.ErrNotFound) {
			continue // its document was deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		if ended != nil {
			a.cfg.Publish(*ended)
		}
		b.Operations[i] = now
	}
	return &batchOutput{viewOfBatch(b)}, nil
}
