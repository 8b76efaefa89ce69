package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// Stoplight Elements 9.0.25 (Apache-2.0), web-components.min.js and styles.min.css of the npm package
// @stoplight/elements, packed with gzip -9n. A test pins their SHA-256.
//
//go:embed assets/elements-9.0.25.js.gz assets/elements-9.0.25.css.gz
var elements embed.FS

const elementsVersion = "9.0.25"

// page is an answer that never changes while the process lives. It is made when it is first asked for: a process that
// starts has better things to do than to pack what nobody may want.
type page struct {
	contentType, csp, cache string
	content                 func() (content, error)
}

// content is what a page says. gzipped, if there, is the same body packed; body may then be nil.
type content struct {
	etag          string
	body, gzipped []byte
}

func newPage(contentType, csp, cache string, fill func() (body, gzipped []byte, err error)) page {
	return page{contentType, csp, cache, sync.OnceValues(func() (content, error) {
		body, gzipped, err := fill()
		sum := sha256.Sum256(append(body[:len(body):len(body)], gzipped...))
		return content{`"` + hex.EncodeToString(sum[:12]) + `"`, body, gzipped}, err
	})}
}

// packed gives a body both ways.
func packed(body []byte) (_, gzipped []byte, err error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err = w.Write(body); err == nil {
		err = w.Close()
	}
	return body, b.Bytes(), err
}

func (p page) serve(w http.ResponseWriter, r *http.Request) error {
	c, err := p.content()
	if err != nil {
		return fmt.Errorf("make a page: %w", err)
	}
	h := w.Header()
	size, offered := int64(len(c.body)), codings
	if c.gzipped != nil { // it is there already: zstd would have to be made again for each request
		size, offered = -1, gzipAlone
	}
	coding, _ := codingOf(r.Header["Accept-Encoding"], size, offered)
	tag := variant(c.etag, coding)
	h.Set("Etag", tag)
	h.Set("Cache-Control", p.cache)
	vary(h)
	if p.csp != "" {
		h.Set("Content-Security-Policy", p.csp)
	}
	if matches(r.Header["If-None-Match"], tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", p.contentType)
	body := io.Reader(bytes.NewReader(c.body))
	switch {
	case c.gzipped != nil && coding != "":
		h.Set("Content-Encoding", "gzip")
		h.Set("Content-Length", fmt.Sprint(len(c.gzipped)))
		body = bytes.NewReader(c.gzipped)
	case c.body != nil:
		h.Set("Content-Length", fmt.Sprint(len(c.body)))
	default:
		unpacked, err := gzip.NewReader(bytes.NewReader(c.gzipped))
		if err != nil {
			return fmt.Errorf("unpack an embedded file: %w", err)
		}
		body = unpacked
	}
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = io.Copy(w, body) // the client may be gone; there is nobody else to tell
	}
	return nil
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

func newDocsAssets() docsAssets {
	d := docsAssets{
		page:  newPage("text/html; charset=utf-8", docsCSP, "no-cache", func() (_, _ []byte, _ error) { return []byte(docsHTML), nil, nil }),
		files: map[string]page{},
	}
	for suffix, contentType := range map[string]string{"js": "text/javascript; charset=utf-8",
		"css": "text/css; charset=utf-8"} {
		name := "elements-" + elementsVersion + "." + suffix
		d.files[name] = newPage(contentType, "", forever, func() (_, gzipped []byte, err error) {
			gzipped, err = elements.ReadFile("assets/" + name + ".gz")
			return nil, gzipped, err
		})
	}
	return d
}

func (d docsAssets) serveFile(w http.ResponseWriter, r *http.Request) error {
	file, ok := d.files[r.PathValue("file")]
	if !ok {
		return problem("not_found", "file", "the documentation has no such file").suggest("see /docs")
	}
	return file.serve(w, r)
}
