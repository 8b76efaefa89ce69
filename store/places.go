package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"chunkstream/chunk"
)

// A place is counted from the start of the part it lies in: a part says how many line ends and characters beyond U+FFFF are
// before it. So a page costs the text it spans and at most one part more, wherever in the document it is.

// addPlaces fills in Placed of every chunk, and the texts too if they are wanted, which it has read then. decoded says
// that the widths of the parts are of the operation's own source.
func (s *Store) addPlaces(ctx context.Context, document int64, chunks []Chunk, decoded, texts bool) error {
	from, to := span(chunks)
	part := partOf(from)
	base, lines, astrals, err := s.marks(ctx, document, part)
	if err != nil {
		return err
	}
	all, err := s.text(ctx, document, base, to)
	if err != nil {
		return err
	}
	ruler := chunk.Ruler{UTF16: true}
	place := func(at int64) (line, wide int64) {
		p := ruler.At(all, int(at-base))
		return lines + int64(p.Line), astrals + int64(p.UTF16-p.Char)
	}
	for i := range chunks {
		c := &chunks[i]
		p := &Placed{}
		startLine, startWide := place(c.StartByte)
		endLine, endWide := place(c.EndByte)
		p.FirstLine, p.LastLine = startLine+1, endLine+1
		if c.EndByte > c.StartByte && all[c.EndByte-base-1] == '\n' {
			p.LastLine--
		}
		p.StartUTF16, p.EndUTF16 = c.StartChar+startWide, c.EndChar+endWide
		c.Placed = p
	}
	if decoded {
		if err := s.addSources(ctx, document, chunks, all, base); err != nil {
			return err
		}
	}
	if texts {
		return s.addTexts(ctx, document, chunks, all, base)
	}
	return nil
}

// marks gives where a part starts and what is before it. Parts that were stored before this was kept are counted.
func (s *Store) marks(ctx context.Context, document, part int64) (start, lines, astrals int64, err error) {
	var keptLines, keptAstrals *int64
	err = s.read(ctx, `SELECT start_byte, lines, astral FROM document_parts WHERE key = $1`, document*partsPerDocument+part).
		one(&start, &keptLines, &keptAstrals)
	if missing(err) {
		return 0, 0, 0, damaged("part %d is missing", part)
	}
	if err == nil && (start > part*PartBytes || start < max(0, part*PartBytes-utf8.UTFMax)) {
		err = damaged("part %d starts at byte %d", part, start)
	}
	if err == nil && keptLines != nil && keptAstrals != nil && (*keptLines < 0 || *keptLines > start || *keptAstrals < 0 || *keptAstrals > start) {
		err = damaged("before part %d there are %d lines and %d characters beyond U+FFFF", part, *keptLines, *keptAstrals)
	}
	if err != nil {
		return 0, 0, 0, fmt.Errorf("part %d: %w", part, err)
	}
	if keptLines != nil && keptAstrals != nil {
		return start, *keptLines, *keptAstrals, nil
	}
	for before := range part {
		var body []byte
		err := s.read(ctx, `SELECT body FROM document_parts WHERE key = $1`, document*partsPerDocument+before).one(&body)
		if missing(err) {
			return 0, 0, 0, damaged("part %d is missing", before)
		}
		if err != nil {
			return 0, 0, 0, fmt.Errorf("part %d: %w", before, err)
		}
		lines += int64(strings.Count(string(body), "\n"))
		astrals += astral(body)
	}
	return start, lines, astrals, nil
}

// addSources fills in where the chunks are in the source. all is the text from base on.
func (s *Store) addSources(ctx context.Context, document int64, chunks []Chunk, all string, base int64) error {
	offsets := make([]int64, 0, 2*len(chunks))
	for _, c := range chunks {
		offsets = append(offsets, c.StartByte, c.EndByte)
	}
	slices.Sort(offsets)
	offsets = slices.Compact(offsets)
	found := make(map[int64]int64, len(offsets))
	last := offsets[len(offsets)-1]
	err := s.read(ctx, `
SELECT start_byte, source_start, widths FROM document_parts WHERE key BETWEEN $1 AND $2 AND source_start IS NOT NULL ORDER BY key`,
		document*partsPerDocument+offsets[0]/PartBytes, document*partsPerDocument+last/PartBytes).
		each(func(scan scan) error {
			var start, sourceStart int64
			var widths []byte
			if err := scan(&start, &sourceStart, &widths); err != nil {
				return err
			}
			if start < base || start > base+int64(len(all)) || sourceStart < 0 {
				return damaged("a part starts at byte %d, and at byte %d of the source", start, sourceStart)
			}
			// Each part answers for the offsets from its start on; the next one corrects those that are its own.
			var chars int64
			at := start
			for _, offset := range offsets {
				if offset < start {
					continue
				}
				if offset-start > PartBytes+utf8.UTFMax {
					break // beyond this part
				}
				n := int64(utf8.RuneCountInString(all[at-base : offset-base]))
				source, err := sourceAt(widths, sourceStart, chars+n)
				if err != nil {
					break // beyond this part
				}
				if source < sourceStart {
					return damaged("the widths of the part at byte %d", start)
				}
				chars, at = chars+n, offset
				found[offset] = source
			}
			return nil
		})
	if err != nil {
		return err
	}
	for i := range chunks {
		c := &chunks[i]
		var first, second bool
		c.Placed.SourceStart, first = found[c.StartByte]
		c.Placed.SourceEnd, second = found[c.EndByte]
		c.Placed.Decoded = first && second
	}
	return nil
}
