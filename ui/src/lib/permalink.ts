// What a page shows, as the fragment of its address. It holds settings, never the text.

import type { Settings } from './types'

export interface Column {
  strategy: string
  settings: Settings
}

export interface View {
  columns: Column[]
  sample: string
  doc?: string // a document of the server
  view: string
  chunk: number // -1: none
  only: boolean // differences only
}

/** s=recursive&chunk_size=500;s=markdown — one part for each column, separated by ";". */
export function fragmentOf(v: View): string {
  const parts = v.columns.map((c) => {
    const q = new URLSearchParams({ s: c.strategy })
    for (const [name, value] of Object.entries(c.settings)) q.set(name, typeof value === 'string' ? value : JSON.stringify(value))
    return q.toString()
  })
  const page = new URLSearchParams()
  if (v.sample) page.set('sample', v.sample)
  if (v.doc) page.set('doc', v.doc)
  if (v.view !== 'text') page.set('view', v.view)
  if (v.only) page.set('only', 'differences')
  if (v.chunk >= 0) page.set('c', String(v.chunk))
  return '#' + [...parts, page.toString()].filter(Boolean).join(';')
}

/** Reads a fragment; what it cannot read is left out. types says which settings are texts. */
export function viewOf(fragment: string, isText: (strategy: string, name: string) => boolean): View {
  const view: View = { columns: [], sample: '', view: 'text', chunk: -1, only: false }
  for (const part of fragment.replace(/^#/, '').split(';')) {
    const q = new URLSearchParams(part)
    const strategy = q.get('s')
    if (strategy) {
      const settings: Settings = {}
      for (const [name, value] of q) if (name !== 's') settings[name] = isText(strategy, name) ? value : parsed(value)
      view.columns.push({ strategy, settings })
      continue
    }
    view.sample = q.get('sample') ?? ''
    view.doc = q.get('doc') ?? ''
    view.view = q.get('view') ?? 'text'
    view.only = q.get('only') === 'differences'
    view.chunk = q.has('c') ? Number(q.get('c')) || 0 : -1
  }
  return view
}

function parsed(value: string): unknown {
  try {
    return JSON.parse(value)
  } catch {
    return value
  }
}
