// Many operations at once: first which they would be, then one after the other. Every number is of what was asked and answered.

import { call, get, Problem, send } from './api.svelte'
import { ended, type Operation, type Status } from './types'

export type What = 'cancel' | 'retry'

/** What a filter leaves; status '' is every state that it can be done to. */
export interface Filter {
  status: string
  words: string
}

export const may: Record<What, Status[]> = { cancel: ['queued', 'processing'], retry: ['failed', 'cancelled'] }

export const matches = (op: Operation, words: string) =>
  !words || `${op.name} ${op.id} ${op.strategy} ${op.error?.code ?? ''}`.toLowerCase().includes(words.toLowerCase())

/** The states that are touched; none if the filter leaves only others. Completed ones are run again only when asked for. */
export function statesOf(what: What, f: Filter): string[] {
  if (!f.status) return may[what]
  return may[what].includes(f.status as Status) || (what === 'retry' && ended(f.status)) ? [f.status] : []
}

export const most = 2000 // operations at a time

/** Reads which operations would be touched, newest first; more says that there are others. */
export async function dryRun(what: What, f: Filter, signal: AbortSignal): Promise<{ found: Operation[]; more: boolean }> {
  const found: Operation[] = []
  for (const status of statesOf(what, f))
    for (let cursor = ''; ; ) {
      const page = await get<{ data: Operation[]; next_cursor: string }>('/v1/operations', { status, limit: 200, cursor }, signal)
      for (const op of page.data) {
        if (!matches(op, f.words) || (what === 'cancel' && op.cancel_requested)) continue
        if (found.length === most) return { found, more: true }
        found.push(op)
      }
      cursor = page.next_cursor
      if (!cursor) break
    }
  return { found, more: false }
}

export type Outcome = 'done' | 'not needed' | Problem

/** Does it to one. An operation that was run again in the last 24 hours is not run a third time. */
export async function touch(what: What, op: Operation): Promise<Outcome> {
  for (;;)
    try {
      if (what === 'cancel') {
        const now = await send<Operation>('POST', `/v1/operations/${op.id}/cancel`)
        return now.status === 'cancelled' || now.cancel_requested ? 'done' : 'not needed' // it had ended meanwhile
      }
      const answer = await call(`/v1/operations/${op.id}/retry`, { method: 'POST', headers: { 'Idempotency-Key': `again-${op.id}` } })
      return answer.headers.get('Idempotent-Replayed') ? 'not needed' : 'done'
    } catch (cause) {
      if (!(cause instanceof Problem)) throw cause
      if (cause.code !== 'rate_limited') return cause
      await new Promise((go) => setTimeout(go, 1000))
    }
}
