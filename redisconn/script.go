package redisconn

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Script is a Lua script, sent by its digest and in full only to a Redis that does not know it yet.
type Script struct {
	source, digest string
	keys           int // the least number of keys
	repeatable     bool
}

var (
	described = regexp.MustCompile(`^--\s*(KEYS|ARGV)(?:\[(\d+)(?:\.\.\.?)?\]|\s+none\b|\s)`)
	used      = regexp.MustCompile(`\b(KEYS|ARGV)\s*\[\s*(\d+)\s*\]`)
	returns   = regexp.MustCompile(`^--\s*returns\s+\S`)
	repeats   = regexp.MustCompile(`^--\s*repeat\s+safe\b`)
)

// ParseScript checks that source begins with comments that describe each KEYS[n] and ARGV[n] that it uses ("-- KEYS[1]
// the operation's hash"; "-- KEYS none" for none at all) and what it returns ("-- returns 1 when written, else 0"). A
// further line "-- repeat safe" says that running it twice is running it once, which makes its errors SafeToRepeat.
func ParseScript(source string) (*Script, error) {
	sum := sha1.Sum([]byte(source)) // Redis's own name for a script; nothing rests on its strength
	s := &Script{source: source, digest: hex.EncodeToString(sum[:])}
	told := map[string]bool{}
	said, code := false, ""
	for line := range strings.Lines(source) {
		line = strings.TrimSpace(line)
		if code == "" && (line == "" || strings.HasPrefix(line, "--")) {
			if m := described.FindStringSubmatch(line); m != nil {
				told[m[1]] = true
				told[m[1]+m[2]] = true
				if n, err := strconv.Atoi(m[2]); err == nil && m[1] == "KEYS" {
					s.keys = max(s.keys, n)
				}
			}
			said = said || returns.MatchString(line)
			s.repeatable = s.repeatable || repeats.MatchString(line)
			continue
		}
		code += line + "\n"
	}
	switch {
	case code == "":
		return nil, fmt.Errorf("redisconn: a script without code")
	case !told["KEYS"]:
		return nil, fmt.Errorf("redisconn: the script's header lacks a line \"-- KEYS[1] …\" or \"-- KEYS none\"")
	case !told["ARGV"]:
		return nil, fmt.Errorf("redisconn: the script's header lacks a line \"-- ARGV[1] …\" or \"-- ARGV none\"")
	case !said:
		return nil, fmt.Errorf("redisconn: the script's header lacks a line \"-- returns …\"")
	}
	for _, m := range used.FindAllStringSubmatch(code, -1) {
		if !told[m[1]+m[2]] {
			return nil, fmt.Errorf("redisconn: the script uses %s[%s], which its header does not describe", m[1], m[2])
		}
	}
	return s, nil
}

// NewScript is ParseScript for a script that is a constant of the program: it panics where that gives an error.
func NewScript(source string) *Script {
	s, err := ParseScript(source)
	if err != nil {
		panic(err)
	}
	return s
}
