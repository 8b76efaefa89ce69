// A stream of events over a WebSocket that comes back by itself and goes on where it was: docs/events.md.

import { access, get, Problem, send } from './api.svelte'
import { ended, type Event } from './types'

export type LiveState = 'connecting' | 'live' | 'waiting' | 'ended' | 'refused'

/** How long nothing at all may be heard before the connection is taken for dead. Browsers show no pings, so silence says
 *  nothing here; the server closes what does not answer its own. */
const longestWait = 15_000

export class Live {
  state = $state<LiveState>('connecting')
  /** When the next attempt is made, while state is waiting. */
  retryAt = $state(0)
  /** Why it was refused for good. */
  problem = $state('')

  private socket: WebSocket | undefined
  private timer: ReturnType<typeof setTimeout> | undefined
  private failures = 0
  private closed = false

  /**
   * path is that of the stream without /ws. One operation is resumed by the number of its last event, from since on; the
   * stream of all starts anew each time, which opened is told of.
   */
  constructor(
    private readonly path: string,
    private readonly handle: (event: Event) => void,
    private since?: number,
    private readonly opened: () => void = () => {},
  ) {
    addEventListener('online', this.now)
    document.addEventListener('visibilitychange', this.now)
    void this.connect()
  }

  close() {
    this.closed = true
    clearTimeout(this.timer)
    removeEventListener('online', this.now)
    document.removeEventListener('visibilitychange', this.now)
    this.socket?.close()
  }

  /** Tries at once instead of at the end of the wait. */
  readonly now = () => {
    if (this.state !== 'waiting' || document.hidden) return
    clearTimeout(this.timer)
    void this.connect()
  }

  // A socket cannot show a key as requests do, and an address would keep it in logs: a ticket, good for once, stands for it.
  private async connect() {
    this.state = 'connecting'
    let protocols: string[] = []
    if (access.key) {
      try {
        protocols = ['chunkstream', `access_token.${(await send<{ ticket: string }>('POST', '/v1/tickets', {})).ticket}`]
      } catch (cause) {
        if (!this.closed) void this.again(false, cause)
        return
      }
      if (this.closed) return
    }
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:'
    const query = this.since === undefined ? '' : `?since=${this.since}`
    const socket = new WebSocket(`${scheme}//${location.host}${this.path}/ws${query}`, protocols)
    this.socket = socket
    socket.onopen = () => {
      this.failures = 0
      this.state = 'live'
      this.opened()
    }
    socket.onmessage = ({ data }) => {
      const event: Event = JSON.parse(data)
      if (this.since !== undefined) {
        if (event.seq !== undefined) this.since = event.seq
        else if (event.data.seq !== undefined) this.since = event.data.seq // a snapshot, or a resync
        if ((event.seq !== undefined || event.data.seq !== undefined) && ended(event.data.status)) this.state = 'ended'
      }
      this.handle(event)
    }
    socket.onclose = ({ code }) => {
      if (this.closed) return
      if (this.state === 'ended' || (code === 1000 && this.since !== undefined)) {
        this.state = 'ended'
        return
      }
      void this.again(this.state !== 'live')
    }
  }

  // A browser does not say why a handshake failed: an ordinary request does.
  private async again(neverOpened: boolean, cause?: unknown) {
    const wait = Math.min(longestWait, 500 * 2 ** this.failures) * (0.5 + Math.random() / 2)
    this.failures++
    this.retryAt = Date.now() + wait
    this.state = 'waiting'
    if (neverOpened) {
      try {
        await get(this.since === undefined ? '/v1/operations?limit=1' : this.path)
      } catch (why) {
        cause = why
      }
    }
    if (cause instanceof Problem && (cause.status === 404 || cause.status === 403)) {
      this.state = 'refused'
      this.problem = cause.message
      return
    }
    if (!this.closed) this.timer = setTimeout(() => void this.connect(), Math.max(0, this.retryAt - Date.now()))
  }
}
