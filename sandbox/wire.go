package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"chunkstream/chunk"
)

// The wire. The parent sends a job as JSON in a frame, and then the bare text; the child answers with frames. A frame is
// its kind, the length of its body as 4 bytes, high byte first, and the body.
const (
	frameReady  = 'R' // first of all: the child may be limited
	frameJob    = 'J'
	frameBegun  = 'B' // the child has the whole text
	frameChunks = 'C' // any number of chunks, as appendChunk writes them
	frameFault  = 'F' // the strategy panicked, or is not known; in words
	frameEnd    = 'E' // there are no more chunks

	maxFrame   = 16 << 20 // bytes of a body; context that is nested very deeply makes a long one
	flushBytes = 16 << 10 // a frame of chunks is sent when it has so many
)

// job is what the child is to do with the text that follows.
type job struct {
	Strategy string          `json:"strategy"`
	Settings json.RawMessage `json:"settings"`
	Bytes    int             `json:"bytes"`
	Most     int             `json:"most"` // chunks; 0 for all
}

var (
	errProtocol = errors.New("the parsing process broke the protocol")
	errOutput   = errors.New("the parsing process gave too much")
)

func writeFrame(w io.Writer, kind byte, body []byte) error {
	head := [5]byte{kind}
	binary.BigEndian.PutUint32(head[1:], uint32(len(body)))
	if _, err := w.Write(head[:]); err != nil {
		return err
	}
	_, err := w.Write(body)
	return err
}

// readFrame gives a body in buf where it fits. Nothing after the last frame is io.EOF.
func readFrame(r io.Reader, buf []byte) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, errProtocol
	}
	if cap(buf) < int(n) {
		buf = make([]byte, n)
	}
	body = buf[:n]
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return head[0], body, nil
}

// encoder writes chunks one after another: start (as the distance from the start before), length, facts, context. A
// piece of context is described once and has a number from then on, in the order of the descriptions; a chunk names the
// innermost piece that is known already (0 for none) and describes the ones inside it, the outermost first.
type encoder struct {
	start int
	known map[*chunk.Context]uint64
}

func (e *encoder) append(b []byte, c chunk.Chunk) []byte {
	b = binary.AppendVarint(b, int64(c.Start-e.start))
	e.start = c.Start
	b = binary.AppendUvarint(b, uint64(c.End-c.Start))
	b = append(b, byte(c.Boundary), byte(c.Reason), byte(c.Kind), c.Level)
	b = binary.AppendUvarint(b, uint64(c.Up))
	var fresh []*chunk.Context
	x := c.Context
	for ; x != nil && e.known[x] == 0; x = x.Up {
		fresh = append(fresh, x)
	}
	b = binary.AppendUvarint(b, e.known[x])
	b = binary.AppendUvarint(b, uint64(len(fresh)))
	if len(fresh) > 0 && e.known == nil {
		e.known = map[*chunk.Context]uint64{}
	}
	for _, x := range slices.Backward(fresh) {
		b = append(b, byte(x.Kind))
		b = binary.AppendVarint(b, int64(x.Level))
		b = binary.AppendUvarint(b, uint64(x.Start))
		b = binary.AppendUvarint(b, uint64(x.End-x.Start))
		e.known[x] = uint64(len(e.known)) + 1
	}
	return b
}

// decoder reads what encoder wrote. It believes nothing: what a child sends can be wrong, but not harmful. The guard
// looks at the chunks.
type decoder struct {
	text  string
	start int
	known []*chunk.Context
}

func (d *decoder) chunk(b []byte) (c chunk.Chunk, rest []byte, err error) {
	n := numbers{rest: b}
	c.Start = d.start + int(n.varint())
	d.start = c.Start
	c.End = c.Start + int(n.uvarint())
	c.Boundary, c.Reason, c.Kind = chunk.Boundary(n.byte()), chunk.Reason(n.byte()), chunk.Kind(n.byte())
	c.Level, c.Up = n.byte(), int(n.uvarint())
	base := n.uvarint()
	if base > uint64(len(d.known)) {
		return c, nil, errProtocol
	}
	if base > 0 {
		c.Context = d.known[base-1]
	}
	for fresh := n.uvarint(); fresh > 0 && !n.wrong; fresh-- {
		x := &chunk.Context{Kind: chunk.ContextKind(n.byte()), Level: int(n.varint()), Up: c.Context}
		x.Start = int(n.uvarint())
		x.End = x.Start + int(n.uvarint())
		if x.Start < 0 || x.End < x.Start || x.End > len(d.text) {
			return c, nil, errProtocol
		}
		x.Text = d.text[x.Start:x.End]
		d.known = append(d.known, x)
		c.Context = x
	}
	if n.wrong {
		return c, nil, errProtocol
	}
	return c, n.rest, nil
}

// numbers reads numbers until one is wrong; those after it are 0.
type numbers struct {
	rest  []byte
	wrong bool
}

func (n *numbers) byte() byte {
	if len(n.rest) == 0 {
		n.wrong = true
		return 0
	}
	b := n.rest[0]
	n.rest = n.rest[1:]
	return b
}

func (n *numbers) varint() int64 {
	v, size := binary.Varint(n.rest)
	n.skip(size)
	return v
}

func (n *numbers) uvarint() uint64 {
	v, size := binary.Uvarint(n.rest)
	n.skip(size)
	return v
}

func (n *numbers) skip(size int) {
	if size <= 0 {
		n.wrong, n.rest = true, nil
		return
	}
	n.rest = n.rest[size:]
}
