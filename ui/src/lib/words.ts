// Words and numbers as people read them.

const whole = new Intl.NumberFormat('en')

export const number = (n: number) => whole.format(n)
export const plural = (n: number, one: string, many = one + 's') => `${number(n)} ${n === 1 ? one : many}`
export const percent = (share: number) => `${Math.round(share * 100)} %`

export function bytes(n: number): string {
  if (n < 1000) return `${n} B`
  for (const unit of ['KB', 'MB', 'GB']) {
    n /= 1000
    if (n < 999.5 || unit === 'GB') return `${n < 10 ? n.toFixed(1) : Math.round(n)} ${unit}`
  }
  return ''
}

export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  const s = ms / 1000
  if (s < 60) return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`
  const m = Math.floor(s / 60)
  if (m < 60) return `${m} min ${Math.round(s % 60)} s`
  const h = Math.floor(m / 60)
  return h < 48 ? `${h} h ${m % 60} min` : `${Math.floor(h / 24)} days`
}

export const clock = (time: string) =>
  new Date(time).toLocaleTimeString('en-GB', { hour12: false }) + '.' + time.slice(20, 23)

export const day = (time: string) => new Date(time).toLocaleDateString('en-GB', { day: 'numeric', month: 'short', year: 'numeric' })

/** What kind of place a chunk ends at: a glyph for the text, words for everything else. */
export const boundaries: Record<string, { glyph: string; words: string; bad?: boolean }> = {
  section: { glyph: '§', words: 'before a heading or a new section' },
  block: { glyph: '▪', words: 'at the end of a block' },
  topic: { glyph: '◆', words: 'where the topic changes' },
  separator: { glyph: '⁝', words: 'at one of your separators' },
  paragraph: { glyph: '¶', words: 'at the end of a paragraph' },
  row: { glyph: '≡', words: 'at the end of a table row' },
  line: { glyph: '↵', words: 'at the end of a line' },
  sentence: { glyph: '.', words: 'at the end of a sentence' },
  clause: { glyph: ',', words: 'at the end of a clause' },
  word: { glyph: '␣', words: 'between two words' },
  character: { glyph: '✂', words: 'inside of a word', bad: true },
  end: { glyph: '■', words: 'at the end of the text' },
}

/** Why a chunk ends where it does and not further on. */
export function why(boundary: string | undefined, reason: string | undefined, limit: string): string {
  const place = boundaries[boundary ?? '']?.words ?? 'here'
  if (reason === 'end' || boundary === 'end') return 'The text ends here.'
  if (reason === 'structure') return `The structure ends it: it is cut ${place}, although more would have fitted.`
  if (boundary === 'character')
    return `The limit of ${limit} was reached and there was no better place before it: it is cut ${place}.`
  return `More would not have fitted into ${limit}. The best place to cut before that was ${place}.`
}

/** A time ago, in words that stay true for a while. */
export function ago(time: string, now = Date.now()): string {
  const ms = now - new Date(time).getTime()
  return ms < 5000 ? 'just now' : `${duration(ms)} ago`
}
