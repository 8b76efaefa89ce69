package export

import "strings"

// langchain is JSON Lines of LangChain's Document: page_content, metadata and id, so that Document(**line) in Python, and
// new Document({pageContent: line.page_content, …}) in JavaScript, is the chunk. start_index is in code points, as where
// LangChain's own splitters add it.
type langchain struct{ lines }

func (langchain) Append(b []byte, r *Record) ([]byte, error) {
	b = append(append(append(b, `{"id":"`...), r.ID...), `","page_content":`...)
	b = AppendString(b, r.text())
	b = number(b, `,"metadata":{"start_index":`, r.From.Char)
	b = append(r.appendMetadata(append(b, ',')), '}')
	return append(b, '}', '\n'), nil
}

// text is what is written of the text.
func (r *Record) text() string {
	if r.NoText {
		return ""
	}
	return r.Text
}

// appendMetadata adds the members of appendJSON, without id and text, and source, the document's name.
func (r *Record) appendMetadata(b []byte) []byte {
	meta := *r
	meta.NoText = true
	all := meta.appendJSON(nil)
	rest := all[strings.IndexByte(string(all), ',')+1 : len(all)-1] // after the id, which has no comma
	b = append(AppendString(append(b, `"source":`...), r.Document), ',')
	return append(b, rest...)
}
