package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strings"
)

// Stoplight Elements 9.0.25 (Apache-2.0), web-components.min.js and styles.min.css of the npm package
// @stoplight/elements, packed with gzip -9n. A test pins their SHA-256.
//
//go:embed assets/elements-9.0.25.js.gz assets/elements-9.0.25.css.gz
var elements embed.FS

const elementsVersion = "9.0.25"

// page is an answer that never changes while the process lives. gzipped, if there, is the same body packed; body may
// then be nil.
type page struct {
	contentType, etag, csp, cache string
	body, gzipped                 []byte
}

func newPage(contentType, csp, cache string, body, gzipped []byte) page {
	sum := sha256.Sum256(append(body[:len(body):len(body)], gzipped...))
	return page{contentType, `"` + hex.EncodeToString(sum[:12]) + `"`, csp, cache, body, gzipped}
}

func (p page) serve(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Etag", p.etag)
	h.Set("Cache-Control", p.cache)
	h.Set("Vary", "Accept-Encoding")
	if p.csp != "" {
		h.Set("Content-Security-Policy", p.csp)
	}
	if matches(r.Header["If-None-Match"], p.etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", p.contentType)
	body := io.Reader(bytes.NewReader(p.body))
	switch {
	case p.gzipped == nil:
		h.Set("Content-Length", fmt.Sprint(len(p.body)))
	case acceptsGzip(r):
		h.Set("Content-Encoding", "gzip")
		h.Set("Content-Length", fmt.Sprint(len(p.gzipped)))
		body = bytes.NewReader(p.gzipped)
	default:
		unpacked, err := gzip.NewReader(bytes.NewReader(p.gzipped))
		if err != nil {
			return fmt.Errorf("unpack an embedded file: %w", err)
		}
		body = unpacked
	}
	if r.Method != http.MethodHead {
		_, _ = io.Copy(w, body) // the client may be gone; there is nobody else to tell
	}
	return nil
}

func acceptsGzip(r *http.Request) bool {
	for _, line := range r.Header["Accept-Encoding"] {
		for part := range strings.SplitSeq(line, ",") {
			coding, params, _ := strings.Cut(part, ";")
			q := strings.ReplaceAll(params, " ", "")
			if strings.EqualFold(strings.TrimSpace(coding), "gzip") && q != "q=0" && !strings.HasPrefix(q, "q=0.000") {
				return true
			}
		}
	}
	return false
}

// docsAssets is the page /docs and what it loads.
type docsAssets struct {
	page  page
	files map[string]page
}

const docsHTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Chunkstream API</title>
<link rel="stylesheet" href="/docs/elements-` + elementsVersion + `.css">
<link rel="icon" href="data:,">
<script src="/docs/elements-` + elementsVersion + `.js" defer></script>
</head>
<body>
<elements-api apiDescriptionUrl="/openapi.json" router="hash" layout="responsive"></elements-api>
<noscript>This page needs JavaScript. The same description is at <a href="/openapi.json">/openapi.json</a>.</noscript>
</body>
</html>
`

// docsCSP lets the documentation page load its own script and talk to this server, and nothing else. It styles its
// elements with attributes, which needs unsafe-inline for styles.
const docsCSP = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const forever = "public, max-age=31536000, immutable"

func newDocsAssets() (docsAssets, error) {
	d := docsAssets{
		page:  newPage("text/html; charset=utf-8", docsCSP, "no-cache", []byte(docsHTML), nil),
		files: map[string]page{},
	}
	for suffix, contentType := range map[string]string{"js": "text/javascript; charset=utf-8",
		"css": "text/css; charset=utf-8"} {
		name := "elements-" + elementsVersion + "." + suffix
		packed, err := elements.ReadFile("assets/" + name + ".gz")
		if err != nil {
			return docsAssets{}, fmt.Errorf("api: embedded documentation: %w", err)
		}
		d.files[name] = newPage(contentType, "", forever, nil, packed)
	}
	return d, nil
}

func (d docsAssets) serveFile(w http.ResponseWriter, r *http.Request) error {
	file, ok := d.files[r.PathValue("file")]
	if !ok {
		return problem("not_found", "", "the documentation has no such file")
	}
	return file.serve(w, r)
}

const frontStyle = `body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;` +
	`color:#1b1b1f;background:#fdfdfd}code,pre{font:14px/1.5 ui-monospace,monospace}pre{overflow-x:auto}` +
	`@media(prefers-color-scheme:dark){body{color:#e6e6ea;background:#16161a}a{color:#9db8ff}}`

var frontTemplate = template.Must(template.New("front").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Chunkstream</title>
<link rel="icon" href="data:,">
<style>` + frontStyle + `</style>
</head>
<body>
<h1>Chunkstream</h1>
<p>Documents in, durable chunks with exact offsets out, and progress live. Version {{.Version}}.</p>
<ul>
<li><a href="/docs">API documentation</a> (<a href="/openapi.json">OpenAPI 3.1</a>)</li>
<li><a href="/v1/operations">Operations</a></li>
{{- if .Sample}}
<li><a href="/v1/operations/{{.Sample}}/chunks">The chunks of a sample document</a>, from
<a href="/v1/operations/{{.Sample}}">this operation</a></li>
{{- end}}
<li><a href="/v1/strategies">Strategies</a>, <a href="/readyz">readiness</a>, <a href="/metrics">metrics</a></li>
</ul>
<pre>curl --data-binary @README.md 'http://{{.Host}}/v1/operations?wait=10'</pre>
</body>
</html>
`))

var frontCSP = func() string {
	sum := sha256.Sum256([]byte(frontStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// front is the page at /: it says what this is and where things are.
func (a *API) front(w http.ResponseWriter, r *http.Request) error {
	var html bytes.Buffer
	err := frontTemplate.Execute(&html, map[string]string{
		"Version": a.cfg.Version, "Sample": a.cfg.Sample(), "Host": r.Host,
	})
	if err != nil {
		return fmt.Errorf("front page: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", frontCSP)
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(html.Bytes()) // the client may be gone; there is nobody else to tell
	return nil
}
