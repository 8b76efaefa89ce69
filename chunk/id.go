package chunk

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
)

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ID names a chunk by what it is: "chk_" and 32 letters or digits, 160 bits of a SHA-256 over the hash of the text,
// the strategy, its settings, the span and, below level 0, the level. Equal inputs give equal ids on every machine, so
// storing a chunk again overwrites it. strategy and settings are those of a Plan, which are canonical.
func ID(textSHA256 string, strategy string, settings []byte, c Chunk) string {
	var buf [256]byte
	b := append(buf[:0], "chunkstream chunk 1"...)
	b = appendPart(b, textSHA256)
	b = appendPart(b, strategy)
	b = appendPart(b, string(settings))
	b = binary.BigEndian.AppendUint64(b, uint64(c.Start))
	b = binary.BigEndian.AppendUint64(b, uint64(c.End))
	if c.Level > 0 {
		b = append(b, c.Level)
	}
	sum := sha256.Sum256(b)

	var id [4 + 32]byte
	copy(id[:], "chk_")
	idEncoding.Encode(id[4:], sum[:20])
	return string(id[:])
}

// appendPart writes part behind its length, so that no two lists of parts have the same bytes.
func appendPart(b []byte, part string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
}
