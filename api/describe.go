package api

import (
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// ownErrors are the statuses that an operation has besides those of every operation like it.
var ownErrors = map[string][]int{
	"retryOperation": {409}, "deleteDocument": {409}, "downloadChunks": {409}, "getDocumentText": {416}, "createConfiguration": {409},
	"replaceConfiguration": {409, 412},
}

// describeErrors adds to every operation the errors that it may answer with, by status. What each code means, the page that
// its type leads to says.
func (a *API) describeErrors(doc *huma.OpenAPI) {
	codes := map[int][]string{}
	for _, code := range slices.Sorted(maps.Keys(kinds)) {
		codes[kinds[code].status] = append(codes[kinds[code].status], code)
	}
	doc.Components.Responses = map[string]*huma.Response{}
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op == nil {
				continue
			}
			for _, status := range errorsOf(op) {
				name := fmt.Sprint("Problem", status)
				op.Responses[fmt.Sprint(status)] = &huma.Response{Ref: "#/components/responses/" + name}
				if doc.Components.Responses[name] != nil {
					continue
				}
				p := problem(codes[status][0], "", "What is wrong with this request")
				p.RequestID = "req_K5QJ6Z3N7W2XH4TBR9VAYD8CEM"
				doc.Components.Responses[name] = &huma.Response{
					Description: "One of " + strings.Join(codes[status], ", "),
					Content:     map[string]*huma.MediaType{problemType: {Schema: schemaOf[Problem](a), Example: p}},
				}
			}
		}
	}
}

// errorsOf gives the statuses of the errors that an operation may answer with.
func errorsOf(op *huma.Operation) []int {
	all := append([]int{421, 500}, ownErrors[op.OperationID]...)
	for _, one := range op.Security {
		if scopes, keyed := one["key"]; keyed {
			all = append(all, 401, 429, 503)
			if len(scopes) > 0 {
				all = append(all, 403)
			}
		}
	}
	for _, p := range op.Parameters {
		switch p.In {
		case "path":
			all = append(all, 404)
		default:
			all = append(all, 400, 422)
		}
	}
	if op.Method != http.MethodGet {
		all = append(all, 403) // a page of another origin
	}
	if op.RequestBody != nil {
		all = append(all, 400, 404, 408, 413, 415, 422)
	}
	if strings.HasSuffix(op.Path, "/ws") {
		all = append(all, 403, 426)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// describeNull says of every member that is an object or null, that it may be null: huma knows it of plain values alone.
func describeNull(doc *huma.OpenAPI) {
	for name, schema := range doc.Components.Schemas.Map() {
		t := doc.Components.Schemas.TypeFromRef("#/components/schemas/" + name)
		if t == nil || t.Kind() != reflect.Struct {
			continue
		}
		for _, field := range reflect.VisibleFields(t) {
			member, more, _ := strings.Cut(field.Tag.Get("json"), ",")
			p := schema.Properties[member]
			if field.Type.Kind() != reflect.Pointer || strings.Contains(more, "omitempty") || p == nil || p.Ref == "" {
				continue
			}
			schema.Properties[member] = &huma.Schema{Description: p.Description, AnyOf: []*huma.Schema{{Ref: p.Ref}, {Type: "null"}}}
		}
	}
}
