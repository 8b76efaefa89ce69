package main

import (
	"errors"
	"fmt"
	"io"
	"os"

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
		Include: s.Include, Exclude: s.Exclude, Hidden: s.Hidden, NoIgnore: s.NoIgnore, MaxBytes: int64(s.MaxSize),
	})
	if s.Verbose {
		for _, left := range skipped {
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
