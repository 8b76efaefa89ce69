// What can be wrong with chunks, found without knowing what is right: docs/strategies.md says how cuts are made.

import { gapsOf, type Piece } from './pieces'
import type { Settings } from './types'

export interface Check {
  name: string
  good: string // what it says when nothing is wrong
  bad: string // behind the number of places
  places: Piece[]
}

const fence = /^ {0,3}(```|~~~)/gm
const tableRow = /^\s*\|.*\|\s*$/
const tableRule = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/
const heading = /^ {0,3}#{1,6}\s+\S/

export function checksOf(text: string, pieces: Piece[], config: Settings, complete: boolean): Check[] {
  const limit = Number(config.chunk_size ?? config.window)
  const lost = complete ? gapsOf(text, pieces, true) : []
  const covered = text.length - lost.reduce((n, g) => n + g.to - g.from, 0)
  const has = (p: Piece, kind: string) => p.chunk.context?.some((c) => c.kind === kind)
  return [
    {
      name: 'limit', good: `all within ${limit} ${config.unit}`, bad: `over ${limit} ${config.unit}`,
      places: pieces.filter((p) => p.size > limit),
    },
    {
      name: 'coverage', good: 'nothing but white space left out',
      bad: `of the text left out: ${((covered / Math.max(1, text.length)) * 100).toFixed(1)} % covered`,
      places: lost.map((g) => pieces.find((p) => p.from >= g.to) ?? pieces[pieces.length - 1]).filter(Boolean),
    },
    {
      name: 'words', good: 'no word cut in two', bad: 'cut inside of a word',
      places: pieces.filter((p) => p.chunk.boundary === 'character'),
    },
    {
      name: 'fences', good: 'no code fence left open', bad: 'with an open code fence',
      places: pieces.filter((p) => !has(p, 'fence') && (text.slice(p.from, p.to).match(fence)?.length ?? 0) % 2 === 1),
    },
    {
      name: 'tables', good: 'no table torn from its header', bad: 'starting in a table, without its header',
      places: pieces.filter((p) => startsInTable(text, p) && !has(p, 'table_header')),
    },
    {
      name: 'headings', good: 'no heading left behind its section', bad: 'ending with a heading',
      places: pieces.filter((p) => p.to < text.length && endsWithHeading(text.slice(p.from, p.to))),
    },
  ]
}

/** What counts as a near copy, as `chunkstream lint` counts: three words in a row, in common with an earlier chunk. */
const fewest = 6 // of them
const alike = 0.9

/**
 * Chunks that have nearly the words of an earlier one that shares no text with them. It yields now and then, so that nothing
 * waits for it. Chunks are compared that have four least hashes in common (see check/copies.go).
 */
export function* nearCopies(text: string, pieces: Piece[]): Generator<void, Piece[]> {
  const found: Piece[] = []
  const first = new Map<string, number>()
  const sets: Uint32Array[] = []
  for (const [i, p] of pieces.entries()) {
    if (i % 32 === 31) yield
    const set = (sets[i] = shingles(text.slice(p.from, p.to)))
    if (set.length < fewest) continue
    const sketch = sketchOf(set)
    let copy = false
    for (let band = 0; band < bins; band += rows) {
      const key = `${band} ${sketch.subarray(band, band + rows).join()}`
      const j = first.get(key)
      if (j === undefined) first.set(key, i)
      else copy ||= pieces[j].to <= p.from && resemblance(set, sets[j]) >= alike
    }
    if (copy) found.push(p)
  }
  return found
}

const bins = 32
const rows = 4
const solid = String.raw`[[\p{L}\p{N}]--[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}\p{sc=Tibetan}]]`
/** A run of letters, or one of a script that has no spaces between words. */
const word = new RegExp(String.raw`(?:${solid}|\p{M})+|[\p{L}\p{N}]`, 'gv')

// Case and punctuation do not count.
function shingles(text: string): Uint32Array {
  const hashes = new Set<number>()
  let [last, before, n] = [0, 0, 0]
  for (const [w] of text.toLowerCase().matchAll(word)) {
    let hash = 0
    for (let i = 0; i < w.length; i++) hash = mix(hash ^ (w.charCodeAt(i) + 1))
    if (++n > 2) hashes.add(mix(mix(mix(before) ^ last) ^ hash))
    ;[before, last] = [last, hash]
  }
  return Uint32Array.from(hashes).sort()
}

// The finaliser of MurmurHash3 (Appleby, public domain).
function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** The least hash of each bin; an empty one takes that of the next that is not. */
function sketchOf(set: Uint32Array): Uint32Array {
  const sketch = new Uint32Array(bins)
  const full = new Uint8Array(bins)
  for (const h of set) {
    const bin = h >>> 27
    if (!full[bin]) [sketch[bin], full[bin]] = [h, 1]
  }
  for (let bin = 0; bin < bins; bin++)
    for (let step = 1; !full[bin] && step < bins; step++) {
      const from = (bin + step) % bins
      if (full[from]) {
        sketch[bin] = mix(sketch[from] + step)
        break
      }
    }
  return sketch
}

function resemblance(a: Uint32Array, b: Uint32Array): number {
  let [both, i, j] = [0, 0, 0]
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) [both, i, j] = [both + 1, i + 1, j + 1]
    else if (a[i] < b[j]) i++
    else j++
  }
  return both / (a.length + b.length - both)
}

export const copies = (places: Piece[]): Check => ({
  name: 'copies', good: 'no chunk nearly the same as another', bad: 'nearly the same as an earlier one', places,
})

function startsInTable(text: string, p: Piece): boolean {
  if (p.from === 0) return false
  const line = (at: number) => {
    const end = text.indexOf('\n', at)
    return text.slice(at, end < 0 ? text.length : end)
  }
  const start = text.lastIndexOf('\n', p.from - 1) + 1
  const row = line(start)
  if (!tableRow.test(row) || tableRule.test(row) || start === 0) return false
  const before = line(text.lastIndexOf('\n', start - 2) + 1)
  return tableRow.test(before)
}

function endsWithHeading(text: string): boolean {
  const lines = text.trimEnd()
  const last = lines.slice(lines.lastIndexOf('\n') + 1)
  return heading.test(last) && lines.length > last.length
}
