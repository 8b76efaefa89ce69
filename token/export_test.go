package token

import (
	"fmt"
	"strings"
	"unicode"
)

// Newer gives what a regular expression's classes for letters, numbers and the two cases lack, to stand between brackets.
func Newer() (letters, numbers, uppers, lowers string) {
	var texts [4]strings.Builder
	for _, set := range newer {
		for i, one := range []class{letter, number, upper, lower} {
			for _, r := range set.ranges {
				if set.class&one != 0 {
					fmt.Fprintf(&texts[i], `\x{%x}-\x{%x}`, r[0], r[1])
				}
			}
		}
	}
	return texts[0].String(), texts[1].String(), texts[2].String(), texts[3].String()
}

// Known reports whether Unicode 16 has r: as a letter, mark or number that package unicode lacks, or as anything there.
func Known(r rune) bool {
	return classTable().pages[classTable().page[r>>8]][r&0xFF] != 0 || unicode.In(r, unicode.C, unicode.P, unicode.S, unicode.Z)
}
