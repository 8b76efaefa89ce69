package main

import (
	"bytes"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// htmlText gives the running text of a page of documentation: a paragraph for each block, a blank line between two, no
// code blocks and none of the navigation of Sphinx and DocBook.
func htmlText(page []byte) []byte {
	var out bytes.Buffer
	var block strings.Builder
	flush := func() {
		if words := strings.Join(strings.Fields(block.String()), " "); words != "" {
			out.WriteString(words)
			out.WriteString("\n\n")
		}
		block.Reset()
	}
	skipped, depth := atom.Atom(0), 0
	z := html.NewTokenizer(bytes.NewReader(page))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			flush()
			return out.Bytes()
		}
		t := z.Token()
		switch {
		case depth > 0: // only the same tag can nest in what is left out, as far as its end is concerned
			if t.DataAtom == skipped && kind == html.StartTagToken {
				depth++
			} else if t.DataAtom == skipped && kind == html.EndTagToken {
				depth--
			}
		case kind == html.TextToken:
			block.WriteString(t.Data)
		case kind == html.StartTagToken && unread(t):
			flush()
			skipped, depth = t.DataAtom, 1
		case blocks[t.DataAtom]:
			flush()
		}
	}
}

var blocks = map[atom.Atom]bool{
	atom.P: true, atom.Div: true, atom.Li: true, atom.Ul: true, atom.Ol: true, atom.Dl: true, atom.Dt: true,
	atom.Dd: true, atom.H1: true, atom.H2: true, atom.H3: true, atom.H4: true, atom.H5: true, atom.H6: true,
	atom.Tr: true, atom.Td: true, atom.Th: true, atom.Table: true, atom.Section: true, atom.Blockquote: true,
	atom.Br: true, atom.Body: true,
}

// unread reports whether what a tag opens is not text that people read from top to bottom.
func unread(t html.Token) bool {
	switch t.DataAtom {
	case atom.Head, atom.Script, atom.Style, atom.Pre, atom.Nav, atom.Footer, atom.Header:
		return true
	case atom.Div, atom.Ul, atom.Table:
	default:
		return false
	}
	for _, a := range t.Attr {
		if a.Key != "class" {
			continue
		}
		for _, class := range strings.Fields(a.Val) {
			if slices.Contains([]string{"sphinxsidebar", "related", "docnav", "navheader", "navfooter", "toc"}, class) {
				return true
			}
		}
	}
	return false
}
