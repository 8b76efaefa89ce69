package token_test

import (
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"chunkstream/token"
)

// The slow way: the patterns as regular expressions, and pairs joined as byte pair encoding is defined. What Go's
// regular expressions lack, (?!\S) and what Unicode has since 15.1, is done by hand; \s is spelled out, because theirs is
// ASCII only.

var (
	letters, numbers, uppers, lowers = token.Newer() // what Go's \p{…} lack

	blank  = `[\t-\r \x{85}\p{Zs}\x{2028}\x{2029}]`
	solid  = `[^\t-\r \x{85}\p{Zs}\x{2028}\x{2029}\p{L}\p{N}` + letters + numbers + `]`
	short  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
	big    = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}` + uppers + `]`
	small  = `[\p{Ll}\p{Lm}\p{Lo}\p{M}` + lowers + `]`
	letter = `[\p{L}` + letters + `]`
	number = `[\p{N}` + numbers + `]`
	prefix = `[^\r\n\p{L}\p{N}` + letters + numbers + `]?`

	lookBlank = regexp.MustCompile(`^` + blank + `+`)
	patterns  = map[string]*regexp.Regexp{
		"cl100k_base": regexp.MustCompile(`^(?:` + short + `|` + prefix + letter + `+|` + number + `{1,3}| ?` + solid + `+[\r\n]*|` +
			blank + `*[\r\n]+)`),
		"o200k_base": regexp.MustCompile(`^(?:` + prefix + big + `*` + small + `+` + short + `?|` +
			prefix + big + `+` + small + `*` + short + `?|` + number + `{1,3}| ?` + solid + `+[\r\n/]*|` +
			blank + `*[\r\n]+)`),
		"p50k_base": regexp.MustCompile(`^(?:'s|'t|'re|'ve|'m|'ll|'d| ?` + letter + `+| ?` + number + `+| ?` + solid + `+)`),
	}
)

// slowPieces cuts text as the pattern does. Bytes that are not valid UTF-8 are a character that is in no class.
func slowPieces(name, text string) (pieces []string) {
	if name == "r50k_base" {
		name = "p50k_base"
	}
	// Such bytes are written as a private character each, and put back by counting.
	var valid strings.Builder
	var widths []int // bytes of each character in text
	for rest := text; rest != ""; {
		r, w := utf8.DecodeRuneInString(rest)
		if r == utf8.RuneError && w == 1 {
			r = '\ue000'
		}
		valid.WriteRune(r)
		widths = append(widths, w)
		rest = rest[w:]
	}
	for rest := valid.String(); rest != ""; {
		piece := patterns[name].FindString(rest)
		if piece == "" {
			piece = lookBlank.FindString(rest)
			if _, w := utf8.DecodeLastRuneInString(piece); len(piece) < len(rest) && w < len(piece) {
				piece = piece[:len(piece)-w] // \s+(?!\S)
			}
		}
		n := 0
		for range utf8.RuneCountInString(piece) {
			n += widths[0]
			widths = widths[1:]
		}
		pieces = append(pieces, text[:n])
		text = text[n:]
		rest = rest[len(piece):]
	}
	return pieces
}

// ranks are the vocabularies, by name.
var ranks = sync.OnceValue(func() map[string]map[string]uint32 {
	all := map[string]map[string]uint32{}
	for _, name := range names {
		e, err := token.Get(name)
		if err != nil {
			panic(err)
		}
		all[name] = map[string]uint32{}
		for rank := range uint32(1 << 18) {
			if s, err := e.Decode([]uint32{rank}); err == nil {
				all[name][s] = rank
			}
		}
	}
	return all
})

func slowEncode(e *token.Encoding, text string) (tokens []uint32) {
	vocabulary := ranks()[e.Name()]
	for _, piece := range slowPieces(e.Name(), text) {
		if rank, ok := vocabulary[piece]; ok {
			tokens = append(tokens, rank)
			continue
		}
		var parts []string
		for i := range len(piece) {
			parts = append(parts, piece[i:i+1])
		}
		for {
			best, at := uint32(math.MaxUint32), -1
			for i := range len(parts) - 1 {
				if rank, ok := vocabulary[parts[i]+parts[i+1]]; ok && rank < best {
					best, at = rank, i
				}
			}
			if at < 0 {
				break
			}
			parts = slices.Replace(parts, at, at+2, parts[at]+parts[at+1])
		}
		for _, p := range parts {
			tokens = append(tokens, vocabulary[p])
		}
	}
	return tokens
}
