package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// parts are the corpus, one folder each, in the order in which they are reported.
var parts = []string{"prose", "markdown", "html", "code", "cjk", "multi"}

// source is a set of files of one Debian package that become documents of one part.
type source struct {
	part, pkg string
	glob      string  // below the package's root; ** stands for any folders
	most      float64 // bytes of text to take, in the order of the files' names; the last document is taken whole
	not       string  // what a path must not contain
	text      bool    // take the text of HTML, without code blocks, instead of the source
}

const (
	handbook = "usr/share/doc/debian-handbook/html/"
	guide    = "usr/share/doc/installation-guide-amd64/"
)

// sources name the packages of Debian 12. Each is free documentation or source code; nothing of it is kept in the
// repository.
func sources() []source {
	all := []source{
		{part: "prose", pkg: "debian-handbook", glob: handbook + "en-US/*.html", most: 3e6, text: true},
		{part: "prose", pkg: "python3.11-doc", glob: "usr/share/doc/python3.11/html/**/*.html", most: 6e6, not: "genindex",
			text: true},
		{part: "prose", pkg: "debian-policy", glob: "usr/share/doc/debian-policy/policy.txt.gz", most: 1e6},
		{part: "prose", pkg: "debian-reference-en", glob: "usr/share/debian-reference/*.txt.gz", most: 1e6},
		{part: "prose", pkg: "jargon-text", glob: "usr/share/doc/jargon-text/jargon.txt.gz", most: 2e6},
		{part: "markdown", pkg: "nodejs-doc", glob: "usr/share/doc/nodejs/api/*.md*", most: 4e6},
		{part: "markdown", pkg: "docker-doc", glob: "usr/share/doc/docker-doc/**/*.md*", most: 3e6},
		{part: "markdown", pkg: "npm", glob: "usr/share/**/*.md*", most: 1e6},
		{part: "html", pkg: "python3.11-doc", glob: "usr/share/doc/python3.11/html/**/*.html", most: 9e6},
		{part: "html", pkg: "debian-handbook", glob: handbook + "en-US/*.html", most: 3e6},
		{part: "code", pkg: "golang-1.19-src", glob: "usr/share/go-1.19/src/**/*.go", most: 12e6, not: "/src/cmd/"},
		{part: "cjk", pkg: "debian-reference-ja", glob: "usr/share/debian-reference/*.txt.gz", most: 1e6},
		{part: "cjk", pkg: "debian-reference-zh-cn", glob: "usr/share/debian-reference/*.txt.gz", most: 1e6},
		{part: "cjk", pkg: "debian-reference-zh-tw", glob: "usr/share/debian-reference/*.txt.gz", most: 1e6},
	}
	for _, language := range strings.Fields("ja-JP ko-KR zh-CN zh-TW") {
		all = append(all, source{"cjk", "debian-handbook", handbook + language + "/*.html", 2e6, "", true})
	}
	for _, language := range strings.Fields("ja ko zh_CN") {
		all = append(all, source{"cjk", "installation-guide-amd64", guide + language + "/*.html", 1e6, "", true})
	}
	const each = 400e3
	for _, language := range strings.Fields("ca cs da de el es fr id it nl pt ro ru sv vi") {
		all = append(all, source{"multi", "installation-guide-amd64", guide + language + "/*.html", each, "", true})
	}
	for _, language := range strings.Fields("ar-MA fa-IR nb-NO pl-PL tr-TR") {
		all = append(all, source{"multi", "debian-handbook", handbook + language + "/*.html", each, "", true})
	}
	return all
}

func runCorpus(args []string) error {
	flags := flag.NewFlagSet("corpus", flag.ContinueOnError)
	if err := flags.Parse(args); err != nil {
		return err
	}
	folder := defaultCorpus()
	if flags.NArg() > 0 {
		folder = flags.Arg(0)
	}
	if sums, err := os.ReadFile(filepath.Join(folder, "SHA256SUMS")); err == nil {
		if err := verify(folder, string(sums)); err != nil {
			return fmt.Errorf("%w: remove %s and build it again", err, folder)
		}
		fmt.Println(folder, "is complete")
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if repository(folder) {
		return fmt.Errorf("%s is inside a Go module: name a folder elsewhere", folder)
	}
	if err := build(folder); err != nil {
		return fmt.Errorf("build the corpus: %w", err)
	}
	fmt.Println(folder, "is built")
	return nil
}

// repository reports whether a folder lies in a Go module: the corpus is other people's text and never goes there.
func repository(folder string) bool {
	for at, err := filepath.Abs(folder); err == nil; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return true
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	return false
}

// build fetches and unpacks the packages, without installing any, and writes the documents: first beside the folder,
// which appears when it is complete.
func build(folder string) error {
	work := filepath.Clean(folder) + ".part"
	if err := os.RemoveAll(work); err != nil { // of a run that was broken off
		return err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // the next run takes away what is left
	all := sources()
	roots, versions, err := unpack(work, all)
	if err != nil {
		return err
	}
	made := filepath.Join(work, "corpus")
	var sums strings.Builder
	for i, s := range all {
		if err := take(s, roots[s.pkg], filepath.Join(made, s.part), fmt.Sprintf("%02d", i), &sums); err != nil {
			return fmt.Errorf("%s: %w", s.pkg, err)
		}
	}
	for name, content := range map[string]string{"PACKAGES": versions, "SHA256SUMS": sums.String()} {
		if err := os.WriteFile(filepath.Join(made, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return os.Rename(made, folder)
}

// unpack gives the root folder of each package, and a list of the packages' files, whose names hold their versions.
func unpack(work string, all []source) (roots map[string]string, versions string, err error) {
	var names []string
	for _, s := range all {
		if !slices.Contains(names, s.pkg) {
			names = append(names, s.pkg)
		}
	}
	fetch := exec.Command("apt-get", append([]string{"download", "-qq"}, names...)...)
	fetch.Dir, fetch.Stderr = work, os.Stderr
	if err := fetch.Run(); err != nil {
		return nil, "", fmt.Errorf("%w: it wants Debian 12 and an index that is not too old (apt-get update)", err)
	}
	roots = map[string]string{}
	for _, name := range names {
		debs, err := filepath.Glob(filepath.Join(work, name+"_*.deb"))
		if err != nil || len(debs) != 1 {
			return nil, "", fmt.Errorf("%s: apt-get left %d files, %w", name, len(debs), err)
		}
		roots[name] = filepath.Join(work, "root", name)
		if err := os.MkdirAll(roots[name], 0o755); err != nil {
			return nil, "", err
		}
		open := exec.Command("dpkg-deb", "--extract", debs[0], roots[name])
		if out, err := open.CombinedOutput(); err != nil {
			return nil, "", fmt.Errorf("dpkg-deb: %w: %s", err, out)
		}
		versions += filepath.Base(debs[0]) + "\n"
	}
	return roots, versions, nil
}

// take writes the documents of one source and adds their checksums.
func take(s source, root, folder, prefix string, sums io.Writer) error {
	files, err := find(root, s.glob)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	taken := 0.0
	for n, file := range files {
		if taken >= s.most {
			break
		}
		if s.not != "" && strings.Contains(file, s.not) {
			continue
		}
		text, err := read(file)
		if err != nil {
			return err
		}
		if s.text {
			text = htmlText(text)
		}
		if s.part == "cjk" {
			text = eastern(text)
		}
		if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 || len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		ext := map[string]string{"markdown": ".md", "html": ".html", "code": ".go"}[s.part]
		if ext == "" {
			ext = ".txt"
		}
		name := fmt.Sprintf("%s-%04d%s", prefix, n, ext)
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(sums, "%x  %s/%s\n", sha256.Sum256(text), s.part, name); err != nil {
			return err
		}
		taken += float64(len(text))
	}
	if taken == 0 {
		return fmt.Errorf("no document at %s", s.glob)
	}
	return nil
}

// eastern drops the paragraphs that were left in English: those with less than a fifth of characters from U+1100 on,
// where Hangul begins; kana and Han follow.
func eastern(text []byte) []byte {
	var kept [][]byte
	for _, paragraph := range bytes.SplitAfter(text, []byte("\n\n")) {
		all, east := 0, 0
		for _, r := range string(paragraph) {
			all++
			if r >= 0x1100 {
				east++
			}
		}
		if 5*east >= all {
			kept = append(kept, paragraph)
		}
	}
	return bytes.Join(kept, nil)
}

// find gives the regular files below root that match glob, in the order of their names.
func find(root, glob string) (files []string, err error) {
	before, last, deep := strings.Cut(glob, "**/")
	if !deep {
		files, err = filepath.Glob(filepath.Join(root, glob))
	} else {
		err = filepath.WalkDir(filepath.Join(root, before), func(path string, d fs.DirEntry, err error) error {
			if ok, _ := filepath.Match(last, d.Name()); ok && d.Type().IsRegular() {
				files = append(files, path)
			}
			return err
		})
	}
	slices.Sort(files)
	return files, err
}

func read(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil || filepath.Ext(file) != ".gz" {
		return b, err
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return io.ReadAll(z)
}

// verify compares the documents with their checksums.
func verify(folder, sums string) error {
	for line := range strings.Lines(sums) {
		sum, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		text, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		if fmt.Sprintf("%x", sha256.Sum256(text)) != sum {
			return fmt.Errorf("%s is not as SHA256SUMS has it", name)
		}
	}
	return nil
}

// document is one text of the corpus; its name is its path below the corpus's folder.
type document struct{ name, text string }

// load reads the documents of one part, in the order of their names.
func load(folder, part string) (docs []document, err error) {
	files, err := filepath.Glob(filepath.Join(folder, part, "*"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no texts in %s : build them with `go run . corpus`",
			filepath.Join(folder, part))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		docs = append(docs, document{part + "/" + filepath.Base(file), string(text)})
	}
	return docs, nil
}

// whole is the documents' text in one, a blank line between two.
func whole(docs []document) string {
	var b strings.Builder
	for _, d := range docs {
		b.WriteString(d.text)
		b.WriteString("\n\n")
	}
	return b.String()
}
