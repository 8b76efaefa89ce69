package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"chunkstream/auth"
	"chunkstream/chunk"
	"chunkstream/event"
	"chunkstream/export"
)

// handler answers a request, or returns an error and has written nothing; if it has written something, the error cuts
// the connection.
type handler func(w http.ResponseWriter, r *http.Request) error

// register declares every route there is, each with its description.
func (a *API) register() {
	a.huma.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		if err := checkQuery(r, queryNames(ctx.Operation())); err != nil {
			a.fail(w, r, err)
			return
		}
		next(ctx)
	})

	a.plain(submitOperation(a), a.submit)
	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/operations", OperationID: "listOperations", Tags: operationsTag, Security: needs(auth.OperationsRead),
		Summary: "List operations, newest first",
	}, a.listOperations)
	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/operations/{id}", OperationID: "getOperation", Tags: operationsTag, Security: needs(auth.OperationsRead),
		Summary: "Get an operation's state",
	}, a.getOperation)
	typed(a, huma.Operation{
		Method: "POST", Path: "/v1/operations/{id}/cancel", OperationID: "cancelOperation", Tags: operationsTag, Security: needs(auth.OperationsWrite),
		Summary: "Cancel an operation",
		Description: "A queued operation is cancelled at once; a processing one when its worker notices, within one batch: " +
			"until then cancel_requested is true. An operation that has ended is returned as it is.",
	}, a.cancelOperation)
	a.plain(huma.Operation{
		Method: "POST", Path: "/v1/operations/{id}/retry", OperationID: "retryOperation", Tags: operationsTag, Security: needs(auth.OperationsWrite),
		Summary:     "Run an ended operation again, as a new operation",
		Description: "The new operation has the same document and config, and names the old one in retry_of.",
		Parameters:  []*huma.Param{operationID, idempotencyHeader, waitQuery},
		Responses:   a.accepted(),
	}, a.retryOperation)
	a.plain(huma.Operation{
		Method: "GET", Path: "/v1/operations/{id}/chunks", OperationID: "listChunks", Tags: operationsTag, Security: needs(auth.OperationsRead),
		Summary: "Read an operation's chunks",
		Description: "A page of JSON or, with Accept: application/x-ndjson, one chunk a line up to the end of what is " +
			"stored. Chunks are there as soon as they are stored; Chunkstream-Operation-Status says whether more may come.",
		Parameters: append([]*huma.Param{operationID}, chunkParams...),
		Responses:  a.chunkResponses(),
	}, a.chunks)
	a.plain(huma.Operation{
		Method: "GET", Path: "/v1/operations/{id}/chunks/{chunk}", OperationID: "getChunk", Tags: operationsTag, Security: needs(auth.OperationsRead),
		Summary: "Read one chunk",
		Description: "By its index, or by its id. An id is the same on every run of the same config over the same text, and so it is " +
			"looked for in the operation that is named: one chunk after the other, where its index is found at once.",
		Parameters: []*huma.Param{operationID, inPath("chunk", "The chunk's id or its index"), textQuery, utf16Query},
		Responses:  a.responses(http.StatusOK, "The chunk", map[string]*huma.Schema{"application/json": schemaOf[Chunk](a)}),
	}, a.oneChunk)
	a.plain(huma.Operation{
		Method: "GET", Path: "/v1/documents/{id}/chunks", OperationID: "listDocumentChunks", Tags: documentsTag, Security: needs(auth.OperationsRead),
		Summary: "Read a document's chunks",
		Description: "Those of the newest operation on it that has completed, which operation_id and Chunkstream-Operation-Id name. " +
			"In all else as GET /v1/operations/{id}/chunks.",
		Parameters: append([]*huma.Param{documentID, inQuery("strategy", str(), "Only an operation with this strategy")}, chunkParams...),
		Responses:  a.chunkResponses(),
	}, a.documentChunks)
	files, formats := map[string]*huma.Schema{}, []any{}
	for _, format := range downloadFormats() {
		formats = append(formats, format)
		media, _, _ := export.Media(format)
		media, _, _ = strings.Cut(media, ";")
		files[media] = &huma.Schema{Type: huma.TypeString, Format: "binary"}
	}
	a.plain(huma.Operation{
		Method: "GET", Path: "/v1/operations/{id}/download", OperationID: "downloadChunks", Tags: operationsTag, Security: needs(auth.OperationsRead),
		Summary:     "Download an operation's chunks as one file",
		Description: "All chunks of an ended operation in the format that another program reads; docs/formats.md has each format.",
		Parameters: []*huma.Param{
			operationID,
			inQuery("format", &huma.Schema{Type: huma.TypeString, Default: "jsonl", Enum: formats}, "The format of the file"),
			textQuery, utf16Query,
		},
		Responses: a.responses(http.StatusOK, "The file", files),
	}, a.download)
	a.plain(a.streamOperation("/v1/operations/{id}/events", "streamOperationEvents", "An operation's events", false),
		a.stream(false))
	a.plain(a.streamOperation("/v1/operations/{id}/ws", "streamOperationSocket", "An operation's events", true),
		a.stream(true))
	a.plain(a.streamOperation("/v1/events", "streamEvents", "The events of all my operations", false),
		a.stream(false))
	a.plain(a.streamOperation("/v1/ws", "streamSocket", "The events of all my operations", true),
		a.stream(true))

	a.registerBatches()
	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/documents", OperationID: "listDocuments", Tags: documentsTag, Security: needs(auth.DocumentsRead),
		Summary: "List documents, newest first",
	}, a.listDocuments)
	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/documents/{id}", OperationID: "getDocument", Tags: documentsTag, Security: needs(auth.DocumentsRead),
		Summary: "Get a document's facts",
	}, a.getDocument)
	typed(a, huma.Operation{
		Method: "DELETE", Path: "/v1/documents/{id}", OperationID: "deleteDocument", Tags: documentsTag, Security: needs(auth.DocumentsWrite),
		Summary: "Delete a document, its operations and their chunks",
	}, a.deleteDocument)
	a.plain(huma.Operation{
		Method: "GET", Path: "/v1/documents/{id}/text", OperationID: "getDocumentText", Tags: documentsTag, Security: needs(auth.DocumentsRead),
		Summary:     "Read a document's text",
		Description: "All of it, or with Range the bytes of one range (206; 416 when it does not lie in the text).",
		Parameters: []*huma.Param{documentID, {Name: "Range", In: "header", Schema: str(), Description: "One range, such as bytes=0-1023 or bytes=-500; several are answered with all"},
			{Name: "If-Range", In: "header", Schema: str(), Description: "The ETag that the range is of; otherwise all comes"}},
		Responses: a.responses(http.StatusOK, "The exact bytes that all offsets refer to",
			map[string]*huma.Schema{"text/plain": str()}),
	}, a.documentText)

	a.plain(previewOperation(a), a.preview)
	a.plain(compareOperation(a), a.compare)
	a.plain(recommendOperation(a), a.recommend)
	a.plain(tokensOperation(a), a.tokens)
	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/strategies", OperationID: "listStrategies", Tags: chunkingTag, Security: needs(0),
		Summary: "List the strategies with the JSON Schema of their config",
	}, a.strategies)

	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/statistics", OperationID: "statistics", Tags: serviceTag, Security: needs(auth.OperationsRead),
		Summary: "What my operations came to, by strategy, counted now",
	}, a.statistics)
	a.registerSaved()
	a.registerWebhooks()
	a.registerAccess()
	typed(a, huma.Operation{
		Method: "GET", Path: "/healthz", OperationID: "health", Tags: serviceTag, Security: noKey,
		Summary: "Does the process answer?",
	}, a.healthz)
	typed(a, huma.Operation{
		Method: "GET", Path: "/readyz", OperationID: "ready", Tags: serviceTag, Security: noKey,
		Summary:     "Can it do its work?",
		Description: "200 with status ready or degraded, 503 with status unavailable; reasons says why.",
	}, a.readyz)
	a.plain(huma.Operation{
		Method: "GET", Path: "/metrics", OperationID: "metrics", Tags: serviceTag, Security: needs(auth.MetricsRead), Summary: "Prometheus metrics",
		Responses: a.responses(http.StatusOK, "Prometheus text format", map[string]*huma.Schema{"text/plain": str()}),
	}, a.prometheus())
	a.plain(huma.Operation{
		Method: "GET", Path: "/openapi.json", OperationID: "openapi", Tags: serviceTag, Security: noKey,
		Summary:   "This description, OpenAPI 3.1",
		Responses: a.responses(http.StatusOK, "OpenAPI 3.1", map[string]*huma.Schema{"application/json": {Type: "object"}}),
	}, func(w http.ResponseWriter, r *http.Request) error { return a.openAPI.serve(w, r) })
	a.plain(huma.Operation{
		Method: "GET", Path: "/docs", OperationID: "docs", Tags: serviceTag, Security: noKey,
		Summary:   "This description as a page, for browsers without a network too",
		Responses: a.responses(http.StatusOK, "HTML", map[string]*huma.Schema{"text/html": str()}),
	}, a.documents.page.serve)
	a.plain(huma.Operation{
		Method: "GET", Path: "/docs/{file}", OperationID: "docsFile", Tags: serviceTag, Security: noKey,
		Summary:    "What that page loads",
		Parameters: []*huma.Param{inPath("file", "The file")},
		Responses: a.responses(http.StatusOK, "A script or a style sheet",
			map[string]*huma.Schema{"text/javascript": str(), "text/css": str()}),
	}, a.documents.serveFile)
	a.plain(huma.Operation{
		Method: "GET", Path: "/errors", OperationID: "problems", Tags: serviceTag, Security: noKey,
		Summary:   "Every problem code, as a page",
		Responses: a.responses(http.StatusOK, "HTML", map[string]*huma.Schema{"text/html": str()}),
	}, a.errors.show)
	a.plain(huma.Operation{
		Method: "GET", Path: "/errors/{code}", OperationID: "problem", Tags: serviceTag, Security: noKey,
		Summary:    "What a problem means, its likely cause, the fix, and whether to repeat the request: the type of a problem leads here",
		Parameters: []*huma.Param{inPath("code", "The code")},
		Responses:  a.responses(http.StatusOK, "HTML", map[string]*huma.Schema{"text/html": str()}),
	}, a.errors.show)
	for path, one := range map[string]huma.Operation{
		"/":                {OperationID: "playground", Summary: "The page on which texts are cut and compared"},
		"/operations":      {OperationID: "operationsPage", Summary: "The page of all operations"},
		"/operations/{id}": {OperationID: "operationPage", Summary: "The page of one operation", Parameters: []*huma.Param{operationID}},
		"/configurations":  {OperationID: "configurationsPage", Summary: "The page of saved settings"},
		"/webhooks":        {OperationID: "webhooksPage", Summary: "The page of webhooks"},
		"/keys":            {OperationID: "keysPage", Summary: "The page of API keys"},
	} {
		one.Method, one.Path, one.Tags, one.Security = "GET", path, serviceTag, noKey
		one.Metadata = map[string]any{"anyQuery": true} // it is the page's script that reads it
		one.Responses = a.responses(http.StatusOK, "HTML, without anyone's data", map[string]*huma.Schema{"text/html": str()})
		a.plain(one, a.pages.show)
	}
	a.plain(huma.Operation{
		Method: "GET", Path: "/ui/{file}", OperationID: "pageFile", Tags: serviceTag, Security: noKey,
		Summary:    "What the pages load",
		Parameters: []*huma.Param{inPath("file", "The file")},
		Responses: a.responses(http.StatusOK, "A script or a style sheet",
			map[string]*huma.Schema{"text/javascript": str(), "text/css": str()}),
	}, a.pages.serveFile)
}

// plain registers a route that reads and writes HTTP itself, and describes it. Query parameters that op does not name
// are refused before the handler runs.
func (a *API) plain(op huma.Operation, h handler) {
	a.huma.OpenAPI().AddOperation(&op)
	pattern := op.Method + " " + op.Path
	if op.Path == "/" {
		pattern += "{$}" // and nothing below it
	}
	a.allow(pattern, op)
	known, free := queryNames(&op), op.Metadata["anyQuery"] == true
	patterns{a}.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		err := error(nil)
		if !free {
			err = checkQuery(r, known)
		}
		if err == nil {
			err = h(w, r)
		}
		if err != nil {
			a.fail(w, r, err)
		}
	})
}

// typed registers a route whose input and output huma reads, checks and writes by their types. Errors become problems
// here, so that huma never sees one it would show as it is.
func typed[I, O any](a *API, op huma.Operation, h func(context.Context, *I) (*O, error)) {
	pattern := op.Method + " " + op.Path
	a.allow(pattern, op)
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			p := problemOf(err)
			p.RequestID = requestID(ctx)
			a.log(ctx, pattern, p, err)
			return nil, p
		}
		return out, nil
	})
}

func queryNames(op *huma.Operation) []string {
	var names []string
	for _, p := range op.Parameters {
		if p.In == "query" {
			names = append(names, p.Name)
		}
	}
	return names
}

// What the descriptions share.
var (
	operationsTag = []string{"operations"}
	documentsTag  = []string{"documents"}
	chunkingTag   = []string{"chunking"}
	serviceTag    = []string{"service"}
	noKey         = []map[string][]string{{}}

	operationID = inPath("id", "The operation")
	documentID  = inPath("id", "The document")
	textQuery   = inQuery("text", &huma.Schema{Type: huma.TypeBoolean, Default: true}, "false leaves the texts out")
	utf16Query  = inQuery("utf16", &huma.Schema{Type: huma.TypeBoolean, Default: false}, "true adds start_utf16 and end_utf16, offsets as JavaScript counts")
	chunkParams = []*huma.Param{
		inQuery("limit", whole(1, maxChunks, 0), "How many at most: 100 as JSON, all as NDJSON when left out"),
		inQuery("cursor", str(), "next_cursor of the page before"),
		textQuery, utf16Query,
		inQuery("at_byte", &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: new(float64)},
			"The page is about this place in the text, in bytes: the chunks that hold it, or else the next one, with some on each side"),
		inQuery("at_char", &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: new(float64)}, "The same in code points"),
		inQuery("around", &huma.Schema{Type: huma.TypeInteger, Minimum: new(float64), Maximum: ptr(float64(maxAround)), Default: 1},
			"How many chunks on each side, with at_byte or at_char"),
	}

	configurationQuery = inQuery("configuration", str(), "A saved configuration, by id or name, in place of strategy and its settings")

	waitQuery = inQuery("wait", whole(0, int(maxWait.Seconds()), 0), "Seconds to wait for the operation's end")

	idempotencyHeader = &huma.Param{
		Name: "Idempotency-Key", In: "header",
		Description: "1 to 255 visible ASCII characters. A repetition of the same request within 24 hours gets the first " +
			"one's operation and Idempotent-Replayed: true; another request with the same key is refused.",
		Schema: &huma.Schema{Type: huma.TypeString},
	}
)

func ptr[T any](v T) *T { return &v }

func str() *huma.Schema { return &huma.Schema{Type: huma.TypeString} }

func whole(low, high, standard int) *huma.Schema {
	l, h := float64(low), float64(high)
	s := &huma.Schema{Type: huma.TypeInteger, Minimum: &l, Maximum: &h}
	if standard > 0 {
		s.Default = standard
	}
	return s
}

func inPath(name, doc string) *huma.Param {
	return &huma.Param{Name: name, In: "path", Required: true, Description: doc, Schema: str()}
}

func inQuery(name string, s *huma.Schema, doc string) *huma.Param {
	return &huma.Param{Name: name, In: "query", Description: doc, Schema: s}
}

func schemaOf[T any](a *API) *huma.Schema {
	t := reflect.TypeFor[T]()
	return a.huma.OpenAPI().Components.Schemas.Schema(t, true, t.Name())
}

// responses describes one good answer, and Problem for all others.
func (a *API) responses(status int, doc string, content map[string]*huma.Schema) map[string]*huma.Response {
	good := &huma.Response{Description: doc, Content: map[string]*huma.MediaType{}}
	for contentType, schema := range content {
		good.Content[contentType] = &huma.MediaType{Schema: schema}
	}
	return map[string]*huma.Response{
		fmt.Sprint(status): good,
		"default": {Description: "Error", Content: map[string]*huma.MediaType{
			problemType: {Schema: schemaOf[Problem](a)},
		}},
	}
}

// chunkResponses describes the answer of a route that gives many chunks.
func (a *API) chunkResponses() map[string]*huma.Response {
	all := a.responses(http.StatusOK, "The chunks, by index", map[string]*huma.Schema{
		"application/json": schemaOf[ChunkPage](a), linesType: schemaOf[Chunk](a),
	})
	all["200"].Headers = map[string]*huma.Header{
		"Chunkstream-Operation-Id":     {Description: "Whose chunks they are", Schema: str()},
		"Chunkstream-Operation-Status": {Description: "completed: these are all; otherwise more may come", Schema: str()},
	}
	return all
}

// accepted describes the answer to a new operation.
func (a *API) accepted() map[string]*huma.Response {
	all := a.responses(http.StatusAccepted, "Accepted and durable; with wait perhaps ended already",
		map[string]*huma.Schema{"application/json": schemaOf[Operation](a)})
	header := func(doc string) *huma.Header { return &huma.Header{Description: doc, Schema: str()} }
	all["202"].Headers = map[string]*huma.Header{
		"Location":            header("The operation's path"),
		"Retry-After":         header("Seconds until it is worth looking again, while it has not ended"),
		"Idempotent-Replayed": header("true when an earlier request with the same Idempotency-Key made it"),
	}
	return all
}

// settingParams describes the settings of all strategies as query parameters.
func (a *API) settingParams() []*huma.Param {
	described := map[string]*huma.Param{}
	for _, info := range chunk.Strategies() {
		var schema struct {
			Properties map[string]struct {
				Description string
				Default     any
				Enum        []any
			}
		}
		if json.Unmarshal(info.Schema, &schema) != nil {
			continue // newSettingTypes has read it, so this cannot be
		}
		for name, p := range schema.Properties {
			typ := huma.TypeString
			if types := a.settings[name]; len(types) == 1 {
				typ = types[0]
			}
			described[name] = inQuery(name, &huma.Schema{Type: typ, Default: p.Default, Enum: p.Enum}, p.Description)
		}
	}
	var params []*huma.Param
	for _, name := range a.settings.names() {
		params = append(params, described[name])
	}
	return params
}

// SubmitBody is the JSON form of a submission; exactly one of text and document_id is given.
type SubmitBody struct {
	Text       string `json:"text,omitempty" doc:"The document"`
	DocumentID string `json:"document_id,omitempty" doc:"A document that is there already"`
	Name       string `json:"name,omitempty" maxLength:"255" doc:"For people; shown in lists"`
	Webhook    string `json:"webhook,omitempty" doc:"The id of a webhook that is to be told of the end"`
	Strategy   string `json:"strategy,omitempty" default:"recursive"`
	Config     object `json:"config,omitempty" doc:"The strategy's settings, see GET /v1/strategies"`

	Configuration string `json:"configuration,omitempty" doc:"A saved configuration, by id or name, in place of strategy and config"`
}

// PreviewBody is the JSON form of a preview.
type PreviewBody struct {
	Text     string `json:"text" doc:"At most 1 MiB"`
	Strategy string `json:"strategy,omitempty" default:"recursive"`
	Config   object `json:"config,omitempty" doc:"The strategy's settings, see GET /v1/strategies"`
	Limit    int    `json:"limit,omitempty" minimum:"1" maximum:"20000" default:"100" doc:"How many chunks at most; 1000 with their texts"`
	Texts    bool   `json:"texts,omitempty" default:"true" doc:"false leaves the chunks' texts out"`

	Configuration string `json:"configuration,omitempty" doc:"A saved configuration, by id or name, in place of strategy and config"`
}

func submitOperation(a *API) huma.Operation {
	var strategies []any
	for _, s := range chunk.Strategies() {
		strategies = append(strategies, s.Name)
	}
	return huma.Operation{
		Method: "POST", Path: "/v1/operations", OperationID: "submitOperation", Tags: operationsTag, Security: needs(auth.OperationsWrite),
		Summary: "Submit a document to be chunked",
		Description: "The document is UTF-8 text of at most 64 MiB, without NUL. It comes as the raw body, with all " +
			"settings in the query (the fastest way; curl --data-binary does it); or as the part file of a form whose other " +
			"parts are settings; or as text in JSON. With a form or JSON the query may only have wait.",
		Parameters: slices.Concat([]*huma.Param{
			inQuery("strategy", &huma.Schema{Type: huma.TypeString, Enum: strategies, Default: chunk.DefaultStrategy},
				"How to cut"),
			configurationQuery,
			inQuery("name", &huma.Schema{Type: huma.TypeString}, "For people; shown in lists. At most 255 characters"),
			inQuery("webhook", str(), "The id of a webhook that is to be told of the end"),
		}, a.settingParams(), []*huma.Param{waitQuery, idempotencyHeader}),
		RequestBody: bodies(a.formSchema("name", "webhook"), schemaOf[SubmitBody](a), map[string]any{
			"text": "One sentence. Another one.", "config": map[string]any{"chunk_size": 20},
		}),
		Responses: a.accepted(),
		Metadata:  map[string]any{"anyQuery": true}, // receive knows better which are wrong
	}
}

func previewOperation(a *API) huma.Operation {
	submit := submitOperation(a)
	return huma.Operation{
		Method: "POST", Path: "/v1/preview", OperationID: "preview", Tags: chunkingTag, Security: needs(auth.ChunkingRun),
		Summary: "Cut a text now, without storing anything",
		Description: "Takes the same three forms as POST /v1/operations, with at most 1 MiB of text, and gives the " +
			"same chunks with the same ids.",
		Parameters: slices.Concat([]*huma.Param{
			submit.Parameters[0], configurationQuery, inQuery("limit", whole(1, maxSpans, defaultChunks), "How many chunks at most; 1000 with their texts"),
			inQuery("texts", &huma.Schema{Type: huma.TypeBoolean, Default: true}, "false leaves the chunks' texts out"),
		}, a.settingParams()),
		RequestBody: bodies(a.formSchema("limit", "texts"), schemaOf[PreviewBody](a),
			map[string]any{"text": "One sentence. Another one."}),
		Responses: a.responses(http.StatusOK, "The first chunks",
			map[string]*huma.Schema{"application/json": schemaOf[Preview](a)}),
		Metadata: map[string]any{"anyQuery": true},
	}
}

// formSchema describes a form: the text and the settings as fields.
func (a *API) formSchema(more ...string) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeObject, Required: []string{"file"}, Properties: map[string]*huma.Schema{
		"file":     {Type: huma.TypeString, Format: "binary", Description: "The text; its file name is the default of name"},
		"strategy": str(), "configuration": str(),
	}}
	for _, name := range append(a.settings.names(), more...) {
		s.Properties[name] = str()
	}
	return s
}

func bodies(form, jsonBody *huma.Schema, example any) *huma.RequestBody {
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"text/plain":               {Schema: str(), Example: "One sentence. Another one."},
		"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		"multipart/form-data":      {Schema: form},
		"application/json":         {Schema: jsonBody, Example: example},
	}}
}

func (a *API) streamOperation(path, id, what string, socket bool) huma.Operation {
	op := huma.Operation{Method: "GET", Path: path, OperationID: id, Tags: []string{"events"}, Security: needs(auth.OperationsRead),
		Metadata: map[string]any{withTickets: true}}
	one := strings.Contains(path, "{id}")
	if one {
		op.Parameters = []*huma.Param{operationID, inQuery("since", &huma.Schema{Type: huma.TypeInteger, Format: "int64"},
			"The number of the last event seen: only what follows is sent, without a snapshot. 0 replays all")}
	}
	described := schemaOf[event.Event](a)
	if socket {
		op.Summary = what + ", as a WebSocket"
		op.Description = "Every text frame is one event as JSON. A browser sends its key as the subprotocols " +
			"chunkstream and access_token.<key>, or the subprotocol chunkstream alone and the key in its first message, within 5 s: {\"type\":\"auth\",\"token\":\"<key>\"}."
		op.Responses = a.responses(http.StatusSwitchingProtocols, "Events, one a frame",
			map[string]*huma.Schema{"application/json": described})
		return op
	}
	op.Summary = what + ", as Server-Sent Events"
	op.Description = "The data of every event is one event as JSON."
	if one {
		op.Parameters = append(op.Parameters, &huma.Param{Name: "Last-Event-ID", In: "header", Schema: str(),
			Description: "As since; it wins. A browser sends it by itself when it reconnects"})
	}
	op.Responses = a.responses(http.StatusOK, "Events", map[string]*huma.Schema{"text/event-stream": described})
	return op
}

func humaConfig(version string) huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Chunkstream", Version: version,
				Description: "Documents in, durable chunks with exact offsets out, and progress live. Every error is an " +
					"application/problem+json with a stable code.",
				License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"key": {Type: "http", Scheme: "bearer", Description: "An API key, or a token of the identity provider; its scopes stand with each route. Not needed on loopback, unless access control was asked for."},
				},
			},
			// Wherever it is served from.
			Servers:  []*huma.Server{{URL: "/"}},
			Security: []map[string][]string{{"key": {}}},
			Tags: []*huma.Tag{
				{Name: "operations", Description: "Documents in, chunks out"}, {Name: "events", Description: "Progress, live"},
				{Name: "documents", Description: "The texts that all offsets refer to"}, {Name: "chunking", Description: "Cutting without storing, and the strategies"},
				{Name: "configurations", Description: "Saved settings"}, {Name: "webhooks", Description: "Addresses that are told when operations end"},
				{Name: "access", Description: "Keys, blocks and the audit log"}, {Name: "service", Description: "Health, metrics, pages"},
			},
		},
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
	}
}

// describe gives the description as a page. Nothing may be registered after it.
func (a *API) describe() page {
	return newPage("application/json", "", "no-cache", func() (_, _ []byte, _ error) {
		describeNull(a.huma.OpenAPI())
		a.describeErrors(a.huma.OpenAPI())
		if err := describeAnswers(a.huma.OpenAPI()); err != nil {
			return nil, nil, err
		}
		b, err := json.MarshalIndent(a.huma.OpenAPI(), "", " ")
		if err != nil {
			return nil, nil, err
		}
		return packed(b)
	})
}
