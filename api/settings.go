package api

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"chunkstream/chunk"
)

// settingTypes says for every setting of every strategy which JSON types it may have, so that the texts of a query or a
// form can be written as the JSON that chunk.Parse reads.
type settingTypes map[string][]string

func newSettingTypes() (settingTypes, error) {
	types := settingTypes{}
	for _, info := range chunk.Strategies() {
		var schema struct {
			Properties map[string]struct {
				Type any
				Enum []any
			}
		}
		if err := json.Unmarshal(info.Schema, &schema); err != nil {
			return nil, fmt.Errorf("api: schema of strategy %s: %w", info.Name, err)
		}
		for name, p := range schema.Properties {
			switch t := p.Type.(type) {
			case string:
				types.add(name, t)
			case []any:
				for _, one := range t {
					if one, ok := one.(string); ok {
						types.add(name, one)
					}
				}
			}
		}
	}
	return types, nil
}

func (t settingTypes) add(name, typ string) {
	if !slices.Contains(t[name], typ) {
		t[name] = append(t[name], typ)
	}
}

// names gives the settings in alphabetical order.
func (t settingTypes) names() []string {
	names := make([]string, 0, len(t))
	for name := range t {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// object writes texts as one JSON object. A text that is not what its setting takes is written as a string, so that
// chunk.Parse says what is wrong with it; so is a setting that does not exist.
func (t settingTypes) object(values url.Values) []byte {
	if len(values) == 0 {
		return nil
	}
	b := []byte{'{'}
	for i, name := range sortedKeys(values) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(quote(b, name), ':')
		b = t.appendValue(b, name, values[name])
	}
	return append(b, '}')
}

func (t settingTypes) appendValue(b []byte, name string, texts []string) []byte {
	takes := func(typ string) bool { return slices.Contains(t[name], typ) }
	text := texts[0]
	switch {
	case takes("array") && (len(texts) > 1 || !strings.HasPrefix(text, "[")):
		b = append(b, '[')
		for i, one := range texts {
			if i > 0 {
				b = append(b, ',')
			}
			b = quote(b, one)
		}
		return append(b, ']')
	case takes("array"), takes("object") && strings.HasPrefix(text, "{"):
		if (&scanner{b: []byte(text)}).whole() {
			return append(b, text...)
		}
	case (takes("integer") || takes("number")) && isNumber(text), takes("boolean") && (text == "true" || text == "false"):
		return append(b, text...)
	}
	return quote(b, text)
}

// whole reports whether s is one JSON value and nothing else.
func (s *scanner) whole() bool { return s.value(1) == nil && s.i == len(s.b) }

func isNumber(text string) bool {
	s := scanner{b: []byte(text)}
	return len(text) <= 64 && s.number() == nil && s.i == len(text)
}

// quote appends s as a JSON string. s is valid UTF-8.
func quote(b []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return append(append(append(b, '"'), s...), '"')
	}
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c < ' ':
			b = append(append(b, `\u00`...), "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

func sortedKeys(v url.Values) []string {
	keys := make([]string, 0, len(v))
	for k := range v {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// atoi reads a whole number in [low, high] that a client gave for param.
func atoi(param, text string, low, high int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, problem("invalid_value", param, "%s must be a whole number from %d to %d, not %q", param, low, high,
			clip(text)).suggest(fmt.Sprintf("use %d to %d", low, high))
	}
	return n, nil
}

// unitOf says what the sizes of a plan's chunks count.
func unitOf(p chunk.Plan) string {
	var s struct{ Unit string }
	if json.Unmarshal(p.Settings, &s) != nil || s.Unit == "" {
		return "chars"
	}
	return s.Unit
}
