package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"chunkstream/chunk"
	"chunkstream/event"
	"chunkstream/store"
)

// Operation is an operation as clients see it. Every field is always there; what does not apply is null, empty or 0.
type Operation struct {
	ID              string  `json:"id" example:"op_0199c2f1a4c77d0e9f6b3a5d"`
	DocumentID      string  `json:"document_id" example:"doc_0199c2f1a4c77d0e9f6b3a5c"`
	Name            string  `json:"name" doc:"As given; may be empty"`
	Status          string  `json:"status" enum:"queued,processing,completed,failed,cancelled"`
	Strategy        string  `json:"strategy" example:"recursive"`
	Config          object  `json:"config" doc:"The settings, with the defaults filled in"`
	Source          *Source `json:"source" doc:"What its text was made from; null for an operation of a version that did not keep it"`
	SplitterVersion string  `json:"splitter_version" doc:"Same text, config and version: same chunks"`

	Webhook       string             `json:"webhook" doc:"The webhook that it names, or empty"`
	Configuration *UsedConfiguration `json:"configuration" doc:"The saved configuration that strategy and config are from, or null"`

	RetryOf string `json:"retry_of" doc:"The operation that this one repeats, or empty"`

	Seq             int64  `json:"seq" doc:"Number of its newest event"`
	Attempt         int64  `json:"attempt" doc:"How many times a worker took it"`
	BytesTotal      int64  `json:"bytes_total" doc:"UTF-8 bytes of the text"`
	BytesDone       int64  `json:"bytes_done"`
	Chunks          int64  `json:"chunks" doc:"How many chunks are stored"`
	CancelRequested bool   `json:"cancel_requested"`
	Worker          string `json:"worker" doc:"Who has it, while it is processing"`

	DeadLetter bool `json:"dead_letter" doc:"It failed because its attempts are exhausted; nothing but POST …/retry runs it again"`

	Error      *event.Failure `json:"error" doc:"Why it failed, or why it was tried again"`
	CreatedAt  event.Time     `json:"created_at"`
	StartedAt  *event.Time    `json:"started_at" doc:"First taken by a worker"`
	FinishedAt *event.Time    `json:"finished_at"`
	Links      Links          `json:"links"`
}

// Links are the paths that belong to an operation.
type Links struct {
	Self     string `json:"self"`
	Events   string `json:"events" doc:"Server-Sent Events"`
	WS       string `json:"ws" doc:"WebSocket"`
	Chunks   string `json:"chunks"`
	Cancel   string `json:"cancel" doc:"POST"`
	Document string `json:"document"`
	Text     string `json:"text"`
}

// object is a JSON object as it is.
type object json.RawMessage

// MarshalJSON gives the object itself.
func (o object) MarshalJSON() ([]byte, error) { return o, nil }

// Schema tells huma that this is an object, not bytes.
func (o object) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

func viewOf(op store.Operation) Operation {
	self := "/v1/operations/" + op.ID
	return Operation{
		ID: op.ID, DocumentID: op.DocumentID, Name: op.Name, Status: string(op.Status), Strategy: op.Strategy,
		Config: object(op.Settings), Source: viewOfSource(op.Source, op.BytesTotal, op.DocumentSHA256), SplitterVersion: op.SplitterVersion, RetryOf: op.RetryOf, Seq: op.Seq,
		Configuration: viewOfUsed(op.Configuration), Webhook: op.Webhook,
		Attempt: op.Attempt, BytesTotal: op.BytesTotal, BytesDone: op.BytesDone, Chunks: op.Chunks,
		CancelRequested: op.CancelRequested, Worker: op.Worker, DeadLetter: op.DeadLetter(), Error: op.Error,
		CreatedAt: event.Time{Time: op.CreatedAt}, StartedAt: instant(op.StartedAt), FinishedAt: instant(op.FinishedAt),
		Links: Links{
			Self: self, Events: self + "/events", WS: self + "/ws", Chunks: self + "/chunks", Cancel: self + "/cancel",
			Document: "/v1/documents/" + op.DocumentID, Text: "/v1/documents/" + op.DocumentID + "/text",
		},
	}
}

func instant(t time.Time) *event.Time {
	if t.IsZero() {
		return nil
	}
	return &event.Time{Time: t}
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := encode(v)
	if err != nil {
		panic(err) // our own types
	}
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client may be gone; there is nobody else to tell
}

var jsonType = []string{"application/json"}

func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return buf.Bytes(), err
}

// validID reports whether id can be one of ours. What cannot is not found, without asking the store.
func validID(prefix, id string) bool {
	rest, ok := strings.CutPrefix(id, prefix)
	return ok && wellFormed(rest, 64, "-")
}

// operation reads the operation that the path names.
func (a *API) operation(ctx context.Context, id string) (store.Operation, error) {
	if !validID("op_", id) {
		return store.Operation{}, noOperation()
	}
	op, err := a.cfg.Store.Operation(ctx, owner(ctx), id)
	return op, orNotFound(err, noOperation)
}

func noOperation() error { return missing("operation", "/v1/operations") }
func noDocument() error  { return missing("document", "/v1/documents") }

// missing says that nothing has the path's id. What is somebody else's gets the same words as what is not there.
func missing(what, list string) error {
	return problem("not_found", "id", "there is no such %s here", what).suggest("look it up with GET " + list)
}

// orNotFound gives the problem that says what was not found instead of the store's plain error.
func orNotFound(err error, notFound func() error) error {
	if err != nil && problemOf(err).Code == "not_found" {
		return notFound()
	}
	return err
}

type (
	idInput struct {
		ID string `path:"id" doc:"The operation" example:"op_0199c2f1a4c77d0e9f6b3a5d"`
	}
	getInput struct {
		ID   string `path:"id" doc:"The operation" example:"op_0199c2f1a4c77d0e9f6b3a5d"`
		Wait int    `query:"wait" minimum:"0" maximum:"60" default:"0" doc:"Seconds to wait for the operation's end"`
	}
	operationOutput struct {
		Body Operation
	}
	listInput struct {
		Status     string `query:"status" enum:"queued,processing,completed,failed,cancelled" doc:"Only these"`
		DocumentID string `query:"document_id" doc:"Only those of this document"`
		DeadLetter bool   `query:"dead_letter" doc:"true: only dead letters"`
		Limit      int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most"`
		Cursor     string `query:"cursor" doc:"next_cursor of the page before"`
	}
	listOutput struct {
		Body OperationPage
	}
)

// OperationPage is one page of a list, newest first.
type OperationPage struct {
	Data       []Operation `json:"data"`
	HasMore    bool        `json:"has_more"`
	NextCursor string      `json:"next_cursor" doc:"Empty on the last page"`
}

func (a *API) getOperation(ctx context.Context, in *getInput) (*operationOutput, error) {
	op, err := a.operation(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if op, err = a.awaitEnd(ctx, op, time.Duration(in.Wait)*time.Second); err != nil {
		return nil, err
	}
	return &operationOutput{viewOf(op)}, nil
}

func (a *API) listOperations(ctx context.Context, in *listInput) (*listOutput, error) {
	f := store.Filter{Status: store.Status(in.Status), DocumentID: in.DocumentID, DeadLetter: in.DeadLetter, Limit: in.Limit}
	if in.DocumentID != "" && !validID("doc_", in.DocumentID) {
		return &listOutput{OperationPage{Data: []Operation{}}}, nil
	}
	if in.Cursor != "" {
		var ok bool
		if f.Before, ok = openCursor("operations", in.Cursor); !ok || !validID("op_", f.Before) {
			return nil, badCursor()
		}
	}
	ops, more, err := a.cfg.Store.Operations(ctx, owner(ctx), f)
	if err != nil {
		return nil, orNotFound(err, badCursor)
	}
	page := OperationPage{Data: make([]Operation, len(ops)), HasMore: more}
	for i, op := range ops {
		page.Data[i] = viewOf(op)
	}
	if more {
		page.NextCursor = cursor("operations", ops[len(ops)-1].ID)
	}
	return &listOutput{page}, nil
}

func (a *API) cancelOperation(ctx context.Context, in *idInput) (*operationOutput, error) {
	if !validID("op_", in.ID) {
		return nil, noOperation()
	}
	op, ended, err := a.cfg.Store.Cancel(ctx, owner(ctx), in.ID)
	if err != nil {
		return nil, orNotFound(err, noOperation)
	}
	if ended != nil {
		a.cfg.Publish(*ended)
	}
	return &operationOutput{viewOf(op)}, nil
}

// retryOperation is POST /v1/operations/{id}/retry.
func (a *API) retryOperation(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	key, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	wait, err := takeWait(query)
	if err != nil {
		return err
	}
	op, err := a.operation(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	if !op.Status.Final() {
		return problem("operation_not_ended", "id", "the operation is %s", op.Status)
	}
	leave, err := a.admission.enter(ctx, op.Owner, 0)
	if err != nil {
		return err
	}
	defer leave()
	made, err := a.again(ctx, op, key)
	if err != nil {
		return orNotFound(err, func() error {
			return problem("not_found", "id", "the operation's document has been deleted").suggest("submit the document again")
		})
	}
	return a.created(w, r, made, wait)
}

// again runs an ended operation again, with an idempotency key that may be "".
func (a *API) again(ctx context.Context, op store.Operation, key string) (store.Created, error) {
	return a.create(ctx, store.NewOperation{
		Owner: op.Owner, Name: op.Name, DocumentID: op.DocumentID, Strategy: op.Strategy, Settings: op.Settings,
		SplitterVersion: chunk.Version, RetryOf: op.ID, Configuration: op.Configuration, Webhook: op.Webhook,
		IdempotencyKey: key, RequestHash: requestHash(op.ID, op.DocumentID, op.Name, op.Strategy, string(op.Settings)),
	}, nil)
}

// awaitEnd gives the operation's state when it has ended, or when wait is over, or when the server drains. It looks at
// the store, ever more rarely: the end of a small document is seen within milliseconds, and a waiting request costs
// four reads a second later on.
func (a *API) awaitEnd(ctx context.Context, op store.Operation, wait time.Duration) (store.Operation, error) {
	if wait <= 0 || op.Status.Final() {
		return op, nil
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	const first, most = 5 * time.Millisecond, 250 * time.Millisecond
	pause := first
	look := time.NewTimer(pause)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return op, ctx.Err()
		case <-a.draining:
			return op, nil
		case <-over.C:
			return a.cfg.Store.Operation(ctx, op.Owner, op.ID)
		case <-look.C:
		}
		now, err := a.cfg.Store.Operation(ctx, op.Owner, op.ID)
		if err != nil || now.Status.Final() {
			return now, err
		}
		op, pause = now, min(pause*2, most)
		look.Reset(pause)
	}
}

// cursor makes an opaque place in a list; openCursor gives it back, if it is one of the same list.
func cursor(list string, place string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(list + "\x00" + place))
}

func openCursor(list, c string) (place string, ok bool) {
	if len(c) > 512 {
		return "", false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(c)
	if err != nil {
		return "", false
	}
	l, place, ok := strings.Cut(string(b), "\x00")
	return place, ok && l == list
}

func badCursor() error {
	return problem("invalid_cursor", "cursor", "cursor must be the next_cursor of an earlier answer of the same list")
}

// checkQuery refuses parameters that a route does not have or that are given twice.
func checkQuery(r *http.Request, known []string) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(query) {
		if !slices.Contains(known, name) {
			return problem("unknown_field", clip(name), "there is no query parameter %s here", clip(name)).
				suggest(oneOf(name, known))
		}
		if len(query[name]) > 1 {
			return problem("invalid_value", name, "%s is given twice", name).suggest("give it once")
		}
	}
	return nil
}
