package chunk

import (
	"iter"
	"strings"
)

// documentStructure finds out what a document is, from its first 16 KiB, and cuts it by the strategy for that; the Kind of
// the chunks says what was found. The first that holds:
//
//	HTML        it begins with a doctype, a declaration of XML, or the tag of a block: as html, with its kinds
//	JSON Lines  every line is an object or an array, and there are two at least: between lines, Table
//	CSV         four records at least, and all have as many cells, two at least: as table, Table
//	code        it begins as programs do (#!, <?php, package, #include), or a third of its lines look like code and
//	            none is a fence of Markdown: as code, Code
//	Markdown    it has a heading, a fence, a table, a list of several items, a quotation or front matter: as markdown,
//	            with its kinds
//	plain text  else: as recursive, Prose
//
// It looks ahead by those 16 KiB, and as far as the strategy it has chosen.
type documentStructure struct{ sizing }

const documentStructureSummary = "Finds out whether a document is HTML, Markdown, a table, code or plain text, and cuts it by " +
	"the strategy for that."

// lookDocument is how much of a document tells what it is, in bytes.
const lookDocument = 16 << 10

// Split cuts text as the type says.
func (z *documentStructure) Split(text string) iter.Seq[Chunk] { return splitWalk(z, text) }

func (z *documentStructure) walk() walk {
	return &choiceWalk{look: lookDocument, choose: func(head string) walk {
		switch formatOf(head) {
		case formatHTML:
			return (&html{sizing: z.sizing}).walk()
		case formatJSONLines:
			return newRowWalk(&tabular{sizing: z.sizing, plain: true}, head)
		case formatCSV:
			return newRowWalk(&tabular{sizing: z.sizing}, head)
		case formatCode:
			return newCodeWalk(z.sizing, nil, false)
		case formatMarkdown:
			return newMarkdownWalk(z.sizing, false)
		}
		return &sizedWalk{measure: measure{sizing: z.sizing}, cut: cutAtBest, kind: Prose}
	}}
}

// format is what a document is.
type format uint8

const (
	formatPlain format = iota
	formatHTML
	formatJSONLines
	formatCSV
	formatCode
	formatMarkdown
)

func formatOf(head string) format {
	text := strings.TrimPrefix(strings.TrimLeft(head, " \t\r\n"), "\ufeff")
	switch first, _, _ := strings.Cut(text, "\n"); {
	case hasPrefixFold(text, "<!doctype"), hasPrefixFold(text, "<?xml"):
		return formatHTML
	case strings.HasPrefix(text, "#!"), hasPrefixFold(text, "<?php"), strings.HasPrefix(text, "#include"),
		strings.HasPrefix(text, "package ") && len(strings.Fields(first)) == 2:
		return formatCode
	case len(text) > 1 && text[0] == '<':
		if kind := htmlStarts(strings.TrimRight(first, "\r"), false, false); kind == 1 || kind == 6 {
			return formatHTML
		}
	}
	n, json, code, fenced := 0, 0, 0, false
	for line := range strings.Lines(text) {
		if len(head) == lookDocument && !strings.HasSuffix(line, "\n") {
			break // there may be more of it
		}
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		n++
		if line[0] == '{' && line[len(line)-1] == '}' || line[0] == '[' && line[len(line)-1] == ']' {
			json++
		}
		if looksLikeCode(line) {
			code++
		}
		fenced = fenced || strings.HasPrefix(line, "```") || strings.HasPrefix(line, "~~~")
	}
	switch {
	case n >= 2 && json == n:
		return formatJSONLines
	case n >= 4 && isCSV(text):
		return formatCSV
	case n >= 3 && !fenced && 3*code >= n:
		return formatCode
	case isMarkdown(head):
		return formatMarkdown
	}
	return formatPlain
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// looksLikeCode reports whether a line, without the white space around it, ends or begins as lines of programs do.
func looksLikeCode(line string) bool {
	switch line[len(line)-1] {
	case '{', '}', ';':
		return true
	}
	for _, p := range [...]string{"import ", "from ", "def ", "func ", "class ", "return ", "//", "/*", "*/", "const ", "var ", "let "} {
		if strings.HasPrefix(line, p) && strings.ContainsAny(line[len(line)-1:], ":)\"'/,") {
			return true
		}
	}
	return strings.HasSuffix(line, "):")
}

// isCSV reports whether the whole records of head, four at least, have as many cells, two at least.
func isCSV(head string) bool {
	w := rowWalk{delimiter: delimiterOf(head)}
	n, rows := 0, 0
	for i := 0; i < len(head); {
		end, _, ended := w.record(head, i, len(head), false)
		if !ended {
			break
		}
		if row := strings.TrimRight(head[i:end], "\r\n"); row != "" {
			k := len(w.split(row))
			if k < 2 || rows > 0 && k != n || strings.HasPrefix(row, "|") {
				return false
			}
			n = k
			rows++
		}
		i = end
	}
	return rows >= 4
}

// isMarkdown reports whether head has a block that only Markdown has.
func isMarkdown(head string) bool {
	var m markdownScan
	m.past(head, len(head), true)
	items := 0
	for _, b := range m.blocks {
		switch {
		case b.level > 0, b.shape == fence, b.shape == pipeTable, b.shape == frontMatter, b.shape == quotation:
			return true
		case b.shape == listItem:
			if items++; items > 1 {
				return true
			}
		}
	}
	return false
}
