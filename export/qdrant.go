package export

import (
	"crypto/sha1" //nolint:gosec // RFC 9562 makes version 5 of it
	"encoding/hex"
)

// qdrant is JSON Lines of Qdrant's points, one a line: id, an empty vector for whoever embeds the text to fill, and the
// chunk as payload. Qdrant takes numbers and UUIDs as ids: PointID has the rule.
type qdrant struct{ lines }

func (qdrant) Append(b []byte, r *Record) ([]byte, error) {
	b = append(append(append(b, `{"id":"`...), PointID(r.ID)...), `","vector":{},"payload":{"chunk_id":"`...)
	b = append(append(b, r.ID...), '"')
	b = AppendString(append(b, `,"text":`...), r.text())
	b = append(r.appendMetadata(append(b, ',')), '}')
	return append(b, '}', '\n'), nil
}

// PointID is the UUID of a chunk's id: version 5 (RFC 9562, section 5.5) of "urn:chunkstream:" and the id in the namespace of
// URLs. So a chunk has the same point on every run, and storing it again overwrites it.
func PointID(id string) string {
	namespace := [16]byte{0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8}
	sum := sha1.Sum(append(namespace[:], "urn:chunkstream:"+id...)) //nolint:gosec // as above
	u := sum[:16]
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	h := hex.EncodeToString(u)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
