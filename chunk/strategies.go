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
}

// Strategies describes all strategies there are, the default first. The caller owns what it returns.
func Strategies() []Info {
	return []Info{
		{Name: "recursive", Summary: recursiveSummary, Schema: json.RawMessage(sizingSchema)},
		{
			Name: "fixed_size", Aliases: []string{"character"}, Summary: fixedSizeSummary,
			Schema: json.RawMessage(sizingSchema),
		},
	}
}

// config is a strategy's settings: filled field by field, then checked, after which they cut and marshal to their
// canonical JSON.
type config interface {
	Splitter
	fields() []field
	check(Parser) *ParamError
}

// choose finds a strategy by name or alias and gives its default settings.
func choose(strategy string) (string, config, *ParamError) {
	switch strategy {
	case "", "recursive":
		return "recursive", &recursive{sizing: defaultSizing()}, nil
	case "fixed_size", "character":
		return "fixed_size", &fixedSize{sizing: defaultSizing()}, nil
	}
	return "", nil, unknownStrategy(strategy)
}

// planned are the strategies that have a name but are not built; a user who asks for one should not be told of a typo.
var planned = []string{
	"sentence", "markdown", "html", "code", "table", "hierarchical", "semantic", "hybrid", "sliding_window",
	"document_structure", "optimal",
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
	folded := snake(name)
	if slices.Contains(planned, folded) {
		e.Problem = quote(name) + " is not available in this version"
	} else if near := nearest(folded, spellings); near != "" {
		e.Suggestion = "use " + near
	}
	return e
}
