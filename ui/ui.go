// Package ui is the pages that people use: the playground, an operation, all operations. They are built from src by Vite
// and embedded as built, so that building the program needs Go alone; CONTRIBUTING.md says how they are changed.
package ui

import (
	"embed"
	"io/fs"
	"path"
)

//go:embed dist
var dist embed.FS

// Index gives the one document that all pages are. It loads assets by their names and nothing else; it holds no script and
// no style itself.
func Index() ([]byte, error) { return dist.ReadFile("dist/index.html") }

// Assets gives what Index loads, by the name behind /ui/. Each name holds a hash of the content, so that a name never
// changes what it means.
func Assets() (map[string][]byte, error) {
	all := map[string][]byte{}
	err := fs.WalkDir(dist, "dist/ui", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all[path.Base(name)], err = dist.ReadFile(name)
		}
		return err
	})
	return all, err
}
