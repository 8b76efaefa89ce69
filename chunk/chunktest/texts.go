package chunktest

import "strings"

// Text is a named input.
type Text struct{ Name, Text string }

// hostile are units that, repeated, have made splitters quadratic, endless or lossy.
var hostile = []struct{ name, text string }{
	{"one letter", "a"},
	{"no spaces", "ab1c2def3"},
	{"line ends", "\n"},
	{"CR LF", "\r\n"},
	{"spaces", " "},
	{"wide spaces", "\u3000"},
	{"hashes", "#"},
	{"brackets", "["},
	{"full stops", "."},
	{"full stops and spaces", ". "},
	{"words", "a "},
	{"short paragraphs", "Hi.\n\n"},
	{"headings", "# h\n"},
	{"indented blanks", "x\n" + strings.Repeat(" ", 97) + "\n"},
	{"letters in white space", "x" + strings.Repeat(" ", 1500)},
	{"closers", "」"},
	{"stops and closers", "。」"},
	{"han without stops", "漢字"},
	{"combining marks", "\u0301"},
	{"spaces with marks", " \u0301"},
	{"flags", "\U0001F1E9\U0001F1EA"},
	{"joiners", "👩\u200d"},
	{"four bytes", "😀"},
	{"long words", strings.Repeat("w", 999) + " "},
	{"words longer than a chunk", "a " + strings.Repeat("w", 1500)},
	{"minified", `{"a":1,"b":[2,3]},`},
}

// Texts returns short texts (below 20 KiB, valid UTF-8) that have broken splitters before, the hostile ones among them.
// Names are unique; the caller owns the slice.
func Texts() []Text {
	texts := []Text{
		{"empty", ""},
		{"one byte", "x"},
		{"one space", " "},
		{"white space only", " \t\r\n\u00a0\u2028\u3000 "},
		{"space around", "  \n\n x \n\n  "},
		{"byte order mark", "\ufeffhello there\n"},
		{"NUL", "a\x00b \x00 c\n"},
		{"no line end at the end", "one\ntwo"},
		{"old Mac line ends", strings.Repeat("one line\rand another\r", 20)},
		{"mixed line ends", strings.Repeat("one\r\ntwo\nthree\rfour\n\r\n\n", 20)},
		{"prose", Prose(4000)},
		{"wrapped prose", strings.ReplaceAll(Prose(4000), ", ", ",\n")},
		{"han", Han(4000)},
		{"code", Code(4000)},
		{"dialogue", strings.Repeat("“No.” He left; “why (so soon)?” she asked. 'Well,' I said: \"Go!\" … ", 30)},
		{"japanese quotes", strings.Repeat("「行く。」と言った！？　次の日、雨が降った。」』）（また）", 40)},
		{"korean", strings.Repeat("안녕하세요. 반갑습니다, 여러분! \u1112\u1161\u11ab\u1100\u1173\u11af ", 40)},
		{"arabic", strings.Repeat("مرحبا بالعالم، كيف حالك؟ أنا بخير. ", 40)},
		{"devanagari", strings.Repeat("नमस्ते दुनिया। यह एक परीक्षण है॥ ", 40)},
		{"conjuncts", strings.Repeat("क्ष त्र ज्ञा श्री क्\u200dष ক্ষ ௧௨ \u0600123 \u06dd45\u0301 a\u200db 👩\u0301\u200d👩 ", 40)},
		{"thai", strings.Repeat("สวัสดีชาวโลกนี่คือการทดสอบ", 40)},
		{"decomposed", strings.Repeat("e\u0301te\u0301 a\u0308o\u0308u\u0308 ", 100)},
		{"emoji", strings.Repeat("👩‍👩‍👧‍👦👍🏽🏴\U000E0067\U000E0062\U000E007F❤️1️⃣ok 🇩🇪🇫🇷🇯🇵", 20)},
		{"long cluster", "a" + strings.Repeat("\u0301", 200) + "b" + strings.Repeat("\u0301", 31) + "c"},
		{"no-break spaces", strings.Repeat("10\u00a0000\u202f€ et\u2007plus ", 60)},
		{"space runs", strings.Repeat("word"+strings.Repeat(" ", 40)+"\n", 40)},
		{"leading blank lines", strings.Repeat("\n", 3000) + "    indented\n"},
		{"trailing blank lines", "the end." + strings.Repeat("\n", 3000)},
		{"blank lines with spaces", strings.Repeat("para\n \t \nnext\n\t\n", 60)},
		{"table", strings.Repeat("| a | b\t| c |\n|---|---|---|\n", 40)},
		{"all widths", strings.Repeat("aé€😀", 200)},
		{"rising widths", strings.Repeat("a", 33) + strings.Repeat("é", 33) + strings.Repeat("€", 33) + strings.Repeat("😀", 33)},
	}
	for _, h := range hostile {
		texts = append(texts, Text{"hostile: " + h.name, strings.Repeat(h.text, max(3, 4000/len(h.text)))})
	}
	return texts
}

// random is a small generator (splitmix64), so that texts are the same on every machine and under every version of Go.
type random uint64

func (r *random) below(n int) int {
	*r += 0x9E3779B97F4A7C15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return int((z ^ z>>31) % uint64(n))
}

// Prose returns n bytes of made-up English in paragraphs of unwrapped sentences, the same every time.
func Prose(n int) string {
	words := strings.Fields("the of and a to in is that it was for on are with as be at one have this from or had by " +
		"light colours rays surface glass refraction bodies which water experiment reflected angle between prism " +
		"therefore transparent parts measure distance rings thickness plate observation inflexion several violet")
	var b strings.Builder
	r := random(1)
	for b.Len() < n {
		for range 3 + r.below(5) {
			for i, count := 0, 5+r.below(20); i < count; i++ {
				w := words[r.below(len(words))]
				switch {
				case i == 0:
					b.WriteString(strings.ToUpper(w[:1]) + w[1:])
				case r.below(9) == 0:
					b.WriteString(", " + w)
				default:
					b.WriteString(" " + w)
				}
			}
			b.WriteString([]string{". ", ". ", ". ", "? ", "! "}[r.below(5)])
		}
		b.WriteString("\n\n")
	}
	return b.String()[:n]
}

// Han returns about n bytes of made-up Chinese, the same every time.
func Han(n int) string {
	signs := []rune("的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所")
	var b strings.Builder
	r := random(2)
	for b.Len() < n {
		for range 3 + r.below(8) {
			for range 4 + r.below(14) {
				b.WriteRune(signs[r.below(len(signs))])
			}
			b.WriteString([]string{"，", "，", "。", "。", "；", "！", "、"}[r.below(7)])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// Code returns n bytes of made-up source code, the same every time.
func Code(n int) string {
	var b strings.Builder
	r := random(3)
	names := []string{"index", "buffer", "n", "err", "request", "limit", "offset", "value"}
	name := func() string { return names[r.below(len(names))] }
	for b.Len() < n {
		b.WriteString("func " + name() + "(" + name() + " int, " + name() + " string) error {\n")
		for range 2 + r.below(9) {
			switch r.below(4) {
			case 0:
				b.WriteString("\tif " + name() + " != nil {\n\t\treturn " + name() + "\n\t}\n")
			case 1:
				b.WriteString("\t" + name() + " := " + name() + "[" + name() + ":" + name() + "] // see above\n")
			case 2:
				b.WriteString("\tfor " + name() + " < " + name() + " {\n\t\t" + name() + "++\n\t}\n")
			case 3:
				b.WriteString("\n\t" + name() + "(" + name() + ", \"a literal, with words\")\n")
			}
		}
		b.WriteString("}\n\n")
	}
	return b.String()[:n]
}
