package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"chunkstream/chunk"
)

// palette is six backgrounds and their ink, chosen so that neighbours differ for every kind of colour vision.
type palette struct {
	tints [6]rgb
	ink   rgb
}

type rgb struct{ r, g, b uint8 }

var (
	light = palette{[6]rgb{{0xCC, 0xE8, 0xF8}, {0xF9, 0xF4, 0xB3}, {0x8C, 0xC0, 0xDC}, {0xEA, 0xAE, 0x80}, {0xE6, 0xF5, 0xF1}, {0xF2, 0xCF, 0x80}},
		rgb{0x1A, 0x1D, 0x21}}
	dark = palette{[6]rgb{{0x26, 0x45, 0x59}, {0x73, 0x3A, 0x0E}, {0x0E, 0x31, 0x2D}, {0x5C, 0x46, 0x12}, {0x0B, 0x3B, 0x57}, {0x4A, 0x4A, 0x25}},
		rgb{0xF2, 0xF4, 0xF7}}
)

// paletteHere is that for the terminal's background, as far as COLORFGBG says (its last number is the background: 7 and 15
// are white); dark without it.
func paletteHere() palette {
	if fgbg := os.Getenv("COLORFGBG"); strings.HasSuffix(fgbg, ";15") || strings.HasSuffix(fgbg, ";7") {
		return light
	}
	return dark
}

// sgr selects ink on a tint: exactly on a terminal that says it can, else the nearest of the 256 colours all have.
func (p palette) sgr(n int) string {
	color := func(c rgb) string { return fmt.Sprintf("2;%d;%d;%d", c.r, c.g, c.b) }
	if t := os.Getenv("COLORTERM"); t != "truecolor" && t != "24bit" {
		color = func(c rgb) string {
			cube := func(v uint8) int { return (int(v)*5 + 127) / 255 }
			return fmt.Sprintf("5;%d", 16+36*cube(c.r)+6*cube(c.g)+cube(c.b))
		}
	}
	return "\x1b[38;" + color(p.ink) + ";48;" + color(p.tints[n%len(p.tints)]) + "m"
}

// glyphs are the kinds of place a chunk ends at, in a character.
var glyphs = map[chunk.Boundary]string{chunk.Character: "✂", chunk.Word: "␣", chunk.Clause: ",", chunk.Sentence: ".", chunk.Line: "↵", chunk.Row: "▤",
	chunk.Paragraph: "¶", chunk.Separator: "|", chunk.Topic: "◇", chunk.Block: "▣", chunk.Section: "§", chunk.End: "■"}

// view shows the whole text with its chunks in place: a badge with the number at each start, the kind of place at each end,
// and underlined what two chunks share. Without colours, brackets stand for them. Of hierarchical chunks it shows the
// first level.
func (l *looked) view(to io.Writer, colors bool) error {
	out := bufio.NewWriter(to)
	say := func(words ...string) {
		for _, w := range words {
			_, _ = out.WriteString(w) // Flush reports what went wrong
		}
	}
	say(paint(colors, bold, oneLine(l.name, 200)), fmt.Sprintf(" · %s · %s → %d chunks\n\n", l.format.Kind, l.plan.Strategy, len(l.all)))
	colorsHere := paletteHere()
	var top []chunk.Detail
	for _, d := range l.all {
		if d.Level == 0 {
			top = append(top, d)
		}
	}
	at := 0
	for i, d := range top {
		say(harmless(l.text[min(at, d.Start):d.Start], "")) // in no chunk
		at = max(at, d.Start)
		shared := d.End // where the next one starts, or the end
		if i+1 < len(top) {
			shared = min(d.End, max(at, top[i+1].Start))
		}
		if !colors {
			say(fmt.Sprintf("⟦%d⟧", d.Index), harmless(l.text[at:shared], ""))
			if shared < d.End {
				say("⟪", harmless(l.text[shared:d.End], ""), "⟫")
			}
			say(glyphs[d.Boundary])
			at = d.End
			continue
		}
		tint := colorsHere.sgr(i)
		say(tint, fmt.Sprintf("\x1b[7m %d \x1b[27m", d.Index), harmless(l.text[at:shared], tint))
		if shared < d.End {
			say("\x1b[4m", harmless(l.text[shared:d.End], tint+"\x1b[4m"), "\x1b[24m")
		}
		say("\x1b[2m", glyphs[d.Boundary], "\x1b[0m")
		at = d.End
	}
	say(harmless(l.text[at:], ""), "\n\n")
	if len(l.all) > 0 {
		say(l.figures(colors))
	}
	return out.Flush()
}

// harmless is text that cannot move a terminal's cursor or turn its lines around. A style is ended before each line end
// and taken up behind it, so that no colour fills the rest of the line.
func harmless(text, style string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' && style != "":
			b.WriteString("\x1b[0m\n" + style)
		case r == '\n' || r == '\t' || !moves(r):
			b.WriteRune(r)
		case r != '\r':
			b.WriteRune('·')
		}
	}
	return b.String()
}

// moves reports whether a terminal may take r as an order: control characters (ECMA-48), line and paragraph separators, and
// the directional formatting characters of UAX #9.
func moves(r rune) bool {
	return r < ' ' || r >= 0x7F && r < 0xA0 || r == '\u2028' || r == '\u2029' || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069
}
