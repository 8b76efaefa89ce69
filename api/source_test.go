package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf16"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode/utf32"
	"golang.org/x/text/unicode/norm"

	"chunkstream/extract"
)

func encoded(t *testing.T, name, text string) []byte {
	t.Helper()
	var e encoding.Encoding
	var err error
	switch name {
	case "utf-32le":
		e = utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM)
	case "utf-32be":
		e = utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM)
	default:
		e, err = htmlindex.Get(name)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.NewEncoder().Bytes([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

// checkPlaces compares the places of all chunks of an operation with text and source.
func checkPlaces(t *testing.T, s *server, id, text, name string, source []byte) {
	t.Helper()
	decoded := func(b []byte) string {
		doc, err := extract.Text("", name, b, extract.Reject)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return doc.Text
	}
	end := 0
	for path, more := "/v1/operations/"+id+"/chunks?utf16=true&limit=1000", true; more; {
		page := s.get(path).json(t)
		for _, c := range page["data"].([]any) {
			at := func(f string) int {
				n, ok := dig(c, f).(float64)
				if !ok {
					t.Fatalf("%s: chunk without %s: %v", name, f, c)
				}
				return int(n)
			}
			chunk := dig(c, "text").(string)
			if chunk != text[at("start_byte"):at("end_byte")] {
				t.Fatalf("%s: chunk %v is not its span of the text", name, c)
			}
			end = at("end_byte")
			units := utf16.Encode([]rune(text[:at("start_byte")]))
			if got, want := at("start_utf16"), len(units); got != want {
				t.Fatalf("%s: start_utf16: got %d, want %d in %v", name, got, want, c)
			}
			if got, want := at("end_utf16")-at("start_utf16"), len(utf16.Encode([]rune(chunk))); got != want {
				t.Fatalf("%s: got %d UTF-16 units, want %d in %v", name, got, want, c)
			}
			first := 1 + strings.Count(text[:at("start_byte")], "\n")
			last := first + strings.Count(strings.TrimSuffix(chunk, "\n"), "\n")
			if at("start_line") != first || at("end_line") != last {
				t.Fatalf("%s: got lines %d to %d, want %d to %d", name, at("start_line"), at("end_line"), first, last)
			}
			if source == nil {
				if dig(c, "source_start_byte") != nil {
					t.Fatalf("%s: a source offset in %v", name, c)
				}
				continue
			}
			from, to := at("source_start_byte"), at("source_end_byte")
			if name != "iso-2022-jp" { // a piece of it needs the state before
				if got := decoded(source[from:to]); got != chunk {
					t.Fatalf("%s: source[%d:%d] is %q, the chunk %q", name, from, to, got, chunk)
				}
			}
		}
		if more = page["has_more"] == true; more {
			path = "/v1/operations/" + id + "/chunks?utf16=true&limit=1000&cursor=" + page["next_cursor"].(string)
		}
	}
	if end != len(strings.TrimRight(text, " \n")) && end != len(text) {
		t.Errorf("%s: the last chunk ends at %d of %d", name, end, len(text))
	}
}

// Every encoding that package extract knows comes back as the text it was, its chunks mapped to the bytes that were sent.
func TestUploadInEveryEncoding(t *testing.T) {
	s := start(t)
	file, err := os.ReadFile("../extract/testdata/sentences.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(file), "\n\n")
	rest += "\nxx iso-8859-3 iso-8859-4 iso-8859-10 iso-8859-14 utf-8\nÉté, bô, cú, siân: é á í ô ú â. Zá.\n"
	seen := map[string]bool{}
	for paragraph := range strings.SplitSeq(strings.TrimSpace(rest), "\n\n") {
		head, text, _ := strings.Cut(paragraph, "\n")
		text = strings.ReplaceAll(text, ". ", ".\n")
		for _, name := range append(strings.Fields(head)[1:], "utf-16le", "utf-16be", "utf-32le", "utf-32be") {
			if seen[name] {
				continue
			}
			seen[name] = true
			text := name + "\n" + text  // a document of its own: the same text is one
			if name == "windows-1258" { // its letters have one mark at most; the others combine
				text = norm.NFD.String(text)
				text = strings.NewReplacer("a\u0306", "ă", "a\u0302", "â", "e\u0302", "ê", "o\u0302", "ô", "o\u031b", "ơ", "u\u031b", "ư").Replace(text)
				text = strings.NewReplacer("\u0302", "", "\u0306", "", "\u031b", "").Replace(text)
			}
			raw := encoded(t, name, text)
			source := raw
			if name == "utf-8" {
				source = nil // the text is the source
			}
			op := s.post("/v1/operations?chunk_size=40&unit=chars&name=a.md&wait=20&encoding="+name, string(raw)).json(t)
			if op["status"] != "completed" || dig(op, "source", "encoding") != name || dig(op, "source", "by") != by(name) ||
				dig(op, "source", "format") != "markdown" || dig(op, "source", "bytes") != float64(len(raw)) {
				t.Errorf("%s: got %v", name, op)
				continue
			}
			if got := string(s.get("/v1/documents/" + op["document_id"].(string) + "/text").body); got != text {
				t.Errorf("%s: got the text %.100q, want %.100q", name, got, text)
			}
			checkPlaces(t, s, op["id"].(string), text, name, source)
		}
	}
	if len(seen) != 38 {
		t.Errorf("%d encodings were tried, want 38: %v", len(seen), seen)
	}
}

func by(name string) string {
	if name == "utf-8" {
		return "valid"
	}
	return "declared"
}

// Large documents, of many parts, in each of the three forms of mapping: none, even, uneven.
func TestPlacesOfLargeTexts(t *testing.T) {
	s := start(t)
	line := "Ein längerer Satz über Größe und Maß, 😀 nämlich das Übliche.\n"
	text := strings.Repeat(line, 5000) // more than one part of the store
	plain := strings.ReplaceAll(text, "😀", "und")
	for _, tt := range []struct{ name, content, text string }{
		{"utf-8", "text/plain; charset=utf-8", text}, {"utf-16le", "application/octet-stream", "\ufeff" + text},
		{"windows-1252", "text/plain; charset=latin1", plain}, {"shift_jis", "text/plain; charset=sjis", strings.Repeat("漢字とかなABC ", 14000)},
	} {
		raw := encoded(t, tt.name, tt.text)
		op := s.post("/v1/operations?chunk_size=700&wait=30", string(raw), "Content-Type: "+tt.content).json(t)
		if op["status"] != "completed" || dig(op, "source", "encoding") != tt.name {
			t.Fatalf("%s: got %v", tt.name, op)
		}
		source := raw
		if tt.name == "utf-8" {
			source = nil
		}
		// A few pages are enough: what a page costs is no more for the last than for the first.
		checkSome(t, s, op, tt.text, tt.name, source)
	}
}

// checkSome is checkPlaces for chunks here and there.
func checkSome(t *testing.T, s *server, op map[string]any, text, name string, source []byte) {
	t.Helper()
	all := s.get("/v1/operations/"+op["id"].(string)+"/chunks?utf16=true", "Accept: application/x-ndjson").body
	lines := bytes.Split(bytes.TrimSpace(all), []byte("\n"))
	if float64(len(lines)) != op["chunks"] {
		t.Errorf("%s: got %d chunks, want %v", name, len(lines), op["chunks"])
	}
	for i := 0; i < len(lines); i += 1 + len(lines)/40 {
		var c map[string]any
		if err := json.Unmarshal(lines[i], &c); err != nil {
			t.Fatal(err)
		}
		at := func(f string) int { n, _ := c[f].(float64); return int(n) }
		chunk, before := c["text"].(string), text[:at("start_byte")]
		want := fmt.Sprint(len(utf16.Encode([]rune(before))), 1+strings.Count(before, "\n"))
		if got := fmt.Sprint(at("start_utf16"), at("start_line")); got != want || chunk != text[at("start_byte"):at("end_byte")] {
			t.Errorf("%s: chunk %d: got %s, want %s", name, i, got, want)
		}
		if source == nil {
			continue
		}
		doc, err := extract.Text("", name, source[at("source_start_byte"):at("source_end_byte")], extract.Reject)
		if err != nil || doc.Text != chunk {
			t.Errorf("%s: chunk %d is not at its place in the source: %v", name, i, err)
		}
	}
}

// Without a declaration the encoding is found out; a form's part may declare one; the policies do what they say.
func TestUploadUndeclared(t *testing.T) {
	s := start(t)
	french := strings.Repeat("Fondée au Moyen Âge par des pêcheurs, elle doit sa prospérité au commerce du sel. ", 5)
	op := s.post("/v1/operations?wait=20", string(encoded(t, "windows-1252", french))).json(t)
	if dig(op, "source", "encoding") != "windows-1252" || dig(op, "source", "by") != "guessed" {
		t.Errorf("got %v", op["source"])
	}
	checkPlaces(t, s, op["id"].(string), french, "windows-1252", encoded(t, "windows-1252", french))
	japanese := strings.Repeat("これは日本語の文章です。", 8)
	op = s.post("/v1/operations?wait=20", string(encoded(t, "iso-2022-jp", japanese))).json(t)
	if dig(op, "source", "encoding") != "iso-2022-jp" {
		t.Errorf("got %v", op["source"])
	}
	// The same text in another encoding is the same document, and its operation has no offsets into that upload.
	again := s.post("/v1/operations?wait=20&encoding=shift_jis", string(encoded(t, "shift_jis", japanese))).json(t)
	if again["document_id"] != op["document_id"] || dig(again, "source", "encoding") != "shift_jis" {
		t.Errorf("got %v, want document %v", again, op["document_id"])
	}
	checkPlaces(t, s, again["id"].(string), japanese, "shift_jis", nil)

	for policy, want := range map[string]string{"replace": "a\ufffdb", "bytes": "a\u0080b"} {
		op := s.post("/v1/operations?wait=20&encoding=utf-8&invalid="+policy, "a\x80b").json(t)
		text := string(s.get("/v1/documents/" + op["document_id"].(string) + "/text").body)
		if text != want || dig(op, "source", "undecodable") != float64(1) {
			t.Errorf("%s: got %q and %v, want %q", policy, text, op["source"], want)
		}
	}
	kind, body := form(t, "a.txt", "caf\xe9", "encoding", "latin1")
	op = s.post("/v1/operations?wait=20", body, kind).json(t)
	if dig(op, "source", "encoding") != "windows-1252" || op["bytes_total"] != float64(5) {
		t.Errorf("got %v", op)
	}
	p := s.post("/v1/preview?encoding=utf-16le&name=x.csv", string(encoded(t, "utf-16le", "a,b\n1,2\n"))).json(t)
	if dig(p, "source", "format") != "csv" || p["bytes_total"] != float64(8) {
		t.Errorf("preview: got %v", p)
	}
}
