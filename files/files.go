// Package files finds the files that a command's arguments name: files, folders, patterns; without what .gitignore and
// .chunkstreamignore leave out.
package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Options narrows what folders and patterns give. A file that is named by itself is always taken.
type Options struct {
	Include  []string // patterns (see Find), of which a file must match one; none means every file
	Exclude  []string // patterns, of which a file may match none
	Hidden   bool     // also files and folders whose names begin with a dot
	NoIgnore bool     // also what the ignore files leave out
	MaxBytes int64    // larger files are left out; 0 means no limit
	// Folder, if it is not nil, is told of each folder that is read, as the arguments lead to it.
	Folder func(path string)
}

// File is one file to read.
type File struct {
	Path  string // as the arguments lead to it
	Bytes int64
}

// Skipped is a file or folder that was left out, and why: "ignored", "hidden", "too large", "not a regular file" or
// "unreadable: …". Files that do not match Include, or match Exclude, are not listed.
type Skipped struct{ Path, Why string }

// ErrNothing means that the arguments name no file.
var ErrNothing = errors.New("nothing matched")

// Find gives the files that args name, each once, in the order of args and of names below them. An argument is the path of a
// file or a folder, which must exist, or a pattern with * ? [ ] { } or **, where ** stands for any number of folders. A
// folder gives all files below it. A pattern without a slash in Include and Exclude is matched against names, one with a
// slash against the path below the folder that is searched. Ignore files have the format of gitignore(5); those of the
// folders above count too, up to the root of a git repository. Symbolic links below a folder are not followed.
func Find(args []string, o Options) (found []File, skipped []Skipped, err error) {
	for _, p := range slices.Concat(o.Include, o.Exclude) {
		if !doublestar.ValidatePattern(p) {
			return nil, nil, fmt.Errorf("files: %q is not a pattern", p)
		}
	}
	f := finder{Options: o, seen: map[string]bool{}}
	for _, arg := range args {
		if err := f.argument(arg); err != nil {
			return nil, nil, err
		}
	}
	if len(f.found) == 0 {
		return nil, f.skipped, fmt.Errorf("files: %w in %s", ErrNothing, strings.Join(args, " "))
	}
	return f.found, f.skipped, nil
}

type finder struct {
	Options
	seen    map[string]bool
	found   []File
	skipped []Skipped
}

func (f *finder) argument(arg string) error {
	info, err := os.Stat(arg)
	if errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(arg, "*?[{") {
		matches, err := doublestar.FilepathGlob(arg, doublestar.WithFailOnIOErrors())
		if err != nil {
			return fmt.Errorf("files: pattern %q: %w", arg, err)
		}
		slices.Sort(matches)
		for _, m := range matches {
			info, err := os.Lstat(m)
			if err != nil {
				f.skip(m, "unreadable: "+reason(err))
			} else if !info.IsDir() { // a folder's files are there by a pattern that names them
				f.take(m, info)
			}
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("files: %w", err)
	}
	if !info.IsDir() {
		if !f.seen[filepath.Clean(arg)] {
			f.seen[filepath.Clean(arg)] = true
			f.found = append(f.found, File{arg, info.Size()})
		}
		return nil
	}
	var rules ruleset
	if !f.NoIgnore {
		if rules, err = above(arg); err != nil {
			return fmt.Errorf("files: %w", err)
		}
	}
	return f.folder(arg, "", rules)
}

// folder takes what is below dir, whose path below the argument is below.
func (f *finder) folder(dir, below string, rules ruleset) error {
	if f.Folder != nil {
		f.Folder(dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		if below == "" {
			return fmt.Errorf("files: %w", err)
		}
		f.skip(dir, "unreadable: "+reason(err))
		return nil
	}
	if !f.NoIgnore {
		if rules, err = rules.with(dir); err != nil {
			if below == "" {
				return fmt.Errorf("files: %w", err)
			}
			f.skip(dir, "unreadable: "+err.Error())
			return nil
		}
	}
	for _, e := range entries {
		name, full, rel := e.Name(), filepath.Join(dir, e.Name()), path.Join(below, e.Name())
		switch {
		case name == ".git" && e.IsDir():
			continue
		case !f.Hidden && strings.HasPrefix(name, "."):
			f.skip(full, "hidden")
			continue
		case rules.ignores(full, e.IsDir()):
			f.skip(full, "ignored")
			continue
		case e.IsDir():
			if err := f.folder(full, rel, rules); err != nil {
				return err
			}
			continue
		case len(f.Include) > 0 && !slices.ContainsFunc(f.Include, matches(rel)), slices.ContainsFunc(f.Exclude, matches(rel)):
			continue
		}
		info, err := e.Info()
		if err != nil {
			f.skip(full, "unreadable: "+reason(err))
			continue
		}
		f.take(full, info)
	}
	return nil
}

func (f *finder) take(name string, info fs.FileInfo) {
	switch {
	case !info.Mode().IsRegular():
		f.skip(name, "not a regular file")
	case f.MaxBytes > 0 && info.Size() > f.MaxBytes:
		f.skip(name, "too large")
	case !f.seen[filepath.Clean(name)]:
		f.seen[filepath.Clean(name)] = true
		f.found = append(f.found, File{name, info.Size()})
	}
}

func (f *finder) skip(name, why string) { f.skipped = append(f.skipped, Skipped{name, why}) }

// matches gives a function that reports whether a pattern matches rel, or its last name if the pattern has no slash.
func matches(rel string) func(pattern string) bool {
	return func(pattern string) bool {
		if !strings.Contains(pattern, "/") {
			return doublestar.MatchUnvalidated(pattern, path.Base(rel))
		}
		return doublestar.MatchUnvalidated(strings.TrimPrefix(pattern, "/"), rel)
	}
}

// reason is err without the path that the caller says anyway.
func reason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}
