package api

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// readJSON reads a body that is one JSON object of at most limit bytes, and gives its members strictly: see parseObject.
// Names outside known are refused.
func (a *API) readJSON(w http.ResponseWriter, r *http.Request, limit int64, known ...string) (fields, error) {
	kind, _, _, err := bodyKind(r)
	if err != nil {
		return fields{}, err
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "json" {
		return fields{}, problem("unsupported_media_type", "Content-Type", "this takes application/json alone, not %q",
			clip(media)).suggest("send JSON, with Content-Type: application/json")
	}
	b, err := a.newBody(w, r, limit, 0)
	if err != nil {
		return fields{}, err
	}
	raw, release, err := a.readAll(r, b, limit)
	if err != nil {
		return fields{}, err
	}
	defer release() // the values keep raw alive a little longer, which for the sizes here does not matter
	return objectFields("", raw, known)
}

// fields are the members of a JSON object by name.
type fields struct {
	path   string // in front of a name in an error: "" or "strategies[1]."
	values map[string][]byte
}

// objectFields reads one object whose names are all known.
func objectFields(path string, raw []byte, known []string) (fields, error) {
	members, err := parseObject(raw)
	if err != nil {
		return fields{}, err
	}
	f := fields{path, make(map[string][]byte, len(members))}
	for _, m := range members {
		if !slices.Contains(known, m.name) {
			return f, problem("unknown_field", path+clip(m.name), "%s is not known here", path+clip(m.name)).
				suggest(oneOf(m.name, known))
		}
		f.values[m.name] = m.value
	}
	return f, nil
}

func (f fields) has(name string) bool { return f.values[name] != nil }

func (f fields) wrong(name, want string) *Problem {
	return problem("invalid_value", f.path+name, "%s must be %s", f.path+name, want).suggest("give " + want)
}

// needs reports the first of names that is missing.
func (f fields) needs(names ...string) error {
	for _, name := range names {
		if !f.has(name) {
			return problem("missing_field", f.path+name, "%s is missing", f.path+name).suggest("give " + name)
		}
	}
	return nil
}

// text gives a string member, "" when it is absent.
func (f fields) text(name string) (string, error) {
	v := f.values[name]
	if v == nil {
		return "", nil
	}
	if v[0] != '"' {
		return "", f.wrong(name, "a string")
	}
	return unquote(v), nil
}

// boolean gives a member that is true or false, standard when it is absent.
func (f fields) boolean(name string, standard bool) (bool, error) {
	switch string(f.values[name]) {
	case "":
		return standard, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, f.wrong(name, "true or false")
}

// object gives a member that is an object as it is, nil when it is absent.
func (f fields) object(name string) ([]byte, error) {
	v := f.values[name]
	if v != nil && v[0] != '{' {
		return nil, f.wrong(name, "an object")
	}
	return v, nil
}

// list gives the elements of a member that is an array of low to high elements, each as it is.
func (f fields) list(name string, low, high int) ([][]byte, error) {
	v := f.values[name]
	if v == nil {
		return nil, nil
	}
	if v[0] != '[' {
		return nil, f.wrong(name, "an array")
	}
	all := elementsOf(v)
	if len(all) < low || len(all) > high {
		return nil, f.wrong(name, fmt.Sprintf("an array of %d to %d", low, high))
	}
	return all, nil
}

// at gives the path of what stands below element i of name.
func (f fields) at(name string, i int) string { return fmt.Sprintf("%s%s[%d].", f.path, name, i) }

// below puts path in front of the parameter that an error names.
func below(path string, err error) error {
	if err == nil {
		return nil
	}
	p := problemOf(err)
	if p.Param != "" {
		p.Detail = strings.Replace(p.Detail, p.Param, path+p.Param, 1)
		p.Param = path + p.Param
	}
	return p
}

// whole gives a whole number in [low, high], standard when it is absent.
func (f fields) whole(name string, low, high, standard int64) (int64, error) {
	v := f.values[name]
	if v == nil {
		return standard, nil
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || n < low || n > high {
		return 0, f.wrong(name, fmt.Sprintf("a whole number from %d to %d", low, high))
	}
	return n, nil
}

// texts gives a member that is an array of low to high strings.
func (f fields) texts(name string, low, high int) ([]string, error) {
	all, err := f.list(name, low, high)
	if err != nil {
		return nil, err
	}
	var texts []string
	for i, v := range all {
		if v[0] != '"' {
			return nil, f.wrong(fmt.Sprintf("%s[%d]", name, i), "a string")
		}
		texts = append(texts, unquote(v))
	}
	return texts, nil
}
