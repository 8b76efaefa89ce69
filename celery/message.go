package celery

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// TaskName is the task that is served, whatever module the producer has it in: the part after the last dot counts.
const TaskName = "process_chunking_operation"

// Task is one call of the producer's process_chunking_operation(operation_id, document_id, strategy, config).
type Task struct {
	ID          string          // of the Celery task: the same at every delivery
	OperationID string          // the producer's own name for it
	DocumentID  string          // empty if Text is given
	Text        *string         // the document itself: the keyword argument text, an addition of ours; nil if not given
	Strategy    string          // as given; empty if None
	Config      json.RawMessage // a JSON object, or nil if None
}

// Refusal is a task that cannot be done, now or later. The producer gets it as the exception of AsyncResult.get(): Type
// is looked up in Module ("builtins", "celery.exceptions", …), and Problem is its message.
type Refusal struct{ Module, Type, Problem string }

func (r *Refusal) Error() string { return r.Type + ": " + r.Problem }

// refuse makes a Refusal of one of Python's own exceptions.
func refuse(kind, format string, args ...any) *Refusal {
	return &Refusal{Module: "builtins", Type: kind, Problem: fmt.Sprintf(format, args...)}
}

// message is what kombu puts into a list: the envelope around a task, protocol 2.
type message struct {
	Body            string `json:"body"`
	ContentType     string `json:"content-type"`
	ContentEncoding string `json:"content-encoding"`
	Headers         struct {
		Task         string          `json:"task"`
		ID           string          `json:"id"`
		ETA          json.RawMessage `json:"eta"`
		Expires      json.RawMessage `json:"expires"`
		Compression  string          `json:"compression"`
		IgnoreResult bool            `json:"ignore_result"`
	} `json:"headers"`
	Properties struct {
		CorrelationID string `json:"correlation_id"`
		BodyEncoding  string `json:"body_encoding"`
	} `json:"properties"`
}

// parsed is a message as far as it could be read.
type parsed struct {
	id           string // of the task; empty if the message does not even say that
	eta, expires time.Time
	ignoreResult bool
	task         Task
	wrong        *Refusal // why it cannot be done; nil if it can
}

// parse reads a message. Nothing that a producer can send makes it fail: what is wrong stands in the result.
func parse(payload string) (p parsed) {
	var m message
	if err := json.Unmarshal([]byte(payload), &m); err != nil {
		// Its id may be readable although another field is not what it should be.
		p.wrong = refuse("ValueError", "the message is not kombu's JSON: %v", err)
	}
	if p.id = m.Headers.ID; p.id == "" {
		p.id = m.Properties.CorrelationID
	}
	p.ignoreResult = m.Headers.IgnoreResult
	if p.wrong != nil {
		return p
	}
	name := m.Headers.Task
	switch {
	case name == "":
		p.wrong = refuse("ValueError", "the message names no task in its headers: task_protocol = 2 is needed")
	case name[strings.LastIndexByte(name, '.')+1:] != TaskName:
		p.wrong = &Refusal{"celery.exceptions", "NotRegistered", name}
	case m.ContentType != "application/json":
		p.wrong = &Refusal{"kombu.exceptions", "ContentDisallowed", fmt.Sprintf(
			"content type %q is not taken: set task_serializer = \"json\"", m.ContentType)}
	case m.Headers.Compression != "":
		p.wrong = &Refusal{"kombu.exceptions", "ContentDisallowed", fmt.Sprintf(
			"compression %q is not taken: leave task_compression unset", m.Headers.Compression)}
	}
	if p.wrong == nil {
		p.eta, p.wrong = instant("eta", m.Headers.ETA)
	}
	if p.wrong == nil {
		p.expires, p.wrong = instant("expires", m.Headers.Expires)
	}
	if p.wrong == nil {
		p.wrong = p.readBody(m)
	}
	p.task.ID = p.id
	return p
}

// instant reads a time as Python's isoformat writes it; one without a zone is UTC, as in Celery.
func instant(name string, raw json.RawMessage) (time.Time, *Refusal) {
	var text *string
	if len(raw) == 0 {
		return time.Time{}, nil
	}
	if err := json.Unmarshal(raw, &text); err == nil && text == nil {
		return time.Time{}, nil
	} else if err == nil {
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
			if at, err := time.Parse(layout, *text); err == nil {
				return at, nil
			}
		}
	}
	return time.Time{}, refuse("ValueError", "%s is not an ISO 8601 time: %.40s", name, raw)
}

// readBody reads [args, kwargs, embed] into p.task.
func (p *parsed) readBody(m message) *Refusal {
	body := []byte(m.Body)
	if m.Properties.BodyEncoding == "base64" {
		var err error
		if body, err = base64.StdEncoding.DecodeString(m.Body); err != nil {
			return refuse("ValueError", "the body is not base64: %v", err)
		}
	}
	if !utf8.Valid(body) {
		return refuse("ValueError", "the body is not UTF-8")
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(body, &parts); err != nil || len(parts) != 3 {
		return refuse("ValueError", "the body is not JSON of [args, kwargs, embed]")
	}
	var args []json.RawMessage
	var kwargs, embed map[string]json.RawMessage
	for i, into := range []any{&args, &kwargs, &embed} {
		if err := json.Unmarshal(parts[i], into); err != nil {
			return refuse("ValueError", "the body is not JSON of [args, kwargs, embed]")
		}
	}
	for _, name := range []string{"callbacks", "errbacks", "chain", "chord"} {
		if v := string(embed[name]); v != "" && v != "null" && v != "[]" {
			return refuse("NotImplementedError", "%s of a task are not carried out here: "+
				"wait for the result, then send what comes next", name)
		}
	}
	return p.bind(args, kwargs)
}

// bind puts arguments in their places, as Python would.
func (p *parsed) bind(args []json.RawMessage, kwargs map[string]json.RawMessage) *Refusal {
	names := []string{"operation_id", "document_id", "strategy", "config"}
	if len(args) > len(names) {
		return refuse("TypeError", "%s() takes %d positional arguments but %d were given", TaskName, len(names), len(args))
	}
	given := map[string]json.RawMessage{}
	for i, v := range args {
		given[names[i]] = v
	}
	for name, v := range kwargs {
		if _, twice := given[name]; twice {
			return refuse("TypeError", "%s() got multiple values for argument %q", TaskName, name)
		}
		given[name] = v
	}
	for name, v := range given {
		if string(v) == "null" {
			continue
		}
		var err error
		switch name {
		case "operation_id":
			err = json.Unmarshal(v, &p.task.OperationID)
		case "document_id":
			err = json.Unmarshal(v, &p.task.DocumentID)
		case "strategy":
			err = json.Unmarshal(v, &p.task.Strategy)
		case "text":
			if err = json.Unmarshal(v, &p.task.Text); err == nil && loneSurrogate(v) {
				return refuse("ValueError", "text has half of a surrogate pair: it is not valid Unicode")
			}
		case "config":
			if p.task.Config = v; v[0] != '{' {
				return refuse("TypeError", "config must be a dict or None")
			}
		default:
			return refuse("TypeError", "%s() got an unexpected keyword argument %.40q", TaskName, name)
		}
		if err != nil {
			return refuse("TypeError", "%s must be a str", name)
		}
	}
	if (p.task.Text == nil) == (p.task.DocumentID == "") {
		return refuse("TypeError", "%s() needs either document_id, the id of a document here, or text", TaskName)
	}
	return nil
}

// loneSurrogate reports whether a JSON string escapes half of a surrogate pair, which encoding/json would replace and
// so change the document.
func loneSurrogate(raw []byte) bool {
	high := false
	for i := 0; i < len(raw); i++ {
		var unit uint64
		if raw[i] == '\\' {
			if raw[i+1] == 'u' { // raw has been decoded: four digits follow
				unit, _ = strconv.ParseUint(string(raw[i+2:i+6]), 16, 16)
				i += 4
			}
			i++
		}
		low := unit >= 0xDC00 && unit <= 0xDFFF
		if low != high {
			return true
		}
		high = unit >= 0xD800 && unit <= 0xDBFF
	}
	return high
}

// Summary is the result of a task that has succeeded.
type Summary struct {
	OperationID string `json:"operation_id"` // ours
	RequestID   string `json:"request_id"`   // operation_id as the producer gave it
	DocumentID  string `json:"document_id"`
	Chunks      int64  `json:"chunks"`
	Bytes       int64  `json:"bytes"` // of the document, UTF-8
}

// The states that Celery's AsyncResult knows and this door writes.
const (
	started = "STARTED"
	success = "SUCCESS"
	failure = "FAILURE"
	revoked = "REVOKED"
)

// meta is what Celery's Redis backend keeps of a task.
func meta(id, status string, result any, at time.Time) string {
	type exception struct {
		Type    string   `json:"exc_type"`
		Message []string `json:"exc_message"`
		Module  string   `json:"exc_module"`
	}
	var traceback *string
	if r, ok := result.(*Refusal); ok {
		result = exception{r.Type, []string{r.Problem}, r.Module}
		if status == failure {
			text := r.Error() + "\n"
			traceback = &text
		}
	}
	var date *string
	if status != started {
		text := at.UTC().Format("2006-01-02T15:04:05.000000")
		date = &text
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(map[string]any{"status": status, "result": result, "traceback": traceback, "children": []string{},
		"date_done": date, "task_id": id}) // strings and numbers only: it does not fail
	return strings.TrimSuffix(out.String(), "\n")
}
