package chunk

import (
	"errors"
	"fmt"
	"io"
	"iter"
)

// A walk is a strategy on its way through one document, of which it is shown one window after the other: a stretch of
// it that only grows at its end, and loses at its start what drop says. All of a strategy's state is in its walk.
type walk interface {
	// next returns the next chunk, in offsets of the document. With ok false, there are no more if last says that the
	// window reaches the document's end; else the window must grow before the next call. It then may have changed nothing
	// that the next call does not do again. It decides nothing by where the window ends unless last is true.
	next(window string, last bool) (c Chunk, ok bool)
	// kept is the place in the window before which the walk will not look again.
	kept() int
	// drop tells that the window has lost its first n bytes, at most kept of them.
	drop(n int)
}

// streamer is a strategy whose every pull examines a bounded stretch of the document, so that it can cut one that is
// still arriving.
type streamer interface {
	Splitter
	walk() walk
}

// splitWalk is Split for a streamer: the document is there from the start.
func splitWalk(s streamer, text string) iter.Seq[Chunk] {
	return func(yield func(Chunk) bool) {
		w := s.walk()
		for {
			c, ok := w.next(text, true)
			if !ok || !yield(c) {
				return
			}
		}
	}
}

// Piece is a chunk of a document that is read only once, with its text.
type Piece struct {
	Chunk
	Text string
}

// ErrNotStreamed is what Stream gives for a splitter whose chunks depend on the whole text, or that is not of this
// package.
var ErrNotStreamed = errors.New("this strategy needs the whole text: read it and use Split")

// The sizes of a stream's window, in bytes: what one read asks for, and how many reads in a row may give nothing.
const (
	readSize   = 64 << 10
	emptyReads = 100
)

// Stream cuts the document that r holds and yields the same chunks as s.Split would for all of it, whatever sizes r
// reads in. It holds no more of the document than twice what the longest chunk and the look-ahead behind it take, and
// 128 KiB. It stops at the first error of r, which it yields, wrapped, without having yielded a chunk that the missing
// text could have changed. r should give valid UTF-8: see package extract.
func Stream(s Splitter, r io.Reader) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		st, ok := s.(streamer)
		if !ok {
			yield(Piece{}, ErrNotStreamed)
			return
		}
		w := st.walk()
		var (
			window string
			base   int // the window's place in the document
			last   bool
			buf    = make([]byte, readSize)
		)
		for {
			for {
				c, ok := w.next(window, last)
				if !ok {
					break
				}
				if !yield(Piece{c, window[c.Start-base : c.End-base]}, nil) {
					return
				}
			}
			if last {
				return
			}
			keep := w.kept()
			w.drop(keep)
			base += keep
			window = window[keep:]
			// What is kept is copied, so at least as much comes new: every byte is copied a bounded number of times.
			if len(buf) < len(window) {
				buf = make([]byte, 2*len(buf))
			}
			n, err := fill(r, buf)
			window += string(buf[:n])
			switch {
			case errors.Is(err, io.EOF):
				last = true
			case err != nil:
				yield(Piece{}, fmt.Errorf("read the document at byte %d: %w", base+len(window), err))
				return
			}
		}
	}
}

// fill reads until buf is full or there is an error; at the end that is io.EOF, with n bytes read before it.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for empty := 0; n < len(buf) && err == nil; {
		var m int
		m, err = r.Read(buf[n:])
		n += m
		if empty++; m > 0 {
			empty = 0
		} else if empty == emptyReads && err == nil {
			err = io.ErrNoProgress
		}
	}
	return n, err
}
