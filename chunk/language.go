package chunk

import (
	"slices"
	"strings"
)

// language is what the strategy code knows of a programming language.
type language struct {
	name    string
	aliases []string
	words   map[string]wordKind
	special [256]bool // bytes that mean something in code
	layout  layout

	line, line2 string // what starts a comment to the end of the line
	blocks      bool   // has /* */
	nested      bool   // which nest
	quotes      string // what strings and characters are in
	long        string // those of quotes in which a string may have several lines
	bare        string // those of quotes in which a backslash is one
	triple      bool   // three quotes are a string of several lines
	chars       charForm
	raw         rawForm
	heredoc     bool
	template    bool // ` is a string with ${ }
	regex       bool
	directives  bool // lines that start with # are no code
	parens      bool // ( opens a declaration as { does
	loose       bool // a statement may end with the line
}

// layout is how declarations nest.
type layout uint8

const (
	byBraces layout = iota
	byIndent
	byStatements
)

type charForm uint8

const (
	plainChars charForm = iota
	lifetimes           // 'a is no character (Rust)
	separators          // 1'000 is a number (C++)
)

type rawForm uint8

const (
	noRaw     rawForm = iota
	hashRaw           // r#"…"# (Rust)
	parenRaw          // R"x(…)x" (C++)
	dollarRaw         // $x$…$x$ (PostgreSQL)
)

type wordKind uint8

const (
	noWord   wordKind = iota
	modifier          // another word says what it is
	declares          // starts a declaration
	encloses          // starts a declaration that has others inside
	closing           // ends or divides a block
)

// languages are all of them; the last one is taken for those that are not known.
var languages = func() []*language {
	all := []*language{
		{
			name: "go", aliases: []string{"golang"}, line: "//", blocks: true, quotes: "\"'`", long: "`", bare: "`", parens: true,
			words: wordsOf("", "func type var const import package", "", ""),
		},
		{
			name: "python", aliases: []string{"py", "python3", "pyi"}, layout: byIndent, line: "#", quotes: `"'`, triple: true,
			words: wordsOf("async", "def", "class", "else elif except finally"),
		},
		{
			name: "javascript", aliases: []string{"js", "jsx", "mjs", "cjs", "node", "ecmascript"}, line: "//", blocks: true,
			quotes: "\"'`", template: true, regex: true, loose: true,
			words: wordsOf("export default async", "function const let var import", "class", ""),
		},
		{
			name: "typescript", aliases: []string{"ts", "tsx", "mts", "cts"}, line: "//", blocks: true,
			quotes: "\"'`", template: true, regex: true, loose: true,
			words: wordsOf("export default async declare abstract", "function const let var import type enum", "class interface namespace module", ""),
		},
		{
			name: "java", line: "//", blocks: true, quotes: `"'`, triple: true,
			words: wordsOf("public private protected static final abstract sealed strictfp default", "import package", "class interface enum record", ""),
		},
		{
			name: "c", aliases: []string{"h", "ansi_c"}, line: "//", blocks: true, quotes: `"'`, directives: true,
			words: wordsOf("static inline extern typedef const", "", "", ""),
		},
		{
			name: "cpp", aliases: []string{"c++", "cxx", "cc", "hpp", "hh", "cplusplus"}, line: "//", blocks: true, quotes: `"'`,
			directives: true, chars: separators, raw: parenRaw,
			words: wordsOf("static inline extern typedef const constexpr export template", "", "class struct union namespace", ""),
		},
		{
			name: "rust", aliases: []string{"rs"}, line: "//", blocks: true, nested: true, quotes: `"'`, long: `"`, chars: lifetimes, raw: hashRaw,
			words: wordsOf("pub unsafe async const extern default", "fn struct enum type static use macro_rules union", "impl trait mod", ""),
		},
		{
			name: "ruby", aliases: []string{"rb"}, layout: byIndent, line: "#", quotes: "\"'`", long: "\"'`", heredoc: true, regex: true,
			words: wordsOf("private protected public", "def", "class module", "end else elsif rescue ensure when in"),
		},
		{
			name: "php", aliases: []string{"php8", "php7"}, line: "//", line2: "#", blocks: true, quotes: `"'`, long: `"'`, heredoc: true,
			words: wordsOf("public private protected static final abstract readonly", "function const use", "class interface trait enum namespace", ""),
		},
		{
			name: "shell", aliases: []string{"sh", "bash", "zsh", "ksh", "dash", "posix", "shell_script"}, layout: byIndent, line: "#",
			quotes: "\"'`", long: "\"'`", bare: "'", heredoc: true,
			words: wordsOf("", "function", "", "fi done esac else elif then do"),
		},
		{
			name: "sql", aliases: []string{"postgresql", "postgres", "mysql", "sqlite", "plsql", "tsql", "pgsql"}, layout: byStatements,
			line: "--", blocks: true, quotes: "\"'`", long: "\"'`", bare: "\"'`", raw: dollarRaw, parens: true,
		},
		{name: "other", line: "//", blocks: true, quotes: `"`},
	}
	for _, l := range all {
		l.special['\n'] = true
		if l.layout != byIndent || l.name != "shell" {
			for _, c := range "{}()[]" {
				l.special[c] = true
			}
		}
		for _, c := range l.quotes {
			l.special[c] = true
		}
		for _, s := range []string{l.line, l.line2} {
			if s != "" {
				l.special[s[0]] = true
			}
		}
		if l.blocks || l.regex {
			l.special['/'] = true
		}
		if l.heredoc {
			l.special['<'] = true
		}
		if l.name == "php" {
			l.special['?'] = true
		}
		if l.raw == dollarRaw {
			l.special['$'] = true
		}
		if l.layout != byIndent {
			l.special[';'] = true
		}
	}
	return all
}()

func wordsOf(modifiers, declarations, containers, closings string) map[string]wordKind {
	m := map[string]wordKind{}
	for kind, words := range map[wordKind]string{
		modifier: modifiers, declares: declarations, encloses: containers, closing: closings,
	} {
		for _, w := range strings.Fields(words) {
			m[w] = kind
		}
	}
	return m
}

// autoLanguage is the setting that finds the language by itself.
const autoLanguage = "auto"

func languageNames() []string {
	names := []string{autoLanguage}
	for _, l := range languages {
		names = append(names, l.name)
	}
	return names
}

// findLanguage finds a language by its name or an alias, or returns nil.
func findLanguage(name string) *language {
	for _, l := range languages {
		if l.name == name || slices.Contains(l.aliases, name) {
			return l
		}
	}
	return nil
}

// languageHead is how much of a document tells its language, in bytes.
const languageHead = 4096

// hint is a piece of text that speaks for a language when a line begins with it, if at is '^', is it, if at is '=', or has
// it, if at is '*'.
type hint struct {
	language string
	at       byte
	text     string
	weight   int
}

var hints = []hint{
	{"go", '^', "package ", 3}, {"go", '^', "func ", 4}, {"go", '*', " := ", 2}, {"go", '=', "import (", 4}, {"go", '*', "err != nil", 3},
	{"python", '^', "def ", 2}, {"python", '^', "from ", 2}, {"python", '^', "elif ", 3}, {"python", '*', "self.", 2},
	{"python", '^', "import ", 1}, {"python", '*', "__", 1}, {"python", '^', `"""`, 3}, {"python", '=', "pass", 3}, {"python", '*', "):", 2},
	{"javascript", '^', "const ", 2}, {"javascript", '^', "let ", 2}, {"javascript", '^', "function ", 3}, {"javascript", '*', " => ", 2},
	{"javascript", '*', "require(", 3}, {"javascript", '^', "export ", 2}, {"javascript", '*', " === ", 3}, {"javascript", '^', "var ", 1},
	{"javascript", '*', "} from '", 3}, {"javascript", '*', "console.", 3}, {"javascript", '*', "document.", 2},
	{"javascript", '=', "'use strict';", 5}, {"javascript", '=', `"use strict";`, 5}, {"javascript", '*', "function(", 3},
	{"typescript", '^', "const ", 2}, {"typescript", '^', "let ", 2}, {"typescript", '^', "function ", 2}, {"typescript", '*', " => ", 2},
	{"typescript", '^', "export ", 2}, {"typescript", '*', "} from '", 3}, {"typescript", '*', ": string", 4}, {"typescript", '*', ": number", 4},
	{"typescript", '*', ": boolean", 4}, {"typescript", '^', "interface ", 3}, {"typescript", '^', "export interface ", 5},
	{"typescript", '^', "export type ", 5}, {"typescript", '*', " as const", 3}, {"typescript", '*', " === ", 2},
	{"java", '^', "import java", 6}, {"java", '^', "public class ", 5}, {"java", '=', "@Override", 4}, {"java", '^', "package ", 2},
	{"java", '^', "private ", 1}, {"java", '^', "public ", 1}, {"java", '*', "System.out.", 4}, {"java", '^', "import org.", 4}, {"java", '^', "import com.", 4},
	{"c", '^', "#include ", 4}, {"c", '^', "#define ", 3}, {"c", '^', "#ifndef ", 3}, {"c", '^', "static ", 2}, {"c", '^', "typedef ", 3},
	{"c", '^', "int ", 2}, {"c", '^', "struct ", 2}, {"c", '^', "void ", 2}, {"c", '*', "->", 1}, {"c", '^', "#if", 2}, {"c", '^', "#endif", 2},
	{"cpp", '^', "#include ", 4}, {"cpp", '^', "#define ", 2}, {"cpp", '*', "std::", 4}, {"cpp", '^', "namespace ", 4}, {"cpp", '^', "template", 4},
	{"cpp", '=', "public:", 4}, {"cpp", '=', "private:", 4}, {"cpp", '^', "using ", 3}, {"cpp", '^', "class ", 2}, {"cpp", '*', "::", 1},
	{"cpp", '^', "#include <iostream>", 4}, {"cpp", '*', "const auto", 3}, {"cpp", '^', "#if", 1}, {"cpp", '^', "void ", 1},
	{"rust", '^', "fn ", 4}, {"rust", '^', "pub ", 3}, {"rust", '^', "use ", 2}, {"rust", '^', "impl", 3}, {"rust", '*', "let mut ", 4}, {"rust", '^', "#[", 3},
	{"rust", '^', "//!", 3}, {"rust", '^', "///", 2}, {"rust", '^', "mod ", 3}, {"rust", '*', "-> ", 1}, {"rust", '*', "&self", 3}, {"rust", '^', "match ", 2},
	{"ruby", '=', "end", 3}, {"ruby", '^', "require ", 3}, {"ruby", '^', "require_relative ", 5}, {"ruby", '^', "module ", 2}, {"ruby", '^', "def ", 1},
	{"ruby", '*', " do |", 4}, {"ruby", '^', "puts ", 3}, {"ruby", '^', "attr_", 4}, {"ruby", '*', ".each ", 2}, {"ruby", '^', "# frozen_string_literal", 8},
	{"php", '^', "<?php", 20}, {"php", '^', "<?=", 10}, {"php", '*', "$this->", 3},
	{"shell", '=', "fi", 4}, {"shell", '=', "done", 4}, {"shell", '*', "; then", 4}, {"shell", '*', "; do", 3}, {"shell", '^', "echo ", 2}, {"shell", '^', "set -", 3},
	{"shell", '^', "if [", 4}, {"shell", '*', "$(", 1}, {"shell", '=', "esac", 4}, {"shell", '^', "export ", 1}, {"shell", '*', `"$`, 2}, {"shell", '*', "() {", 1},
	{"sql", '^', "select ", 3}, {"sql", '^', "create ", 4}, {"sql", '^', "insert into ", 4}, {"sql", '^', "alter table ", 4}, {"sql", '^', "drop ", 3},
	{"sql", '^', "update ", 2}, {"sql", '^', "-- ", 2}, {"sql", '^', "from ", 1}, {"sql", '^', "where ", 2}, {"sql", '=', "begin;", 3}, {"sql", '=', "commit;", 3},
}

// interpreters maps what a first line with #! names to a language.
var interpreters = []struct{ name, language string }{
	{"python", "python"}, {"node", "javascript"}, {"deno", "typescript"}, {"ruby", "ruby"}, {"php", "php"}, {"sh", "shell"},
}

// detectLanguage tells the language of a document by its first languageHead bytes: by the interpreter after #!, else by the
// lines that speak for one. It is the last of languages where nothing does.
func detectLanguage(head string) *language {
	head = head[:min(len(head), languageHead)]
	first, _, _ := strings.Cut(head, "\n")
	if strings.HasPrefix(first, "#!") {
		for _, i := range interpreters {
			if strings.Contains(first, i.name) {
				return findLanguage(i.language)
			}
		}
	}
	scores := map[string]int{}
	for line := range strings.Lines(head) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		start := strings.ToLower(line[:min(len(line), 16)])
		for _, h := range hints {
			var speaks bool
			switch h.at {
			case '^':
				speaks = strings.HasPrefix(line, h.text) || h.language == "sql" && strings.HasPrefix(start, h.text)
			case '=':
				speaks = line == h.text || h.language == "sql" && start == h.text
			default:
				speaks = strings.Contains(line, h.text)
			}
			if speaks {
				scores[h.language] += h.weight
			}
		}
	}
	best := languages[len(languages)-1]
	for _, l := range languages {
		if scores[l.name] > scores[best.name] {
			best = l
		}
	}
	if scores[best.name] < 3 {
		return languages[len(languages)-1]
	}
	return best
}
