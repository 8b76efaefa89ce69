package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"chunkstream/chunk"
)

// settingFlags are the settings of a strategy as flags: those that all have, and any other by name.
type settingFlags struct {
	ChunkSize     *int              `placeholder:"N" help:"The most a chunk may hold, in the unit; default 1000."`
	ChunkOverlap  string            `placeholder:"N|P%" help:"How far a chunk reaches back, in the unit or in percent; default 0."`
	Unit          string            `placeholder:"UNIT" help:"What sizes count: chars (the default), bytes, words or tokens."`
	Tokenizer     string            `placeholder:"NAME" help:"Whose tokens: cl100k_base (the default), o200k_base, p50k_base or r50k_base."`
	MinChunkSize  *int              `placeholder:"N" help:"The least a chunk should hold."`
	SoftChunkSize *int              `placeholder:"N" help:"Where a chunk should end; chunk-size stays the limit."`
	Set           map[string]string `placeholder:"NAME=VALUE" help:"Any other setting; VALUE may be JSON. May be given again."`
}

// plan parses the settings for a strategy. The error tells of flags as they are written here.
func (s settingFlags) plan(strategy string) (chunk.Plan, error) {
	settings := map[string]any{}
	number := func(name string, n *int) {
		if n != nil {
			settings[name] = *n
		}
	}
	number("chunk_size", s.ChunkSize)
	number("min_chunk_size", s.MinChunkSize)
	number("soft_chunk_size", s.SoftChunkSize)
	if s.ChunkOverlap != "" {
		settings["chunk_overlap"] = value(s.ChunkOverlap)
	}
	if s.Unit != "" {
		settings["unit"] = s.Unit
	}
	if s.Tokenizer != "" {
		settings["tokenizer"] = s.Tokenizer
	}
	for name, text := range s.Set {
		settings[strings.ReplaceAll(name, "-", "_")] = value(text)
	}
	config, err := json.Marshal(settings)
	if err != nil {
		return chunk.Plan{}, fmt.Errorf("settings: %w", err)
	}
	plan, err := parser.Parse(strategy, config)
	if perr, ok := errors.AsType[*chunk.ParamError](err); ok {
		flag := "--" + strings.ReplaceAll(perr.Param, "_", "-")
		for name := range s.Set {
			if strings.ReplaceAll(name, "-", "_") == perr.Param {
				flag = "--set " + name
			}
		}
		return plan, &exitError{exitUsage, errors.New(perr.Sentence(flag)), perr.Suggestion}
	}
	return plan, err
}

// value is text as JSON if it is a number, true, false, an array or an object, else as a string.
func value(text string) any {
	if _, err := strconv.Atoi(text); err == nil || text == "true" || text == "false" ||
		strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{") {
		if json.Valid([]byte(text)) {
			return json.RawMessage(text)
		}
	}
	return text
}
