// Package client speaks to a Chunkstream server: submit a document, watch it live, read its chunks.
//
// A Client starts no goroutine that outlives a call or a loop over one of its sequences, keeps nothing between calls,
// and repeats only what may be repeated: a broken stream is taken up again where it broke, a request is never sent
// twice. To repeat a Submit safely, give it an IdempotencyKey. What the server refuses is a *Problem.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"chunkstream/event"
)

// Options is what a Client may be given besides the address. The zero value is right for a server on loopback.
type Options struct {
	// APIKey is sent with every request and every socket, as a bearer token.
	APIKey string
	// HTTP makes the requests; nil means http.DefaultClient. It should have no Timeout, which would end streams; give
	// calls a context instead. WebSockets use the TLS settings of its Transport when that is an *http.Transport.
	HTTP *http.Client
}

// Client is one server and how to reach it. Any number of goroutines may use it at once.
type Client struct {
	base string
	key  string
	http *http.Client
	near bool // the server is on this machine: packing its answers would cost more than sending them
}

// New gives a client of the server at base, such as "http://127.0.0.1:8484". The error is one of base: it must be an
// http or https address without a query.
func New(base string, o Options) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("client: address: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("client: address %q is not of the form http://host:port", base)
	}
	c := &Client{base: strings.TrimSuffix(u.String(), "/"), key: o.APIKey, http: o.HTTP}
	ip := net.ParseIP(u.Hostname())
	c.near = u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if c.http == nil {
		c.http = http.DefaultClient
	}
	return c, nil
}

// Problem is what a server answers when it refuses (application/problem+json, RFC 9457).
type Problem struct {
	Status     int    `json:"status"`               // the HTTP status
	Code       string `json:"code"`                 // stable, for programs; empty when a proxy answered, not the server
	Title      string `json:"title"`                // the same for every occurrence of Code
	Detail     string `json:"detail"`               // what is wrong with this request
	Param      string `json:"param,omitempty"`      // the parameter, field or header at fault; body is the body as a whole
	Suggestion string `json:"suggestion,omitempty"` // what to do instead
	RequestID  string `json:"request_id"`           // under which the server's log has more
	// RetryAfter is how long the server asks to wait before it is asked again; 0 when it does not say.
	RetryAfter time.Duration `json:"-"`
}

func (p *Problem) Error() string {
	s := fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail)
	if p.Suggestion != "" {
		s += " (" + p.Suggestion + ")"
	}
	return s
}

// Operation is one run of one strategy over one document, and its state.
type Operation struct {
	ID              string          `json:"id"`
	DocumentID      string          `json:"document_id"`
	Name            string          `json:"name"`
	Status          string          `json:"status"` // queued, processing, completed, failed or cancelled
	Strategy        string          `json:"strategy"`
	Config          json.RawMessage `json:"config"` // the settings, with the defaults filled in
	SplitterVersion string          `json:"splitter_version"`
	RetryOf         string          `json:"retry_of"`    // the operation that this one repeats, or empty
	Seq             int64           `json:"seq"`         // number of its newest event
	Attempt         int64           `json:"attempt"`     // how many times a worker took it
	BytesTotal      int64           `json:"bytes_total"` // UTF-8 bytes of the text
	BytesDone       int64           `json:"bytes_done"`
	Chunks          int64           `json:"chunks"` // how many are stored
	CancelRequested bool            `json:"cancel_requested"`
	Worker          string          `json:"worker"` // who has it, while it is processing
	Error           *event.Failure  `json:"error"`  // why it failed, or why it was tried again
	CreatedAt       event.Time      `json:"created_at"`
	StartedAt       *event.Time     `json:"started_at"`  // nil while no worker ever took it
	FinishedAt      *event.Time     `json:"finished_at"` // nil until it ends
}

// Final reports whether the operation has ended.
func (o Operation) Final() bool { return event.Type(o.Status).Terminal() }

// snapshot gives the state as the event that a stream would open with.
func (o Operation) snapshot() event.Event {
	e := event.Event{Type: event.Snapshot, OperationID: o.ID, Time: o.CreatedAt, Data: event.Data{
		Status: o.Status, Seq: o.Seq, Attempt: o.Attempt, BytesDone: o.BytesDone, BytesTotal: o.BytesTotal,
		Chunks: o.Chunks, Worker: o.Worker, CancelRequested: o.CancelRequested, Error: o.Error,
	}}
	if o.FinishedAt != nil {
		e.Time = *o.FinishedAt
	}
	return e
}

// Chunk is one chunk. Offsets are half-open and refer to the document's text: text[StartByte:EndByte] == Text.
type Chunk struct {
	ID        string `json:"id"` // a hash of text, settings and place: the same on every run
	Index     int64  `json:"index"`
	Text      string `json:"text"`
	StartByte int64  `json:"start_byte"`
	EndByte   int64  `json:"end_byte"`
	StartChar int64  `json:"start_char"` // in code points, as EndChar
	EndChar   int64  `json:"end_char"`
	CharCount int64  `json:"char_count"`
	StartLine int64  `json:"start_line"` // of its first character, from 1
	EndLine   int64  `json:"end_line"`   // of its last character
	Strategy  string `json:"strategy"`
	// OverlapBytes is how many of its bytes are also in the chunk before it, of the same level; 0 for the first.
	OverlapBytes int64 `json:"overlap_bytes"`

	Boundary string `json:"boundary"` // the kind of place the chunk ends at: word, sentence, …, end
	Reason   string `json:"reason"`   // why it ends there: limit, structure or end
	Kind     string `json:"kind"`     // what it holds, where the strategy knows
	// Level and ParentIndex are of hierarchical chunks, nil for others; a chunk of level 0 has no parent.
	Level       *int      `json:"level"`
	ParentIndex *int64    `json:"parent_index"`
	Context     []Context `json:"context"` // the outermost first
}

// Context is a piece of text elsewhere in the document that belongs to a chunk: a heading above it, its table's header.
type Context struct {
	Kind      string `json:"kind"`
	Level     int    `json:"level"` // of a heading
	StartByte int64  `json:"start_byte"`
	EndByte   int64  `json:"end_byte"`
	Text      string `json:"text"`
}

// Document is what the server knows of a text that was submitted. The same text is one document.
type Document struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"` // as first given; may be empty
	SHA256    string     `json:"sha256"`
	Bytes     int64      `json:"bytes"` // of UTF-8
	Chars     int64      `json:"chars"` // code points
	CreatedAt event.Time `json:"created_at"`
}

// Submission is a document and how to cut it.
type Submission struct {
	// Text is the document, UTF-8. It is sent as it is read and never held in memory. Reading ends at an error, which
	// Submit returns; nothing is then created.
	Text io.Reader
	// Name is shown in lists; it may be empty.
	Name string
	// Strategy and Settings are as in the API, {"chunk_size": {"500"}} for instance; empty ones have its defaults.
	Strategy string
	Settings url.Values
	// IdempotencyKey makes a repetition within 24 h give the first one's operation instead of a second.
	IdempotencyKey string
	// Wait is how long the answer may wait for the operation's end, in whole seconds up to a minute.
	Wait time.Duration
}

// Submit sends a document. The operation is durable when it returns: it will reach an end whatever crashes. It has
// ended already only if Wait was long enough; see Operation.Final.
func (c *Client) Submit(ctx context.Context, s Submission) (Operation, error) {
	q := url.Values{}
	for name, values := range s.Settings {
		q[name] = values
	}
	for name, value := range map[string]string{"name": s.Name, "strategy": s.Strategy} {
		if value != "" {
			q.Set(name, value)
		}
	}
	header := c.header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	if s.IdempotencyKey != "" {
		header.Set("Idempotency-Key", s.IdempotencyKey)
	}
	return c.operation(ctx, http.MethodPost, "/v1/operations", waiting(q, s.Wait), header, s.Text)
}

// Operation gives the state of an operation, waiting up to wait, in whole seconds up to a minute, for its end.
func (c *Client) Operation(ctx context.Context, id string, wait time.Duration) (Operation, error) {
	return c.operation(ctx, http.MethodGet, path(id), waiting(nil, wait), c.header(), nil)
}

// Cancel asks for an operation's end. One that is queued has ended when it returns, one that is processing ends within
// a batch, and one that has ended stays as it is.
func (c *Client) Cancel(ctx context.Context, id string) (Operation, error) {
	return c.operation(ctx, http.MethodPost, path(id)+"/cancel", nil, c.header(), nil)
}

// Retry makes a new operation of one that has ended: same document, same settings. One that has not ended is refused
// with the code operation_not_ended.
func (c *Client) Retry(ctx context.Context, id string) (Operation, error) {
	return c.operation(ctx, http.MethodPost, path(id)+"/retry", nil, c.header(), nil)
}

// Operations gives the caller's operations, newest first, page by page as they are asked for. status, one of the five
// states, narrows them; empty is all. An error is the last element.
func (c *Client) Operations(ctx context.Context, status string) iter.Seq2[Operation, error] {
	return func(yield func(Operation, error) bool) {
		q := url.Values{"limit": {"200"}}
		if status != "" {
			q.Set("status", status)
		}
		for {
			var page struct {
				Data []Operation `json:"data"`
				Next string      `json:"next_cursor"`
			}
			if err := c.do(ctx, http.MethodGet, "/v1/operations", q, c.header(), nil, &page); err != nil {
				yield(Operation{}, err)
				return
			}
			for _, op := range page.Data {
				if !yield(op, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			q.Set("cursor", page.Next)
		}
	}
}

// Chunks gives the chunks that are stored, in order, in one stream that is read as it is consumed. Those of a
// completed operation are all of them. An error is the last element; a stream that was cut is one.
func (c *Client) Chunks(ctx context.Context, operationID string) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		header := c.header()
		header.Set("Accept", "application/x-ndjson")
		resp, err := c.send(ctx, http.MethodGet, path(operationID)+"/chunks", nil, header, nil)
		if err != nil {
			yield(Chunk{}, err)
			return
		}
		defer func() { _ = resp.Body.Close() }() // reading has told what there is to tell
		lines := json.NewDecoder(bufio.NewReaderSize(resp.Body, 64<<10))
		for {
			var chunk Chunk
			err := lines.Decode(&chunk)
			if err == io.EOF {
				return
			} else if err != nil {
				yield(Chunk{}, fmt.Errorf("read chunks of %s: %w", operationID, err))
				return
			}
			if !yield(chunk, nil) {
				return
			}
		}
	}
}

// Document gives what is known of a document.
func (c *Client) Document(ctx context.Context, id string) (Document, error) {
	var d Document
	err := c.do(ctx, http.MethodGet, "/v1/documents/"+url.PathEscape(id), nil, c.header(), nil, &d)
	return d, err
}

// DeleteDocument deletes a document with all its operations and chunks. One that an operation works on is refused with the
// code document_in_use.
func (c *Client) DeleteDocument(ctx context.Context, id string) error {
	resp, err := c.send(ctx, http.MethodDelete, "/v1/documents/"+url.PathEscape(id), nil, c.header(), nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// DocumentText gives the text that all offsets of a document's chunks refer to. Close it.
func (c *Client) DocumentText(ctx context.Context, documentID string) (io.ReadCloser, error) {
	resp, err := c.send(ctx, http.MethodGet, "/v1/documents/"+url.PathEscape(documentID)+"/text", nil, c.header(), nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Preview cuts a text of at most 1 MiB without storing anything, and gives its first chunks, at most limit of them
// (1 to 1000). Strategy and settings are as in Submission.
func (c *Client) Preview(ctx context.Context, text, strategy string, settings url.Values, limit int) ([]Chunk, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	for name, values := range settings {
		q[name] = values
	}
	if strategy != "" {
		q.Set("strategy", strategy)
	}
	header := c.header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	var page struct {
		Data []Chunk `json:"data"`
	}
	err := c.do(ctx, http.MethodPost, "/v1/preview", q, header, strings.NewReader(text), &page)
	return page.Data, err
}

func path(operationID string) string { return "/v1/operations/" + url.PathEscape(operationID) }

func waiting(q url.Values, wait time.Duration) url.Values {
	if wait > 0 {
		if q == nil {
			q = url.Values{}
		}
		q.Set("wait", strconv.Itoa(int(wait/time.Second)))
	}
	return q
}

func (c *Client) header() http.Header {
	h := http.Header{"User-Agent": {"chunkstream-go"}}
	if c.key != "" {
		h.Set("Authorization", "Bearer "+c.key)
	}
	return h
}

// send makes a request and gives the answer if it is a success, with its body open.
func (c *Client) send(ctx context.Context, method, path string, q url.Values, h http.Header, body io.Reader) (
	*http.Response, error) {
	address := c.base + path
	if len(q) > 0 {
		address += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header = h
	if c.near {
		req.Header.Set("Accept-Encoding", "identity") // or net/http asks for gzip
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err // net/http names method and address
	}
	if resp.StatusCode >= 300 {
		defer func() { _ = resp.Body.Close() }() // refused already
		return nil, problemOf(resp)
	}
	return resp, nil
}

func (c *Client) operation(ctx context.Context, method, path string, q url.Values, h http.Header, body io.Reader) (
	Operation, error) {
	var op Operation
	err := c.do(ctx, method, path, q, h, body, &op)
	return op, err
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, h http.Header, body io.Reader,
	to any) error {
	resp, err := c.send(ctx, method, path, q, h, body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // the answer has been read
	b, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return nil
}

// problemOf reads what a server refused with. An answer that is no problem+json, as a proxy gives one, still is one.
func problemOf(resp *http.Response) error {
	p := &Problem{}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil && len(b) == 0 || json.Unmarshal(b, p) != nil || p.Status == 0 {
		p = &Problem{Title: http.StatusText(resp.StatusCode), Detail: string(bytes.TrimSpace(b[:min(len(b), 200)]))}
	}
	p.Status = resp.StatusCode
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 && seconds < 1e9 {
		p.RetryAfter = time.Duration(seconds) * time.Second
	}
	return p
}
