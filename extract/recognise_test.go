package extract_test

import (
	"errors"
	"strings"
	"testing"
	"testing/quick"

	"chunkstream/extract"
)

func code(language string) extract.Format {
	return extract.Format{Kind: extract.Code, Language: language}
}

func is(kind extract.Kind) extract.Format { return extract.Format{Kind: kind} }

func binary(what string) extract.Format { return extract.Format{Kind: extract.Binary, Detail: what} }

var recognised = []struct {
	name, head string
	want       extract.Format
}{
	// The name decides over the content.
	{"notes.txt", "# not a heading here\n\n- a\n- b\n", is(extract.PlainText)},
	{"README.md", "plain", is(extract.Markdown)},
	{"docs/Index.HTML", "plain", is(extract.HTML)},
	{`C:\data\table.CSV`, "plain", is(extract.CSV)},
	{"t.tsv", "", is(extract.TSV)}, {"d.json", "{broken", is(extract.JSON)}, {"d.jsonl", "", is(extract.JSONL)},
	{"d.ndjson", "", is(extract.JSONL)},
	{"main.go", "", code("go")}, {"a.py", "", code("python")}, {"a.mjs", "", code("javascript")}, {"a.tsx", "", code("typescript")},
	{"A.java", "", code("java")}, {"a.h", "", code("c")}, {"a.hpp", "", code("cpp")}, {"a.rs", "", code("rust")},
	{"Rakefile", "", code("ruby")}, {"a.php", "", code("php")}, {".bashrc", "", code("shell")}, {"dump.sql", "", code("sql")},
	// What only a binary file starts with decides over the name.
	{"report.txt", "%PDF-1.7\n", binary("pdf")}, {"", "PK\x03\x04\x14\x00rest", binary("zip archive")},
	{"a.docx", "PK\x03\x04\x14\x00\x06\x00[Content_Types].xml word/document.xml", binary("docx")},
	{"", "PK\x03\x04\x0a\x00\x00\x00mimetypeapplication/epub+zip", binary("epub")},
	{"", "\x89PNG\r\n\x1a\n\x00\x00", binary("png image")}, {"", "\xff\xd8\xff\xe0\x00\x10JFIF", binary("jpeg image")},
	{"", "GIF89a\x01\x00", binary("gif image")}, {"ls", "\x7fELF\x02\x01\x01\x00", binary("executable (ELF)")},
	{"", "MZ\x90\x00\x03\x00", binary("executable (Windows)")}, {"", "\x1f\x8b\x08\x00", binary("gzip archive")},
	{"", "SQLite format 3\x00", binary("SQLite database")}, {"", "RIFF\x24\x00\x00\x00WAVEfmt ", binary("audio (WAV)")},
	{"", strings.Repeat("x", 257) + "ustar\x0000", binary("tar archive")},
	{"letter.txt", "MZ was the designer's initials.\n", is(extract.PlainText)}, // no NUL: a text
	{"", "#!/usr/bin/perl\n# a\n\n- **b**\n- `c`\n", is(extract.PlainText)},
	{"app.conf", "# Where to look.\n# See `man 5 conf`.\npath /a\n", is(extract.PlainText)},
	{"", "a\r\r\n\x00\x00\x00\x00abc\x00\x01\x02defg", binary("binary data")},
	{"blob", "\x81\x02\x03\x00\x05\xff\xfe\x00\x10\x90\x07", binary("binary data")},
	// The content decides without a name that says something.
	{"", "", is(extract.PlainText)}, {"LICENSE", "Permission is hereby granted, free of charge, to any person.\n", is(extract.PlainText)},
	{"run", "#!/usr/bin/env python3\nprint(1)\n", code("python")}, {"run", "#!/bin/sh\nls\n", code("shell")},
	{"run", "#!/usr/bin/env -S node --harmony\n", code("javascript")}, {"run", "#!/usr/bin/python3.11 -I\n", code("python")},
	{"", "<?php\necho 1;\n", code("php")}, {"", "<!DOCTYPE html>\n<html><body>x</body></html>", is(extract.HTML)},
	{"", "\n <!-- made by hand -->\n<HTML lang=de>", is(extract.HTML)}, {"", "<?xml version=\"1.0\"?>\n<rss/>", is(extract.PlainText)},
	{"", "<?xml version=\"1.0\"?>\n<html xmlns=\"x\">", is(extract.HTML)},
	{"", `{"a": [1, 2, {"b": null}]}`, is(extract.JSON)}, {"", "\ufeff[\n 1,\n 2\n]\n", is(extract.JSON)},
	{"", `{"text": "` + strings.Repeat("long ", 2000), is(extract.PlainText)}, // one string that never ends is no evidence
	{"", "[" + strings.Repeat(`{"id": 1, "text": "some"}, `, 1000), is(extract.JSON)},
	{"", "[Verse 1]\nThis is a song\n", is(extract.PlainText)},
	{"", "{\"a\":1}\n{\"a\":2}\n\n{\"a\":3}\n", is(extract.JSONL)}, {"", "{\"a\":1}\n{\"a\":2}\n{\"a\"", is(extract.JSONL)},
	{"", "# Title\n\nSome text with [a link](https://example.org).\n", is(extract.Markdown)},
	{"", "Title\n=====\n\n```\ncode\n```\n", is(extract.Markdown)},
	{"", "A list:\n\n- one\n- two\n\nand **bold** words.\n", is(extract.Markdown)},
	{"", "Dear all,\n\nthe meeting is at 5 pm, in room 3.\n\nRegards\n", is(extract.PlainText)},
	{"", "name,age,city\nAnna,31,Köln\nBob,27,\"Paris, France\"\n", is(extract.CSV)},
	{"", "name;age\nAnna;31\nBob;27\n", is(extract.CSV)}, {"", "a\tb\n1\t2\n3\t4\n", is(extract.TSV)},
	{"", "Roses are red, violets are blue\nSugar is sweet, and so are you\nI say this, to be true\n", is(extract.PlainText)},
	{"", "package main\n\nimport \"fmt\"\n\nfunc main() {\n\tx := 1\n\tfmt.Println(x)\n}\n", code("go")},
	{"", "import os\n\ndef f(x):\n    if x > 1:\n        return os.name\n", code("python")},
	{"", "const a = require('fs')\nfunction f(x) {\n  console.log(a)\n}\n", code("javascript")},
	{"", "export interface User {\n  name: string;\n  age: number;\n}\nexport type Id = string;\n", code("typescript")},
	{"", "package a.b;\n\nimport java.util.List;\n\npublic class A {\n  @Override\n  public void f() { System.out.println(1); }\n}\n", code("java")},
	{"", "#include <stdio.h>\n\nint main(void)\n{\n\tprintf(\"x\\n\");\n\treturn 0;\n}\n", code("c")},
	{"", "#include <vector>\n\nnamespace a {\ntemplate <typename T>\nclass B {\n  std::vector<T> v;\n};\n}\n", code("cpp")},
	{"", "use std::io;\n\npub fn main() {\n    let mut x = 1;\n    println!(\"{}\", x);\n}\n", code("rust")},
	{"", "require 'set'\n\nclass A < B\n  def f(x)\n    puts x\n  end\nend\n", code("ruby")},
	{"", "set -e\nNAME=\"x\"\nif [ -n \"$NAME\" ]; then\n  echo \"$NAME\"\nfi\n", code("shell")},
	{"", "CREATE TABLE a (\n  id INT PRIMARY KEY,\n  name VARCHAR(20)\n);\nINSERT INTO a VALUES (1, 'x');\n", code("sql")},
}

func TestRecognise(t *testing.T) {
	for _, c := range recognised {
		if got := extract.Recognise(c.name, []byte(c.head)); got != c.want {
			t.Errorf("Recognise(%q, %.60q) = %+v, want %+v", c.name, c.head, got, c.want)
		}
		if c.want.Kind == extract.Binary {
			_, err := extract.Text(c.name, "", []byte(c.head), extract.Bytes)
			var b *extract.BinaryError
			if !errors.As(err, &b) || b.Is != c.want.Detail || b.Name != c.name || !strings.Contains(err.Error(), c.want.Detail+" is not read") {
				t.Errorf("Text(%q, %.60q): got %v, want it refused as %s", c.name, c.head, err, c.want.Detail)
			}
			continue
		}
		// In another encoding it is the same thing, and Text says what Recognise does.
		for _, charset := range []string{"utf-8", "utf-16le", "utf-16be"} {
			src, err := peer(t, charset).NewEncoder().String("\ufeff" + strings.TrimPrefix(c.head, "\ufeff"))
			if err != nil {
				t.Fatal(err)
			}
			doc, err := extract.Text(c.name, "", []byte(src), extract.Reject)
			if err != nil || doc.Format != c.want {
				t.Errorf("Text(%q, %.60q in %s): got %+v, %v, want %+v", c.name, c.head, charset, doc, err, c.want)
			}
		}
	}
}

// TestRecogniseReadsNoFurtherThanTheHead: what comes after 4 KiB changes nothing, and a head cut anywhere is a head.
func TestRecogniseReadsNoFurtherThanTheHead(t *testing.T) {
	text := []byte(strings.Repeat("Größe, Maß und Übergröße — mehr nicht.\n", 1000))
	for n := 4 << 10; n > 4<<10-6; n-- {
		if got := extract.Recognise("", text[:n]); got != is(extract.PlainText) {
			t.Fatalf("%d bytes: %+v", n, got)
		}
	}
	if got := extract.Recognise("", append(text, "\x00\x00\x00"...)); got != is(extract.PlainText) {
		t.Errorf("with NULs after the head: %+v", got)
	}
}

func TestRecogniseTakesAnything(t *testing.T) {
	if err := quick.Check(func(name string, head []byte) bool {
		f := extract.Recognise(name, head)
		return f.Kind != "" && (f.Kind == extract.Code) == (f.Language != "") && (f.Kind == extract.Binary) == (f.Detail != "")
	}, nil); err != nil {
		t.Error(err)
	}
}

// FuzzAnything is Text on anything: it refuses with one of its types or gives a text that is one.
func FuzzAnything(f *testing.F) {
	for _, c := range recognised {
		f.Add(c.name, "", []byte(c.head))
	}
	for _, c := range declared {
		f.Add("", c.charset, []byte(c.src))
	}
	f.Fuzz(func(t *testing.T, name, charset string, data []byte) {
		extract.Recognise(name, data)
		doc, err := extract.Text(name, charset, data, extract.Bytes)
		var (
			binary  *extract.BinaryError
			unknown *extract.UnknownEncodingError
			fault   *extract.Error
		)
		switch {
		case err == nil:
			checkOffsets(t, data, doc)
			if doc.Encoding.Undecodable == 0 && doc.Encoding.Name != "iso-2022-jp" && doc.Encoding.Name != "big5" {
				checkSlices(t, data, doc)
			}
		case errors.As(err, &binary), errors.As(err, &unknown):
		case errors.As(err, &fault) && fault.Code == extract.NULByte:
		default:
			t.Fatalf("%q, %q, %q: %v", name, charset, data, err)
		}
	})
}

// declared has every way to know an encoding.
var declared = []struct {
	charset, src, name, by, text string
}{
	{"", "\xef\xbb\xbfabc", "utf-8", extract.ByBOM, "\ufeffabc"},
	{"windows-1252", "\xff\xfea\x00", "utf-16le", extract.ByBOM, "\ufeffa"},
	{"", "\xfe\xff\x00a", "utf-16be", extract.ByBOM, "\ufeffa"},
	{"", "\xff\xfe\x00\x00a\x00\x00\x00", "utf-32le", extract.ByBOM, "\ufeffa"},
	{"", "\x00\x00\xfe\xff\x00\x00\x00a", "utf-32be", extract.ByBOM, "\ufeffa"},
	{"", "größer", "utf-8", extract.ByValid, "größer"}, {"", "", "utf-8", extract.ByValid, ""},
	{"windows-1252", "größer", "utf-8", extract.ByValid, "größer"},
	{"windows-1251", "\xcf\xf0\xe8", "windows-1251", extract.ByDeclared, "При"},
	{"koi8-r", "\xcf\xf0\xe8", "koi8-r", extract.ByDeclared, "оПХ"},
	{"iso-2022-jp", "\x1b$B$\"\x1b(B", "iso-2022-jp", extract.ByDeclared, "あ"},
	{"", "\x1b$B$\"\x1b(B.", "iso-2022-jp", extract.ByGuess, "あ."},
	{"", "\x1b[31mred\x1b[0m costs $5", "utf-8", extract.ByValid, "\x1b[31mred\x1b[0m costs $5"},
	{"utf-16le", "a\x00b\x00", "utf-16le", extract.ByDeclared, "ab"},
	{"utf-16", "ab", "utf-16le", extract.ByDeclared, "\u6261"},
	{"", "<meta charset=koi8-r>\xcf\xf0", "koi8-r", extract.ByDeclared, "<meta charset=koi8-r>оП"},
	{"", `<META http-equiv=x content="text/html; charset=Shift_JIS">` + "\x82\xa0", "shift_jis", extract.ByDeclared,
		`<META http-equiv=x content="text/html; charset=Shift_JIS">あ`},
	{"", "<?xml version='1.0' encoding='ISO-8859-7'?>\xe1", "iso-8859-7", extract.ByDeclared,
		"<?xml version='1.0' encoding='ISO-8859-7'?>α"},
	// A declaration that cannot be true is not believed, but the caller's word is.
	{"", "<meta charset=euc-kr>Stra\xdfe und Gr\xf6\xdfe", "windows-1252", extract.ByGuess, "<meta charset=euc-kr>Straße und Größe"},
	{"", "<meta charset=utf-16>Stra\xdfe und Gr\xf6\xdfe", "windows-1252", extract.ByGuess, "<meta charset=utf-16>Straße und Größe"},
	{"windows-1253", "<meta charset=koi8-r>\xe1", "windows-1253", extract.ByDeclared, "<meta charset=koi8-r>α"},
	{"", "Gr\xfc\xdfe aus K\xf6ln", "windows-1252", extract.ByGuess, "Grüße aus Köln"},
	// Statistics of bytes, without a mark.
	{"", "H\x00e\x00l\x00l\x00o\x00", "utf-16le", extract.ByGuess, "Hello"},
	{"", "\x00H\x00e\x00l\x00l\x00o", "utf-16be", extract.ByGuess, "Hello"},
	{"", "H\x00\x00\x00i\x00\x00\x00", "utf-32le", extract.ByGuess, "Hi"},
	{"", "\x00\x00\x00H\x00\x00\x00i", "utf-32be", extract.ByGuess, "Hi"},
	// UTF-8 with a fault in it is still UTF-8.
	{"", "Grüße aus Köln und Übersee, \xff größtenteils", "utf-8", extract.ByGuess, "Grüße aus Köln und Übersee, \ufffd größtenteils"},
}

func TestDetect(t *testing.T) {
	for _, c := range declared {
		doc, err := extract.Text("x.txt", c.charset, []byte(c.src), extract.Replace)
		if err != nil {
			t.Errorf("%q %q: %v", c.charset, c.src, err)
			continue
		}
		if e := doc.Encoding; e.Name != c.name || e.By != c.by || doc.Text != c.text || e.By != extract.ByGuess && e.Confidence != 1 {
			t.Errorf("%q %q: got %+v, %q; want %s, %s, %q", c.charset, c.src, e, doc.Text, c.name, c.by, c.text)
		}
		checkOffsets(t, []byte(c.src), doc)
	}
	var e *extract.Error
	if _, err := extract.Text("x.txt", "", []byte("a text with a \x00 in it"), extract.Replace); !errors.As(err, &e) || e.Offset != 14 {
		t.Errorf("a stray NUL: got %v", err)
	}
}
