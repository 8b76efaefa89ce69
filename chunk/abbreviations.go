package chunk

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// abbreviations ends no sentence with its full stop: titles, and what always has something behind it. One with a capital
// means only that spelling, so that a word of prose is not taken for one. Those that often end a sentence (etc., Inc.,
// a.m.) are not here: before a lower case letter the rules join them by themselves.
var abbreviations = words(`
	Mr Mrs Ms Messrs Dr Drs Prof Rev Hon Pres Gov Sen Rep Gen Col Maj Capt Cpt Cmdr Lt Sgt Adm Amb Supt St Ste Mt Ft
	e.g i.e eg viz vs cf al ca approx resp incl excl esp Ph

	Hr Hrn Fr Frl Dipl Ing Mag Bd Bde bzw d.h z.B u.a u.U v.a i.d.R s.o s.u o.ä sog vgl ggf evtl bspw insb inkl exkl
	zzgl abzgl Abb Str Hrsg Jh Kap Tel St

	M Mme Mmes Mlle Mlles MM p.ex env c.-à-d
	Sr Sra Srta Srs Dña Ud Uds p.ej aprox núm pág Exmo Exma
	Sig Sig.ra Dott Dott.ssa Avv Geom Arch Egr Gent
	dhr mevr bijv d.w.z o.a i.p.v mr drs ir
	t.ex bl.a f.eks d.v.s fr.o.m t.o.m
	np tzn tzw prof ul inż mgr
	např tzv MUDr JUDr PhDr Mgr
	т.е т.к т.н им ул проф акад г-н г-жа
	κ κα π.χ δηλ
`)

// beforeNumber are abbreviations before a digit only.
var beforeNumber = words(`
	no nos nr nrs num fig figs eq eqs sec secs art arts ch chap p pp vol vols v vv ver pt ex bk col cols l ll n nn par para
	app tab tbl ref refs cat op approx ca c jan feb mar apr jun jul aug sep sept oct nov dec tel ext s bd abs ziff kap jg
	aufl abb st tít pág págs núm núms cap vol sez pag n.º nº č č.j str obr рис стр гл табл
`)

// germanMonths follow the number of a day and its full stop.
var germanMonths = strings.Fields("Januar Jänner Februar Feber März April Mai Juni Juli August September Oktober November Dezember")

// words is a set of words, also each with its first letter as a capital.
func words(list string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(list) {
		set[w], set[capital(w)] = true, true
	}
	return set
}

func capital(word string) string {
	r, w := utf8.DecodeRuneInString(word)
	return string(unicode.ToUpper(r)) + word[w:]
}

// inAbbreviation reports whether r may be part of an abbreviation.
func inAbbreviation(r rune) bool {
	return r == '.' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.M, r) || r == 'º'
}

// abbreviated reports whether the full stop at p, whose next character but white space is at next, ends no sentence for
// the word before it: T4 to T6 of isEnd.
func (s *sentence) abbreviated(text string, p, next int) bool {
	from, runes := p, 0
	for from > 0 {
		r, w := utf8.DecodeLastRuneInString(text[:from])
		if !inAbbreviation(r) {
			break
		}
		if runes++; runes > wordRunes {
			return false
		}
		from -= w
	}
	word := text[from:p]
	if word == "" {
		return false
	}
	if s.more[word] || abbreviations[word] {
		return true
	}
	digit := text[next] >= '0' && text[next] <= '9'
	if digit && beforeNumber[word] {
		return true
	}
	last := word[strings.LastIndexByte(word, '.')+1:]
	r, w := utf8.DecodeRuneInString(last)
	letter := w > 0 && w == len(last) && unicode.IsLetter(r)
	if letter && isUpper(r) && word != "I" {
		return true
	}
	number := len(word) <= 3 && strings.Trim(word, "0123456789") == ""
	if number && len(word) <= 2 {
		for _, month := range germanMonths {
			if strings.HasPrefix(text[next:], month) {
				return true
			}
		}
	}
	return (number || letter && len(word) == w) && startsLine(text, from)
}

// startsLine reports whether only indentation is before i in its line.
func startsLine(text string, i int) bool {
	for range indentRunes {
		if i == 0 || text[i-1] == '\n' || text[i-1] == '\r' {
			return true
		}
		if text[i-1] != ' ' && text[i-1] != '\t' {
			return false
		}
		i--
	}
	return false
}
