package chunk

import (
	"fmt"
	"iter"
	"strings"
)

// code cuts source code at its declarations, by language. Where a cut may be, best first:
//
//	section    before a declaration of the file: a function, a type, a class, an import; in SQL a statement. Comments,
//	           decorators and attributes that stand directly above belong to it
//	block      before a declaration inside of a class and the like, and where one has ended; the outer one is better
//	paragraph  behind a blank line
//	line       before a line; one with fewer open brackets, or less indentation in Python, Ruby and shell, is better
//	text       as recursive does, in lines that are too long
//
// Section and block count wherever the limit allows one: no chunk has the rest of one function and the beginning of the
// next, unless min_chunk_size wants that. Paragraph and line count in the second half of chunk_size first, and then the
// last one in the first half. But for text, chunks start at line starts, so indentation stays.
//
// Context are the first lines of the declarations around the start of a chunk, the innermost first; lines of more than 1024
// bytes give none. With context_in_size, chunk_size is for both.
//
// There is no syntax tree: a scanner knows strings, comments, brackets and indentation, and takes statements for
// declarations by their first words and by where they stand. What it gets wrong is where a chunk ends, never what it holds.
// Approximated: a / in JavaScript starts a regular expression behind an operator or at the start of a line; a macro that
// opens or closes brackets counts as if it did not; of #if and #else, each branch starts with the same brackets open.
//
// With the language auto, the first 4096 bytes tell it. A pull looks 128 bytes beyond the limit, the first one 4096 with auto.
// Overlap starts at a line start if there is one in it, and never reaches across a declaration.
//
// Divide leaves it as one part: what a place means depends on all quotes and brackets before it, and to read those alone
// takes 75 % of the time in chars, so that two cores would gain 1.14 times at most (in tokens, where the time goes into
// counting, more).
type code struct {
	sizing
	Language      string `json:"language"`
	ContextInSize bool   `json:"context_in_size,omitempty"`

	language *language // nil for auto
}

const codeSummary = "Cuts source code between functions and other declarations, with their comments, then at blank lines and lines."

func (c *code) fields() []field {
	return append(c.sizing.fields(),
		field{
			"language", `{"type":"string","default":"auto","description":"What it is written in: ` + list(languageNames(), "or") +
				`, or another name of one of these such as js; auto finds it by the start of the text."}`,
			func(v value) *ParamError { return v.text(&c.Language) },
		},
		contextField(&c.ContextInSize))
}

func (c *code) check(p Parser) *ParamError {
	if perr := c.sizing.check(p); perr != nil {
		return perr
	}
	name := strings.ToLower(c.Language)
	if name == autoLanguage {
		c.Language = name
		return nil
	}
	if c.language = findLanguage(name); c.language == nil {
		e := &ParamError{
			Param: "language", Code: CodeInvalidValue, Problem: quote(c.Language) + " is not a language that is known here",
			Suggestion: "use " + list(languageNames(), "or"),
		}
		var known []string
		for _, l := range languages {
			known = append(append(known, l.name), l.aliases...)
		}
		if near := nearest(snake(c.Language), append(known, autoLanguage)); near != "" {
			e.Suggestion = fmt.Sprintf("use %q", near)
		}
		return e
	}
	c.Language = c.language.name
	return nil
}

// Split cuts text as the type says.
func (c *code) Split(text string) iter.Seq[Chunk] { return splitWalk(c, text) }

func (c *code) walk() walk { return newCodeWalk(c.sizing, c.language, c.ContextInSize) }

// newCodeWalk walks source code in a language; nil is for the one that its start tells.
func newCodeWalk(z sizing, l *language, contextInSize bool) walk {
	w := codeFrom(l, 0)
	w.init(z, contextInSize, &w.code, codeAhead)
	return onwardWalk{w}
}

// codeFrom has the outline of the source code that starts at at in the window, and no sizes yet.
func codeFrom(l *language, at int) *codeWalk {
	w := &codeWalk{structureWalk: structureWalk{strong: Block, overlap: Block, plain: Code}}
	o := &w.code
	w.outline = o
	o.w, o.pending.start, o.lead, o.language = &w.structureWalk, -1, -1, l
	o.pos, o.line, o.from = at, at, at
	w.marks = append(w.marks, mark{at: at, kinds: 1 << Code})
	return w
}

const (
	codeAhead     = 128  // bytes beyond a place that tell what stands there
	codeDepth     = 64   // nested declarations, and brackets of which it is known what they hold
	maxSignature  = 1024 // bytes of a line that is context
	maxDelimiter  = 40   // bytes of what ends a raw string or a here document
	codeBehind    = 80   // bytes before a place that tell what ended there
	maxTemplates  = 16
	maxDirectives = 32
)

// codeWalk finds the language before it begins.
type codeWalk struct {
	structureWalk
	code codeOutline
}

func (w *codeWalk) next(text string, last bool) (Chunk, bool) {
	if w.code.language == nil {
		if !last && len(text) < languageHead {
			return Chunk{}, false
		}
		w.code.language = detectLanguage(text)
	}
	return w.structureWalk.next(text, last)
}

type codeState uint8

const (
	inIndent codeState = iota // at the start of a line
	inCode
	inLineComment
	inBlockComment
	inString
	inTriple
	inRawString
	inHeredoc // at the start of a line of one
	inHeredocLine
	inRegex
	inDirective
	inPage // what is not PHP in a PHP file
)

// codeOutline is the outline of source code. Every line start gets a mark when the line end before it is read, and the mark
// its rank when the line's first words are.
type codeOutline struct {
	w        *structureWalk
	language *language
	nodes    []Context // of which the last were handed out; a full one is left to those who have it
	pos      int
	state    codeState

	margin int    // how far all lines are indented by what is around the code
	fence  string // what a line begins with that ends the code, if not empty

	line int  // where the line starts
	from int  // where the code in it starts that is looked at for its last byte
	prev byte // the last byte of code before the line that is no white space
	col  int  // how far the line is indented

	depth      int    // open brackets
	containers uint64 // which of them hold declarations
	blank      bool   // the line before was
	lead       int    // where in the document the comments above the line start, or -1
	decorated  bool   // the line is a decorator

	pending declaration
	open    [codeDepth]declaration
	opened  int
	ctx     *Context

	quote     byte
	class     bool   // in [ ] of a regular expression
	nesting   int    // of comments
	delimiter string // of a raw string or a here document
	heredoc   string // starts behind the line end
	templates [maxTemplates]int
	inside    int // open templates
	branches  [maxDirectives]int
	directive int // open #if
}

// declaration is one that may open, or has.
type declaration struct {
	start     int    // in the document; below 0 there is none
	text      string // its first line, once it is signed; empty if that is too long
	signed    bool
	nest      int  // brackets, or columns of indentation, around it
	container bool // it holds declarations
	parens    bool // a ( opens it, too
	node      *Context
	outer     *Context
}

func (o *codeOutline) kept(start int) int {
	start = min(start, o.pos-codeBehind)
	if first := o.pending.start; o.opened > 0 && first < 0 && !o.open[o.opened-1].signed {
		start = o.keeps(start, o.open[o.opened-1].start)
	} else if first >= 0 && !o.pending.signed {
		start = o.keeps(start, first)
	}
	return max(0, start)
}

// keeps is start, or where the first line of a declaration starts, in the document, that is still to be read.
func (o *codeOutline) keeps(start, first int) int {
	if first -= o.w.base; o.pos-first > maxSignature {
		return start
	}
	return min(start, first)
}

func (o *codeOutline) drop(n int) {
	o.pos -= n
	o.line -= n
	o.from -= n
}

func (o *codeOutline) forget(int) {}

func (o *codeOutline) cut(text string, lo, mid, hi int) (int, Boundary) {
	return cutAtBest(text, lo, mid, hi)
}

func (o *codeOutline) aligned(text string, s, at int) int {
	if s == 0 || text[s-1] == '\n' {
		return s
	}
	if n := strings.IndexByte(text[s:at], '\n'); n >= 0 {
		return s + n + 1
	}
	return s
}

// read reads what starts at or before to.
func (o *codeOutline) read(text string, to int) {
	end := min(len(text), to+1)
	l := o.language
	for o.pos < end {
		i := o.pos
		switch o.state {
		case inIndent:
			for i < end {
				if c := text[i]; c == ' ' {
					o.col++
				} else if c == '\t' {
					o.col += 4
				} else if c != '\r' && c != '\f' {
					break
				}
				i++
			}
			if o.pos = i; i < end {
				o.state, o.from, o.col = inCode, i, max(0, o.col-o.margin)
				o.begin(text, i)
			}
		case inCode:
			for i < end && !l.special[text[i]] {
				i++
			}
			if o.pos = i; i < end {
				o.special(text, i)
			}
		case inLineComment:
			n := strings.IndexByte(text[i:end], '\n')
			if n < 0 {
				o.pos = end
				break
			}
			o.newline(i+n, text)
		case inBlockComment:
			for i < end && text[i] != '*' && text[i] != '\n' && text[i] != '/' {
				i++
			}
			if o.pos = i; i == end {
				break
			}
			o.pos++
			switch {
			case text[i] == '\n':
				o.weak(text, i+1, 200)
			case text[i] == '*' && i+1 < len(text) && text[i+1] == '/':
				o.pos++
				if o.nesting--; o.nesting <= 0 {
					o.state, o.from = inCode, o.pos
				}
			case text[i] == '/' && l.nested && i+1 < len(text) && text[i+1] == '*':
				o.pos++
				o.nesting++
			}
		case inString:
			o.readString(text, end)
		case inTriple, inRegex:
			o.readLong(text, end)
		case inRawString:
			for i < end && text[i] != o.delimiter[0] && text[i] != '\n' {
				i++
			}
			if o.pos = i; i == end {
				break
			}
			if o.pos++; strings.HasPrefix(text[i:], o.delimiter) {
				o.pos = i + len(o.delimiter)
				o.state = inCode
			} else if text[i] == '\n' {
				o.weak(text, i+1, 250)
			}
		case inHeredoc:
			k := i
			for k < len(text) && k-i < 64 && (text[k] == ' ' || text[k] == '\t') {
				k++
			}
			o.state = inHeredocLine
			if strings.HasPrefix(text[k:], o.delimiter) {
				if k += len(o.delimiter); k >= len(text) || !isWordByte(text[k]) {
					o.pos, o.state, o.from = k, inCode, k
				}
			}
		case inHeredocLine, inPage:
			for i < end && text[i] != '\n' && (text[i] != '<' || o.state == inHeredocLine) {
				i++
			}
			if o.pos = i; i == end {
				break
			}
			if o.pos++; text[i] == '<' {
				if i+1 < len(text) && text[i+1] == '?' {
					o.pos, o.state, o.from = i+2, inCode, i+2
					if strings.HasPrefix(text[o.pos:], "php") {
						o.pos += 3
						o.from += 3
					}
					o.prev = ';'
				}
				break
			}
			o.weak(text, i+1, 100)
			if o.state == inHeredocLine {
				o.state = inHeredoc
			}
		case inDirective:
			for i < end && text[i] != '\n' && text[i] != '/' && text[i] != '\\' {
				i++
			}
			if o.pos = i; i == end {
				break
			}
			switch o.pos++; text[i] {
			case '\n':
				o.prev = ';'
				o.from = i
				o.newline(i, text)
			case '\\':
				if o.pos < len(text) && text[o.pos] == '\r' {
					o.pos++
				}
				if o.pos < len(text) && text[o.pos] == '\n' {
					o.pos++
					o.weak(text, o.pos, 240)
				}
			case '/':
				if o.pos < len(text) && text[o.pos] == '*' {
					o.pos++
					o.state, o.nesting, o.prev = inBlockComment, 1, ';'
				}
			}
		}
	}
}

func isWordByte(c byte) bool { return isLetter(c) || c-'0' < 10 || c == '_' }

// readString reads a string whose quote is one byte.
func (o *codeOutline) readString(text string, end int) {
	i, l := o.pos, o.language
	escapes := strings.IndexByte(l.bare, o.quote) < 0
	template := l.template && o.quote == '`'
	for ; i < end; i++ {
		switch c := text[i]; {
		case c == o.quote:
			o.pos, o.state = i+1, inCode
			return
		case c == '\\' && escapes:
			if i++; i < len(text) && text[i] == '\n' {
				o.weak(text, i+1, 250)
			}
		case c == '\n':
			if !template && strings.IndexByte(l.long, o.quote) < 0 { // it was none, or has no end
				o.from = i
				o.newline(i, text)
				return
			}
			o.weak(text, i+1, 250)
		case c == '$' && template && i+1 < len(text) && text[i+1] == '{' && o.inside < maxTemplates:
			o.templates[o.inside] = o.depth
			o.inside++
			o.deeper(false)
			o.pos, o.state, o.from = i+2, inCode, i+2
			return
		}
	}
	o.pos = i
}

// readLong reads a string in three quotes, or a regular expression.
func (o *codeOutline) readLong(text string, end int) {
	i := o.pos
	for ; i < end; i++ {
		switch c := text[i]; {
		case c == '\\':
			if i++; i < len(text) && text[i] == '\n' {
				i--
			}
		case c == '\n' && o.state == inRegex:
			o.from = i
			o.newline(i, text)
			return
		case c == '\n':
			o.weak(text, i+1, 250)
		case o.state == inRegex && c == '[':
			o.class = true
		case o.state == inRegex && c == ']':
			o.class = false
		case o.state == inRegex && c == '/' && !o.class:
			o.pos, o.state = i+1, inCode
			return
		case c == o.quote && o.state == inTriple && i+2 < len(text) && text[i+1] == c && text[i+2] == c:
			o.pos, o.state = i+3, inCode
			return
		}
	}
	o.pos = i
}

// weak adds the mark of a line that starts inside of a token.
func (o *codeOutline) weak(text string, at int, depth uint8) {
	o.sign(text, at-1)
	o.line = at
	o.w.marks = append(o.w.marks, mark{at: at, rank: Line, said: Line, depth: depth, kinds: 1 << Code, ctx: o.ctx})
}

// special reads the byte at i, which may mean something in code.
func (o *codeOutline) special(text string, i int) {
	l, c := o.language, text[i]
	next := byte(0)
	if i+1 < len(text) {
		next = text[i+1]
	}
	o.pos = i + 1
	switch c {
	case '\n':
		o.newline(i, text)
	case '{', '(', '[':
		o.bracket(c)
	case '}', ')', ']':
		if o.inside > 0 && c == '}' && o.depth-1 == o.templates[o.inside-1] {
			o.inside--
			o.depth--
			o.state, o.quote = inString, '`'
			return
		}
		o.depth = max(0, o.depth-1)
		if l.layout != byIndent {
			o.close(o.depth)
		}
	case ';':
		if o.pending.start >= 0 && o.depth <= o.pending.nest {
			o.pending.start = -1
		}
	case '/':
		switch {
		case l.blocks && next == '*':
			o.seen(text, i)
			o.pos, o.state, o.nesting = i+2, inBlockComment, 1
			return
		case l.line == "//" && next == '/':
			o.seen(text, i)
			o.state = inLineComment
			return
		case l.regex && o.startsRegex(text, i):
			o.state, o.class = inRegex, false
			return
		}
	case '#':
		if l.name == "php" && next == '[' {
			return
		}
		if l.name == "shell" && i > 0 && !asciiSpace[text[i-1]] && text[i-1] != ';' { // $# and ${x#y}
			return
		}
		if l.line == "#" || l.line2 == "#" {
			o.seen(text, i)
			o.state = inLineComment
		}
	case '-':
		if l.line == "--" && next == '-' {
			o.seen(text, i)
			o.state = inLineComment
		}
	case '<':
		o.startHeredoc(text, i)
	case '?':
		if l.name == "php" && next == '>' {
			o.pos, o.state, o.prev = i+2, inPage, ';'
		}
	case '$':
		if l.raw == dollarRaw {
			n := wordLength(text, i+1)
			if n < maxDelimiter-2 && i+1+n < len(text) && text[i+1+n] == '$' {
				o.delimiter = text[i : i+n+2]
				o.pos, o.state = i+n+2, inRawString
			}
		}
	default:
		o.startString(text, i, c, next)
	}
}

// wordLength is how many bytes at i make a word, up to maxDelimiter.
func wordLength(text string, i int) (n int) {
	for n < maxDelimiter && i+n < len(text) && isWordByte(text[i+n]) {
		n++
	}
	return n
}

// startString reads the quote c at i.
func (o *codeOutline) startString(text string, i int, c, next byte) {
	l := o.language
	before := byte(0)
	if i > 0 {
		before = text[i-1]
	}
	switch {
	case c == '\'' && l.chars == separators && isWordByte(before) && isWordByte(next) && !strings.ContainsRune("uUL", rune(before)) && before != '8':
		return
	case c == '\'' && l.chars == lifetimes && next != '\\':
		if i+1 < len(text) {
			if k := i + 1 + runeLen(text, i+1); k < len(text) && text[k] == '\'' {
				o.pos = k + 1
			}
		}
		return
	case l.triple && i+2 < len(text) && next == c && text[i+2] == c && (c == '"' || l.layout == byIndent):
		o.pos, o.state, o.quote = i+3, inTriple, c
		return
	case c == '"' && l.raw == hashRaw:
		k := i
		for k > 0 && i-k < 16 && text[k-1] == '#' {
			k--
		}
		if k > 0 && text[k-1] == 'r' && (k == 1 || !isWordByte(text[k-2]) || text[k-2] == 'b' || text[k-2] == 'c') {
			o.delimiter = `"################`[:1+i-k]
			o.state = inRawString
			return
		}
	case c == '"' && l.raw == parenRaw && before == 'R':
		n := 0
		for n < 16 && i+1+n < len(text) && text[i+1+n] != '(' && text[i+1+n] != '"' && !asciiSpace[text[i+1+n]] {
			n++
		}
		if i+1+n < len(text) && text[i+1+n] == '(' {
			o.delimiter = ")" + text[i+1:i+1+n] + `"`
			o.pos, o.state = i+n+2, inRawString
			return
		}
	case l.name == "shell" && before == '\\', l.name == "ruby" && (before == '$' || before == '?'):
		return
	}
	o.state, o.quote = inString, c
}

// startsRegex reports whether the / at i starts a regular expression: behind an operator, or where a line starts.
func (o *codeOutline) startsRegex(text string, i int) bool {
	k := o.lastByte(text, i)
	if k < 0 {
		return true
	}
	if c := text[k]; !isWordByte(c) && c != '$' {
		return c != ')' && c != ']' && c != '}' && c != '"' && c != '\'' && c != '`' && c != '.' && c != '<' && c < 0x80
	}
	from := k
	for from > 0 && k-from < 8 && isWordByte(text[from-1]) {
		from--
	}
	switch text[from : k+1] {
	case "return", "typeof", "case", "in", "of", "delete", "void", "do", "else":
		return true
	}
	return false
}

// lastByte returns where the last byte is before i that is no space, in the code looked at, or -1. It looks codeBehind
// bytes back.
func (o *codeOutline) lastByte(text string, i int) int {
	for k := i - 1; k >= max(o.from, i-codeBehind+16, 0); k-- {
		if c := text[k]; c != ' ' && c != '\t' && c != '\r' {
			return k
		}
	}
	return -1
}

// seen notes the last byte of code before i.
func (o *codeOutline) seen(text string, i int) {
	if k := o.lastByte(text, i); k >= 0 {
		o.prev = text[k]
	}
}

// startHeredoc reads the < at i.
func (o *codeOutline) startHeredoc(text string, i int) {
	l := o.language
	k := i + 2
	if l.name == "php" {
		k++
	}
	if !strings.HasPrefix(text[i:], "<<<"[:k-i]) {
		return
	}
	sign := false
	if k < len(text) && (text[k] == '-' || text[k] == '~') && l.name != "php" {
		sign = true
		k++
	}
	if l.name == "shell" && k < len(text) && text[k] == '<' {
		o.pos = k + 1
		return
	}
	for n := 0; n < 4 && k < len(text) && text[k] == ' ' && l.name != "ruby"; n++ {
		k++
	}
	if k < len(text) && (text[k] == '"' || text[k] == '\'') {
		sign = true
		k++
	}
	n := wordLength(text, k)
	if n == 0 || n == maxDelimiter || text[k]-'0' < 10 || l.name == "ruby" && !sign && text[k]-'A' >= 26 {
		return
	}
	o.heredoc = text[k : k+n]
	if o.pos = k + n; o.pos < len(text) && (text[o.pos] == '"' || text[o.pos] == '\'') {
		o.pos++
	}
}

// bracket reads an opening one.
func (o *codeOutline) bracket(c byte) {
	p := &o.pending
	holds := false
	if o.language.layout != byIndent && p.start >= 0 && o.depth == p.nest && (c == '{' || c == '(' && p.parens) {
		if o.opened < codeDepth {
			p.outer = o.ctx
			o.open[o.opened] = *p
			o.opened++
		}
		holds = p.container && c == '{'
		p.start = -1
	}
	o.deeper(holds)
}

// deeper goes inside of a bracket, which holds declarations or not.
func (o *codeOutline) deeper(holds bool) {
	if o.depth++; o.depth < codeDepth {
		o.containers &^= 1 << o.depth
		if holds {
			o.containers |= 1 << o.depth
		}
	}
}

// close closes the declarations that are nest or more deep.
func (o *codeOutline) close(nest int) {
	for o.opened > 0 && o.open[o.opened-1].nest >= nest {
		o.opened--
		d := &o.open[o.opened]
		o.ctx = d.outer
		if !d.signed { // it goes on: the bracket was part of its first line
			o.pending = *d
		}
	}
}

// newline reads the line end at i.
func (o *codeOutline) newline(i int, text string) {
	if o.state == inCode || o.state == inString || o.state == inRegex {
		o.seen(text, i)
	}
	if o.decorated && o.depth == 0 || o.decorated && o.holds() {
		o.prev = ';'
	}
	o.decorated = false
	o.sign(text, i)
	o.pos, o.line, o.col, o.state = i+1, i+1, 0, inIndent
	depth := uint8(min(o.depth, 250))
	if o.language.layout == byIndent {
		depth = 251 // until it is known how far the line is indented
	}
	o.w.marks = append(o.w.marks, mark{at: i + 1, rank: Line, said: Line, depth: depth, kinds: 1 << Code, ctx: o.ctx})
	if o.heredoc != "" {
		o.delimiter, o.heredoc, o.state = o.heredoc, "", inHeredoc
		o.w.marks[len(o.w.marks)-1].depth = 250
	}
}

// sign reads the first lines of declarations that end at end, and makes context of those that are open.
func (o *codeOutline) sign(text string, end int) {
	signs := func(d *declaration) {
		if d.signed = true; d.start >= o.w.base && end-(d.start-o.w.base) <= maxSignature {
			d.text = strings.TrimRight(text[d.start-o.w.base:end], " \t\r\f\v")
		}
	}
	if p := &o.pending; p.start >= 0 && !p.signed {
		signs(p)
	}
	k := o.opened
	for k > 0 && o.open[k-1].node == nil && (!o.open[k-1].signed || o.open[k-1].text != "") {
		k--
	}
	for ; k < o.opened; k++ {
		d := &o.open[k]
		if !d.signed {
			signs(d)
		}
		if d.outer = nil; k > 0 {
			d.outer = o.open[k-1].inside()
		}
		if d.text != "" {
			if len(o.nodes) == cap(o.nodes) {
				o.nodes = make([]Context, 0, 64) // one allocation for many: programs have more declarations than chunks
			}
			o.nodes = append(o.nodes, Context{Span{d.start, d.start + len(d.text)}, d.text, Declaration, k, d.outer})
			d.node = &o.nodes[len(o.nodes)-1]
		}
		o.ctx = d.inside()
	}
}

// inside is the context of what the declaration holds.
func (d *declaration) inside() *Context {
	if d.node != nil {
		return d.node
	}
	return d.outer
}

// holds reports whether declarations stand at this depth.
func (o *codeOutline) holds() bool {
	return o.depth == 0 || o.depth < codeDepth && o.containers>>o.depth&1 != 0
}

// begin reads the first words of a line, at f.
func (o *codeOutline) begin(text string, f int) {
	l, c := o.language, text[f]
	marks := o.w.marks
	m := &marks[len(marks)-1]
	if c == '\n' {
		o.blankLine(m)
		return
	}
	if o.fence != "" && strings.HasPrefix(text[f:], o.fence) { // it stays with the code
		o.dedent(0)
		m.rank, m.ctx = Character, o.ctx
		return
	}
	next := byte(0)
	if f+1 < len(text) {
		next = text[f+1]
	}
	blank := o.blank
	o.blank = false
	said := Line
	if blank {
		said = Paragraph
	}
	nest := o.depth
	level := o.holds()
	if l.layout == byIndent {
		nest, level = o.col, o.depth == 0
	}
	m.depth = uint8(min(nest, 199))
	m.rank, m.said = said, said

	comment := strings.HasPrefix(text[f:], l.line) || l.blocks && c == '/' && next == '*' || l.line2 != "" && strings.HasPrefix(text[f:], l.line2)
	attribute := (c == '@' && l.name != "sql" && l.name != "c" && l.name != "go") && (next != 'i' || !strings.HasPrefix(text[f:], "@interface")) ||
		c == '#' && (next == '[' || next == '!') && (l.name == "rust" || l.name == "php")
	if l.name == "cpp" && strings.HasPrefix(text[f:], "template") { // on a line of its own
		line, _, whole := strings.Cut(text[f:min(len(text), f+codeAhead-8)], "\n")
		attribute = whole && strings.HasSuffix(strings.TrimRight(line, " \t\r"), ">")
	}
	if attribute {
		comment, o.decorated = true, true
	}
	switch {
	case l.directives && c == '#':
		o.directiveLine(text, f)
		o.lead = -1
		return
	case l.name == "php" && c == '<' && o.state == inCode && (o.line == 0 && o.w.base == 0):
		o.state = inPage
		return
	case comment && level:
		if o.lead >= 0 && !blank {
			m.depth = 200
			return
		}
		o.lead = o.w.base + o.line
		if l.layout != byIndent && (blank || o.prev == '}' || o.prev == ';') && l.layout != byStatements || l.layout == byIndent && o.col == 0 && blank {
			m.rank = Block
			if o.depth == 0 {
				m.rank = Section
			}
		}
		return
	case comment:
		m.depth = uint8(min(nest+16, 199))
		return
	case c == '}' || c == ')' || c == ']':
		m.depth, m.rank, m.said = 252, Line, Line
		o.lead = -1
		if l.layout == byIndent && o.depth == 0 {
			o.dedent(o.col)
			m.ctx = o.ctx
		}
		return
	}
	if l.layout == byBraces && !level && (l.name != "go" || o.col > 0) { // most lines: words mean nothing here
		o.lead = -1
		return
	}
	kind, function := o.firstWords(text, f)
	if kind == closing {
		m.depth, m.rank, m.said = 252, Line, Line
		o.lead = -1
		return
	}
	rank := Character
	switch l.layout {
	case byIndent:
		if kind >= declares && o.col == 0 {
			o.depth = 0 // a bracket that was open was none
		}
		if o.depth > 0 {
			m.depth = uint8(min(nest+64, 199))
			return
		}
		before := o.opened
		o.dedent(o.col)
		switch {
		case kind >= declares && o.col == 0:
			rank = Section
		case kind >= declares:
			rank = Block
		case o.opened < before:
			rank = Block
		}
		nest = o.col
		m.depth = uint8(min(2*o.opened, 199))
		if rank == Character {
			m.depth = uint8(min(nest, 199))
		}
	case byStatements:
		if o.depth == 0 && (o.prev == 0 || o.prev == ';') {
			kind, rank = declares, Section
			if o.col > 0 {
				rank = Block
			}
		}
	default:
		if l.name == "go" && o.col == 0 && o.depth > 0 && strings.HasPrefix(text[f:], "func ") {
			o.depth, nest = 0, 0
			o.close(0)
			m.ctx = o.ctx
			level = true
		}
		starts := o.prev == 0 || o.prev == ';' || o.prev == '}' || o.prev == '{'
		if l.loose && !starts {
			starts = !strings.ContainsRune(",(=+-*/%&|?:<>.[", rune(o.prev)) && c != '.' && c != '?' && c != ':' && c != '&' && c != '|' && c != '+'
		}
		switch {
		case !level:
		case l.name == "go":
			if kind >= declares && o.depth == 0 && o.col == 0 {
				rank = Section
			}
		case o.depth > 0 && starts && l.name != "c":
			rank = Block
		case o.depth > 0:
		case l.loose && starts && kind >= declares:
			rank = Section
		case l.loose && starts && o.col == 0:
			rank = Block
		case !l.loose && starts && (isWordByte(c) || c == '~' || c == '[' || c == '$' || c == '\\' || c >= 0x80):
			rank = Section
		}
		m.depth = uint8(min(nest, 199))
	}
	if l.name == "cpp" && kind == noWord && function == ':' { // public: and its like
		o.prev, o.decorated = ';', true
	}
	if rank < Block {
		if o.lead = -1; blank && level && l.layout == byBraces { // no lesser place than that before the blank line
			m.rank = Block
		}
		return
	}
	if l.layout == byIndent {
		m.depth = uint8(min(2*o.opened, 199))
	}
	if o.lead < 0 {
		m.rank, m.said, m.ctx = rank, rank, o.ctx
	} else if n := o.w.holds(o.lead - o.w.base); n >= 0 && marks[n].at == o.lead-o.w.base { // else a cut was in the comment, and none is behind it
		depth := m.depth
		m = &marks[n]
		for n++; n < len(marks) && marks[n].at <= o.w.end; {
			n++
		}
		o.w.marks = marks[:n]
		m.rank, m.said, m.depth, m.ctx = rank, rank, depth, o.ctx
	}
	o.lead = -1
	if l.layout == byIndent && kind < declares {
		return
	}
	d := declaration{start: o.w.base + f, nest: nest, container: kind == encloses, parens: l.parens && kind != noWord && function != 'f'}
	if l.layout == byIndent {
		if o.opened < codeDepth {
			d.outer = o.ctx
			o.open[o.opened] = d
			o.opened++
		}
		return
	}
	o.pending = d
}

// dedent closes the declarations that a line indented by col is not in.
func (o *codeOutline) dedent(col int) {
	for o.opened > 0 && o.open[o.opened-1].nest >= col {
		o.opened--
		o.ctx = o.open[o.opened].outer
	}
}

// blankLine makes the place before a blank line a lesser one than the place behind.
func (o *codeOutline) blankLine(m *mark) {
	if o.lead >= 0 { // a comment that stands alone
		if n := o.w.holds(o.lead - o.w.base); n >= 0 && o.w.marks[n].at == o.lead-o.w.base && o.w.marks[n].at > o.w.end {
			o.w.marks[n].rank = o.w.marks[n].said
		}
		o.lead = -1
	}
	o.blank = true
	m.depth = 198
	if o.language.layout == byBraces && o.holds() {
		m.rank, m.depth = Block, uint8(min(o.depth, 199))
	}
}

// firstWords looks at the words that a line begins with, of at most codeAhead bytes from f on: at the first that is no
// modifier. function is 'f' when that is the word func, ':' when the line is a label, else 0.
func (o *codeOutline) firstWords(text string, f int) (kind wordKind, function byte) {
	l := o.language
	end := min(len(text), f+codeAhead-8)
	i := f
	for range 8 {
		n := wordLength(text[:end], i)
		if n == 0 {
			return noWord, 0
		}
		word := text[i : i+n]
		kind = l.words[word]
		i += n
		if i < end && text[i] == ':' && (i+1 == end || text[i+1] != ':') {
			function = ':'
		}
		if l.name == "shell" && kind == noWord {
			for i < end && text[i] == ' ' {
				i++
			}
			if strings.HasPrefix(text[i:end], "()") {
				return declares, 0
			}
			return noWord, 0
		}
		if kind != modifier {
			break
		}
		if word == "template" && i < end {
			if k := strings.IndexByte(text[i:end], '>'); k >= 0 {
				i += k + 1
			}
		}
		if i < end && text[i] == '(' && l.name == "rust" {
			if k := strings.IndexByte(text[i:end], ')'); k >= 0 {
				i += k + 1
			}
		}
		for i < end && (text[i] == ' ' || text[i] == '\t') {
			i++
		}
	}
	if word := text[i-min(4, i) : i]; word == "func" {
		return kind, 'f'
	}
	if kind == encloses && (l.name == "cpp") { // a function that returns one, or a variable
		if k := strings.IndexAny(text[i:end], "{(;="); k >= 0 && text[i+k] != '{' {
			kind = declares
		}
	}
	return kind, function
}

// directiveLine reads a line of the C preprocessor that starts at f.
func (o *codeOutline) directiveLine(text string, f int) {
	o.state = inDirective
	i := f + 1
	for i < len(text) && i-f < 32 && (text[i] == ' ' || text[i] == '\t') {
		i++
	}
	switch word := text[i : i+wordLength(text, i)]; word {
	case "if", "ifdef", "ifndef":
		if o.directive < maxDirectives {
			o.branches[o.directive] = o.depth
		}
		o.directive++
	case "else", "elif", "elifdef", "elifndef":
		if o.directive > 0 && o.directive <= maxDirectives {
			if o.depth = o.branches[o.directive-1]; o.depth == 0 {
				o.close(0)
			}
		}
	case "endif":
		o.directive = max(0, o.directive-1)
	}
}
