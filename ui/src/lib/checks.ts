// What can be wrong with chunks, found without knowing what is right: docs/strategies.md says how cuts are made.

import { gapsOf, type Piece } from './pieces'
import type { Settings } from './types'

export interface Check {
  name: string
  good: string // what it says when nothing is wrong
  bad: string // behind the number of places
  places: Piece[]
  note?: string
}

const fence = /^ {0,3}(```|~~~)/gm
const tableRow = /^\s*\|.*\|\s*$/
const tableRule = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/
const heading = /^ {0,3}#{1,6}\s+\S/

export function checksOf(text: string, pieces: Piece[], config: Settings, complete: boolean): Check[] {
  const limit = Number(config.chunk_size ?? config.window)
  const lost = complete ? gapsOf(pieces, text.length).filter((g) => text.slice(g.from, g.to).trim() !== '') : []
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
