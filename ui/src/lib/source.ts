// A text as the pages hold it: JavaScript counts UTF-16 code units, the API code points.

/** About how long a block is. A block is what is laid out, painted and measured at once; it ends at a line's end. */
const blockLength = 2000
/** A line longer than this is shown in several blocks, or one line of a megabyte would be laid out as a whole. */
const longestLine = 8000
const step = 512

export interface Block {
  from: number
  to: number
  text: string
}

export class Source {
  readonly text: string
  readonly blocks: Block[]
  /** The UTF-16 offset of every 512th code point; empty when all are one unit long. */
  private readonly marks: number[] = []
  /** The UTF-16 offset and the byte of about every 512th unit; made when first asked for. */
  private bytes?: [number, number][]

  constructor(text: string) {
    this.text = text
    this.blocks = blocksOf(text)
    if (!/[\ud800-\udbff][\udc00-\udfff]/.test(text)) return
    for (let at = 0, n = 0; at < text.length; n++) {
      if (n % step === 0) this.marks.push(at)
      at += widthAt(text, at)
    }
  }

  /** The UTF-16 offset of a code point; the text's length if it lies behind its end. */
  offset(char: number): number {
    if (this.marks.length === 0) return Math.min(char, this.text.length)
    const mark = Math.min(Math.floor(char / step), this.marks.length - 1)
    let at = this.marks[mark]
    for (let n = mark * step; n < char && at < this.text.length; n++) at += widthAt(this.text, at)
    return at
  }

  /** The UTF-16 offset of a byte of the text in UTF-8, at the start of a code point. */
  atByte(byte: number): number {
    if (!this.bytes) {
      this.bytes = []
      for (let at = 0, n = 0, next = 0; at < this.text.length; ) {
        if (at >= next) {
          this.bytes.push([at, n])
          next = at + step
        }
        n += bytesAt(this.text, at)
        at += widthAt(this.text, at)
      }
    }
    let low = 0
    let high = this.bytes.length - 1
    while (low < high) {
      const mid = (low + high + 1) >> 1
      if (this.bytes[mid][1] <= byte) low = mid
      else high = mid - 1
    }
    let [at, n] = this.bytes[low] ?? [0, 0]
    for (; n < byte && at < this.text.length; at += widthAt(this.text, at)) n += bytesAt(this.text, at)
    return at
  }

  /** The index of the block that holds an offset. */
  blockAt(offset: number): number {
    let low = 0
    let high = this.blocks.length - 1
    while (low < high) {
      const mid = (low + high + 1) >> 1
      if (this.blocks[mid].from <= offset) low = mid
      else high = mid - 1
    }
    return Math.max(0, low)
  }

  /** The number of the line, from 1, in which an offset lies. */
  lineAt(offset: number): number {
    let n = 1
    for (let at = this.text.indexOf('\n'); at >= 0 && at < offset; at = this.text.indexOf('\n', at + 1)) n++
    return n
  }
}

// A surrogate alone is one code point, U+FFFD, by the time it reaches the server.
function widthAt(text: string, at: number): number {
  return (text.codePointAt(at) as number) > 0xffff ? 2 : 1
}

function bytesAt(text: string, at: number): number {
  const c = text.codePointAt(at) as number
  return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4
}

function blocksOf(text: string): Block[] {
  const blocks: Block[] = []
  for (let from = 0; from < text.length; ) {
    let to = text.length
    if (to - from > blockLength) {
      const end = text.indexOf('\n', from + blockLength)
      to = end < 0 ? text.length : end + 1
      if (to - from > longestLine) {
        to = from + longestLine
        const space = text.lastIndexOf(' ', to)
        if (space > from + longestLine / 2) to = space + 1
        else if (/[\udc00-\udfff]/.test(text[to])) to--
      }
    }
    blocks.push({ from, to, text: text.slice(from, to) })
    from = to
  }
  return blocks
}

/** How many bytes a text has in UTF-8. */
export function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length
}
