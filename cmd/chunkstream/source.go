package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"chunkstream/extract"
	"chunkstream/files"
)

// sourceFlags say which files a command reads, and how their bytes become text.
type sourceFlags struct {
	Encoding string `placeholder:"NAME" help:"Of the files; default: found out for each, see docs/formats.md."`
	Invalid  string `default:"reject" enum:"reject,replace,bytes" help:"What becomes of bytes that the encoding does not allow: reject the file, replace them by U+FFFD, or bytes: keep each as a character."`

	Include  []string `placeholder:"PATTERN" help:"In folders, only files like this. May be given again."`
	Exclude  []string `placeholder:"PATTERN" help:"In folders, no files like this. May be given again."`
	Hidden   bool     `help:"In folders, also hidden files."`
	NoIgnore bool     `help:"In folders, also what .gitignore and .chunkstreamignore leave out."`
	MaxSize  byteSize `default:"64MiB" placeholder:"SIZE" help:"In folders, no larger files; 0 for any."`
	Verbose  bool     `short:"v" help:"List what was left out, and why."`

	folder func(path string) // is told of each folder that is read; may be nil
	left   map[string]int    // how many were left out, by the reason
	unread int               // how many of them could not be looked at
}

// policy checks the flags about encodings.
func (s *sourceFlags) policy() (extract.Policy, error) {
	policy, err := extract.ParsePolicy(s.Invalid)
	if err != nil {
		return policy, &exitError{exitUsage, fmt.Errorf("--invalid: %w", err), ""}
	}
	if _, ok := extract.Charset(s.Encoding); s.Encoding != "" && !ok {
		return policy, &exitError{exitUsage, fmt.Errorf("--encoding: %q is not an encoding that is known", s.Encoding), "--encoding windows-1252"}
	}
	return policy, nil
}

// find gives the files that the arguments name, "-" among them, and says on words what was left out.
func (s *sourceFlags) find(arguments []string, words io.Writer) ([]files.File, error) {
	var paths []string
	stdin := 0
	for _, p := range arguments {
		if p == "-" {
			stdin++
			continue
		}
		paths = append(paths, p)
	}
	if stdin > 1 || stdin == 1 && len(paths) > 0 {
		return nil, &exitError{exitUsage, errors.New("- is standard input, and can only be given alone"), "chunkstream chunk -"}
	}
	if stdin == 1 {
		return []files.File{{Path: "-"}}, nil
	}
	found, skipped, err := files.Find(paths, files.Options{
		Include: s.Include, Exclude: s.Exclude, Hidden: s.Hidden, NoIgnore: s.NoIgnore, MaxBytes: int64(s.MaxSize), Folder: s.folder,
	})
	s.left, s.unread = map[string]int{}, 0
	for _, left := range skipped {
		why, reason, failed := strings.Cut(left.Why, ": ")
		s.left[why]++
		if failed {
			s.unread++
			fmt.Fprintf(words, "! %s: %s\n", left.Path, reason)
		} else if s.Verbose {
			fmt.Fprintf(words, "left out  %s: %s\n", left.Path, left.Why)
		}
	}
	switch {
	case errors.Is(err, files.ErrNothing):
		hint := "give a file, a folder with text files, or a pattern in quotes"
		if len(skipped) > 0 {
			hint = fmt.Sprintf("-v lists the %d that were left out", len(skipped))
		}
		return nil, &exitError{exitNothing, err, hint}
	case errors.Is(err, os.ErrNotExist):
		return nil, &exitError{exitUsage, err, "to cut text itself, pipe it in: echo … | chunkstream chunk -"}
	case err != nil:
		return nil, &exitError{exitUsage, err, ""}
	}
	return found, nil
}

// failed is the error of n files of so many that failed, and of those that could not even be looked at; nil if all went well.
func (s *sourceFlags) failed(n, of int) error {
	if n += s.unread; n == 0 {
		return nil
	}
	return &exitError{exitFailed, fmt.Errorf("%w: %d of %d", errSomeFailed, n, of+s.unread), ""}
}

// scanned says how many files there are, and what was left out, if there was a choice.
func (s *sourceFlags) scanned(words io.Writer, found int) {
	if found == 1 && len(s.left) == 0 {
		return
	}
	line := fmt.Sprintf(" scanning   %s files", grouped(found))
	if len(s.left) > 0 {
		sum, reasons := 0, []string{}
		for _, why := range slices.Sorted(maps.Keys(s.left)) {
			sum += s.left[why]
			reasons = append(reasons, fmt.Sprintf("%s %s", why, grouped(s.left[why])))
		}
		line += fmt.Sprintf(" · %s left out (%s) · -v lists them", grouped(sum), strings.Join(reasons, ", "))
	}
	fmt.Fprintln(words, line)
}
