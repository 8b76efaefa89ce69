package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"

	"chunkstream/docs"
)

// errorPages are what the type of a problem leads to: a page for each code, by code, and under "" the list of all.
type errorPages map[string]page

// errorPage is one section of docs/errors.md.
type errorPage struct {
	Code   string
	Status int
	Title  string
	Points []errorPoint
}

type errorPoint struct {
	Label string
	Text  []string // plain and code by turns, plain first
}

// readErrors takes docs/errors.md apart.
func readErrors(text string) (all []errorPage, err error) {
	for _, section := range strings.Split(text, "\n## `")[1:] {
		lines := strings.Split(strings.TrimSpace(section), "\n")
		one := errorPage{Code: strings.TrimSuffix(lines[0], "`")}
		for _, line := range lines[1:] {
			label, rest, isPoint := strings.Cut(strings.TrimPrefix(line, "- **"), "**: ")
			status, title, isTitle := strings.Cut(line, " · ")
			switch {
			case line == "":
			case strings.HasPrefix(line, "- **") && isPoint:
				one.Points = append(one.Points, errorPoint{label, strings.Split(rest, "`")})
			case isTitle:
				if one.Status, err = strconv.Atoi(status); err != nil {
					return nil, fmt.Errorf("api: docs/errors.md: %s: %w", one.Code, err)
				}
				one.Title = title
			default:
				return nil, fmt.Errorf("api: docs/errors.md: %s: %q is neither status and title nor a point", one.Code, line)
			}
		}
		all = append(all, one)
	}
	return all, nil
}

const errorStyle = "body{font:1rem/1.6 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}" +
	"dt{font-weight:600;margin-top:.8rem}dd{margin:0}code{font-family:ui-monospace,monospace}"

var errorHTML = template.Must(template.New("errors").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{if eq (len .) 1}}{{(index . 0).Code}} · {{end}}Chunkstream problems</title>
<link rel="icon" href="data:,">
<style>` + errorStyle + `</style>
</head>
<body>
{{if eq (len .) 1}}{{with index . 0}}<h1>{{.Title}}</h1>
<p><code>{{.Code}}</code>, status {{.Status}}</p>
<dl>
{{range .Points}}<dt>{{.Label}}</dt>
<dd>{{range $i, $t := .Text}}{{if eq $i 1 3 5 7 9 11 13}}<code>{{$t}}</code>{{else}}{{$t}}{{end}}{{end}}</dd>
{{end}}</dl>
{{end}}<p><a href="/errors">All problems</a></p>
{{else}}<h1>Problems</h1>
<ul>
{{range .}}<li><a href="/errors/{{.Code}}"><code>{{.Code}}</code></a> ({{.Status}}): {{.Title}}</li>
{{end}}</ul>
{{end}}<p><a href="/docs">The API</a></p>
</body>
</html>
`))

func newErrorPages() (errorPages, error) {
	all, err := readErrors(docs.Errors)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(errorStyle))
	csp := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src data:; base-uri 'none'; " +
		"form-action 'none'; frame-ancestors 'none'"
	pages := errorPages{}
	pages[""] = errorsPage(csp, all)
	for _, one := range all {
		pages[one.Code] = errorsPage(csp, []errorPage{one})
	}
	return pages, nil
}

func errorsPage(csp string, shown []errorPage) page {
	return newPage("text/html; charset=utf-8", csp, "no-cache", func() (_, _ []byte, err error) {
		var b bytes.Buffer
		err = errorHTML.Execute(&b, shown)
		return b.Bytes(), nil, err
	})
}

// show answers with the page of the code that the path names, or with the list.
func (p errorPages) show(w http.ResponseWriter, r *http.Request) error {
	one, ok := p[r.PathValue("code")]
	if !ok {
		return problem("not_found", "code", "there is no problem with that code").suggest("see /errors for all")
	}
	return one.serve(w, r)
}
