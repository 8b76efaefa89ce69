package chunk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// DefaultStrategy is what an empty name means to Parse.
const DefaultStrategy = "recursive"

// maxSettings bounds the settings Parse reads, in bytes. The longest sensible ones take a hundred.
const maxSettings = 64 << 10

// Plan is a strategy with its settings, ready to cut.
type Plan struct {
	Strategy string          // canonical name, never an alias
	Settings json.RawMessage // canonical: every field, in a fixed order, no white space; equal settings are equal bytes
	Splitter Splitter
}

// Parse is Parser.Parse without a tokenizer: the unit tokens is refused.
func Parse(strategy string, settings []byte) (Plan, error) { return Parser{}.Parse(strategy, settings) }

// Parser makes plans of settings.
type Parser struct {
	// Tokenizer finds what counts tokens, by the name in the setting tokenizer; what it says of one that it does not know
	// goes into the *ParamError. nil is for a program that does not count in tokens.
	Tokenizer func(name string) (Sizer, error)
	// Distance finds what compares stretches of text, by the name in the setting distance of semantic; what it says of one
	// that it does not know goes into the *ParamError. It is not asked for "lexical", which is built in. nil is for a
	// program that has no other.
	Distance func(name string) (Distance, error)
}

// Parse reads a strategy's name, or an alias of it, and its settings: a JSON object, or nothing for the defaults (see
// Strategies). The empty name is DefaultStrategy. Every error is a *ParamError.
//
// Parse is strict, because a setting that is silently ignored gives chunks nobody asked for: a field that is unknown,
// repeated, null or of the wrong type is an error, a fraction or an exponent in a whole number too, and anything after
// the object.
func (p Parser) Parse(strategy string, settings []byte) (Plan, error) {
	name, c, perr := choose(strategy)
	if perr != nil {
		return Plan{}, perr
	}
	if perr := readObject(settings, c.fields(), name); perr != nil {
		return Plan{}, perr
	}
	if perr := c.check(p); perr != nil {
		return Plan{}, perr
	}
	canonical, err := json.Marshal(c)
	if err != nil {
		return Plan{}, badJSON("cannot be written: %v", err)
	}
	plan := Plan{Strategy: name, Settings: canonical, Splitter: c}
	if r, ok := c.(*recursive); ok && r.Compat == compatLangchain { // it has another look-ahead, and cannot be streamed
		plan.Splitter = &langchain{r.sizing, r.Separators}
	}
	return plan, nil
}

// The codes of a ParamError. They are stable: programs decide by them.
const (
	CodeUnknownStrategy = "unknown_strategy"
	CodeUnknownField    = "unknown_field"
	CodeInvalidValue    = "invalid_value" // known field, wrong type or out of range
	CodeInvalidJSON     = "invalid_json"  // not one JSON object, or a field given twice
)

// configParam is the Param of an error that concerns the settings as a whole.
const configParam = "config"

// ParamError says which parameter of Parse is wrong. Param is the field's name, "strategy", or "config" for the
// settings as a whole; Problem and Suggestion are short English phrases, and Suggestion says
// what to write in its place.
type ParamError struct {
	Param, Problem, Suggestion string
	Code                       string // one of the Code constants
}

func (e *ParamError) Error() string {
	return e.Sentence(e.Param) + " (" + e.Suggestion + ")"
}

// Sentence is the problem with the parameter under the name that the reader knows it by, such as a flag's: "chunk_size
// must be a whole number", or "chunk_size: 0 is out of range" where the value is what the sentence is about.
func (e *ParamError) Sentence(name string) string {
	first, _, _ := strings.Cut(e.Problem, " ")
	switch first {
	case "is", "must", "may", "has", "means":
		return name + " " + e.Problem
	}
	return name + ": " + e.Problem
}

// field is one setting: its name, its JSON Schema, and how its value is kept.
type field struct {
	name   string
	schema string
	set    func(value) *ParamError
}

// value is what the JSON gives for a setting: its first token, and all of it.
type value struct {
	name  string
	token json.Token
	raw   json.RawMessage
}

func (v value) boolean(to *bool) *ParamError {
	b, ok := v.token.(bool)
	if !ok {
		return v.wrong("true or false")
	}
	*to = b
	return nil
}

// oneOf takes one of a few words.
func (v value) oneOf(to *string, words ...string) *ParamError {
	var s string
	if perr := v.text(&s); perr != nil {
		return perr
	}
	if !slices.Contains(words, s) {
		e := &ParamError{
			Param: v.name, Code: CodeInvalidValue, Problem: quote(s) + " is not one of its values",
			Suggestion: "use " + list(words, "or"),
		}
		if near := nearest(snake(s), words); near != "" {
			e.Suggestion = fmt.Sprintf("use %q", near)
		}
		return e
	}
	*to = s
	return nil
}

// maxList bounds how many values a setting that is a list may have.
const maxList = 100

// texts takes a list of strings.
func (v value) texts(to *[]string) *ParamError {
	if v.token != json.Delim('[') {
		return v.wrong("an array of strings")
	}
	var s []*string
	if err := json.Unmarshal(v.raw, &s); err != nil || slices.Contains(s, nil) {
		e := v.wrong("an array of strings")
		e.Problem = "must be an array of strings only"
		return e
	}
	if len(s) > maxList {
		return v.tooMany(len(s))
	}
	*to = make([]string, len(s))
	for i := range s {
		(*to)[i] = *s[i]
	}
	return nil
}

// integers takes a list of whole numbers.
func (v value) integers(to *[]int) *ParamError {
	if v.token != json.Delim('[') {
		return v.wrong("an array of whole numbers")
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(v.raw, &raw); err != nil {
		return v.wrong("an array of whole numbers")
	}
	if len(raw) > maxList {
		return v.tooMany(len(raw))
	}
	*to = make([]int, len(raw))
	for i, r := range raw {
		one := value{name: v.name, raw: r}
		d := json.NewDecoder(bytes.NewReader(r))
		d.UseNumber()
		one.token, _ = d.Token() // it was read once already
		if perr := one.integer(&(*to)[i]); perr != nil {
			return perr
		}
	}
	return nil
}

func (v value) integer(to *int) *ParamError {
	n, ok := v.token.(json.Number)
	if !ok {
		return v.wrong("a whole number")
	}
	i, err := strconv.ParseInt(n.String(), 10, strconv.IntSize)
	if err == nil {
		*to = int(i)
		return nil
	}
	e := &ParamError{Param: v.name, Code: CodeInvalidValue}
	// JSON has no integers (RFC 8259, section 6), so 1e3 is as whole as 1000: what is asked for is that it be written so.
	switch f, _ := strconv.ParseFloat(n.String(), 64); { // infinite when it is beyond all bounds
	case math.Abs(f) > maxSize:
		e.Problem = fmt.Sprintf("%s is out of range: no setting is above %d", clip(n.String()), maxSize)
		e.Suggestion = fmt.Sprintf("use %d at most", maxSize)
	case f == math.Trunc(f):
		e.Problem = "must be written in digits, without fraction or exponent, not as " + clip(n.String())
		e.Suggestion = fmt.Sprintf("write %.0f", f)
	default:
		e = v.wrong("a whole number")
		e.Suggestion = "write it in digits, without fraction or exponent"
	}
	return e
}

func (v value) text(to *string) *ParamError {
	s, ok := v.token.(string)
	if !ok {
		return v.wrong("a string")
	}
	*to = s
	return nil
}

func (v value) tooMany(n int) *ParamError {
	return &ParamError{
		Param: v.name, Code: CodeInvalidValue, Problem: fmt.Sprintf("has %d values, above %d", n, maxList),
		Suggestion: fmt.Sprintf("give at most %d", maxList),
	}
}

func (v value) wrong(want string) *ParamError {
	e := &ParamError{Param: v.name, Code: CodeInvalidValue, Suggestion: "give " + want}
	switch t := v.token.(type) {
	case nil:
		e.Problem = fmt.Sprintf("must be %s, not null", want)
		e.Suggestion = "leave the field out for its default"
	case json.Delim:
		e.Problem = fmt.Sprintf("must be %s, not %s", want, map[json.Delim]string{'{': "an object", '[': "an array"}[t])
	case string:
		e.Problem = fmt.Sprintf("must be %s, not the string %s", want, quote(t))
		if _, err := strconv.Atoi(t); err == nil {
			e.Suggestion = "write it without quotes"
		}
	default:
		e.Problem = fmt.Sprintf("must be %s, not %s", want, clip(fmt.Sprint(t)))
	}
	return e
}

// readObject reads settings into fields. strategy is for the messages.
func readObject(settings []byte, fields []field, strategy string) *ParamError {
	if len(settings) > maxSettings {
		return badJSON("must be at most %d bytes, not %d", maxSettings, len(settings))
	}
	if len(bytes.TrimLeft(settings, " \t\r\n")) == 0 {
		return nil
	}
	if !utf8.Valid(settings) {
		return badJSON("is not valid UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(settings, &whole); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return badJSON("is not one JSON object: %s at byte %d", syntax, syntax.Offset)
		}
		return badJSON("is not one JSON object: %v", err)
	}
	d := json.NewDecoder(bytes.NewReader(settings))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return badJSON("must be a JSON object")
	}
	var seen []string
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return badJSON("is not one JSON object: %v", err)
		}
		name, _ := key.(string)
		if slices.Contains(seen, name) {
			return &ParamError{Param: name, Problem: "is given twice", Suggestion: "give it once", Code: CodeInvalidJSON}
		}
		at := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if at < 0 {
			return unknownField(name, fields, strategy)
		}
		seen = append(seen, name)
		v := value{name: name}
		if err := d.Decode(&v.raw); err != nil {
			return badJSON("is not one JSON object: %v", err)
		}
		first := json.NewDecoder(bytes.NewReader(v.raw))
		first.UseNumber()
		if v.token, err = first.Token(); err != nil {
			return badJSON("is not one JSON object: %v", err)
		}
		if perr := fields[at].set(v); perr != nil {
			return perr
		}
	}
	return nil
}

func badJSON(format string, args ...any) *ParamError {
	return &ParamError{
		Param: configParam, Problem: fmt.Sprintf(format, args...), Code: CodeInvalidJSON,
		Suggestion: `send an object such as {"chunk_size":1000}`,
	}
}

// dialects maps what other splitters call a setting to the answer here.
var dialects = map[string]string{
	"max_tokens":               `use "chunk_size" with "unit":"tokens"`,
	"chunk_token_num":          `use "chunk_size" with "unit":"tokens"`,
	"max_characters":           `use "chunk_size" with "unit":"chars"`,
	"max_chars":                `use "chunk_size" with "unit":"chars"`,
	"new_after_n_chars":        `use "soft_chunk_size" with "unit":"chars"`,
	"max_bytes":                `use "chunk_size" with "unit":"bytes"`,
	"max_chunk_size":           `use "chunk_size"`,
	"chunk_length":             `use "chunk_size"`,
	"split_length":             `use "chunk_size"`,
	"max_length":               `use "chunk_size"`,
	"size":                     `use "chunk_size"`,
	"overlap":                  `use "chunk_overlap"`,
	"split_overlap":            `use "chunk_overlap"`,
	"overlap_size":             `use "chunk_overlap"`,
	"stride":                   `use "chunk_overlap", which is chunk_size less the stride, or the strategy sliding_window`,
	"window":                   `use "chunk_size", or the strategy sliding_window`,
	"chunk_size":               `use "window"`, // of sliding_window
	"chunk_overlap":            `use "stride", which is window less the overlap`,
	"window_size":              `use "chunk_size", or "window" with the strategy sliding_window`,
	"length_function":          `use "unit"`,
	"split_by":                 `use "unit"`,
	"units":                    `use "unit"`,
	"encoding_name":            `use "tokenizer" with "unit":"tokens"`,
	"encoding":                 `use "tokenizer" with "unit":"tokens"`,
	"separators":               `use the strategy recursive, which has it`,
	"separator":                `use the strategy recursive with "separators"`,
	"keep_separator":           `use the strategy recursive with "separators"; elsewhere nothing is dropped`,
	"strip_whitespace":         `leave it out; chunks are exact slices of the text`,
	"add_start_index":          `leave it out; every chunk has its offsets`,
	"new_after_n_characters":   `use "soft_chunk_size" with "unit":"chars"`,
	"min_characters":           `use "min_chunk_size" with "unit":"chars"`,
	"strategy":                 `name the strategy beside the settings, not in them`,
	"min_sentences_per_chunk":  `leave it out, or use "min_chunk_size"; "max_sentences" is the most a chunk holds`,
	"min_sentences":            `leave it out, or use "min_chunk_size"; "max_sentences" is the most a chunk holds`,
	"sentences_per_chunk":      `use "max_sentences"`,
	"min_characters_per_chunk": `use "min_chunk_size" with "unit":"chars"`,
}

func unknownField(name string, fields []field, strategy string) *ParamError {
	e := &ParamError{Param: clip(name), Problem: "is not a setting of " + strategy, Code: CodeUnknownField}
	if name == "" {
		e.Param, e.Problem = configParam, `"" is not a setting of `+strategy
	}
	var known []string
	for _, f := range fields {
		known = append(known, f.name)
	}
	folded := snake(name)
	if s, ok := dialects[folded]; ok && !slices.Contains(known, folded) {
		e.Suggestion = s
	} else if near := nearest(folded, known); near != "" {
		e.Suggestion = fmt.Sprintf("use %q", near)
	} else {
		e.Suggestion = "the settings are " + list(known, "and")
	}
	return e
}

func unknownUnit(unit string) *ParamError {
	e := &ParamError{Param: "unit", Code: CodeInvalidValue, Problem: quote(unit) + " is not a unit"}
	switch folded := snake(unit); folded {
	case "characters", "character", "runes", "codepoints", "code_points":
		e.Suggestion = `use "chars"`
	default:
		e.Suggestion = "use " + list(units, "or")
		if near := nearest(folded, units); near != "" {
			e.Suggestion = fmt.Sprintf("use %q", near)
		}
	}
	return e
}

// snake folds case and spelling: chunkSize, Chunk-Size and CHUNK_SIZE are all chunk_size.
func snake(name string) string {
	var b strings.Builder
	for i, c := range []byte(clip(name)) {
		switch {
		case c == '-' || c == ' ' || c == '.':
			b.WriteByte('_')
		case c >= 'A' && c <= 'Z':
			if i > 0 && name[i-1] >= 'a' && name[i-1] <= 'z' {
				b.WriteByte('_')
			}
			b.WriteByte(c + 'a' - 'A')
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// nearest returns the one of known that name is probably a slip of, or "".
func nearest(name string, known []string) string {
	best, least := "", 0
	for _, k := range known {
		if d := distance(name, k); d <= max(1, len(k)/3) && (best == "" || d < least) {
			best, least = k, d
		}
	}
	return best
}

// distance is Levenshtein's, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// clip keeps a message short when what it quotes is not.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:floorRune(s, most)] + "…"
}

func quote(s string) string { return strconv.Quote(clip(s)) }

func list(names []string, last string) string {
	n := len(names) - 1
	if n == 0 {
		return names[0]
	}
	return strings.Join(names[:n], ", ") + " " + last + " " + names[n]
}
