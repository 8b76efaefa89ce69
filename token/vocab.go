package token

import (
	"bytes"
	"compress/flate"
	"embed"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strings"
	"sync"
)

// The packed vocabularies; vocab/pack.go says how they were made.
//
//go:embed vocab/*.bin
var packed embed.FS

// vocabulary is the tokens of an encoding and what it takes to find and to join them.
type vocabulary struct {
	text  string   // the tokens by rank, one after the other
	start []uint32 // where the token of each rank starts in bytes, and where the last one ends
	size  []uint8  // the length of the token of each rank, 0 for a rank without one
	trie  []uint64 // a double array, see baseAt
	// shorter is the longest token that a token begins with, or none.
	shorter []uint32
	// parts are the two tokens that a token is joined from. A token that nothing joins to has itself twice: all single
	// bytes, and those that can only be met as a whole piece.
	parts []pair
	joins joins
}

type pair struct{ left, right uint32 }

// none stands for no token. Ranks have 18 bits.
const none = 1<<18 - 1

// token returns the bytes of t, "" for a rank without token.
func (v *vocabulary) token(t uint32) string { return v.text[v.start[t]:v.start[t+1]] }

func (v *vocabulary) len(t uint32) int { return int(v.size[t]) }

// loadVocabulary unpacks the vocabularies of these names, one after the other, and makes the rest of them. What is
// embedded is right, which a test makes sure of, so an error is a fault of the program.
func loadVocabulary(names ...string) (*vocabulary, error) {
	v := &vocabulary{start: []uint32{0}}
	var text []byte
	for _, name := range names {
		b, err := packed.ReadFile("vocab/" + name + ".bin")
		if err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
		if b, err = io.ReadAll(flate.NewReader(bytes.NewReader(b))); err != nil {
			return nil, fmt.Errorf("token: unpack %s: %w", name, err)
		}
		lengths, tokens, _ := bytes.Cut(b, []byte{0xFF})
		end := v.start[len(v.start)-1]
		for _, n := range lengths {
			end += uint32(n)
			v.start = append(v.start, end)
		}
		v.size = append(v.size, lengths...)
		if text = append(text, tokens...); len(text) != int(end) || len(v.start) > none {
			return nil, fmt.Errorf("token: unpack %s: %d bytes of tokens, want %d", name, len(text), end)
		}
	}
	v.text = string(text)
	ranks := len(v.start) - 1
	sorted := make([]uint32, 0, ranks)
	for t := range uint32(ranks) {
		if v.len(t) > 0 {
			sorted = append(sorted, t)
		}
	}
	slices.SortFunc(sorted, func(a, b uint32) int { return strings.Compare(v.token(a), v.token(b)) })
	v.trie = newTrie(v, sorted)
	v.shorter = make([]uint32, ranks)
	v.parts = make([]pair, ranks)
	v.joins.init(ranks)
	for t := range uint32(ranks) {
		v.shorter[t] = none
		v.parts[t] = pair{t, t}
		if n := v.len(t); n > 1 {
			v.shorter[t], _ = v.longest(v.token(t)[:n-1])
		}
	}
	for t := range uint32(ranks) {
		v.split(t)
	}
	return v, nil
}

// split finds the two tokens of a lower rank that are joined to t: there is at most one such pair, whose own encoding
// is these two. All lower ranks are split already.
func (v *vocabulary) split(t uint32) {
	whole := v.token(t)
	for left := v.shorter[t]; left != none; left = v.shorter[left] {
		rest := whole[v.len(left):]
		right, n := v.longest(rest)
		if n == len(rest) && left < t && right < t && v.stays(left, right) {
			v.parts[t] = pair{left, right}
			v.joins.add(left, right, t)
			return
		}
	}
}

// A unit of the trie is a node. Its children lie at base^b for every byte b they are reached by; a unit is a child of
// that node if its label is b, because no two nodes have the same base.
//
//	bits 0 to 17    the token that ends here, or none
//	bits 18 to 41   base
//	bits 42 to 50   label: a byte, or noLabel for a unit that is not used
const (
	baseAt  = 18
	labelAt = 42
	noLabel = 0x1FF
	tokenOf = 1<<18 - 1
	baseOf  = 1<<24 - 1
)

// longest returns the longest token that s begins with and its length; s is not empty, and every byte is a token.
func (v *vocabulary) longest(s string) (token uint32, n int) {
	trie := v.trie
	token = none
	u := trie[0]
	for i := range len(s) {
		b := s[i]
		at := u>>baseAt&baseOf ^ uint64(b)
		if at >= uint64(len(trie)) {
			break
		}
		if u = trie[at]; u>>labelAt != uint64(b) {
			break
		}
		if t := uint32(u & tokenOf); t != none {
			token, n = t, i+1
		}
	}
	return token, n
}

// trieBuilder places nodes where there is room. Room is looked for in the last blocks only, so that building is linear.
type trieBuilder struct {
	v          *vocabulary
	units      []uint64
	next, prev []int32 // the free units, a ring behind unit 0
	based      []bool  // whether a base is taken
}

const (
	blockSize  = 256
	openBlocks = 16
)

func newTrie(v *vocabulary, sorted []uint32) []uint64 {
	b := &trieBuilder{v: v, next: []int32{0}, prev: []int32{0}}
	b.grow()
	b.based[0] = true                    // base 0 is that of a node without children
	b.units[0] = noLabel<<labelAt | none // no byte leads to the root
	b.place(0, sorted, 0)
	return b.units
}

func (b *trieBuilder) grow() {
	n := len(b.units)
	for i := n; i < n+blockSize; i++ {
		b.units = append(b.units, noLabel<<labelAt|none)
		b.based = append(b.based, false)
		if i == 0 {
			continue
		}
		last := b.prev[0]
		b.next = append(b.next, 0)
		b.prev = append(b.prev, last)
		b.next[last], b.prev[0] = int32(i), int32(i)
	}
	if closed := n/blockSize - openBlocks; closed >= 0 {
		for i := closed * blockSize; i < (closed+1)*blockSize; i++ {
			if i > 0 && b.units[i]>>labelAt == noLabel {
				b.take(int32(i))
			}
		}
	}
}

// take removes a unit from the ring of free ones.
func (b *trieBuilder) take(i int32) {
	if i > 0 {
		b.next[b.prev[i]], b.prev[b.next[i]] = b.next[i], b.prev[i]
	}
}

// place makes the children of the node at, whose tokens are those of sorted; they share their first depth bytes.
func (b *trieBuilder) place(at int, sorted []uint32, depth int) {
	if b.v.len(sorted[0]) == depth {
		b.units[at] = b.units[at]&^tokenOf | uint64(sorted[0])
		sorted = sorted[1:]
	}
	if len(sorted) == 0 {
		return
	}
	var labels []byte
	var groups [][]uint32
	for i, from := 1, 0; i <= len(sorted); i++ {
		label := b.v.token(sorted[from])[depth]
		if i == len(sorted) || b.v.token(sorted[i])[depth] != label {
			labels, groups = append(labels, label), append(groups, sorted[from:i])
			from = i
		}
	}
	base := b.find(labels)
	b.based[base] = true
	b.units[at] |= uint64(base) << baseAt
	for _, label := range labels {
		b.take(int32(base ^ int(label)))
		b.units[base^int(label)] = uint64(label)<<labelAt | none
	}
	for i, label := range labels {
		b.place(base^int(label), groups[i], depth+1)
	}
}

func (b *trieBuilder) find(labels []byte) int {
	for {
		for i := b.next[0]; i != 0; i = b.next[i] {
			base := int(i) ^ int(labels[0])
			if !b.based[base] && b.fits(base, labels) {
				return base
			}
		}
		b.grow()
	}
}

func (b *trieBuilder) fits(base int, labels []byte) bool {
	for _, label := range labels {
		if i := base ^ int(label); i == 0 || b.units[i]>>labelAt != noLabel {
			return false
		}
	}
	return true
}

// joins maps two tokens to what they are joined to. An entry is that token and above it 14 bits of the hash of the
// pair, which rule out nearly every other pair; parts has the last word. All ones is empty. It is small because most
// look-ups miss the cache of the processor.
type joins struct {
	table []uint32
	shift int
}

const noJoin = 1<<32 - 1

func (j *joins) init(n int) {
	size := bits.Len(uint(2 * n))
	j.table, j.shift = slices.Repeat([]uint32{noJoin}, 1<<size), 64-size
}

func joinHash(left, right uint32) uint64 { return (uint64(left)<<18 | uint64(right)) * hashFactor }

func (j *joins) add(left, right, whole uint32) {
	hash := joinHash(left, right)
	i := hash >> j.shift
	for j.table[i] != noJoin {
		i = (i + 1) & uint64(len(j.table)-1)
	}
	j.table[i] = uint32(hash>>18)&^tokenOf | whole
}

// join returns the token that left and right are joined to, or none.
func (v *vocabulary) join(left, right uint32) uint32 {
	hash := joinHash(left, right)
	table := v.joins.table
	for i := hash >> v.joins.shift; ; i++ {
		entry := table[i&uint64(len(table)-1)]
		if entry == noJoin {
			return none
		}
		if (entry^uint32(hash>>18))&^tokenOf == 0 && v.parts[entry&tokenOf] == (pair{left, right}) {
			return entry & tokenOf
		}
	}
}

// hashFactor spreads the low bits of a key over the high bits of the product.
const hashFactor = 0x9E3779B97F4A7C15

// loaded keeps the vocabularies that have been asked for.
var loaded = map[string]func() (*Encoding, error){
	"cl100k_base": sync.OnceValues(func() (*Encoding, error) { return newEncoding("cl100k_base", cl100k, "cl100k_base") }),
	"o200k_base":  sync.OnceValues(func() (*Encoding, error) { return newEncoding("o200k_base", o200k, "o200k_base") }),
	"p50k_base": sync.OnceValues(func() (*Encoding, error) {
		return newEncoding("p50k_base", gpt2, "r50k_base", "p50k_base")
	}),
	"r50k_base": sync.OnceValues(func() (*Encoding, error) { return newEncoding("r50k_base", gpt2, "r50k_base") }),
}
