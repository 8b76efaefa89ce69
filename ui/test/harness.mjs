// A real server and a real browser for the tests, and for the picture in the README.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

const limit = 30_000 // ms that anything may take before it is taken for broken

/** The program under test: CHUNKSTREAM names it. */
export const program = process.env.CHUNKSTREAM ?? new URL('../../chunkstream', import.meta.url).pathname

/** The README: in a copy of this folder README names it. */
export const readme = process.env.README ?? new URL('../../README.md', import.meta.url).pathname

const browsers = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']

export const screenshots = (process.env.SCREENSHOTS ?? new URL('../screenshots', import.meta.url).pathname) + '/'

/** A server as its users start it. Its data outlives stop and kill, until the end. */
export class Server {
  constructor(data, key, flags) {
    Object.assign(this, { data, key, flags, address: '127.0.0.1:0' }) // a free port the first time, the same one afterwards
  }

  get url() {
    return `http://${this.address}`
  }

  static async start({ key = '', workers = 2, flags = [] } = {}) {
    const server = new Server(await mkdtemp(join(tmpdir(), 'chunkstream-ui-')), key, flags)
    await server.run(workers)
    return server
  }

  async run(workers) {
    const args = ['serve', '--listen', this.address, '--data', this.data, '--workers', String(workers), ...this.flags]
    this.child = spawn(program, args, { env: { ...process.env, CHUNKSTREAM_API_KEY: this.key } })
    this.ended = new Promise((go) => this.child.once('close', go))
    let said = ''
    await new Promise((ready, fail) => {
      const late = setTimeout(() => fail(new Error(`the server did not start: ${said}`)), limit)
      const hear = (data) => {
        said += data
        if (/Ready in/.test(said)) {
          clearTimeout(late)
          this.address = /http:\/\/(127\.0\.0\.1:\d+)/.exec(said)[1]
          ready()
        }
      }
      this.child.stdout.on('data', hear)
      this.child.stderr.on('data', hear)
      this.child.once('error', fail)
      this.child.once('exit', (code) => fail(new Error(`the server ended with ${code}: ${said}`)))
    })
  }

  async kill() {
    this.child.kill('SIGKILL')
    await this.ended
  }

  async end() {
    if (this.child.exitCode === null && this.child.signalCode === null) await this.kill()
    await rm(this.data, { recursive: true, force: true })
  }

  /** Asks the API directly. */
  async api(path, init = {}) {
    const headers = { ...init.headers, ...(this.key && { Authorization: `Bearer ${this.key}` }) }
    const answer = await fetch(this.url + path, { ...init, headers })
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
    return answer.json()
  }

  submit(text, query = '') {
    return this.api(`/v1/operations?${query}`, { method: 'POST', body: text, headers: { 'Content-Type': 'text/plain' } })
  }
}

export async function openBrowser() {
  const executablePath = browsers.find((path) => path && existsSync(path))
  if (!executablePath) throw new Error('no Chromium was found; CHROMIUM names one elsewhere')
  await mkdir(screenshots, { recursive: true })
  return chromium.launch({
    executablePath,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--font-render-hinting=none',
    ],
  })
}

/** A page of its own, as a new visitor. Whatever a page complains of, the browser's refusals by CSP among it, is in complaints. */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1400, height: 900 }, reducedMotion: 'reduce', ...options })
  context.setDefaultTimeout(limit)
  const page = await context.newPage()
  page.complaints = []
  page.on('pageerror', (e) => page.complaints.push(String(e)))
  page.on('console', (m) => {
    if (m.type() === 'error' && !/ERR_CONNECTION_(REFUSED|RESET)|WebSocket connection to|status of 4/.test(m.text())) page.complaints.push(m.text())
  })
  if (url) await page.goto(url)
  return page
}

/** Waits until probe gives something true, and gives that. */
export async function until(what, probe) {
  const end = Date.now() + limit
  for (let last; ; ) {
    last = await probe()
    if (last) return last
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`)
    await new Promise((go) => setTimeout(go, 25))
  }
}

/** What the n-th text on the page shows: its length, and every painted stretch by layer, neighbours in two blocks joined. */
export function painted(page, n = 0) {
  return page.evaluate((n) => {
    const blocks = [...(document.querySelectorAll('.text')[n]?.querySelectorAll('.block') ?? [])] // none: the text is not there yet
    const starts = new Map()
    let length = 0
    for (const b of blocks) {
      starts.set(b.firstChild, length)
      length += b.firstChild.data.length
    }
    const layers = {}
    for (const [name, ranges] of CSS.highlights) {
      const all = []
      for (const r of ranges)
        if (starts.has(r.startContainer)) all.push([starts.get(r.startContainer) + r.startOffset, starts.get(r.startContainer) + r.endOffset])
      all.sort((a, b) => a[0] - b[0])
      layers[name] = all.reduce((out, r) => {
        const last = out[out.length - 1]
        if (last && last[1] === r[0]) last[1] = r[1]
        else out.push([...r])
        return out
      }, [])
    }
    return { length, layers }
  }, n)
}

/** What should be painted for chunks of the API: each from where the one before ends, the overlap as a band. */
export function wanted(text, chunks) {
  const units = [0] // the UTF-16 offset of every code point, counted the long way
  for (const c of text) units.push(units[units.length - 1] + c.length)
  const layers = {}
  const add = (name, from, to) => {
    if (to > from) (layers[name] ??= []).push([from, to])
  }
  let before = 0
  chunks.forEach((c, i) => {
    const [from, to] = [units[c.start_char], units[c.end_char]]
    const fresh = Math.max(from, before)
    add(`chunk-${i % 6}`, fresh, to)
    add(`band-${i % 6}`, from, fresh)
    add('overlap', from, fresh)
    before = to
  })
  return layers
}

/** Whether what is painted is what is wanted; picked and context are the reader's. */
export function samePaint(got, want) {
  const names = new Set([...Object.keys(got), ...Object.keys(want)].filter((n) => /^(chunk|band)-|^overlap$/.test(n)))
  return [...names].every((n) => JSON.stringify(joined(got[n])) === JSON.stringify(joined(want[n])))
}

const joined = (ranges = []) => ranges.reduce((out, r) => {
  const last = out[out.length - 1]
  if (last && last[1] === r[0]) last[1] = r[1]
  else out.push([...r])
  return out
}, [])

const axe = await readFile(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8')

/** A text that would do harm if it became HTML. */
export const attack = '<img src=x onerror="window.hit=1"><script>window.hit=1</script><svg onload="window.hit=1"></svg>'

/** What the playground begins with. */
export const guide = await readFile(new URL('../src/samples/guide.md', import.meta.url), 'utf8')

/** Closes the page after nothing was complained of. */
export async function finish(page, name) {
  if (name) await page.screenshot({ path: `${screenshots}${name}.png` })
  assert.deepEqual(page.complaints, [])
  await page.context().close()
}

/** axe finds nothing against WCAG 2.2 AA. */
export async function accessible(page, what) {
  await page.evaluate(axe)
  const found = await page.evaluate(() => window.axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations'],
  }))
  assert.deepEqual(found.violations.map((v) => [v.id, v.nodes.map((n) => [n.html.slice(0, 160), n.failureSummary])]), [], what)
}

/** Nothing is wider than the window, but what scrolls by itself on purpose. */
export async function fits(page) {
  assert.deepEqual(await page.evaluate(() => [document.documentElement, ...document.querySelectorAll('main *')]
    .filter((e) => e.scrollWidth > e.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(e).overflowX) || e === document.documentElement && e.scrollWidth > innerWidth)
    .filter((e) => !e.matches('.wrap, pre')).map((e) => e.className || e.tagName)), [])
}

/** No node came out of a text. */
export async function harmless(page, what) {
  const found = await page.evaluate(() => [window.hit ?? 0,
    document.querySelectorAll('main img, main script, main iframe, main object, [onerror], [onload]').length])
  assert.deepEqual(found, [0, 0], what)
}

export function drop(page, name, text) {
  return page.evaluate(([name, text]) => {
    const data = new DataTransfer()
    data.items.add(new File([text], name, { type: 'text/plain' }))
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }))
  }, [name, text])
}

export const preview = (server, text, query) =>
  server.api(`/v1/preview?${query}`, { method: 'POST', body: text, headers: { 'Content-Type': 'text/plain' } })

/** Waits until the n-th text is painted as the API cuts it. */
export async function paintedAs(server, page, text, query, n = 0) {
  const chunks = (await preview(server, text, `${query}&limit=1000`)).data
  const want = wanted(text, chunks)
  let got
  try {
    await until('the colours', async () => {
      got = await painted(page, n)
      return got.length === text.length && samePaint(got.layers, want)
    })
  } catch (late) {
    assert.deepEqual(got?.layers, want) // says what is missing
    throw late
  }
  return chunks
}

export const sampleText = (page) => page.evaluate(() => [...document.querySelectorAll('.text .block')].map((b) => b.firstChild.data).join(''))
