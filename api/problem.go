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
	Param  string `json:"param,omitempty" doc:"The parameter, field or header at fault" example:"chunk_size"`

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

// kinds is every code there is, with its status and title. docs/api.md lists the same codes, and docs/errors.md
// explains them.
var kinds = map[string]struct {
	status int
	title  string
}{
	"invalid_json":           {400, "The JSON is not valid"},
	"invalid_request":        {400, "The request cannot be read"},
	"unauthenticated":        {401, "A valid API key is needed"},
	"forbidden":              {403, "The key may not do that"},
	"cross_origin":           {403, "Requests from other web origins are refused"},
	"not_found":              {404, "Not found"},
	"method_not_allowed":     {405, "The method is not allowed here"},
	"request_timeout":        {408, "The body came too slowly"},
	"document_in_use":        {409, "The document is in use"},
	"operation_not_ended":    {409, "The operation has not ended"},
	"name_taken":             {409, "The name is taken"},
	"changed_meanwhile":      {412, "It was changed meanwhile"},
	"quota_exceeded":         {429, "There is no more room"},
	"invalid_range":          {416, "The range does not lie in the text"},
	"too_large":              {413, "The body is too large"},
	"unsupported_media_type": {415, "The content type is not supported"},
	"host_not_allowed":       {421, "The host name is not this server's"},
	"empty_document":         {422, "The document is empty"},
	"binary_document":        {422, "The document is not text"},
	"undecodable":            {422, "The text cannot be decoded"},
	"invalid_utf8":           {422, "The text is not valid UTF-8"},
	"nul_byte":               {422, "The text has a NUL byte"},
	"quarantined":            {422, "The text is quarantined"},
	"invalid_value":          {422, "A value is not allowed"},
	"missing_field":          {422, "A field is missing"},
	"unknown_field":          {422, "A field is not known"},
	"unknown_strategy":       {422, "The strategy is not known"},
	"invalid_cursor":         {422, "The cursor is not valid"},
	"idempotency_key_reused": {422, "The idempotency key was used with a different request"},
	"owner_limit":            {429, "You have too much waiting"},
	"upgrade_required":       {426, "A WebSocket handshake is needed"},
	"rate_limited":           {429, "Too many requests"},
	"client_closed":          {499, "The client went away"},
	"internal":               {500, "Something went wrong here"},
	"damaged":                {500, "What is stored is damaged"},
	"strategy_failed":        {500, "The strategy broke its own contract"},
	"overloaded":             {503, "The service has too much waiting"},
	"busy":                   {503, "The server is busy"},
	"outcome_unknown":        {503, "The outcome is not known"},
	"preview_timeout":        {503, "The preview took too long"},
	"unavailable":            {503, "The server cannot do this now"},
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
		Type: "/errors/" + code, Title: k.title, Status: k.status, Detail: detail, Code: code, Param: param,
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

func (p *Problem) suggest(s string) *Problem {
	p.Suggestion = s
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
		return problem(code, param.Param, "%s", sentence(param.Param, param.Problem)).suggest(param.Suggestion)
	case errors.As(err, &split):
		return problem("strategy_failed", "strategy", "strategy %s failed at byte %d", split.Strategy, split.Offset)
	case errors.As(err, &text):
		p := problem(text.Code, "text", "%s", text)
		if text.Code == extract.NULByte {
			return p.suggest("remove it: no text has a NUL")
		}
		return p.suggest("name the encoding with encoding=…, or say what becomes of such bytes with invalid=replace or invalid=bytes")
	case errors.As(err, &binary):
		return problem("binary_document", "text", "the document is not text but %s", binary.Is).
			suggest("extract its text first; docs/formats.md has what is read")
	case errors.As(err, &tooLarge):
		return problem("too_large", "", "the text is longer than %s", size(tooLarge.Limit))
	case errors.As(err, &corrupt):
		return problem("damaged", "", "the stored text or chunks are damaged; the log has where under this request id").
			suggest("submit the document again")
	case errors.As(err, &body):
		return body.problem()
	case errors.Is(err, auth.ErrUnauthenticated):
		return problem("unauthenticated", "", "send the API key as Authorization: Bearer <key>")
	case errors.As(err, &tooMany):
		p := problem("rate_limited", "", "too many failed sign-ins from this address: what it shows is looked at again in %v", tooMany.RetryAfter.Round(time.Millisecond))
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
		return problem("document_in_use", "",
			"operations on this document have not ended: cancel them or wait for their end")
	case errors.Is(err, store.ErrUnknownOutcome):
		return problem("outcome_unknown", "", "it may or may not have been done: look, or repeat it with an Idempotency-Key")
	case errors.Is(err, store.ErrUnavailable):
		return problem("unavailable", "", "the database cannot do it now; nothing was changed")
	case errors.Is(err, store.ErrInvalidText):
		return problem("invalid_value", "name", "the text of a field has a NUL character or is not UTF-8")
	case errors.Is(err, store.ErrClosed):
		return problem("unavailable", "", "the server is stopping")
	case errors.Is(err, context.Canceled):
		return problem("client_closed", "", "the client closed the connection")
	case errors.Is(err, context.DeadlineExceeded):
		return problem("unavailable", "", "it took too long")
	}
	return problem("internal", "", "the log has the cause under this request id")
}

// sentence puts the parameter in front of what is wrong with it, unless the text names it already.
func sentence(param, text string) string {
	if param == "" || strings.Contains(text, param) {
		return text
	}
	return param + ": " + text
}

func size(n int64) string {
	if n >= 1<<20 && n%(1<<20) == 0 {
		return strconv.FormatInt(n>>20, 10) + " MiB"
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

// humaProblem is what huma makes its own errors with: parameters that do not parse, mostly. It repeats nothing that
// the client sent and shows no Go error.
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
		if code == "internal" || !errors.As(err, &d) {
			continue
		}
		detail := d.ErrorDetail()
		_, p.Param, _ = strings.Cut(detail.Location, ".")
		p.Detail = sentence(p.Param, detail.Message)
		break
	}
	if ctx != nil {
		p.RequestID = requestID(ctx.Context())
	}
	return p
}
