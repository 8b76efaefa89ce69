// Package docs is the pages of the documentation that the service shows by itself.
package docs

import _ "embed"

// Errors is docs/errors.md: of each problem code its status, its meaning, its likely cause, the fix, and whether a repetition
// is safe.
//
//go:embed errors.md
var Errors string
