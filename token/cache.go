package token

// scratch is what counting needs besides the vocabulary. Each is used by one goroutine at a time.
type scratch struct {
	lay   lay
	known []known
}

// take gives a scratch that nobody uses. At most one for each processor is kept: a sync.Pool would let go of them, and of
// all that is known, at every second garbage collection.
func (e *Encoding) take() *scratch {
	select {
	case s := <-e.idle:
		return s
	default:
		return &scratch{known: make([]known, cacheSize)}
	}
}

func (e *Encoding) give(s *scratch) {
	s.lay.trim()
	select {
	case e.idle <- s:
	default:
	}
}

// known is a short piece that has been counted: its first eight bytes, its others, and in the highest byte its length
// in the low half and its tokens in the high one. All zero is no piece.
type known struct{ low, high uint64 }

const (
	cacheBits = 15
	cacheSize = 1 << cacheBits
	mostKnown = 15 // bytes of a piece that fits
	lengthAt  = 56
	tokensAt  = 60
)

// countPiece returns how many tokens the piece text[i:end] has. Pieces repeat: most are found among those known.
func (e *Encoding) countPiece(s *scratch, text string, i, end int) int {
	n := end - i
	if n > mostKnown {
		return e.countNew(s, text[i:end])
	}
	k := key(text, i, n)
	at := &s.known[(k.low^k.high*hashFactor)*hashFactor>>(64-cacheBits)]
	if at.low == k.low && at.high&(1<<tokensAt-1) == k.high {
		return int(at.high >> tokensAt)
	}
	tokens := e.countNew(s, text[i:end])
	*at = known{k.low, k.high | uint64(tokens)<<tokensAt}
	return tokens
}

func (e *Encoding) countNew(s *scratch, piece string) int {
	e.encode(&s.lay, piece, len(piece))
	return len(s.lay.tokens)
}

// key packs the n bytes of text from i on, at most mostKnown, with the length.
func key(text string, i, n int) (k known) {
	if len(text)-i >= 16 {
		k.low = load8(text, i)
		if n < 8 {
			k.low &= 1<<(8*n) - 1
		} else {
			k.high = load8(text, i+8) & (1<<(8*(n-8)) - 1)
		}
	} else {
		for j := range n {
			if j < 8 {
				k.low |= uint64(text[i+j]) << (8 * j)
			} else {
				k.high |= uint64(text[i+j]) << (8 * (j - 8))
			}
		}
	}
	k.high |= uint64(n) << lengthAt
	return k
}
