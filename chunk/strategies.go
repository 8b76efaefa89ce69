package chunk

import (
	"encoding/json"
	"slices"
)

// Info describes a strategy to people and to programs that build forms.
type Info struct {
	Name    string          // canonical
	Aliases []string        // other names Parse takes for it
	Summary string          // one English sentence
	Schema  json.RawMessage // JSON Schema (draft 2020-12) of its settings, with defaults and bounds
	// Defaults has every setting that has a default; giving it changes nothing.
	Defaults json.RawMessage
}

// strategy is a line of the table of all strategies.
type strategy struct {
	name    string
	aliases []string
	summary string
	rules   string        // what the schema says of fields together, a JSON array; may be empty
	make    func() config // with the default settings
}

// table has every strategy, the default first.
var table = []strategy{
	{"recursive", nil, recursiveSummary, unitRules, func() config { return &recursive{sizing: defaultSizing()} }},
	{"fixed_size", []string{"character"}, fixedSizeSummary, unitRules, func() config {
		return &fixedSize{sizing: defaultSizing()}
	}},
	{"optimal", nil, optimalSummary, unitRules, func() config { return &optimal{sizing: defaultSizing()} }},
	{"semantic", nil, semanticSummary, unitRules, func() config {
		return &semantic{sizing: defaultSizing(), SentenceWindow: defaultWindow, Distance: lexicalName}
	}},
	{"sliding_window", nil, slidingWindowSummary, slidingRules, func() config { return newSlidingWindow() }},
	{"sentence", nil, sentenceSummary, unitRules, func() config { return &sentence{sizing: defaultSizing()} }},
	{"markdown", nil, markdownSummary, unitRules, func() config { return &markdown{sizing: defaultSizing()} }},
	{"table", nil, tableSummary, unitRules, func() config { return &tabular{sizing: defaultSizing()} }},
	{"hybrid", nil, hybridSummary, unitRules, func() config { return &hybrid{sizing: defaultSizing()} }},
	{"document_structure", nil, documentStructureSummary, unitRules, func() config {
		return &documentStructure{sizing: defaultSizing()}
	}},
	{"hierarchical", []string{"parent_child"}, hierarchicalSummary, hierarchicalRules, func() config {
		return &hierarchical{sizing: defaultSizing()}
	}},
	{"html", nil, htmlSummary, unitRules, func() config { return &html{sizing: defaultSizing()} }},
	{"code", nil, codeSummary, unitRules, func() config {
		return &code{sizing: defaultSizing(), Language: autoLanguage}
	}},
}

// Strategies describes all strategies there are, the default first. The caller owns what it returns.
func Strategies() []Info {
	var all []Info
	for _, s := range table {
		all = append(all, Info{s.name, slices.Clone(s.aliases), s.summary, s.schema(), s.defaults()})
	}
	return all
}

// schema is the JSON Schema of the settings, of what their fields say of themselves.
func (s strategy) schema() json.RawMessage {
	b := []byte(`{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,` +
		`"properties":{`)
	for i, f := range s.make().fields() {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), f.name...), `":`...)
		b = append(b, f.schema...)
	}
	b = append(b, '}')
	if s.rules != "" {
		b = append(append(b, `,"allOf":`...), s.rules...)
	}
	return append(b, '}')
}

// defaults is what the schemas of the fields say.
func (s strategy) defaults() json.RawMessage {
	b := []byte{'{'}
	for _, f := range s.make().fields() {
		var schema struct{ Default json.RawMessage }
		if json.Unmarshal([]byte(f.schema), &schema) != nil || schema.Default == nil {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(append(b, '"'), f.name...), `":`...), schema.Default...)
	}
	return append(b, '}')
}

// config is a strategy's settings: filled field by field, then checked, after which they cut and marshal to their
// canonical JSON.
type config interface {
	Splitter
	fields() []field
	check(Parser) *ParamError
}

// choose finds a strategy by name or alias and gives its default settings.
func choose(name string) (string, config, *ParamError) {
	if name == "" {
		name = DefaultStrategy
	}
	for _, s := range table {
		if s.name == name || slices.Contains(s.aliases, name) {
			return s.name, s.make(), nil
		}
	}
	return "", nil, unknownStrategy(name)
}

func unknownStrategy(name string) *ParamError {
	var names []string
	var spellings []string
	for _, s := range Strategies() {
		names = append(names, s.Name)
		spellings = append(append(spellings, s.Name), s.Aliases...)
	}
	e := &ParamError{
		Param: "strategy", Code: CodeUnknownStrategy,
		Problem: quote(name) + " is not a strategy", Suggestion: "use " + list(names, "or"),
	}
	if near := nearest(snake(name), spellings); near != "" {
		e.Suggestion = "use " + near
	}
	return e
}
