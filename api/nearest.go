package api

import "strings"

// use words a suggestion; "" stays "".
func use(name string) string {
	if name == "" {
		return ""
	}
	return "use " + name
}

// oneOf suggests the name that was probably meant, or else all there are.
func oneOf(name string, known []string) string {
	switch {
	case nearest(name, known) != "":
		return use(nearest(name, known))
	case len(known) == 0:
		return "leave it out: nothing is known here"
	}
	return "leave it out; there are " + strings.Join(known, ", ")
}

// nearest gives the candidate that name was probably meant to be: the one with the fewest edits (insert, delete,
// replace, swap of neighbours), if they are at most a third of the name's length and at least one is allowed; else "".
// The earlier of equals wins.
func nearest(name string, candidates []string) string {
	if len(name) > 64 {
		return ""
	}
	best, found := max(1, len(name)/3)+1, ""
	for _, c := range candidates {
		if d := edits(name, c); d < best {
			best, found = d, c
		}
	}
	return found
}

func edits(a, b string) int {
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
