package live

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"chunkstream/event"
)

// frame is one event, encoded once and written to every stream that gets it. It is immutable.
type frame struct {
	kind      event.Type
	operation string
	time      time.Time
	seq       int64 // of a durable event; 0 otherwise
	at        int64 // of a snapshot or resync: the number of the last durable event it includes
	final     bool  // nothing follows for this operation
	place     place
	wire      []byte // the whole WebSocket text frame
	json      []byte // its payload, shared with wire
}

// newFrame encodes e. A server's WebSocket frames are not masked (RFC 6455 section 5.1), so one frame fits all.
func newFrame(e event.Event) (*frame, error) {
	payload, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("live: encode event %s/%d: %w", e.OperationID, e.Seq, err)
	}
	wire := appendText(make([]byte, 0, len(payload)+10), payload)
	f := &frame{
		kind: e.Type, operation: e.OperationID, time: e.Time.Time, seq: e.Seq, final: ended(e), place: placeOf(e),
		wire: wire, json: wire[len(wire)-len(payload):],
	}
	if e.Type == event.Snapshot || e.Type == event.Resync {
		f.at = e.Data.Seq
	}
	return f, nil
}

// stateFrame encodes a snapshot from the Source as the ephemeral event t.
func (h *Hub) stateFrame(snapshot event.Event, t event.Type) (*frame, error) {
	snapshot.Type, snapshot.Seq = t, 0
	snapshot.Data.Degraded, _ = h.bus.Degraded()
	return newFrame(snapshot)
}

// ended reports whether e says that its operation has ended: by its type, or for a snapshot by its status.
func ended(e event.Event) bool {
	if e.Type.Durable() {
		return e.Type.Terminal()
	}
	return event.Type(e.Data.Status).Terminal()
}

// place is how far an operation has come. Progress never goes back from it.
type place struct{ attempt, bytes int64 }

func (p place) before(q place) bool {
	return p.attempt < q.attempt || p.attempt == q.attempt && p.bytes < q.bytes
}

// placeOf says from which place on ephemeral events are news after e. When e put the operation back into the queue,
// late progress of the attempt that is over is not.
func placeOf(e event.Event) place {
	if e.Data.Attempt > 0 && e.Data.Status == string(event.Queued) {
		return place{attempt: e.Data.Attempt + 1}
	}
	return place{attempt: e.Data.Attempt, bytes: e.Data.BytesDone}
}

// The first byte of a WebSocket frame: FIN and the opcode (RFC 6455 section 5.2).
const (
	headText  = 0x81
	headClose = 0x88
	headPing  = 0x89
	headPong  = 0x8a
)

// appendText appends a WebSocket text frame (RFC 6455 section 5.2).
func appendText(b, payload []byte) []byte {
	switch n := len(payload); {
	case n <= 125:
		b = append(b, headText, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, headText, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, headText, 127), uint64(n))
	}
	return append(b, payload...)
}

// appendSSE appends f as an SSE event. ids says whether the stream can be resumed, so that its events carry ids.
func (f *frame) appendSSE(b []byte, ids bool) []byte {
	if ids && f.seq > 0 {
		b = append(b, "id: "...)
		b = strconv.AppendInt(b, f.seq, 10)
		b = append(b, '\n')
	}
	b = append(b, "event: "...)
	b = append(b, f.kind...)
	b = append(b, "\ndata: "...)
	b = append(b, f.json...)
	b = append(b, "\n\n"...)
	if ids && f.seq == 0 && f.final {
		// An id without data sets the browser's Last-Event-ID and dispatches nothing. Its reconnect is then answered
		// 204 and it stops, although all it ever got was the snapshot of an operation that had ended.
		b = append(b, "id: "...)
		b = strconv.AppendInt(b, f.at, 10)
		b = append(b, "\n\n"...)
	}
	return b
}
