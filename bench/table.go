package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table prints Markdown that also reads well as plain text.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) {
	widths := make([]int, len(t.header))
	all := append([][]string{t.header}, t.rows...)
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range all {
		line := "|"
		for i, cell := range row {
			line += " " + cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)) + " |"
		}
		_, _ = fmt.Fprintln(w, line)
		if n == 0 {
			_, _ = fmt.Fprintln(w, "|"+strings.Repeat("---|", len(row)))
		}
	}
}
