package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/bmatcuk/doublestar/v4"
)

// ignoreFiles are read in each folder, the later ones over the earlier ones.
var ignoreFiles = []string{".gitignore", ".chunkstreamignore"}

// rule is a line of an ignore file: gitignore(5), "PATTERN FORMAT".
type rule struct {
	folder  string // whose ignore file it stands in, absolute
	pattern string // for doublestar, relative to folder
	negate  bool
	dirOnly bool
}

// ruleset has the rules of outer folders before those of inner ones; the last that matches decides.
type ruleset []rule

// above reads the ignore files of the folders above dir, up to the root of the git repository it is in; without one
// there are none. A folder that one may not look into has no repository.
func above(dir string) (rules ruleset, err error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	var folders []string
	for at := abs; ; {
		_, err := os.Stat(filepath.Join(at, ".git"))
		if err == nil {
			break
		} else if !absent(err) && !errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
		parent := filepath.Dir(at)
		if parent == at {
			return nil, nil
		}
		at = parent
		folders = append(folders, at)
	}
	for i := len(folders) - 1; i >= 0; i-- {
		if rules, err = rules.with(folders[i]); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

// absent reports whether an error says that there is no such file.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }

// with adds the rules of dir's own ignore files. One that cannot be read is an error: what it would leave out may be secret.
func (rs ruleset) with(dir string) (ruleset, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	rs = rs[:len(rs):len(rs)] // neighbours share what is above them
	for _, name := range ignoreFiles {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if absent(err) || errors.Is(err, syscall.EISDIR) {
			continue
		} else if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if r, ok := parseRule(strings.TrimRight(line, "\r\n")); ok {
				r.folder = abs
				rs = append(rs, r)
			}
		}
	}
	return rs, nil
}

func parseRule(line string) (r rule, ok bool) {
	for strings.HasSuffix(line, " ") && !strings.HasSuffix(line, `\ `) {
		line = line[:len(line)-1]
	}
	if line == "" || line[0] == '#' {
		return r, false
	}
	if line[0] == '!' {
		r.negate, line = true, line[1:]
	}
	if strings.HasSuffix(line, "/") {
		r.dirOnly, line = true, strings.TrimSuffix(line, "/")
	}
	if line == "" {
		return r, false
	}
	anchored := strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	line = strings.NewReplacer(`\{`, `\{`, `\}`, `\}`, `{`, `\{`, `}`, `\}`).Replace(line) // git knows no alternatives
	if strings.HasSuffix(line, "/**") {
		line += "/*" // what is in the folder, not the folder
	}
	if !anchored {
		line = "**/" + line
	}
	r.pattern = line
	return r, doublestar.ValidatePattern(line)
}

// ignores reports whether the rules leave out a file or folder. It is not asked about what is in a folder left out.
func (rs ruleset) ignores(name string, dir bool) bool {
	if len(rs) == 0 {
		return false
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return false
	}
	for i := len(rs) - 1; i >= 0; i-- {
		r := rs[i]
		if r.dirOnly && !dir {
			continue
		}
		rel, err := filepath.Rel(r.folder, abs)
		if err != nil {
			continue
		}
		if doublestar.MatchUnvalidated(r.pattern, filepath.ToSlash(rel)) {
			return !r.negate
		}
	}
	return false
}
