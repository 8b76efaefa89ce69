package api

import (
	"fmt"
	"net/http"
	"path"

	"chunkstream/ui"
)

// pages are those that people use, package ui, and what they load.
type pages struct {
	index page
	files map[string]page
}

// pagesCSP lets the pages load their own script and style and talk to this server, and nothing else. No script can make
// HTML from text either: a page that tried would be stopped by the browser (Trusted Types).
const pagesCSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

var assetTypes = map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}

func newPages() (pages, error) {
	index, err := ui.Index()
	if err != nil {
		return pages{}, fmt.Errorf("api: embedded page: %w", err)
	}
	assets, err := ui.Assets()
	if err != nil {
		return pages{}, fmt.Errorf("api: embedded assets: %w", err)
	}
	p := pages{index: newPage("text/html; charset=utf-8", pagesCSP, "no-cache", func() (_, _ []byte, _ error) { return index, nil, nil }), files: map[string]page{}}
	for name, body := range assets {
		contentType, ok := assetTypes[path.Ext(name)]
		if !ok {
			return pages{}, fmt.Errorf("api: embedded asset %s: its type is not known here", name)
		}
		p.files[name] = newPage(contentType, "", forever, func() (_, _ []byte, _ error) { return packed(body) })
	}
	return p, nil
}

// show answers with the page: which one it is, its script reads from the address.
func (p pages) show(w http.ResponseWriter, r *http.Request) error { return p.index.serve(w, r) }

func (p pages) serveFile(w http.ResponseWriter, r *http.Request) error {
	file, ok := p.files[r.PathValue("file")]
	if !ok {
		return problem("not_found", "file", "the pages have no such file").suggest("load the page again")
	}
	return file.serve(w, r)
}
