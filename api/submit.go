package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"chunkstream/chunk"
	"chunkstream/crashpoint"
	"chunkstream/extract"
	"chunkstream/store"
)

// submit is POST /v1/operations.
func (a *API) submit(w http.ResponseWriter, r *http.Request) error {
	ctx, who := r.Context(), owner(r.Context())
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
	if err := a.room(ctx); err != nil {
		return err
	}
	leave, err := a.admission.enter(ctx, who, r.ContentLength)
	if err != nil {
		return err
	}
	leave = sync.OnceFunc(leave)
	defer leave()
	var staged *store.Staged
	var seen *watched
	in, err := a.receive(w, r, query, envelope{
		fields: []string{"strategy", "configuration", "name", "webhook"}, rawFields: []string{"encoding", "invalid"}, jsonFields: []string{"document_id"},
		alsoQuery: []string{"wait"}, maxText: MaxText, maxJSON: MaxText,
	}, func(text io.Reader) (err error) {
		seen = watch(text)
		staged, err = a.cfg.Store.Stage(ctx, who, seen, MaxText)
		return err
	})
	if err == nil && staged != nil && staged.Bytes == 0 {
		err = problem("empty_document", "text", "the document has no text")
	}
	if err != nil {
		return errors.Join(err, discard(ctx, staged))
	}
	var from store.Source
	if staged != nil {
		if staged, from, err = a.decode(ctx, who, staged, seen, &in); err != nil {
			return err
		}
	}
	crashpoint.Hit(crashpoint.AfterStage)
	n := store.NewOperation{
		Owner: who, Name: in.name, Staged: staged, Source: from, DocumentID: in.documentID,
		Strategy: in.plan.Strategy, Settings: in.plan.Settings, SplitterVersion: chunk.Version,
		Configuration:  in.used,
		IdempotencyKey: key, RequestHash: requestHash("", in.documentID, in.name, in.plan.Strategy, string(in.plan.Settings), in.encoding+in.charset+in.invalid),
	}
	if in.configuration != "" {
		// The same request is the same one also when the configuration has changed meanwhile.
		n.RequestHash = requestHash("configuration", in.documentID, in.name, in.configuration, in.encoding+in.charset+in.invalid)
	}
	if in.webhook != nil {
		n.Webhook = *in.webhook
		n.RequestHash = requestHash(n.RequestHash, "webhook", n.Webhook)
	}
	made, err := a.create(ctx, n, in.plan.Splitter)
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			err = noDocumentID()
		}
		return errors.Join(err, discard(ctx, staged))
	}
	leave() // waiting is no work
	return a.created(w, r, made, wait)
}

// create makes an operation and tells of it. A worker of this process that has room claims it with the creation, and
// completes it when that is little work for splitter, which is needed with n.Staged alone; otherwise the workers are woken.
func (a *API) create(ctx context.Context, n store.NewOperation, splitter chunk.Splitter) (made store.Created, err error) {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		n.Trace = c.trace
	}
	done, err := a.admission.line.turn(ctx, n.Owner)
	if err != nil {
		return made, err
	}
	defer done()
	if a.cfg.Reserve != nil && n.Staged != nil {
		if take, start := a.cfg.Reserve(n, splitter); take != nil {
			n.Take = take
			defer func() { start(made) }() // also when this panics, or the slot would be lost
		}
	}
	made, err = a.cfg.Store.Create(ctx, n)
	if err != nil || made.Replayed {
		return made, err
	}
	crashpoint.Hit(crashpoint.AfterSubmitCommit)
	a.cfg.Publish(made.Event)
	crashpoint.Hit(crashpoint.BeforeWake)
	if made.Operation.Status == store.Queued && made.Run == nil {
		a.cfg.Wake(store.LaneOf(made.Operation.BytesTotal), made.Operation.ID)
	}
	return made, nil
}

// created answers 202.
func (a *API) created(w http.ResponseWriter, r *http.Request, made store.Created, wait time.Duration) error {
	op := made.Operation
	if made.Replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	switch now, err := a.awaitEnd(r.Context(), op, wait); {
	case err == nil:
		op = now
	case r.Context().Err() != nil:
		return err
	default: // it is made, whatever cannot be read now: an error would let it be sent again
		a.cfg.Log.LogAttrs(r.Context(), slog.LevelWarn, "an operation was made, and its end not waited for", traced(r.Context(),
			slog.String("operation", op.ID), slog.Any("error", err))...)
	}
	w.Header().Set("Location", "/v1/operations/"+op.ID)
	if !op.Status.Final() {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, http.StatusAccepted, viewOf(op))
	return nil
}

// discard gives a staged text back even when the client has gone; without it the sweep would, an hour later.
func discard(ctx context.Context, staged *store.Staged) error {
	if staged == nil {
		return nil
	}
	return staged.Discard(context.WithoutCancel(ctx))
}

// requestHash says for an idempotency key what the same request is; the store adds the text.
func requestHash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		io.WriteString(h, p) //nolint:errcheck // a hash takes everything
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}

func idempotencyKey(r *http.Request) (string, error) {
	keys := r.Header["Idempotency-Key"]
	if len(keys) == 0 {
		return "", nil
	}
	ok := len(keys) == 1 && len(keys[0]) >= 1 && len(keys[0]) <= 255
	for i := 0; ok && i < len(keys[0]); i++ {
		ok = keys[0][i] > ' ' && keys[0][i] <= '~'
	}
	if !ok {
		return "", problem("invalid_value", "Idempotency-Key",
			"an Idempotency-Key is 1 to 255 visible ASCII characters, given once").suggest("use a UUID, for example")
	}
	return keys[0], nil
}

// envelope says what may stand around a text.
type envelope struct {
	fields     []string // in the query of a raw body, in a form and in JSON
	rawFields  []string // in the query of a raw body and in a form alone: JSON has an encoding of its own
	jsonFields []string // in JSON besides
	alsoQuery  []string // in the query always; the caller has taken them out already
	maxText    int64    // bytes
	maxJSON    int64    // bytes
}

// input is a request for chunks, read in full.
type input struct {
	plan       chunk.Plan
	used       store.UsedConfiguration
	name       string
	documentID string
	encoding   string // as given
	charset    string // of the text's content type, as given
	invalid    string // as given
	unicode    bool   // the text came as JSON, whose characters are Unicode's
	limit      string // as given
	texts      string // as given

	configuration string  // as given
	webhook       *string // as given
}

// receive reads a request for chunks in any of its three forms and hands its text, while it arrives, to sink; sink is
// not called when JSON names a document instead. What can be refused before the body is read is.
func (a *API) receive(
	w http.ResponseWriter, r *http.Request, query url.Values, env envelope, sink func(io.Reader) error,
) (in input, err error) {
	kind, boundary, charset, err := bodyKind(r)
	if err != nil {
		return in, err
	}
	limit := map[string]int64{"raw": env.maxText, "form": env.maxText + maxEnvelope, "json": env.maxJSON}[kind]
	b, err := a.newBody(w, r, limit, env.maxText)
	if err != nil {
		return in, err
	}
	if kind == "raw" {
		in.charset = charset
		if err := a.adopt(r.Context(), &in, query, env); err != nil {
			return in, err
		}
		return in, sink(b)
	}
	if left := sortedKeys(query); len(left) > 0 {
		name, where := left[0], "a field of the form"
		if kind == "json" {
			where = "a field of the JSON body"
		}
		p := problem("unknown_field", name, "with this content type, %s is not a query parameter but perhaps %s",
			clip(name), where)
		if like := nearest(name, env.alsoQuery); like != "" {
			return in, p.suggest(use(like))
		}
		return in, p.suggest("move it into the body")
	}
	if kind == "form" {
		err = a.receiveForm(r.Context(), multipart.NewReader(b, boundary), env, &in, sink)
	} else {
		err = a.receiveJSON(r, b, env, &in, sink)
	}
	return in, err
}

// bodyKind tells the three forms apart: raw, form and json. charset is what a raw body's content type says;
// application/x-www-form-urlencoded counts as raw because that is what curl --data-binary says when told nothing.
func bodyKind(r *http.Request) (kind, boundary, charset string, err error) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return "", "", "", problem("unsupported_media_type", "Content-Encoding", "bodies are taken unpacked only, not as %q",
			clip(enc)).suggest("send it unpacked, without Content-Encoding")
	}
	given := r.Header["Content-Type"]
	if len(given) == 0 || len(given) == 1 && given[0] == "" {
		return "raw", "", charset, nil
	}
	media, params, err := mime.ParseMediaType(given[0])
	if err != nil || len(given) > 1 {
		return "", "", "", problem("unsupported_media_type", "Content-Type", "the Content-Type cannot be read").suggest("send one, such as text/plain, or none")
	}
	charset = params["charset"]
	if strings.EqualFold(charset, "us-ascii") {
		charset = "" // to the WHATWG it is windows-1252; said of UTF-8 or anything else, it says nothing
	}
	switch {
	case media == "multipart/form-data":
		if params["boundary"] == "" {
			return "", "", "", problem("unsupported_media_type", "Content-Type", "multipart/form-data needs a boundary").
				suggest("let the HTTP library write the Content-Type of a form")
		}
		return "form", params["boundary"], "", nil
	case media == "application/json":
		if charset != "" && !strings.EqualFold(charset, "utf-8") {
			return "", "", "", problem("unsupported_media_type", "Content-Type", "JSON is taken in UTF-8 only, not in %q", clip(charset)).
				suggest("send it in UTF-8 (RFC 8259, section 8.1)")
		}
		return "json", "", "", nil
	case strings.HasPrefix(media, "text/"), media == "application/octet-stream",
		media == "application/x-www-form-urlencoded":
		return "raw", "", charset, nil
	}
	return "", "", "", problem("unsupported_media_type", "Content-Type", "%q is not taken", clip(media)).
		suggest("send text/*, application/octet-stream, multipart/form-data or application/json; of a picture, its text")
}

// parseQuery reads the query strictly: no broken escapes, no invalid UTF-8.
func parseQuery(r *http.Request) (url.Values, error) {
	if r.URL.RawQuery == "" {
		return url.Values{}, nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, problem("invalid_request", "", "the query cannot be read: it has a broken escape or a semicolon").
			suggest("escape what the values have of % as %25 and of ; as %3B")
	}
	for name, values := range query {
		for _, v := range append(values, name) {
			if !utf8.ValidString(v) {
				return nil, problem("invalid_utf8", clip(name), "the query is not valid UTF-8 after unescaping").
					suggest("escape the bytes of its UTF-8: é as %C3%A9")
			}
		}
	}
	return query, nil
}

// takeWait takes the parameter wait out of the query.
func takeWait(query url.Values) (time.Duration, error) {
	values, ok := query["wait"]
	if !ok {
		return 0, nil
	}
	delete(query, "wait")
	if len(values) > 1 {
		return 0, problem("invalid_value", "wait", "wait is given twice").suggest("give it once")
	}
	seconds, err := atoi("wait", values[0], 0, int(maxWait/time.Second))
	return time.Duration(seconds) * time.Second, err
}

// adopt takes the fields of a query or a form.
func (a *API) adopt(ctx context.Context, in *input, values url.Values, env envelope) error {
	for name, texts := range values {
		if len(texts) > 1 && !slices.Contains(a.settings[name], "array") {
			return problem("invalid_value", clip(name), "%s is given twice", clip(name)).suggest("give it once")
		}
		if _, ok := a.settings[name]; ok || slices.Contains(env.fields, name) || slices.Contains(env.rawFields, name) {
			continue
		}
		others := slices.Concat(env.fields, env.rawFields, env.alsoQuery, a.settings.names())
		if like := nearest(name, others); like != "" {
			return problem("unknown_field", clip(name), "%s is not known here", clip(name)).suggest(use(like))
		}
	}
	strategy, saved := "", values.Has("configuration")
	if saved && values.Has("strategy") {
		return both("configuration")
	}
	for _, name := range slices.Concat(env.fields, env.rawFields) {
		text, given := values.Get(name), values.Has(name)
		delete(values, name)
		switch name {
		case "strategy":
			strategy = text
		case "configuration":
			in.configuration = text
		case "webhook":
			if given {
				in.webhook = &text
			}
		case "name":
			in.name = text
		case "encoding":
			in.encoding = text
		case "invalid":
			in.invalid = text
		case "limit":
			in.limit = text
		case "texts":
			in.texts = text
		}
	}
	return a.plan(ctx, in, saved, strategy, a.settings.object(values))
}

// plan checks the fields that the splitter and the list of operations will see; saved says that a configuration was given.
func (a *API) plan(ctx context.Context, in *input, saved bool, strategy string, settings []byte) (err error) {
	if err := checkName(in.name); err != nil {
		return err
	}
	if in.webhook != nil {
		if err := a.hook(ctx, *in.webhook); err != nil {
			return err
		}
	}
	if saved {
		if settings != nil {
			return both("configuration")
		}
		in.plan, in.used, err = a.saved(ctx, in.configuration)
		return err
	}
	in.plan, err = a.plans.get(strategy, settings)
	return err
}

// checkName keeps names short and printable on one line.
func checkName(name string) error {
	const most = 255
	if utf8.RuneCountInString(name) > most {
		return problem("invalid_value", "name", "name may have at most %d characters", most).suggest("shorten it")
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return problem("invalid_value", "name", "name may not have control characters").suggest("write it on one line, without tabs")
		}
	}
	return nil
}

// The parts of a form: the text itself is the one called file (or text); the others are fields.
const (
	maxParts = 64
	maxField = 64 << 10 // bytes
)

func (a *API) receiveForm(ctx context.Context, form *multipart.Reader, env envelope, in *input, sink func(io.Reader) error) error {
	fields, seen, fileName := url.Values{}, false, ""
	for parts := 0; ; parts++ {
		part, err := form.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return formError(err)
		}
		if parts == maxParts {
			return problem("invalid_request", "body", "the form has more than %d parts", maxParts).suggest("send a part for the file and one for each setting")
		}
		switch name := part.FormName(); name {
		case "":
			return problem("invalid_request", "body", "a part of the form has no name").suggest("name it in its Content-Disposition")
		case "file", "text":
			if seen {
				return problem("invalid_value", name, "the form has more than one text").
					suggest("send an operation for each, or all of them with POST /v1/batches")
			}
			seen, fileName = true, part.FileName()
			if _, params, err := mime.ParseMediaType(part.Header.Get("Content-Type")); err == nil {
				in.charset = params["charset"]
			}
			if err := sink(part); err != nil {
				return formError(err)
			}
		default:
			if part.FileName() != "" {
				return problem("unknown_field", clip(name), "a file goes into the part called file").suggest(use("file"))
			}
			value, err := io.ReadAll(io.LimitReader(part, maxField+1))
			if err != nil {
				return formError(err)
			}
			if len(value) > maxField || !utf8.Valid(value) || !utf8.ValidString(name) {
				return problem("invalid_value", clip(name), "%s must be at most %d bytes of UTF-8", clip(name), maxField).
					suggest("shorten it; the document goes into the part called file")
			}
			fields.Add(name, string(value))
		}
	}
	if !seen {
		return problem("missing_field", "file", "the form has no part called file").suggest("send the document as the part called file")
	}
	if _, ok := fields["name"]; !ok && slices.Contains(env.fields, "name") && fileName != "" {
		if base := path.Base(strings.ReplaceAll(fileName, `\`, "/")); checkName(base) == nil {
			fields.Set("name", base)
		}
	}
	return a.adopt(ctx, in, fields, env)
}

// formError keeps the errors of the body and of the text apart from those of the form around it.
func formError(err error) error {
	var (
		b *bodyError
		t *extract.Error
		l *store.TooLargeError
		p *Problem
	)
	if errors.As(err, &b) || errors.As(err, &t) || errors.As(err, &l) || errors.As(err, &p) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, multipart.ErrMessageTooLarge) ||
		strings.HasPrefix(err.Error(), "multipart: ") || strings.HasPrefix(err.Error(), "malformed MIME") {
		return problem("invalid_request", "body", "the form is not valid multipart/form-data (RFC 7578), or it ends too early").
			suggest("let the HTTP library write the form, and send it whole")
	}
	return err
}

// readAll reads a body of at most limit bytes that has to be in memory, beside no more others than fit there; release
// gives its place to them.
func (a *API) readAll(r *http.Request, b *body, limit int64) (raw []byte, release func(), err error) {
	expect := r.ContentLength
	if expect < 0 {
		expect = limit
	}
	release = func() {}
	if expect > jsonFree {
		if !a.json.TryAcquire(expect) {
			return nil, nil, problem("busy", "", "too many large JSON bodies at once").
				suggest("send it as a raw body, which has no such limit, or again after Retry-After")
		}
		release = func() { a.json.Release(expect) }
	}
	raw = make([]byte, 0, max(r.ContentLength, 0)+512)
	for {
		n, err := b.Read(raw[len(raw):cap(raw)])
		raw = raw[:len(raw)+n]
		if err == io.EOF {
			return raw, release, nil
		}
		if err != nil {
			release()
			return nil, nil, err
		}
		if len(raw) == cap(raw) {
			raw = slices.Grow(raw, len(raw))
		}
	}
}

func (a *API) receiveJSON(r *http.Request, b *body, env envelope, in *input, sink func(io.Reader) error) error {
	raw, release, err := a.readAll(r, b, env.maxJSON)
	if err != nil {
		return err
	}
	defer release()
	if len(raw) == 0 {
		return problem("empty_document", "text", "the body is empty").suggest(`send {"text":"…"}`)
	}
	members, err := parseObject(raw)
	if err != nil {
		return err
	}
	known := slices.Concat([]string{"text", "config"}, env.fields, env.jsonFields)
	var text *member
	var strategy string
	var settings []byte
	given := map[string]bool{}
	for _, m := range members {
		if !slices.Contains(known, m.name) {
			p := problem("unknown_field", clip(m.name), "%s is not known here", clip(m.name))
			if _, ok := a.settings[m.name]; ok {
				return p.suggest("put it into config")
			}
			return p.suggest(oneOf(m.name, known))
		}
		var err error
		given[m.name] = true
		switch m.name {
		case "text":
			text = &m
			if m.value[0] != '"' {
				_, err = m.stringValue()
			}
		case "document_id":
			in.documentID, err = m.stringValue()
			if err == nil && in.documentID == "" {
				err = problem("invalid_value", "document_id", "document_id is empty").suggest("give a document's id, or text in its place")
			}
		case "name":
			in.name, err = m.stringValue()
		case "strategy":
			strategy, err = m.stringValue()
		case "configuration":
			in.configuration, err = m.stringValue()
		case "webhook":
			in.webhook = new(string)
			*in.webhook, err = m.stringValue()
		case "limit":
			if in.limit = string(m.value); !isNumber(in.limit) {
				err = problem("invalid_value", "limit", "limit must be a number").suggest("write it without quotes")
			}
		case "texts":
			if in.texts = string(m.value); in.texts != "true" && in.texts != "false" {
				err = problem("invalid_value", "texts", "texts must be true or false").suggest("write true or false without quotes")
			}
		case "config":
			if settings = m.value; settings[0] != '{' {
				err = problem("invalid_value", "config", "config must be an object").suggest(`send one such as {"chunk_size":1000}`)
			}
		}
		if err != nil {
			return err
		}
	}
	switch {
	case text != nil && in.documentID != "":
		return problem("invalid_value", "document_id", "give either text or document_id, not both").suggest("send one of the two")
	case text == nil && in.documentID == "":
		return problem("missing_field", "text", "the text is missing").suggest("use text or document_id")
	}
	if given["configuration"] && given["strategy"] {
		return both("configuration")
	}
	if err := a.plan(r.Context(), in, given["configuration"], strategy, settings); err != nil {
		return err
	}
	if text == nil {
		if !validID("doc_", in.documentID) {
			return noDocumentID()
		}
		return nil
	}
	in.unicode = true
	return sink(strings.NewReader(unquote(text.value)))
}
