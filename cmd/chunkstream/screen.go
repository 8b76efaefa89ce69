package main

import (
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/mattn/go-isatty"
)

// screen is where a command's words go, and the flags that all commands have.
type screen struct {
	Config string `placeholder:"FILE" help:"Settings from this file instead of chunkstream.yaml in this folder and the user's: see chunkstream config --help."`
	Color  string `default:"auto" enum:"auto,always,never" help:"Colours: auto (on a terminal, unless NO_COLOR is set), always or never."`

	in       io.Reader
	out, err io.Writer
}

// colored reports whether what goes to w may have colours: as the flag says, else as NO_COLOR (no-color.org) and
// CLICOLOR_FORCE (bixense.com/clicolors) say, else on a terminal that is not dumb.
func (s *screen) colored(w io.Writer) bool {
	switch {
	case s.Color == "always" || s.Color == "never":
		return s.Color == "always"
	case os.Getenv("NO_COLOR") != "":
		return false
	case os.Getenv("CLICOLOR_FORCE") != "" && os.Getenv("CLICOLOR_FORCE") != "0":
		return true
	}
	return isTerminal(w) && os.Getenv("TERM") != "dumb"
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// style is how words look: SGR parameters (ECMA-48, section 8.3.117), or nothing without colours.
type style string

const (
	dim  style = "2"
	bold style = "1"
	good style = "32"
	bad  style = "31"
)

// paint gives words in a style if on.
func paint(on bool, s style, words string) string {
	if !on || words == "" {
		return words
	}
	return "\x1b[" + string(s) + "m" + words + "\x1b[0m"
}

// grouped is a number with commas between the thousands.
func grouped(n int) string {
	s := strconv.Itoa(n)
	var b strings.Builder
	for i, r := range s {
		if i > 0 && (len(s)-i)%3 == 0 && s[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(r)
	}
	return b.String()
}
