package extract

import (
	"bytes"
	"regexp"
	"unicode/utf8"
)

// How an encoding came to be known, the surest first. A later one is asked only where the ones before say nothing.
const (
	ByBOM      = "bom"      // the source starts with a byte order mark
	ByValid    = "valid"    // the whole source is valid UTF-8, which text in another encoding hardly ever is by chance
	ByDeclared = "declared" // the caller, or the source's own <meta charset> or <?xml encoding?>, says so
	ByGuess    = "guessed"  // statistics of languages
)

// Encoding is what is known of a source's encoding.
type Encoding struct {
	Name        string  // as Charset gives it, for instance "utf-8" or "windows-1252"
	By          string  // ByBOM, ByValid, ByDeclared or ByGuess
	Confidence  float64 // 1 for all but a guess; for a guess from 0 (as good as any other) to 1
	Undecodable int64   // bytes of the source that the encoding does not allow
	FirstFault  int64   // offset of the first of these in the source; -1 without any
}

// Document is a source that has become text.
type Document struct {
	Text     string // valid UTF-8 without NUL
	Format   Format // what the text is
	Encoding Encoding
	Offsets  *Offsets // from Text to the source and back
}

// Text decodes a source that lies in memory and says what it is. name is the file's name, and charset its encoding's
// name as an HTTP header or a flag declares it; either may be empty. A source that is not text is refused with a
// *BinaryError (with a charset, only one that starts as a known binary format does), a charset that is not known with an *UnknownEncodingError, and bytes that policy does not let pass, or
// a NUL, with an *Error. The encoding is found as Detect says. data is not changed and not kept.
func Text(name, charset string, data []byte, policy Policy) (*Document, error) {
	if f := magic(data); f.Kind == Binary {
		return nil, &BinaryError{name, f.Detail}
	}
	e, err := Detect(charset, data)
	if err != nil {
		return nil, err
	}
	e.FirstFault = -1
	if charset == "" && notText(e, data) {
		return nil, &BinaryError{name, "binary data"}
	}
	doc := &Document{Encoding: e}
	if e.Name == "utf-8" && identity(data) {
		doc.Text = string(data)
		doc.Offsets = &Offsets{text: doc.Text, source: len(data)}
	} else {
		d := &decoding{charset: findCharset(e.Name), policy: policy, offsets: &mapper{}}
		text, err := decodeAll(d, data)
		if err != nil {
			return nil, err
		}
		doc.Text, doc.Offsets = text, d.offsets.offsets(text)
		if doc.Encoding.Undecodable = int64(d.faulty); d.faulty > 0 {
			doc.Encoding.FirstFault = int64(d.first)
		}
	}
	doc.Format = recognise(name, doc.Text[:min(len(doc.Text), headBytes)])
	return doc, nil
}

// Detect says which encoding data, a whole source, is in:
//
//  1. A byte order mark of UTF-8, UTF-16 or UTF-32 decides.
//  2. What is valid UTF-8 is UTF-8, unless charset names an encoding in which those bytes are something else
//     altogether (UTF-16, UTF-32, ISO-2022-JP), or the bytes are such a text as it stands.
//  3. charset, the caller's word, decides; an unknown one is an *UnknownEncodingError.
//  4. What an HTML <meta> or an XML declaration in the first 1024 bytes says decides, if the bytes are valid in it.
//  5. Otherwise it is the encoding in which the text looks most like one of the languages that are known (docs/formats.md
//     has the measured accuracy).
//
// Undecodable and FirstFault are not set.
func Detect(charset string, data []byte) (Encoding, error) {
	declared, known := Charset(charset)
	if charset != "" && !known {
		return Encoding{}, &UnknownEncodingError{charset}
	}
	// UTF-32 first: its little-endian mark starts with that of UTF-16.
	for _, bom := range []struct{ mark, name string }{
		{"\xff\xfe\x00\x00", "utf-32le"}, {"\x00\x00\xfe\xff", "utf-32be"},
		{"\xff\xfe", "utf-16le"}, {"\xfe\xff", "utf-16be"}, {"\xef\xbb\xbf", "utf-8"},
	} {
		if bytes.HasPrefix(data, []byte(bom.mark)) {
			return Encoding{Name: bom.name, By: ByBOM, Confidence: 1}, nil
		}
	}
	if known && (wide(declared) || declared == "iso-2022-jp") {
		return Encoding{Name: declared, By: ByDeclared, Confidence: 1}, nil
	}
	if name, sure := guessWide(data); sure > 0 && !known {
		return Encoding{Name: name, By: ByGuess, Confidence: sure}, nil
	}
	if utf8.Valid(data) {
		if !known && isISO2022JP(data) {
			return Encoding{Name: "iso-2022-jp", By: ByGuess, Confidence: 1}, nil
		}
		return Encoding{Name: "utf-8", By: ByValid, Confidence: 1}, nil
	}
	if known {
		return Encoding{Name: declared, By: ByDeclared, Confidence: 1}, nil
	}
	if name, ok := inside(data); ok {
		return Encoding{Name: name, By: ByDeclared, Confidence: 1}, nil
	}
	name, sure := guess(data)
	return Encoding{Name: name, By: ByGuess, Confidence: sure}, nil
}

// wide reports whether an encoding has more than one byte for every character, so that ASCII is not ASCII in it.
func wide(name string) bool {
	switch name {
	case "utf-16le", "utf-16be", "utf-32le", "utf-32be":
		return true
	}
	return false
}

var (
	metaCharset = regexp.MustCompile(`(?i)<meta\s[^>]*charset\s*=\s*["']?\s*([a-z0-9_:.+-]+)`)
	xmlEncoding = regexp.MustCompile(`^\s*<\?xml\s[^>]*encoding\s*=\s*["']([A-Za-z0-9_:.-]+)["']`)
)

// inside gives the encoding that an HTML or XML source declares itself, if it can be true.
func inside(data []byte) (string, bool) {
	head := data[:min(len(data), 1024)] // where the HTML standard looks (section 13.2.3.2)
	m := xmlEncoding.FindSubmatch(head)
	if m == nil {
		m = metaCharset.FindSubmatch(head)
	}
	if m == nil {
		return "", false
	}
	name, ok := Charset(string(m[1]))
	if !ok || wide(name) {
		return "", false // a declaration that could be read is not in such an encoding
	}
	d := &decoding{charset: findCharset(name)}
	_, err := decodeAll(d, data)
	return name, err == nil
}

// isISO2022JP reports whether 7-bit data has text in two-byte JIS and nothing that ISO-2022-JP does not allow.
func isISO2022JP(data []byte) bool {
	if !bytes.Contains(data, []byte("\x1b$")) {
		return false
	}
	d := &decoding{charset: findCharset("iso-2022-jp")}
	text, err := decodeAll(d, data)
	return err == nil && !identical(text, data)
}

func identical(text string, data []byte) bool { return text == string(data) }

// notText reports whether data, for which nobody said that it is text, has control characters as no text has: two at
// least, and one among twenty bytes. Where it is valid UTF-8 all the same, one of them must be NUL.
func notText(e Encoding, data []byte) bool {
	if e.By != ByGuess && e.By != ByValid || wide(e.Name) || e.By == ByValid && bytes.IndexByte(data, 0) < 0 {
		return false
	}
	n := 0
	for _, b := range data {
		if control(rune(b)) {
			n++
		}
	}
	return n > 1 && n*20 > len(data)
}
