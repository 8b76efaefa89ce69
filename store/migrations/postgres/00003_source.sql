-- +goose Up
-- Where a part lies in the ways in which programs count besides bytes, so that a page of chunks is numbered by the parts it
-- reads: line ends and characters beyond U+FFFF before it. NULL in part 0, and in parts stored before this was kept.
ALTER TABLE document_parts ADD COLUMN lines BIGINT;
ALTER TABLE document_parts ADD COLUMN astral BIGINT;
-- For a text that was decoded: the offset in the source that the part starts at, and the source bytes of each of its
-- characters (widths.go has the format). NULL: the text is the source.
ALTER TABLE document_parts ADD COLUMN source_start BIGINT;
ALTER TABLE document_parts ADD COLUMN widths BYTEA;
-- What the text was made from, as JSON (Source in types.go). A document's is that of the first upload.
ALTER TABLE documents ADD COLUMN source TEXT;
ALTER TABLE operations ADD COLUMN source TEXT;

-- +goose Down
ALTER TABLE operations DROP COLUMN source;
ALTER TABLE documents DROP COLUMN source;
ALTER TABLE document_parts DROP COLUMN widths;
ALTER TABLE document_parts DROP COLUMN source_start;
ALTER TABLE document_parts DROP COLUMN astral;
ALTER TABLE document_parts DROP COLUMN lines;
