package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"chunkstream/auth"
	"chunkstream/chunk"
	"chunkstream/extract"
	"chunkstream/store"
)

// Problem is every error answer: application/problem+json (RFC 9457) with a stable code. It never carries internals;
// an error that nobody foresaw is "internal" with the request id, under which the log has the cause.
type Problem struct {
	Type   string `json:"type" doc:"Where the service explains the code, relative to its address" example:"/errors/invalid_value"`
	Title  string `json:"title" doc:"The kind of problem in words; the same for every occurrence of a code"`
	Status int    `json:"status" doc:"The HTTP status" example:"422"`
	Detail string `json:"detail" doc:"What is wrong with this request"`
	Code   string `json:"code" doc:"Stable and for programs" example:"invalid_value"`
	Param  string `json:"param,omitempty" doc:"The parameter, field or header at fault; body is the body as a whole" example:"chunk_size"`

	Suggestion string `json:"suggestion,omitempty" doc:"What to do instead" example:"use chunk_overlap"`
	RequestID  string `json:"request_id" doc:"Also in the X-Request-Id header and in the server's log"`

	header http.Header
}

// Error gives the detail.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// GetStatus is what huma asks an error for.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders gives the headers that belong to the answer, such as Retry-After.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType is what huma asks an error body for.
func (p *Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

// kinds is every code there is, with its status, its title and what to do about it where an answer has nothing nearer to
// say. Those without must say it themselves. docs/api.md lists the same codes, and docs/errors.md explains them.
var kinds = map[string]struct {
	status     int
	title, fix string
}{
	"invalid_json":           {400, "The JSON is not valid", "write the JSON with a library: the detail says at which byte it goes wrong"},
	"invalid_request":        {400, "The request cannot be read", "correct what the detail names, and send it again"},
	"unauthenticated":        {401, "A valid API key is needed", "send an API key as Authorization: Bearer <key>; an administrator makes one"},
	"forbidden":              {403, "The key may not do that", "use a key with that scope: GET /v1/me says what this one has"},
	"cross_origin":           {403, "Requests from other web origins are refused", "call from the service's own pages or from a program"},
	"not_found":              {404, "Not found", "look it up in its list"},
	"method_not_allowed":     {405, "The method is not allowed here", "use one of the methods in Allow"},
	"request_timeout":        {408, "The body came too slowly", "send it over a better connection, or split the document"},
	"document_in_use":        {409, "The document is in use", "cancel them or wait for their end, then delete it"},
	"operation_not_ended":    {409, "The operation has not ended", "wait for its end with ?wait=, or cancel it"},
	"name_taken":             {409, "The name is taken", "choose another name, or change the one that has it"},
	"changed_meanwhile":      {412, "It was changed meanwhile", "read it again, and send the new ETag as If-Match"},
	"quota_exceeded":         {429, "There is no more room", "delete what is not needed any more"},
	"invalid_range":          {416, "The range does not lie in the text", "use bytes from 0 to the length in Content-Range"},
	"too_large":              {413, "The body is too large", "split the document"},
	"unsupported_media_type": {415, "The content type is not supported", "send text/plain, multipart/form-data or application/json, unpacked"},
	"host_not_allowed":       {421, "The host name is not this server's", "use localhost or 127.0.0.1, or set up keys: chunkstream serve --access keys"},
	"empty_document":         {422, "The document is empty", "send the text as the body, as the part file of a form, or as text in JSON"},
	"binary_document":        {422, "The document is not text", "extract its text first; docs/formats.md has what is read"},
	"undecodable":            {422, "The text cannot be decoded", "name the encoding with encoding=…"},
	"invalid_utf8":           {422, "The text is not valid UTF-8", "send UTF-8"},
	"nul_byte":               {422, "The text has a NUL byte", "remove it: no text has a NUL"},
	"quarantined":            {422, "The text is quarantined", "take another strategy"},
	"invalid_value":          {422, "A value is not allowed", ""},
	"missing_field":          {422, "A field is missing", ""},
	"unknown_field":          {422, "A field is not known", "docs/api.md and /docs have all names"},
	"unknown_strategy":       {422, "The strategy is not known", "GET /v1/strategies lists them"},
	"invalid_cursor":         {422, "The cursor is not valid", "leave cursor out to begin again"},
	"idempotency_key_reused": {422, "The idempotency key was used with a different request", "use a new key for a new request, or repeat the request as it was"},
	"owner_limit":            {429, "You have too much waiting", "send it again after Retry-After; send fewer at once"},
	"upgrade_required":       {426, "A WebSocket handshake is needed", "open it as a WebSocket, or read the same events with /events in place of /ws"},
	"rate_limited":           {429, "Too many requests", "send it again after Retry-After"},
	"client_closed":          {499, "The client went away", ""},
	"internal":               {500, "Something went wrong here", "report it with the request id"},
	"damaged":                {500, "What is stored is damaged", "submit the document again"},
	"strategy_failed":        {500, "The strategy broke its own contract", "report it with the strategy and its settings; take another strategy meanwhile"},
	"overloaded":             {503, "The service has too much waiting", "send it again after Retry-After"},
	"busy":                   {503, "The server is busy", "send it again after Retry-After"},
	"outcome_unknown":        {503, "The outcome is not known", "look whether it is there, or repeat it with its Idempotency-Key"},
	"preview_timeout":        {503, "The preview took too long", "submit an operation in its place, or take less text"},
	"unavailable":            {503, "The server cannot do this now", "send it again after Retry-After"},
}

// problem makes a Problem of a code in kinds.
func problem(code, param, detail string, args ...any) *Problem {
	k, ok := kinds[code]
	if !ok {
		panic("api: problem code " + code + " is not in kinds")
	}
	if len(args) > 0 {
		detail = fmt.Sprintf(detail, args...)
	}
	p := &Problem{
		Type: "/errors/" + code, Title: k.title, Status: k.status, Detail: detail, Code: code, Param: param, Suggestion: k.fix,
	}
	switch k.status {
	case http.StatusUnauthorized:
		p.header = http.Header{"Www-Authenticate": {`Bearer realm="chunkstream"`}}
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		p.header = http.Header{"Retry-After": {"1"}}
	case http.StatusRequestEntityTooLarge, http.StatusRequestTimeout:
		p.header = http.Header{"Connection": {"close"}} // the rest of the body is not worth reading
	case http.StatusUpgradeRequired:
		p.header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}
	}
	return p
}

// suggest says what to do instead. Nothing leaves what the code says.
func (p *Problem) suggest(s string) *Problem {
	if s != "" {
		p.Suggestion = s
	}
	return p
}

// problemOf is the one table from an error to what the client is told. An error that is not in it is internal: its
// text goes to the log alone.
func problemOf(err error) *Problem {
	var (
		known    *Problem
		param    *chunk.ParamError
		split    *chunk.SplitError
		text     *extract.Error
		binary   *extract.BinaryError
		tooLarge *store.TooLargeError

		quarantined *store.QuarantinedError
		corrupt     *store.CorruptError
		body        *bodyError
		tooMany     *auth.TooManyError
	)
	switch {
	case errors.As(err, &known):
		p := *known
		return &p
	case errors.As(err, &param):
		code := param.Code
		if _, ok := kinds[code]; !ok {
			code = "invalid_value"
		}
		return problem(code, param.Param, "%s", param.Sentence(param.Param)).suggest(param.Suggestion)
	case errors.As(err, &split):
		return problem("strategy_failed", "strategy", "strategy %s failed at byte %d", split.Strategy, split.Offset)
	case errors.As(err, &text):
		p := problem(text.Code, "text", "%s", text)
		if text.Code == extract.NULByte {
			return p
		}
		return p.suggest("name the encoding with encoding=…, or say what becomes of such bytes with invalid=replace or invalid=bytes")
	case errors.As(err, &binary):
		return problem("binary_document", "text", "the document is not text but %s", binary.Is)
	case errors.As(err, &tooLarge):
		return tooLong(tooLarge.Limit)
	case errors.As(err, &corrupt):
		return problem("damaged", "", "the stored text or chunks are damaged; the log has where under this request id")
	case errors.As(err, &body):
		return body.problem()
	case errors.Is(err, auth.ErrUnauthenticated):
		return problem("unauthenticated", "Authorization", "the request shows no key that is valid here")
	case errors.As(err, &tooMany):
		p := problem("rate_limited", "Authorization", "too many failed sign-ins from this address: what it shows is looked at again in %v", tooMany.RetryAfter.Round(time.Millisecond))
		p.header = http.Header{"Retry-After": {wholeSeconds(tooMany.RetryAfter)}}
		return p
	case errors.Is(err, auth.ErrUndecided):
		return problem("unavailable", "", "it cannot be decided now whether the key may do that")
	case errors.Is(err, store.ErrNotFound):
		return problem("not_found", "", "there is no such object here")
	case errors.Is(err, store.ErrKeyReused):
		return problem("idempotency_key_reused", "Idempotency-Key",
			"this Idempotency-Key was used for a different request in the last 24 hours")
	case errors.As(err, &quarantined):
		return problem("quarantined", "text", "within the last %d hours the processes that cut this text with this strategy died, again and again: see operation %s",
			int(store.QuarantinedFor.Hours()), quarantined.OperationID).
			suggest("take another strategy, or POST /v1/operations/" + quarantined.OperationID + "/retry to try it once more")
	case errors.Is(err, store.ErrInUse):
		return problem("document_in_use", "id", "operations on this document have not ended")
	case errors.Is(err, store.ErrUnknownOutcome):
		return problem("outcome_unknown", "", "it may or may not have been done")
	case errors.Is(err, store.ErrUnavailable):
		return problem("unavailable", "", "the database cannot do it now; nothing was changed")
	case errors.Is(err, store.ErrInvalidText):
		return problem("invalid_value", "name", "the text of a field has a NUL character or is not UTF-8").suggest("write it in UTF-8, without NUL")
	case errors.Is(err, store.ErrClosed):
		return problem("unavailable", "", "the server is stopping")
	case errors.Is(err, context.Canceled):
		return problem("client_closed", "", "the client closed the connection")
	case errors.Is(err, context.DeadlineExceeded):
		return problem("unavailable", "", "it took too long")
	}
	return problem("internal", "", "the log has the cause under this request id")
}

// tooLong says that a document has more bytes than may be, in the same words whatever form it comes in.
func tooLong(most int64) *Problem {
	p := problem("too_large", "text", "the body or its text is longer than %s", size(most))
	if most < MaxText {
		return p.suggest("submit an operation: it takes " + size(MaxText))
	}
	return p.suggest("split the document: at most " + size(most))
}

func size(n int64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return strconv.FormatInt(n>>20, 10) + " MiB"
	case n >= 1<<10 && n%(1<<10) == 0:
		return strconv.FormatInt(n>>10, 10) + " KiB"
	}
	return strconv.FormatInt(n, 10) + " bytes"
}

// fail answers with err's problem, unless the answer has begun: then the connection is cut, so that a client never
// takes half an answer for a whole one.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	p.RequestID = requestID(r.Context())
	a.log(r.Context(), r.Pattern, p, err)
	if rec, ok := w.(*recorder); ok && rec.status != 0 {
		panic(http.ErrAbortHandler)
	}
	writeProblem(w, p)
}

// log writes down what only the operator may know.
func (a *API) log(ctx context.Context, route string, p *Problem, err error) {
	level := slog.LevelError
	switch {
	case p.Status < 499:
		return
	case p.Status == 499:
		level = slog.LevelDebug
	case p.Status == http.StatusServiceUnavailable:
		level = slog.LevelWarn
	}
	a.cfg.Log.LogAttrs(ctx, level, "request failed", traced(ctx, slog.String("request_id", p.RequestID), slog.String("route", route),
		slog.String("address", addressOf(ctx)), slog.String("code", p.Code), slog.Any("error", err))...)
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	h := w.Header()
	for k, v := range p.header {
		h[k] = v
	}
	h.Set("Content-Type", problemType)
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Length")
	h.Del("Content-Disposition")
	h.Del("Content-Encoding")
	h.Del("Etag")
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // a struct of strings
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(b, '\n')) // the client may be gone; there is nobody else to tell
}

// humaProblem is what huma makes its own errors with: parameters that do not parse, which are said in our words. It
// repeats nothing that the client sent and shows no Go error.
func humaProblem(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
	code := "internal"
	switch status {
	case http.StatusUnprocessableEntity:
		code = "invalid_value"
	case http.StatusBadRequest, 0:
		code = "invalid_request"
	}
	p := problem(code, "", "the log has the cause under this request id")
	if code != "internal" {
		p.Detail = msg
	}
	for _, err := range errs {
		var d huma.ErrorDetailer
		if code == "internal" || ctx == nil || !errors.As(err, &d) {
			continue
		}
		detail := d.ErrorDetail()
		_, name, _ := strings.Cut(detail.Location, ".")
		for _, param := range ctx.Operation().Parameters {
			if param.Name == name {
				p = misfit(param, detail.Value)
			}
		}
		break
	}
	if ctx != nil {
		p.RequestID = requestID(ctx.Context())
	}
	return p
}

// misfit says what the value of a parameter must be, by its description. value is what was sent, or nothing.
func misfit(param *huma.Param, value any) *Problem {
	s, sent := param.Schema, fmt.Sprint(value)
	if param.Required && (value == nil || sent == "") {
		return problem("missing_field", param.Name, "%s is missing", param.Name).suggest("give " + wantedOf(s))
	}
	p := problem("invalid_value", param.Name, "%s must be %s", param.Name, wantedOf(s))
	var words []string
	for _, word := range s.Enum {
		words = append(words, fmt.Sprint(word))
	}
	fix := use(nearest(sent, words))
	if fix == "" {
		fix = "give " + wantedOf(s)
	}
	if !param.Required {
		fix += ", or leave it out"
	}
	return p.suggest(fix)
}

// wantedOf puts what a schema of a parameter allows into words.
func wantedOf(s *huma.Schema) string {
	switch {
	case len(s.Enum) > 0:
		var b strings.Builder
		for i, word := range s.Enum {
			switch {
			case i == 0:
			case i == len(s.Enum)-1:
				b.WriteString(" or ")
			default:
				b.WriteString(", ")
			}
			fmt.Fprint(&b, word)
		}
		return b.String()
	case s.Type == huma.TypeBoolean:
		return "true or false"
	case s.Type == huma.TypeInteger && s.Minimum != nil && s.Maximum != nil:
		return fmt.Sprintf("a whole number from %.0f to %.0f", *s.Minimum, *s.Maximum)
	case s.Type == huma.TypeInteger:
		return "a whole number"
	case s.MaxLength != nil:
		return fmt.Sprintf("text of at most %d characters", *s.MaxLength)
	}
	return "text"
}
