// A chunk and where it is in the text on the page.

import type { Chunk, Settings } from './types'
import type { Source } from './source'

export interface Piece {
  chunk: Chunk
  from: number // UTF-16, as all offsets here
  to: number
  /** Where the text begins that the piece before does not hold; from without an overlap. */
  fresh: number
  /** Its place among those of its level, from 0; decides its colour. */
  nth: number
  size: number // in the unit
}

export const colours = 6

/** How many levels of chunks there are; 1 but for hierarchical. */
export const levelsOf = (pieces: Piece[]) => pieces.reduce((n, p) => Math.max(n, (p.chunk.level ?? 0) + 1), 1)

/** Makes pieces of chunks, in their order. before are those that came earlier. */
export function piecesOf(chunks: Chunk[], source: Source, config: Settings, before: Piece[] = []): Piece[] {
  const last = new Map<number, Piece>()
  for (const p of before) last.set(p.chunk.level ?? 0, p)
  return chunks.map((chunk) => {
    const level = chunk.level ?? 0
    const prior = last.get(level)
    const from = source.offset(chunk.start_char)
    const to = source.offset(chunk.end_char)
    const piece = {
      chunk, from, to,
      fresh: Math.min(to, Math.max(from, prior?.to ?? 0)),
      nth: prior ? prior.nth + 1 : 0,
      size: chunk.size ?? sizeOf(chunk, source.text.slice(from, to), config),
    }
    last.set(level, piece)
    return piece
  })
}

// The chunks of an operation come without their size in the unit. Tokens cannot be counted here: characters then.
function sizeOf(chunk: Chunk, text: string, config: Settings): number {
  if (config.unit === 'bytes') return chunk.end_byte - chunk.start_byte
  if (config.unit === 'words') return text.match(/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]|[^\s\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]+/gu)?.length ?? 0
  return chunk.char_count
}

/** The first of stretches, which are in order, that ends behind an offset. */
export function firstBehind(stretches: { to: number }[], offset: number): number {
  let low = 0
  let high = stretches.length
  while (low < high) {
    const mid = (low + high) >> 1
    if (stretches[mid].to <= offset) low = mid + 1
    else high = mid
  }
  return low
}

/** The piece at an offset, the later one where two overlap; undefined in a gap. */
export function pieceAt(pieces: Piece[], offset: number): Piece | undefined {
  let found: Piece | undefined
  for (let i = firstBehind(pieces, offset); i < pieces.length && pieces[i].from <= offset; i++) found = pieces[i]
  return found
}

export interface Gap {
  from: number
  to: number
}

/** Stretches of text that no piece holds, but those of white space alone. complete: what follows the last piece is one too. */
export function gapsOf(text: string, pieces: Piece[], complete: boolean): Gap[] {
  const gaps: Gap[] = []
  let at = 0
  const add = (to: number) => {
    if (to > at && /\S/.test(text.slice(at, to))) gaps.push({ from: at, to })
  }
  for (const p of pieces) {
    add(p.from)
    at = Math.max(at, p.to)
  }
  if (complete) add(text.length)
  return gaps
}

export interface Numbers {
  count: number
  least: number
  median: number
  p95: number
  most: number
  good: number // share of cuts at a sentence's end or better
  sorted: number[]
}

const good = new Set(['sentence', 'line', 'row', 'paragraph', 'separator', 'topic', 'block', 'section'])

export function numbersOf(pieces: Piece[]): Numbers {
  const sorted = pieces.map((p) => p.size).sort((a, b) => a - b)
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0
  const cuts = pieces.filter((p) => p.chunk.boundary && p.chunk.boundary !== 'end')
  return {
    count: pieces.length, least: sorted[0] ?? 0, median: at(0.5), p95: at(0.95), most: sorted[sorted.length - 1] ?? 0,
    good: cuts.length ? cuts.filter((p) => good.has(p.chunk.boundary as string)).length / cuts.length : 1, sorted,
  }
}
