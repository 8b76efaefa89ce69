package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"chunkstream/event"
)

// Status is an operation's state.
type Status string

// The five states. Completed, failed and cancelled are final; Transitions says which moves exist.
const (
	Queued     Status = "queued"
	Processing Status = "processing"
	Completed  Status = "completed"
	Failed     Status = "failed"
	Cancelled  Status = "cancelled"
)

// Final reports whether s has no way out.
func (s Status) Final() bool { return s == Completed || s == Failed || s == Cancelled }

// Lane separates big documents from small ones, so that a big one never stands in front of a small one.
type Lane string

// The lanes. A document of at most SmallBytes is small.
const (
	Small Lane = "small"
	Large Lane = "large"
)

// SmallBytes is the size in bytes up to which a document runs in the small lane.
const SmallBytes = 256 << 10

// PartBytes is the size of a stored part of a text in bytes: part i starts at the last rune boundary at or before
// i*PartBytes.
const PartBytes = 256 << 10

// The codes of an operation that failed because its attempts are exhausted: the dead letters. Nothing tries it again by
// itself; Create with RetryOf does.
const (
	PoisonCode    = "poison"             // its workers or parsers died on it, Config.PoisonAfter times without progress
	ExhaustedCode = "attempts_exhausted" // Config.MaxFailures transient errors without progress
)

// The errors a caller decides on. Every other error is a failure of the database and says nothing about the request.
var (
	// ErrNotFound: no such row for this owner. A foreign id and a missing one are the same.
	ErrNotFound = errors.New("not found")
	// ErrFenced: the lease is not held any more. The caller's write changed nothing; it must stop at once.
	ErrFenced = errors.New("lease lost: another worker holds the operation or it has ended")
	// ErrKeyReused: the idempotency key was used with a different request.
	ErrKeyReused = errors.New("idempotency key was used with a different request")
	// ErrInUse: the document has operations that have not ended.
	ErrInUse = errors.New("document has operations that have not ended")
	// ErrUnknownOutcome: the caller gave up waiting, or the connection was lost, while a commit was under way that may have
	// happened or may still happen. Read the state before repeating.
	ErrUnknownOutcome = errors.New("outcome unknown: the commit was not confirmed")
	// ErrUnavailable: the database cannot be reached, or has no room for another caller now. Nothing was changed; try again.
	ErrUnavailable = errors.New("database unavailable")
	// ErrInvalidText: a text that goes into the database holds a NUL or is not UTF-8.
	ErrInvalidText = errors.New("text is not UTF-8 without NUL")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("store is closed")
)

// QuarantinedError is what Create returns for a text that ended as poison under the same strategy within the last
// QuarantinedFor; a repetition by hand (NewOperation.RetryOf) is not refused.
type QuarantinedError struct{ OperationID string } // the operation that it killed

func (e *QuarantinedError) Error() string {
	return "the text is quarantined: operation " + e.OperationID + " ended as poison"
}

// QuarantinedFor is how long a text that ended as poison is not taken again.
const QuarantinedFor = 24 * time.Hour

// CorruptError is what reading returns for a text or chunks that are not as the store writes them: the database was damaged
// from outside. It is found before anything is made of what is wrong, so that no size in it is believed.
type CorruptError struct {
	Of      string // the id of the operation or the document; "" where only a run has it
	Problem string // what is wrong, and where
}

func (e *CorruptError) Error() string {
	if e.Of == "" {
		return "damaged: " + e.Problem
	}
	return "damaged: " + e.Of + ": " + e.Problem
}

func damaged(problem string, args ...any) error {
	return &CorruptError{Problem: fmt.Sprintf(problem, args...)}
}

// TooLargeError is what Stage returns for a text longer than its limit.
type TooLargeError struct{ Limit int64 }

func (e *TooLargeError) Error() string { return fmt.Sprintf("text is longer than %d bytes", e.Limit) }

// Document is one owner's immutable text. Its identity within the owner is the content: staging the same bytes twice
// gives the same document.
type Document struct {
	ID, Owner string
	Name      string // as first given; may be empty
	SHA256    string // of the text's bytes, lower-case hex
	Bytes     int64  // UTF-8 bytes
	Chars     int64  // code points
	Source    Source // of the first upload
	CreatedAt time.Time
}

// Source says what a text was made from. The zero value: not known, as for what was stored before this was kept.
type Source struct {
	Encoding    string  `json:"encoding"`              // as extract.Charset names it
	By          string  `json:"by"`                    // how it came to be known, as extract.Encoding has it
	Confidence  float64 `json:"confidence"`            // from 0 to 1
	Undecodable int64   `json:"undecodable,omitempty"` // bytes that the encoding does not allow
	FirstFault  int64   `json:"first_fault,omitempty"` // offset of the first of them, in the source; of use with Undecodable
	Format      string  `json:"format"`                // as extract.Kind
	Language    string  `json:"language,omitempty"`    // of code
	// SHA256 and Bytes are of a source that was decoded; empty and 0 where the text is the source, byte for byte.
	SHA256 string `json:"sha256,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"`
}

// UsedConfiguration is the saved configuration that an operation was submitted with, as it was then. The zero value: none.
type UsedConfiguration struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Version int64  `json:"version"`
}

// Operation is one run of one strategy over one document, and its state.
type Operation struct {
	ID, Owner       string
	DocumentID      string
	DocumentSHA256  string // of the text the offsets refer to
	Name            string
	Status          Status
	Strategy        string
	Settings        json.RawMessage // canonical, defaults filled in, frozen at submit
	Source          Source          // of the upload that made it, or of the document it was made for
	SplitterVersion string
	RetryOf         string // id of the operation this one repeats; empty if none
	Configuration   UsedConfiguration
	Webhook         string // id of the webhook that is told of its end besides those for all; empty if none
	Trace           string // id of the trace that its request belonged to; empty if none
	Seq             int64  // number of the last durable event
	Attempt         int64  // how many times it was claimed: the lease's epoch
	BytesTotal      int64
	BytesDone       int64
	Chunks          int64 // chunks stored; also the index of the next one
	Failures        int64 // transient errors since the last progress
	CancelRequested bool
	Worker          string         // who holds the lease, while processing
	Error           *event.Failure // of the failure, or of the last retry
	CreatedAt       time.Time
	StartedAt       time.Time // of the first claim; zero if never claimed
	FinishedAt      time.Time // zero until it ends
	ExpiresLease    time.Time // when the lease lapses, while processing
}

// DeadLetter reports whether the operation failed because its attempts are exhausted: nothing tries it again by itself.
func (o Operation) DeadLetter() bool {
	return o.Status == Failed && o.Error != nil && (o.Error.Code == PoisonCode || o.Error.Code == ExhaustedCode)
}

// Snapshot gives the operation's whole state as an ephemeral event of the given type (snapshot, resync or stalled),
// with data.seq set to the last durable event it includes.
func (o Operation) Snapshot(t event.Type, at time.Time) event.Event {
	d := o.data()
	d.Seq = o.Seq
	return event.Event{Type: t, OperationID: o.ID, Time: event.Time{Time: at}, Data: d}
}

func (o Operation) data() event.Data {
	d := event.Data{
		Status: string(o.Status), Attempt: o.Attempt, BytesDone: o.BytesDone, BytesTotal: o.BytesTotal,
		Chunks: o.Chunks, CancelRequested: o.CancelRequested && !o.Status.Final(), Error: o.Error, TraceID: o.Trace,
	}
	if o.Status == Processing {
		d.Phase, d.Worker = "chunking", o.Worker
	}
	return d
}

// NewOperation is a request to chunk one document. Exactly one of Staged and DocumentID is set.
type NewOperation struct {
	Owner           string
	Name            string
	Staged          *Staged
	Source          Source // of Staged
	DocumentID      string
	Strategy        string
	Settings        json.RawMessage
	SplitterVersion string
	RetryOf         string
	Configuration   UsedConfiguration // that Strategy and Settings are from
	Webhook         string            // id of one of the owner's webhooks, to be told of the end
	Trace           string            // id of the trace that the request belongs to
	// IdempotencyKey, if not empty, makes a repetition of the same request return the first one's operation for 24 h.
	IdempotencyKey string
	// RequestHash says what "the same request" is; it must cover everything the operation depends on but the text,
	// which Create adds itself.
	RequestHash string
	// Take, if not nil, claims the operation in the transaction that creates it.
	Take *Take
}

// Take is a claim by a worker in this process that has room for the operation and nothing older to do.
type Take struct {
	Worker string        // as in Claim
	Lease  time.Duration // as in Claim
	// Done completes the operation in the same transaction: Chunks are all there are of the staged text, and its whole
	// life, queued, started and completed, becomes durable at once or not at all.
	Done   bool
	Chunks []Chunk
}

// Created is what Create made, or found under the idempotency key.
type Created struct {
	Operation Operation // completed, if Take says Done; otherwise queued, as before any claim
	Document  Document
	Replayed  bool          // an earlier request with the same key made it; there are no events and no run
	Event     event.Owned   // the queued event, to be published; its Event.Seq is 1
	Run       *Run          // what Take claimed; its Started is to be published after Event
	Done      []event.Owned // with Take.Done: the events after Event, to be published after it; there is no run then
}

// Chunk is one stored span with what is needed to show it.
type Chunk struct {
	Index              int64
	StartByte, EndByte int64
	StartChar, EndChar int64
	Text               string // text[StartByte:EndByte]; empty when the spans alone were asked for
	Facts              Facts
	Overlap            int64   // bytes that are also in the chunk before it of the same level; only of chunks that are read
	Placed             *Placed // only when the places were asked for
}

// Placed is where a chunk lies in the ways in which programs count besides bytes and code points.
type Placed struct {
	FirstLine, LastLine  int64 // of its first and its last character, from 1; LF ends a line
	StartUTF16, EndUTF16 int64 // in UTF-16 code units
	// SourceStart and SourceEnd are in the bytes that were uploaded. Decoded is false where the text is these bytes, and
	// where the same text was first uploaded in another encoding, whose offsets are kept.
	Decoded                bool
	SourceStart, SourceEnd int64
}

// Filter narrows Operations. Zero values mean "any".
type Filter struct {
	Status     Status
	DocumentID string
	Strategy   string
	DeadLetter bool   // only those of which DeadLetter is true
	Before     string // cursor: the id of the last operation of the page before; newest first
	Limit      int    // 1 to 200; 0 means 50
}

// Head is an operation's newest durable sequence number.
type Head struct {
	OperationID string
	Seq         int64
}
