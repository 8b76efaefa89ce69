package main

import (
	"encoding/json"
	"fmt"

	"chunkstream/chunk"
)

// setting is a strategy with its settings, ready to cut, and what a peer must be told to do the same.
type setting struct {
	strategy      string
	note          string // what else it was told
	unit          string // "" when the strategy has its own idea of size
	tokenizer     string
	size, overlap int
	splitter      chunk.Splitter
}

func (s setting) String() string {
	if s.unit == "" {
		return s.strategy
	}
	name := fmt.Sprintf("%s %d %s", s.strategy, s.size, s.unit)
	if s.unit == "tokens" {
		name += " " + s.tokenizer
	}
	if s.overlap > 0 {
		name += fmt.Sprintf(" overlap %d", s.overlap)
	}
	return name + s.note
}

// sizes are what every strategy is measured with, as far as it takes them.
var sizes = []setting{
	{unit: "bytes", size: 4096},
	{unit: "chars", size: 1000},
	{unit: "chars", size: 1000, overlap: 200},
	{unit: "words", size: 200},
	{unit: "tokens", size: 512, tokenizer: "cl100k_base"},
	{unit: "tokens", size: 512, tokenizer: "o200k_base"},
}

// settings are all strategies there are with all sizes they take. A strategy that takes none is measured as it is by
// default. recursive is also measured as it is when it cuts as LangChain does.
func settings() (all []setting, err error) {
	for _, info := range chunk.Strategies() {
		before := len(all)
		for _, s := range sizes {
			if plan, err := plan(info.Name, s, nil); err == nil {
				all = append(all, plan)
			}
		}
		if len(all) > before {
			continue
		}
		plan, err := plan(info.Name, setting{}, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, plan)
	}
	for _, overlap := range []int{0, 200} {
		s, err := plan("recursive", setting{unit: "chars", size: 1000, overlap: overlap, note: ", as LangChain"},
			map[string]any{"compat": "langchain"})
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// plan gives a strategy a size, and what else is in more.
func plan(strategy string, s setting, more map[string]any) (setting, error) {
	values := map[string]any{}
	if s.unit != "" {
		values["unit"], values["chunk_size"] = s.unit, s.size
	}
	if s.overlap > 0 {
		values["chunk_overlap"] = s.overlap
	}
	if s.tokenizer != "" {
		values["tokenizer"] = s.tokenizer
	}
	for name, value := range more {
		values[name] = value
	}
	config, err := json.Marshal(values)
	if err != nil {
		return setting{}, err
	}
	p, err := parser.Parse(strategy, config)
	if err != nil {
		return setting{}, fmt.Errorf("%s %s: %w", strategy, config, err)
	}
	s.strategy, s.splitter = strategy, p.Splitter
	return s, nil
}
