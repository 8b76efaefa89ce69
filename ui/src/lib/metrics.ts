// The server's numbers, as Prometheus reads them.

import { call } from './api.svelte'

export interface Sample {
  labels: Record<string, string>
  value: number
}
export type Metrics = Map<string, Sample[]>

export async function readMetrics(): Promise<Metrics> {
  const all: Metrics = new Map()
  for (const line of (await (await call('/metrics')).text()).split('\n')) {
    const m = /^(chunkstream_\w+)(?:\{(.*)\})? (\S+)$/.exec(line)
    if (!m || m[1].endsWith('_bucket')) continue
    const labels: Record<string, string> = {}
    for (const [, name, value] of (m[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name] = value
    const list = all.get(m[1]) ?? []
    list.push({ labels, value: Number(m[3]) })
    all.set(m[1], list)
  }
  return all
}

/** The sum of a metric over those of its labels that match; undefined if the server has no such metric. */
export function total(all: Metrics, name: string, labels: Record<string, string> = {}): number | undefined {
  const found = all.get(`chunkstream_${name}`)
  return found?.filter((s) => Object.entries(labels).every(([k, v]) => s.labels[k] === v)).reduce((n, s) => n + s.value, 0)
}
