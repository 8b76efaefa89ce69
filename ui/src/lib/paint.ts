// The colours of the text are CSS Custom Highlights: ranges that the browser paints, while the text itself stays plain
// text, one node a block, which can be selected, copied and searched. app.css says how each name looks.
//
// A highlight can have no two backgrounds. Where chunks overlap, the earlier one's background stays and the later one's
// colour is a thick underline over its lower half.

import { colours } from './pieces'

export type Layer = `chunk-${number}` | `band-${number}` | 'overlap' | 'picked' | 'differs' | 'context'

const priorities: Record<string, number> = { chunk: 0, context: 1, differs: 1, band: 2, overlap: 3, picked: 4 }

export const paintable = typeof Highlight !== 'undefined' && 'highlights' in CSS

function layer(name: Layer): Highlight {
  let h = CSS.highlights.get(name)
  if (!h) {
    h = new Highlight()
    h.priority = priorities[name.split('-')[0]]
    CSS.highlights.set(name, h)
  }
  return h
}

export const colourOf = (nth: number) => nth % colours

/** What one block of text shows now. All views share the layers; each takes away only what it put there. */
export class Paint {
  private ranges: [Layer, StaticRange][] = []

  add(name: Layer, node: Text, from: number, to: number) {
    if (to <= from || !paintable) return
    const range = new StaticRange({ startContainer: node, startOffset: from, endContainer: node, endOffset: to })
    layer(name).add(range)
    this.ranges.push([name, range])
  }

  clear() {
    for (const [name, range] of this.ranges) layer(name).delete(range)
    this.ranges = []
  }
}
