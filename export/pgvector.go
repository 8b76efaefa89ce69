package export

import (
	"strconv"
	"strings"
)

// pgvector is SQL for Postgres with the extension vector: one transaction that makes the table chunks where it is missing
// and puts in each chunk, or overwrites it, by its id. The column embedding is left to whoever embeds the text; it has no
// dimension yet, and a chunk whose text changed loses the old one.
//
// Every value is a literal between single quotes, in which only the quote is special, because the transaction begins with
// standard_conforming_strings on (Postgres, 4.1.2.1). NUL, which no such literal can hold, is in no text.
type pgvector struct{}

func (pgvector) Open() string {
	return `BEGIN;
SET LOCAL standard_conforming_strings = on;
SET LOCAL client_encoding = 'UTF8';
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE IF NOT EXISTS chunks (
  id text PRIMARY KEY, document text NOT NULL, idx bigint NOT NULL, content text NOT NULL, metadata jsonb NOT NULL, embedding vector
);
`
}
func (pgvector) Between() string { return "" }
func (pgvector) Close() string   { return "COMMIT;\n" }
func (pgvector) Append(b []byte, r *Record) ([]byte, error) {
	b = literal(append(b, `INSERT INTO chunks (id, document, idx, content, metadata) VALUES (`...), r.ID)
	b = literal(append(b, ", "...), r.Document)
	b = strconv.AppendInt(append(b, ", "...), int64(r.Index), 10)
	b = literal(append(b, ", "...), r.text())
	b = literal(append(b, ", "...), string(append(r.appendMetadata([]byte{'{'}), '}')))
	return append(b, `)
ON CONFLICT (id) DO UPDATE SET document = excluded.document, idx = excluded.idx, metadata = excluded.metadata,
  embedding = CASE WHEN chunks.content = excluded.content THEN chunks.embedding END, content = excluded.content;
`...), nil
}

// literal adds s as an SQL literal.
func literal(b []byte, s string) []byte {
	b = append(b, '\'')
	b = append(b, strings.ReplaceAll(s, "'", "''")...)
	return append(b, '\'')
}
