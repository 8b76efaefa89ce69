package token

// A piece is encoded by byte pair encoding: of all neighbouring pairs that form a token the one of the lowest rank is
// joined, the leftmost first, until no pair is left. Doing that literally is quadratic. Instead tokens are laid down
// from the left, the longest that fits first, and taken up again where no token fits behind them. That gives the same,
// because an encoding is right exactly when each two neighbours in it are (stays), and of all ways to write a text in
// tokens only one has that. A place that led nowhere is marked, so no place is left twice and the time is linear.

// staysMet is stays, out of l.met where it can be.
func (v *vocabulary) staysMet(l *lay, left, right uint32) bool {
	key := uint64(left)<<19 | uint64(right)<<1 | 1<<40
	at := &l.met[key*hashFactor>>(64-metBits)]
	if *at&^1 == key {
		return *at&1 == 1
	}
	ok := v.stays(left, right)
	*at = key
	if ok {
		*at |= 1
	}
	return ok
}

// stays reports whether the encoding of left and right written together is left and right.
func (v *vocabulary) stays(left, right uint32) bool {
	limit := uint32(none) // the rank of what was last taken apart: a join across the middle of a lower one came first
	for {
		if whole := v.join(left, right); whole < limit {
			return false
		}
		if left > right {
			limit = left
			if left = v.parts[left].right; left != limit {
				continue
			}
			limit = right + 1
			if right = v.parts[right].left; right+1 == limit {
				return true
			}
			continue
		}
		limit = right + 1
		if right = v.parts[right].left; right+1 != limit {
			continue
		}
		limit = left
		if left = v.parts[left].right; left == limit {
			return true
		}
	}
}

// lay is the tokens of a piece so far, and which places in it lead nowhere.
type lay struct {
	tokens []uint32
	dead   []uint64 // a bit for each place
	// met remembers what stays said: the pair, a bit that is always set, so that zero is empty, and the answer in the
	// lowest bit. Pairs repeat in a language that is written without spaces, where pieces do not.
	met [1 << metBits]uint64
}

const metBits = 13

// keepLay bounds what is kept for the next piece, so that one monstrous piece is not held for ever.
const keepLay = 1 << 16

func (l *lay) reset(n int) {
	l.tokens = l.tokens[:0]
	if words := n/64 + 1; words <= cap(l.dead) {
		l.dead = l.dead[:words]
		clear(l.dead)
	} else {
		l.dead = make([]uint64, words, words+8)
	}
}

// trim lets go of buffers that are larger than most pieces ask for.
func (l *lay) trim() {
	if cap(l.tokens) > keepLay {
		l.tokens, l.dead = nil, nil
	}
}

// encode leaves the tokens of piece in l.tokens: all of them, or, when there are more than most, the first ones as they
// are when most of them are laid down, which are the encoding of the bytes that they stand for. It returns how many
// bytes that are. piece is not empty, most is at least 1.
func (v *vocabulary) encode(l *lay, piece string, most int) int {
	l.reset(len(piece))
	next, n := v.longest(piece)
	if n == len(piece) {
		l.tokens = append(l.tokens, next)
		return n
	}
	pos := 0
	for pos < len(piece) {
		if len(l.tokens) == most {
			return pos
		}
		for {
			end := pos + v.len(next)
			if l.dead[end/64]>>(end%64)&1 == 0 && (len(l.tokens) == 0 || v.staysMet(l, l.tokens[len(l.tokens)-1], next)) {
				l.tokens = append(l.tokens, next)
				if pos = end; pos < len(piece) {
					next, _ = v.longest(piece[pos:])
				}
				break
			}
			if shorter := v.shorter[next]; shorter != none {
				next = shorter
				continue
			}
			l.dead[pos/64] |= 1 << (pos % 64)
			next = l.tokens[len(l.tokens)-1]
			l.tokens = l.tokens[:len(l.tokens)-1]
			pos -= v.len(next)
			break
		}
	}
	return pos
}
