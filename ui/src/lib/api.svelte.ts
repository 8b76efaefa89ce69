// Requests to the API of the server that these pages came from, and the key that it may ask for.

/** An error answer: application/problem+json, or what became of the connection. */
export class Problem extends Error {
  constructor(
    readonly status: number, // 0: no answer at all
    readonly code: string,
    readonly detail: string,
    readonly param = '',
    readonly suggestion = '',
  ) {
    super(suggestion ? `${detail}: ${suggestion}` : detail)
  }
}

const store = 'chunkstream.key'

/** The key in use, kept for this tab alone, and whether the server has asked for one. out: a person has signed out, and
 *  nothing that was seen with the key stays to be seen. */
export const access = $state({ key: sessionStorage.getItem(store) ?? '', asked: false, refused: false, out: false })

let waiting: (() => void)[] = []

export function signIn(key: string) {
  sessionStorage.setItem(store, key)
  access.key = key
  access.asked = access.refused = access.out = false
  for (const go of waiting.splice(0)) go()
}

export function signOut() {
  sessionStorage.removeItem(store)
  access.key = ''
  access.refused = false
  access.asked = access.out = true
  waiting = [] // what the pages that are gone had asked for
}

/** Shows the page that asks for a key, and waits until one was given. */
function askForKey(): Promise<void> {
  access.refused = access.key !== ''
  access.asked = true
  return new Promise((go) => waiting.push(go))
}

export interface Call {
  method?: string
  query?: Record<string, unknown>
  body?: BodyInit
  headers?: Record<string, string>
  signal?: AbortSignal
}

/** Sends a request and gives a good answer; every other is a Problem. 401 waits for a key and tries again. */
export async function call(path: string, c: Call = {}): Promise<Response> {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(c.query ?? {})) {
    if (Array.isArray(value)) for (const one of value) query.append(name, String(one))
    else if (value !== undefined && value !== '') query.set(name, String(value))
  }
  const url = query.size ? `${path}?${query}` : path
  for (;;) {
    const used = access.key
    const headers: Record<string, string> = { ...c.headers }
    if (used) headers.Authorization = `Bearer ${used}`
    let answer: Response
    try {
      answer = await fetch(url, { method: c.method ?? 'GET', body: c.body, headers, signal: c.signal })
    } catch (cause) {
      if (c.signal?.aborted) throw cause
      throw new Problem(0, 'unreachable', 'The server cannot be reached')
    }
    if (answer.ok) return answer
    if (answer.status === 401) {
      if (used === access.key) await askForKey()
      continue
    }
    throw await problemOf(answer)
  }
}

async function problemOf(answer: Response): Promise<Problem> {
  try {
    const p = await answer.json()
    return new Problem(answer.status, String(p.code), String(p.detail ?? p.title), p.param ?? '', p.suggestion ?? '')
  } catch {
    return new Problem(answer.status, 'unknown', `The server answered ${answer.status}`)
  }
}

/** Sends JSON and gives the JSON that comes back, if any does. */
export async function send<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
  const answer = await call(path, {
    method, headers: { ...(body !== undefined && { 'Content-Type': 'application/json' }), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  })
  return answer.status === 204 ? (undefined as T) : answer.json()
}

export async function get<T>(path: string, query?: Record<string, unknown>, signal?: AbortSignal): Promise<T> {
  return (await call(path, { query, signal })).json()
}

/** What went wrong, for people; an aborted request is nothing. */
export const problemText = (cause: unknown) => (cause instanceof Error ? cause.message : String(cause))

let described: Promise<{ paths: Record<string, Record<string, unknown>> }> | undefined

/** Whether this server has a route, by its own description. */
export async function offers(method: string, path: string): Promise<boolean> {
  described ??= get('/openapi.json')
  try {
    return (await described).paths[path]?.[method.toLowerCase()] !== undefined
  } catch {
    described = undefined
    return false
  }
}
