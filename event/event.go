// Package event is the one event format of Chunkstream: what the store writes, what the bus carries and what a
// WebSocket or SSE client reads are the same JSON. It holds the type and its encoding and nothing else.
//
// Durable events carry a sequence number that SQL assigned under the operation's row lock: dense from 1, exactly one
// terminal event, nothing after it. Ephemeral events (snapshot, progress, stalled, resync) carry none, so that a
// browser's Last-Event-ID never points at something that cannot be replayed; a snapshot says in its data which
// sequence number it stands at.
package event

import (
	"encoding/json"
	"time"
)

// Type names what happened. The values are the wire names.
type Type string

// The durable types. Each has a sequence number and is stored in operation_events.
const (
	Queued     Type = "queued"      // accepted and durable; always seq 1
	Started    Type = "started"     // a worker claimed it; attempt says for which time
	Batch      Type = "batch"       // chunks were committed; bytes_done and chunks only grow within an attempt
	Retrying   Type = "retrying"    // a transient error or a lost worker; it is queued again
	HandedOver Type = "handed_over" // a stopping worker gave it back; it is queued again
	Completed  Type = "completed"   // terminal: every chunk is stored
	Failed     Type = "failed"      // terminal: error says why
	Cancelled  Type = "cancelled"   // terminal: as asked
)

// The ephemeral types. They are never stored and never replayed.
const (
	Snapshot Type = "snapshot" // the whole state, with data.seq; the next durable event is data.seq+1
	Progress Type = "progress" // between two batches; may be dropped or conflated
	Stalled  Type = "stalled"  // nothing has been stored for a while, although a worker lives and holds it
	Resync   Type = "resync"   // the asked-for position cannot be replayed; carries the whole state as a snapshot does
)

// Durable reports whether events of type t are stored and numbered.
func (t Type) Durable() bool {
	switch t {
	case Queued, Started, Batch, Retrying, HandedOver, Completed, Failed, Cancelled:
		return true
	}
	return false
}

// Terminal reports whether t ends an operation. Exactly one terminal event exists for an ended operation.
func (t Type) Terminal() bool { return t == Completed || t == Failed || t == Cancelled }

// Event is one thing that happened to one operation.
type Event struct {
	// Seq is the durable event's number within its operation, dense from 1; 0 (left out) on ephemeral events.
	Seq         int64  `json:"seq,omitempty"`
	Type        Type   `json:"type"`
	OperationID string `json:"operation_id"`
	// Time is when the store recorded it, by the database's clock.
	Time Time `json:"time"`
	Data Data `json:"data"`
}

// Data is the state after the event, whole, so that a reader needs no earlier event to understand it.
type Data struct {
	// Status is the operation's state: queued, processing, completed, failed or cancelled.
	Status string `json:"status"`
	// Phase is what is being done while processing: "chunking" (later also "extracting"). Empty otherwise.
	Phase string `json:"phase,omitempty"`
	// Seq is set on snapshot and resync only: the number of the last durable event they include.
	Seq int64 `json:"seq,omitempty"`
	// Attempt counts the claims, from 1; 0 while never claimed. It is the lease's epoch.
	Attempt int64 `json:"attempt"`
	// BytesDone and BytesTotal are UTF-8 bytes of the document's text. BytesDone reaches BytesTotal only on completed.
	BytesDone  int64 `json:"bytes_done"`
	BytesTotal int64 `json:"bytes_total"`
	// Chunks is how many chunks are stored.
	Chunks int64 `json:"chunks"`
	// ETAMs estimates the milliseconds left, from this attempt's own rate; absent when there is no estimate.
	ETAMs *int64 `json:"eta_ms,omitempty"`
	// Worker names the process that holds the operation, while processing.
	Worker string `json:"worker,omitempty"`
	// CancelRequested is true from the moment a cancel was accepted.
	CancelRequested bool `json:"cancel_requested,omitempty"`
	// Degraded is set on snapshot and resync when live delivery runs on the SQL poll alone.
	Degraded bool `json:"degraded,omitempty"`
	// Error is why a retry or a failure happened.
	Error *Failure `json:"error,omitempty"`
	// RetryInMs is, on retrying, how long the operation waits before it may be claimed again.
	RetryInMs int64 `json:"retry_in_ms,omitempty"`
	// TraceID is the trace that the submission belonged to, where it said so (W3C Trace Context): 32 hex digits.
	TraceID string `json:"trace_id,omitempty"`
}

// Failure is an error as a user may see it: a stable code and a sentence, without internals.
type Failure struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Owned is an event together with who may see it. It is what stores return and buses carry; the owner never reaches
// the wire.
type Owned struct {
	Owner string
	Event Event
}

// Time is an instant on the wire: RFC 3339, UTC, milliseconds.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// Millis makes a Time from Unix milliseconds, the unit of every stored time.
func Millis(ms int64) Time { return Time{time.UnixMilli(ms).UTC()} }

// MarshalJSON writes RFC 3339 in UTC with milliseconds.
func (t Time) MarshalJSON() ([]byte, error) {
	return t.UTC().AppendFormat(make([]byte, 0, len(timeLayout)+2), `"`+timeLayout+`"`), nil
}

// UnmarshalJSON reads any RFC 3339 instant.
func (t *Time) UnmarshalJSON(b []byte) error {
	var std time.Time
	if err := json.Unmarshal(b, &std); err != nil {
		return err
	}
	t.Time = std.UTC()
	return nil
}
