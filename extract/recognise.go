package extract

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"path"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"
)

// Kind is what sort of thing a source is.
type Kind string

// The kinds.
const (
	PlainText Kind = "text"
	Markdown  Kind = "markdown"
	HTML      Kind = "html"
	Code      Kind = "code"
	CSV       Kind = "csv"
	TSV       Kind = "tsv"
	JSON      Kind = "json"
	JSONL     Kind = "jsonl"
	Binary    Kind = "binary" // not text: Text refuses it
)

// Format is what a source is.
type Format struct {
	Kind     Kind
	Language string // of Code: go python javascript typescript java c cpp rust ruby php shell or sql
	Detail   string // of Binary: what it is, for instance "pdf"
}

// BinaryError says that a source is not text, and what it is instead.
type BinaryError struct {
	Name string // of the file, as it was given; may be empty
	Is   string // for instance "pdf", "zip archive", "png image", "executable (ELF)", or "binary data"
}

func (e *BinaryError) Error() string {
	if e.Name == "" {
		return e.Is + " is not read by this version"
	}
	return e.Name + ": " + e.Is + " is not read by this version"
}

// headBytes is how much of a text Recognise looks at.
const headBytes = 4 << 10

// Recognise says what a source is from its name, which may be empty or a path, and its first bytes, in any encoding
// that Detect knows (4 KiB are enough; more are not looked at). The first of these that says something decides:
//
//  1. bytes that only a binary file starts with, whatever its name;
//  2. the name: its extension, or the whole of it (Makefile, Gemfile);
//  3. a #! line or an XML, HTML or PHP opening;
//  4. what the content looks like: JSON, then JSON Lines, code, Markdown, and tables;
//  5. text.
//
// A name is believed even when the content is malformed: a broken JSON file is still JSON.
func Recognise(name string, head []byte) Format {
	head = head[:min(len(head), headBytes)]
	if f := magic(head); f.Kind == Binary {
		return f
	}
	text := string(head)
	// head may end inside a character.
	cut := head[:wholeRunes(head)]
	if e, err := Detect("", cut); err == nil && !(e.Name == "utf-8" && identity(cut)) {
		if notText(e, head) {
			return Format{Kind: Binary, Detail: "binary data"}
		}
		d := &decoding{charset: findCharset(e.Name), policy: Replace}
		text, _ = decodeAll(d, head) // up to a NUL
	}
	return recognise(name, text)
}

func recognise(name, text string) Format {
	if f, ok := byName(name); ok {
		return f
	}
	return byContent(strings.TrimPrefix(text, "\ufeff"))
}

// The magic numbers, each at an offset; with needsNUL those that could also start a text.
var magics = []struct {
	at       int
	bytes    string
	needsNUL bool
	is       string
}{
	{0, "%PDF-", false, "pdf"},
	{0, "PK\x03\x04", false, "zip archive"}, {0, "PK\x05\x06", false, "zip archive"},
	{0, "\x1f\x8b", false, "gzip archive"}, {0, "BZh", true, "bzip2 archive"}, {0, "\xfd7zXZ\x00", false, "xz archive"},
	{0, "\x28\xb5\x2f\xfd", false, "zstd archive"}, {0, "7z\xbc\xaf\x27\x1c", false, "7z archive"},
	{0, "Rar!\x1a", false, "rar archive"}, {257, "ustar", false, "tar archive"}, {0, "!<arch>\n", false, "ar archive"},
	{0, "\x89PNG\r\n\x1a\n", false, "png image"}, {0, "\xff\xd8\xff", false, "jpeg image"}, {0, "GIF87a", false, "gif image"},
	{0, "GIF89a", false, "gif image"}, {0, "BM", true, "bmp image"}, {0, "II*\x00", false, "tiff image"},
	{0, "MM\x00*", false, "tiff image"}, {0, "\x00\x00\x01\x00", false, "icon"}, {8, "WEBPVP8", false, "webp image"},
	{0, "\x7fELF", false, "executable (ELF)"}, {0, "MZ", true, "executable (Windows)"},
	{0, "\xcf\xfa\xed\xfe", false, "executable (Mach-O)"}, {0, "\xca\xfe\xba\xbe", false, "executable (Java class or Mach-O)"},
	{0, "\x00asm", false, "executable (WebAssembly)"},
	{0, "SQLite format 3\x00", false, "SQLite database"}, {0, "PAR1", true, "parquet"},
	{0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", false, "Microsoft Office file (before 2007)"}, {0, "{\\rtf", false, "rtf"},
	{0, "%!PS", false, "PostScript"},
	{0, "ID3", true, "audio (MP3)"}, {0, "OggS\x00", false, "audio or video (Ogg)"}, {0, "fLaC\x00", false, "audio (FLAC)"},
	{8, "WAVEfmt", false, "audio (WAV)"}, {8, "AVI LIST", false, "video (AVI)"}, {4, "ftyp", true, "video (MP4)"},
	{0, "\x1aE\xdf\xa3", false, "video (Matroska)"},
	{0, "OTTO\x00", false, "font"}, {0, "wOFF", true, "font"}, {0, "wOF2", true, "font"},
}

func magic(head []byte) Format {
	for _, m := range magics {
		if len(head) >= m.at && bytes.HasPrefix(head[m.at:], []byte(m.bytes)) &&
			(!m.needsNUL || bytes.IndexByte(head[:min(len(head), 512)], 0) >= 0) {
			is := m.is
			if is == "zip archive" {
				is = zipped(head)
			}
			return Format{Kind: Binary, Detail: is}
		}
	}
	return Format{}
}

// zipped names the document formats that are zip archives, by the entries that come first in them.
func zipped(head []byte) string {
	for _, c := range []struct{ entry, is string }{
		{"mimetypeapplication/epub+zip", "epub"}, {"mimetypeapplication/vnd.oasis.opendocument", "OpenDocument file"},
		{"word/", "docx"}, {"ppt/", "pptx"}, {"xl/", "xlsx"}, {"META-INF/MANIFEST.MF", "jar archive"},
	} {
		if bytes.Contains(head[:min(len(head), headBytes)], []byte(c.entry)) {
			return c.is
		}
	}
	return "zip archive"
}

// names lists extensions, and whole names, by what they mean.
var names = []struct {
	format Format
	names  string
}{
	{Format{Kind: PlainText}, ".txt .text .log .rst .adoc .tex .srt .vtt"},
	{Format{Kind: Markdown}, ".md .markdown .mdown .mkd .mdx .rmd .qmd"},
	{Format{Kind: HTML}, ".html .htm .xhtml"},
	{Format{Kind: CSV}, ".csv"},
	{Format{Kind: TSV}, ".tsv .tab"},
	{Format{Kind: JSON}, ".json .geojson .webmanifest"},
	{Format{Kind: JSONL}, ".jsonl .ndjson"},
	{Format{Kind: Code, Language: "go"}, ".go"},
	{Format{Kind: Code, Language: "python"}, ".py .pyi .pyw"},
	{Format{Kind: Code, Language: "javascript"}, ".js .mjs .cjs .jsx"},
	{Format{Kind: Code, Language: "typescript"}, ".ts .tsx .mts .cts"},
	{Format{Kind: Code, Language: "java"}, ".java"},
	{Format{Kind: Code, Language: "c"}, ".c .h"},
	{Format{Kind: Code, Language: "cpp"}, ".cc .cpp .cxx .c++ .hh .hpp .hxx .h++"},
	{Format{Kind: Code, Language: "rust"}, ".rs"},
	{Format{Kind: Code, Language: "ruby"}, ".rb .rake .gemspec gemfile rakefile"},
	{Format{Kind: Code, Language: "php"}, ".php .phtml"},
	{Format{Kind: Code, Language: "shell"}, ".sh .bash .zsh .ksh .bashrc .zshrc .profile .bash_profile"},
	{Format{Kind: Code, Language: "sql"}, ".sql"},
}

func byName(name string) (Format, bool) {
	base := strings.ToLower(path.Base(strings.ReplaceAll(name, `\`, "/")))
	ext := path.Ext(base)
	for _, n := range names {
		for known := range strings.FieldsSeq(n.names) {
			if known == ext || known == base {
				return n.format, true
			}
		}
	}
	return Format{}, false
}

var interpreters = []struct{ program, language string }{
	{"python", "python"}, {"node", "javascript"}, {"deno", "typescript"}, {"bun", "typescript"}, {"ts-node", "typescript"},
	{"ruby", "ruby"}, {"php", "php"}, {"bash", "shell"}, {"dash", "shell"}, {"zsh", "shell"}, {"ksh", "shell"}, {"sh", "shell"},
}

func byContent(text string) Format {
	first, _, _ := strings.Cut(text, "\n")
	if line, ok := strings.CutPrefix(first, "#!"); ok {
		for word := range strings.FieldsSeq(line) {
			program := path.Base(word)
			for _, i := range interpreters {
				// A version may follow: python3.11.
				if rest, ok := strings.CutPrefix(program, i.program); ok && strings.Trim(rest, "0123456789.") == "" {
					return Format{Kind: Code, Language: i.language}
				}
			}
		}
		return Format{Kind: PlainText} // a program in another language
	}
	text = strings.TrimLeft(text, " \t\r\n")
	switch {
	case strings.HasPrefix(text, "<?php"):
		return Format{Kind: Code, Language: "php"}
	case htmlStart.MatchString(text):
		return Format{Kind: HTML}
	case strings.HasPrefix(text, "<?xml"):
		return Format{Kind: PlainText}
	case isJSON(text):
		return Format{Kind: JSON}
	case isJSONL(text):
		return Format{Kind: JSONL}
	}
	var t searched // not made by a function, so that it may stay on the stack
	t.of(text)
	if language := looksCode(&t); language != "" {
		return Format{Kind: Code, Language: language} // "# x" is a comment in many languages, so before Markdown
	}
	if looksMarkdown(&t) {
		return Format{Kind: Markdown}
	}
	for _, table := range []struct {
		comma rune
		kind  Kind
	}{{'\t', TSV}, {',', CSV}, {';', CSV}} {
		if isTable(text, table.comma) {
			return Format{Kind: table.kind}
		}
	}
	return Format{Kind: PlainText}
}

var htmlStart = regexp.MustCompile(`(?i)^(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|title|meta|div|p|h[1-6]|table|ul|article)\b[^>]*>`)

// isJSON reports whether text is one JSON object or array, or the start of one longer than the head.
func isJSON(text string) bool {
	if text == "" || text[0] != '{' && text[0] != '[' {
		return false
	}
	d := json.NewDecoder(strings.NewReader(text))
	for n, depth := 0, 0; ; n++ {
		t, err := d.Token()
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return n > 2 && (depth == 0 || len(text) > headBytes/2)
		case err != nil:
			return false
		case t == json.Delim('{') || t == json.Delim('['):
			if depth == 0 && n > 0 {
				return false // a second value: JSON Lines, or something else
			}
			depth++
		case t == json.Delim('}') || t == json.Delim(']'):
			depth--
		case depth == 0:
			return false
		}
	}
}

// isJSONL reports whether the first two lines are JSON objects or arrays, and no line of the head is not.
func isJSONL(text string) bool {
	n := 0
	for line := range strings.Lines(text) {
		whole := strings.HasSuffix(line, "\n")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if line[0] != '{' && line[0] != '[' || !json.Valid([]byte(line)) {
			return !whole && n > 1
		}
		n++
	}
	return n > 1
}

// Each of these is a sign of Markdown; two different ones make a text Markdown.
var markdownSigns = sync.OnceValue(func() []sign {
	return signs(
		`^#{1,6} \S.*\n(\n|\z)`, // a comment goes on in the next line
		`^[^\s|#].*\n(=|-){3,}\s*$`,
		`!?\[[^\]\n]+\]\([^)\s]+\)`,
		"^ {0,3}(```|~~~)",
		`^\|?.*\|.*\n\|?\s*:?-{3,}:?\s*\|`,
		`^ {0,3}[-*+] \S.*\n(.+\n)* {0,3}[-*+] \S`,
		`\*\*[^*\s][^*\n]*\*\*`,
		"`[^`\n]+`",
	)
})

func looksMarkdown(text *searched) bool {
	return text.count(markdownSigns()) >= 2
}

// Each line of a pattern list is a sign of a language; the language with the most different signs has it, if they are
// two at least and no other has as many.
var codeSigns = sync.OnceValue(func() []languageSigns {
	return []languageSigns{
		{"go", signs(`^package \w+\s*$`, `^func (\(\w+ \*?\w+\) )?\w+\(`, `\w+ := `, `^import \(?\s*("|$)`, `^type \w+ (struct|interface) \{`)},
		{"python", signs(`^\s*def \w+\(.*\).*:\s*$`, `^(from [\w.]+ )?import [\w., ]+( as \w+)?\s*$`, `^\s*class \w+(\(.*\))?:\s*$`, `^\s*(if|for|while|elif) .*:\s*$`, `^if __name__ ==`, `\bself\.\w+`)},
		{"javascript", signs(`^\s*(const|let|var) [\w{}\[\], ]+ = `, `\bfunction\s*\w*\(.*\)\s*\{`, `=>\s*[{(]`, `\brequire\(['"]`, `^export (default|const|function|class) `, `\bconsole\.log\(`, `^import .* from ['"]`)},
		{"typescript", signs(`^(export )?interface \w+ \{`, `: (string|number|boolean|void|any)(\[\])?\s*[;,)={]`, `^(export )?type \w+ = `, `^import .* from ['"]`, `\b(private|public|readonly) \w+: `)},
		{"java", signs(`^package [\w.]+;`, `^import (static )?[\w.*]+;`, `\bpublic (static |final |abstract )*(class|interface|enum|void|record) `, `\bSystem\.out\.`, `@Override`)},
		{"c", signs(`^\s*#\s*include [<"][\w/]+\.h[>"]`, `^(static |unsigned |const )*(int|void|char|long|double|size_t|struct \w+) \**\w+\([^;]*\)?\s*\{?$`, `\b(printf|malloc|sizeof|free)\s?\(`, `^\s*#\s*(define|ifdef|ifndef|endif)\b`, `^(typedef )?struct \w*\s*\{`)},
		{"cpp", signs(`^\s*#\s*include <\w+>`, `\bstd::\w+`, `^(using namespace \w+|namespace [\w:]+ \{)`, `^template\s*<`, `^class \w+.*\{`, `\b(cout|cin) (<<|>>)`)},
		{"rust", signs(`^\s*(pub )?fn \w+.*\{`, `\blet (mut )?\w+(: [\w<>&]+)? = `, `^use [\w:]+(::\{.*\})?;`, `^impl(<.*>)? \w+`, `\b(println|vec|format|panic)!`, `^#\[\w+`)},
		{"ruby", signs(`^\s*def \w+[?!]?(\(.*\))?\s*$`, `^\s*end\s*$`, `^require(_relative)? ['"]`, `^\s*class [A-Z]\w*( < [\w:]+)?\s*$`, `\bdo \|\w+(, \w+)*\|`, `\bputs `)},
		{"shell", signs(`^\s*(if|while) \[\[? .* \]\]?;? ?(then|do)?\s*$`, `^\s*(fi|done|esac)\s*$`, `^\s*(export )?[A-Z_]+=["$\w/]`, `\$\{?\w+\}?["/ ]`, `^set -[eux]+`, `\becho ["$]`)},
		{"sql", signs(`(?i)^\s*create (or replace )?(table|view|index|function) `, `(?i)^\s*insert into \S+`, `(?i)^\s*select\b[\s\S]{1,400}\bfrom \w+`, `(?i)^\s*(alter|drop) table `, `(?i)\bprimary key\b`, `(?i)\bvarchar\(\d+\)`, `(?i)^\s*(update \w+ set|delete from) `, `(?i)^\s*(left |inner )?join \w+ .*\bon\b`)},
	}
})

type languageSigns struct {
	language string
	signs    []sign
}

func looksCode(text *searched) string {
	best, most, second := "", 0, 0
	for _, c := range codeSigns() {
		n := text.count(c.signs)
		if n > most {
			best, most, second = c.language, n, most
		} else if n > second {
			second = n
		}
	}
	if most < 2 || most == second {
		return ""
	}
	return best
}

// isTable reports whether text has three records or more, all of the same two or more fields, that look like cells and
// not like clauses of a sentence.
func isTable(text string, comma rune) bool {
	if !strings.ContainsRune(text, comma) {
		return false
	}
	if len(text) >= headBytes-utf8.UTFMax {
		text = text[:strings.LastIndexByte(text, '\n')+1] // the last record may be cut off
	}
	r := csv.NewReader(strings.NewReader(text))
	r.Comma = comma
	records, clauses, cells := 0, 0, 0
	for {
		record, err := r.Read()
		if err == io.EOF {
			break
		} else if err != nil || len(record) < 2 {
			return false
		}
		for i, cell := range record {
			cells++
			if len(cell) > 80 || comma == ',' && i > 0 && strings.HasPrefix(cell, " ") {
				clauses++
			}
		}
		records++
	}
	return records >= 3 && clauses*4 < cells
}
