// Records the command line in a real terminal and draws what it showed as one SVG that plays: npm run picture, with CHUNKSTREAM
// naming the program. script, of util-linux, makes the terminal.

import { spawn } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { program } from './harness.mjs'

const [columns, rows] = [138, 28]
const [width, height] = [7.2, 17] // of a letter
const margin = 16
const out = new URL('../../docs/pictures/terminal.svg', import.meta.url).pathname

const scenes = [
  { command: 'chunkstream chunk guide.md --chunk-size 400', stay: 7 },
  { command: 'sed -n 1,10p guide.md | chunkstream chunk - --strategy sentence --chunk-size 220 --view', stay: 6 },
  { command: 'chunkstream compare guide.md recursive markdown sentence --chunk-size 300', stay: 5 },
  { command: 'chunkstream chunk folder/ --unit tokens --chunk-size 256 -o chunks.jsonl', stay: 4 },
  { command: 'chunkstream serve', stay: 6, until: /Press Ctrl-C to stop\./ },
]

/** What a terminal shows: letters with the style of each, as far as the program uses one. */
class Screen {
  lines = [[]]
  row = 0
  column = 0
  style = ''

  write(text) {
    for (const [part, code, end] of text.matchAll(/\x1b\[([\d;?]*)([A-Za-z])|[^\x1b]/gu)) {
      if (end === 'm') this.restyle(code)
      else if (end === 'K') this.line.splice(this.column)
      else if (end === 'A') this.row = Math.max(0, this.row - (Number(code) || 1))
      else if (end) continue // what hides the cursor
      else if (part === '\r') this.column = 0
      else if (part === '\n') this.lines[++this.row] ??= []
      else {
        if (this.column === columns) {
          this.column = 0
          this.lines[++this.row] ??= []
        }
        while (this.line.length < this.column) this.line.push({ letter: ' ', style: '' })
        this.line[this.column++] = { letter: part, style: this.style }
      }
    }
  }

  get line() {
    return this.lines[this.row]
  }

  restyle(code) {
    const n = code.split(';').map(Number)
    const now = new Map(this.style.split(' ').filter(Boolean).map((s) => s.split('=')))
    for (let i = 0; i < n.length; i++) {
      const rgb = () => `rgb(${n.slice(i + 2, (i += 4) + 1).join()})`
      if (n[i] === 0) now.clear()
      else if (n[i] === 1) now.set('bold', 1)
      else if (n[i] === 2) now.set('dim', 1)
      else if (n[i] === 7) now.set('turned', 1)
      else if (n[i] === 27) now.delete('turned')
      else if (n[i] === 22) now.delete('bold') || now.delete('dim')
      else if (n[i] === 38) now.set('ink', rgb())
      else if (n[i] === 48) now.set('paper', rgb())
      else if (n[i] >= 31 && n[i] <= 36) now.set('ink', ['#ff8a80', '#4cc38a', '#f0a04b', '#5bb8f0', '#c8a0e8', '#7fd4d4'][n[i] - 31])
    }
    this.style = [...now].map((pair) => pair.join('=')).join(' ')
  }

  draw() {
    return this.lines.slice(0, rows).map((line, row) => {
      let svg = ''
      for (let at = 0; at < line.length; ) {
        let end = at
        while (end < line.length && line[end].style === line[at].style) end++
        svg += run(line.slice(at, end).map((c) => c.letter).join(''), at, end - at, row, line[at].style)
        at = end
      }
      return svg
    }).join('')
  }
}

const x = (column) => +(margin + column * width).toFixed(1)
const y = (row) => margin + 34 + row * height
const escape = (s) => s.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`)

/** Letters of one style. A length holds them to their columns in any font. */
function run(text, column, length, row, style) {
  const s = new Map(style.split(' ').filter(Boolean).map((one) => one.split('=')))
  let [ink, paper] = [s.get('ink'), s.get('paper')]
  if (s.has('turned')) [ink, paper] = [paper ?? '#12161b', ink ?? '#f2f4f7']
  const svg = paper ? `<rect x="${x(column)}" y="${y(row) - 12.5}" width="${+(length * width).toFixed(1)}" height="${height}" fill="${paper}"/>` : ''
  const bare = text.trimEnd()
  if (!bare.trim()) return svg
  return `${svg}<text x="${x(column)}" y="${y(row)}" textLength="${+([...bare].length * width).toFixed(1)}"${ink ? ` fill="${ink}"` : ''}${
    s.has('bold') ? ' class="b"' : ''}${s.has('dim') ? ' opacity=".65"' : ''}>${escape(bare)}</text>`
}

/** Runs a command in a terminal; gives the pictures of what it showed, each with its time in seconds. */
async function record(command, folder, until) {
  const screen = new Screen()
  const frames = []
  const began = performance.now()
  const child = spawn('script', ['-qec', `stty cols ${columns} rows ${rows}; exec sh -c ${JSON.stringify(command)}`, '/dev/null'], {
    cwd: folder, stdio: ['ignore', 'pipe', 'inherit'], detached: true,
    env: { PATH: `${folder}:/usr/bin:/bin`, HOME: folder, TERM: 'xterm-256color', COLORTERM: 'truecolor', LANG: 'C.UTF-8' },
  })
  const ended = new Promise((go) => child.once('close', go))
  child.stdout.setEncoding('utf8')
  let said = ''
  for await (const text of child.stdout) {
    screen.write(text.replaceAll(folder, '~'))
    said += text
    const at = (performance.now() - began) / 1000
    if (frames.length && at - frames[frames.length - 1].at < 0.1) frames.pop()
    frames.push({ at, svg: screen.draw() })
    if (until?.test(said)) break
  }
  if (until) process.kill(-child.pid, 'SIGTERM')
  await ended
  return frames
}

const folder = await mkdtemp(join(tmpdir(), 'chunkstream-terminal-'))
const shown = []
try {
  await symlink(program, join(folder, 'chunkstream'))
  await cp(new URL('../src/samples/guide.md', import.meta.url).pathname, join(folder, 'guide.md'))
  await mkdir(join(folder, 'folder'))
  for (let i = 0; i < 8000; i++) await writeFile(join(folder, 'folder', `${i}.md`), `# Page ${i}\n\n${'A line of a page, as there are many. '.repeat(80)}`)
  for (const s of scenes) shown.push({ ...s, frames: await record(s.command, folder, s.until) })
} finally {
  await rm(folder, { recursive: true })
}

// Every picture is there from the start and seen in its time: that needs no script, and whoever wants no motion sees the first.
let now = 0
const parts = []
for (const [i, s] of shown.entries()) {
  const typed = now + 0.4 + s.command.length * 0.035
  const first = s.frames[0].at // how long it was silent
  const times = s.frames.map((f) => typed + 0.3 + f.at - first)
  const end = times[times.length - 1] + s.stay
  parts.push({ from: now, to: end, typing: [now + 0.4, typed], command: s.command, still: i === 0 ? 'still' : '' })
  s.frames.forEach((f, j) => parts.push({ from: times[j], to: times[j + 1] ?? end, svg: f.svg, still: i === 0 && j === s.frames.length - 1 ? 'still' : '' }))
  now = end
}
const share = (at) => `${((100 * at) / now).toFixed(3)}%`
const style = parts.map((p, i) => {
  const seen = `@keyframes s${i}{0%{visibility:hidden}${share(p.from)}{visibility:visible}${share(p.to)},100%{visibility:hidden}}.s${i}{animation-name:s${i}}`
  if (!p.command) return seen
  return `${seen}@keyframes t${i}{0%,${share(p.typing[0])}{clip-path:inset(0 100% 0 0);animation-timing-function:steps(${p.command.length})}${
    share(p.typing[1])},100%{clip-path:inset(0)}}.t${i}{animation-name:t${i}}`
}).join('')
const body = parts.map((p, i) => `<g class="s s${i} ${p.still}">${p.svg ?? `<text x="${x(0)}" y="${y(-1)}" fill="#4cc38a">$</text><g class="t t${i}">${run(p.command, 2, 0, -1, 'bold=1')}</g>`}</g>`).join('\n')
const [w, h] = [Math.ceil(2 * margin + columns * width), Math.ceil(y(rows) + 2)]
await writeFile(out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" width="${w}" height="${h}" role="img" aria-label="chunkstream on the command line: a file cut, its chunks in colour, strategies compared, a folder with a progress bar, the service started">
<style>text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre}.b{font-weight:700}
.s,.t{animation:${now.toFixed(2)}s step-end infinite}.s{visibility:hidden}${style}
@media (prefers-reduced-motion:reduce){.s,.t{animation:none!important}.still{visibility:visible}}</style>
<g fill="#d7dde4"><rect width="${w}" height="${h}" rx="8" fill="#12161b"/>
${body}
</g></svg>
`)
console.log(`${out}: ${parts.length} pictures, ${now.toFixed(0)} s`)
