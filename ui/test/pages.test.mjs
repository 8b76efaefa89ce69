// The pages in a real browser, against a real server. Every test waits for what it wants to see, never for a time.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { openBrowser, openPage, painted, program, samePaint, screenshots, Server, until, wanted } from './harness.mjs'

const axe = await readFile(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8')
const attack = '<img src=x onerror="window.hit=1"><script>window.hit=1</script><svg onload="window.hit=1"></svg>'

let browser, server, idle // idle has no worker: what is submitted waits

before(async () => {
  ;[browser, server, idle] = await Promise.all([openBrowser(), Server.start(), Server.start({ workers: 0 })])
})
after(async () => {
  await browser?.close()
  await Promise.all([server?.end(), idle?.end()])
})

/** Closes the page after nothing was complained of. */
async function finish(page, name) {
  if (name) await page.screenshot({ path: `${screenshots}${name}.png` })
  assert.deepEqual(page.complaints, [])
  await page.context().close()
}

/** axe finds nothing against WCAG 2.2 AA. */
async function accessible(page, what) {
  await page.evaluate(axe)
  const found = await page.evaluate(() => window.axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations'],
  }))
  assert.deepEqual(found.violations.map((v) => [v.id, v.nodes.map((n) => [n.html.slice(0, 160), n.failureSummary])]), [], what)
}

/** Nothing is wider than the window, but what scrolls by itself on purpose. */
async function fits(page) {
  assert.deepEqual(await page.evaluate(() => [document.documentElement, ...document.querySelectorAll('main *')]
    .filter((e) => e.scrollWidth > e.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(e).overflowX) || e === document.documentElement && e.scrollWidth > innerWidth)
    .filter((e) => !e.matches('.wrap, pre')).map((e) => e.className || e.tagName)), [])
}

/** No node came out of a text. */
async function harmless(page, what) {
  const found = await page.evaluate(() => [window.hit ?? 0,
    document.querySelectorAll('main img, main script, main iframe, main object, [onerror], [onload]').length])
  assert.deepEqual(found, [0, 0], what)
}

function drop(page, name, text) {
  return page.evaluate(([name, text]) => {
    const data = new DataTransfer()
    data.items.add(new File([text], name, { type: 'text/plain' }))
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }))
  }, [name, text])
}

const preview = (text, query) =>
  server.api(`/v1/preview?${query}`, { method: 'POST', body: text, headers: { 'Content-Type': 'text/plain' } })

/** Waits until the n-th text is painted as the API cuts it. */
async function paintedAs(page, text, query, n = 0) {
  const chunks = (await preview(text, `${query}&limit=1000`)).data
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

const sampleText = (page) => page.evaluate(() => [...document.querySelectorAll('.text .block')].map((b) => b.firstChild.data).join(''))
const guide = await readFile(new URL('../src/samples/guide.md', import.meta.url), 'utf8')

describe('playground', { concurrency: 2 }, () => {
  test('a sample is there at once, and every colour is a chunk of the API', async () => {
    const page = await openPage(browser, server.url, { viewport: { width: 1400, height: 1800 } })
    const chunks = await paintedAs(page, guide, 'strategy=markdown&chunk_size=500')
    assert.equal(await sampleText(page), guide)
    const numbers = await page.locator('.mark.start').allTextContents()
    assert.deepEqual(numbers, chunks.map((_, i) => String(i + 1)))
    await page.setViewportSize({ width: 1400, height: 900 })
    await finish(page, 'playground-light')
  })

  test('a dropped file is cut with its overlaps, whatever its letters', async () => {
    const page = await openPage(browser, `${server.url}/#s=recursive&chunk_size=60&chunk_overlap=15`, { viewport: { width: 1400, height: 1400 } })
    const text = 'Grüße, 世界! 😀👩‍👩‍👧 A sentence of some length. '.repeat(12) + '\n\nשלום עולם. مرحبا بالعالم.\n'
    await page.locator('.mark.start').first().waitFor()
    await drop(page, 'mixed 😀.txt', text)
    await paintedAs(page, text, 'strategy=recursive&chunk_size=60&chunk_overlap=15')
    assert.equal(await page.locator('.name').textContent(), 'mixed 😀.txt')
    await finish(page, 'playground-overlap')
  })

  test('what is not UTF-8 is refused in words', async () => {
    const page = await openPage(browser, server.url)
    await page.locator('.mark.start').first().waitFor()
    await page.locator('input[type=file]').setInputFiles({ name: 'old.txt', mimeType: 'text/plain', buffer: Buffer.from([0x80, 0x81, 0xff]) })
    await page.getByText('old.txt is not text in UTF-8').waitFor()
    await finish(page)
  })

  test('a click, and the keys alone, say why a chunk ends where it does', async () => {
    const page = await openPage(browser, `${server.url}/#s=recursive&chunk_size=300;sample=guide`, { viewport: { width: 1400, height: 1800 } })
    const chunks = await paintedAs(page, guide, 'strategy=recursive&chunk_size=300')
    await page.keyboard.press('j')
    await page.keyboard.press('j')
    await page.getByRole('heading', { name: `Chunk 2 of ${chunks.length}` }).waitFor()
    await page.getByText('Why here?').waitFor()
    await page.keyboard.press('k')
    await page.getByRole('heading', { name: `Chunk 1 of ${chunks.length}` }).waitFor()
    assert.match(page.url(), /c=0$/)
    await page.locator('.mark.start').nth(2).click()
    await page.getByRole('heading', { name: `Chunk 3 of ${chunks.length}` }).waitFor()
    const { layers } = await painted(page)
    const want = wanted(guide, chunks)
    const third = [chunks[2].start_char, chunks[2].end_char]
    assert.deepEqual(layers.picked, [third])
    assert.ok(want['chunk-2'].some((r) => r[0] === third[0]))
    // The same without a mouse: everything can be reached, and seen where it is.
    await page.locator('.logo').focus()
    const seen = new Set()
    for (let i = 0; i < 60; i++) {
      await page.keyboard.press('Tab')
      const at = await page.evaluate(() => {
        const e = document.activeElement
        if (e === document.body) return { name: '', id: '' } // the browser's own controls have it
        const s = getComputedStyle(e)
        return { name: (e.getAttribute('aria-label') ?? e.textContent ?? '').trim().slice(0, 40), id: e.id, ring: s.outlineStyle !== 'none' && s.outlineWidth !== '0px' }
      })
      if (at.name || at.id) assert.ok(at.ring, `no focus to be seen on ${JSON.stringify(at)}`)
      seen.add(at.id || at.name)
    }
    for (const id of ['theme', 'strategy', 'f-chunk_size', 'f-unit', 'sample']) assert.ok(seen.has(id), `${id} cannot be reached: ${[...seen].join(', ')}`)
    assert.ok([...seen].some((s) => s.startsWith('Text cut by recursive')), 'the text cannot be reached')
    await page.locator('.text').focus()
    await page.keyboard.press('?')
    await page.getByRole('dialog').waitFor()
    await accessible(page, 'help')
    await page.setViewportSize({ width: 1400, height: 900 })
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    await page.keyboard.press('v')
    await page.getByRole('list', { name: 'Chunks' }).waitFor()
    await accessible(page, 'chunks')
    await finish(page, 'playground-chunks')
  })

  test('the form is the schema of the API, and what the server refuses stands at its field', async () => {
    const page = await openPage(browser, `${server.url}/#s=sentence;sample=guide`)
    await page.locator('#strategy option').first().waitFor({ state: 'attached' })
    const strategies = (await server.api('/v1/strategies')).data
    for (const s of strategies) {
      await page.locator('#strategy').selectOption(s.name)
      await page.locator(`[data-chunks]`).first().waitFor()
      const fields = await page.locator('aside [id^="f-"]:not([id$="-help"]):not([id$="-list"])').evaluateAll((all) => all.map((e) => e.id.slice(2)).sort())
      const want = Object.keys(s.schema.properties).filter((n) => n !== 'tokenizer').sort()
      assert.deepEqual(fields, want, s.name)
    }
    await page.locator('#strategy').selectOption('recursive')
    await page.locator('#f-unit').selectOption('tokens')
    await page.locator('#f-tokenizer').waitFor()
    await page.locator('#f-chunk_size').fill('3')
    await page.locator('#f-chunk_size').press('Enter')
    await page.locator('#f-chunk_size[aria-invalid=true]').waitFor()
    await page.locator('#f-chunk_size-help.error').waitFor()
    await finish(page)
  })

  test('sliders are followed, and the answer for an older text is dropped', async () => {
    const page = await openPage(browser, `${server.url}/#s=fixed_size&chunk_size=500;sample=guide`, { viewport: { width: 1400, height: 1800 } })
    await paintedAs(page, guide, 'strategy=fixed_size&chunk_size=500')
    const slider = page.getByLabel('chunk size, roughly', { exact: true })
    await slider.focus()
    for (let i = 0; i < 25; i++) await page.keyboard.press('ArrowLeft')
    const size = await page.locator('#f-chunk_size').inputValue()
    assert.notEqual(size, '500')
    await paintedAs(page, guide, `strategy=fixed_size&chunk_size=${size}`)
    let release
    const held = new Promise((go) => (release = go))
    let asked = 0
    await page.route('**/v1/preview*', async (route) => {
      const first = asked++ === 0
      const response = await route.fetch()
      if (first) await held
      await route.fulfill({ response })
    })
    await drop(page, 'old.txt', 'old text '.repeat(100))
    await until('the first question', () => asked === 1)
    const text = 'new text, longer than the old one. '.repeat(40)
    await drop(page, 'new.txt', text)
    release()
    await paintedAs(page, text, `strategy=fixed_size&chunk_size=${size}`)
    assert.equal(asked, 2)
    await finish(page)
  })

  test('a megabyte is painted where it is seen, and nothing is cut short', async (t) => {
    const page = await openPage(browser, `${server.url}/#s=recursive&chunk_size=400`)
    await page.locator('.mark.start').first().waitFor()
    const line = 'The tide comes twice a day, fifty minutes later every time, and never quite as high as the day before. '
    const text = Array.from({ length: 1600 }, (_, i) => `${i}. ${line.repeat(6)}`).join('\n').slice(0, 1 << 20)
    await drop(page, 'megabyte.txt', text)
    const chunks = (await preview(text, 'strategy=recursive&chunk_size=400&limit=20000&texts=false')).data
    await page.locator(`[data-chunks="${chunks.length}"]`).waitFor()
    await until('colours', async () => (await painted(page)).layers['chunk-0']?.length > 0)
    const { layers, length } = await painted(page)
    assert.equal(length, text.length)
    assert.ok(Object.values(layers).flat().length < 200, 'only what is near the window is painted')
    // Far down it is painted as well, and right.
    await page.locator('.text').evaluate((e) => e.scrollTo(0, e.scrollHeight))
    const last = chunks[chunks.length - 1]
    await until('the end', async () => Object.values((await painted(page)).layers).flat().some((r) => r[1] === last.end_char))
    // For people, not for the verdict: how long from an answer to the picture.
    await page.evaluate(() => {
      window.took = []
      const json = Response.prototype.json
      Response.prototype.json = async function () {
        const value = await json.call(this)
        if (this.url.includes('/v1/preview')) {
          const began = performance.now()
          requestAnimationFrame(() => setTimeout(() => window.took.push(performance.now() - began)))
        }
        return value
      }
    })
    const slider = page.getByLabel('chunk size, roughly', { exact: true })
    await slider.focus()
    for (let i = 0; i < 8; i++) await page.keyboard.press('ArrowRight')
    await until('a frame', () => page.evaluate(() => window.took.length > 0))
    const took = await page.evaluate(() => window.took.sort((a, b) => a - b))
    t.diagnostic(`1 MB in ${chunks.length} chunks: a new cut is painted ${Math.round(took[took.length >> 1])} ms after its answer (median of ${took.length})`)
    await finish(page)
  })

  test('three strategies side by side scroll together and show where they differ', async () => {
    const page = await openPage(browser, `${server.url}/#s=markdown&chunk_size=500;sample=guide`)
    await page.locator('.mark.start').first().waitFor()
    await page.keyboard.press('c')
    await page.keyboard.press('c')
    await until('three columns', async () => (await page.locator('.text').count()) === 3)
    for (let i = 0; i < 3; i++) await page.locator('.column').nth(i).locator('.mark.start').first().waitFor()
    await page.getByRole('row', { name: /^cut in.* ms.* ms.* ms/ }).waitFor()
    await accessible(page, 'compare')
    await page.screenshot({ path: `${screenshots}compare.png` })
    await page.locator('.text').nth(0).hover()
    await page.mouse.wheel(0, 400)
    await until('synchronous scrolling', () => page.evaluate(() => {
      const tops = [...document.querySelectorAll('.text')].map((t) => Math.round(t.scrollTop))
      return tops[0] > 100 && tops.every((t) => t === tops[0])
    }))
    await page.keyboard.press('d')
    await page.getByRole('button', { name: 'Differences', pressed: true }).waitFor()
    // A chunk that all three have is not coloured; every other is.
    const names = await page.locator('.column .status button[aria-pressed]').allTextContents()
    const all = await Promise.all(names.map((n) => preview(guide, `strategy=${n}&chunk_size=500&limit=1000`)))
    const key = (c) => `${c.start_char} ${c.end_char}`
    const shared = all.map((p) => new Set(p.data.map(key))).reduce((a, b) => new Set([...a].filter((k) => b.has(k))))
    await until('plain marks', async () => {
      const plain = await page.locator('.column').nth(0).locator('.mark.start').evaluateAll((ms) => ms.map((m) => [Number(m.dataset.chunk), m.classList.contains('plain')]))
      return plain.length > 0 && plain.every(([i, p]) => p === shared.has(key(all[0].data[i])))
    })
    assert.match(page.url(), /;s=.*;s=.*only=differences/)
    // The link shows the same again.
    const again = await openPage(browser, page.url())
    await until('three columns', async () => (await again.locator('.text').count()) === 3)
    await again.getByRole('button', { name: 'Differences', pressed: true }).waitFor()
    await finish(again, 'differences')
    await finish(page)
  })

  test('hierarchical chunks are a tree, and each level is a picture', async () => {
    const page = await openPage(browser, `${server.url}/#s=hierarchical&chunk_size=900&child_sizes=[300];sample=guide;`)
    await page.locator('#strategy').selectOption('hierarchical')
    await page.getByRole('button', { name: 'smallest' }).click()
    await page.getByRole('button', { name: 'Tree' }).click()
    await page.locator('.tree .node').nth(3).waitFor()
    await accessible(page, 'tree')
    await finish(page, 'tree')
  })

  test('the same as a command: what is copied gives the chunks that are seen', async () => {
    const query = 'strategy=recursive&chunk_size=300&min_chunk_size=20'
    const page = await openPage(browser, `${server.url}/#s=recursive&chunk_size=300&min_chunk_size=20&separators=%5B%22%5Cn%22%2C%22+%22%5D;sample=guide`)
    const code = page.locator('pre')
    await until('the command', async () => (await code.textContent()).includes('chunkstream chunk guide.md --strategy=recursive --chunk-size=300'))
    const want = (await preview(guide, `${query}&separators=${encodeURIComponent('["\\n"," "]')}&limit=1000`)).data.map((c) => [c.start_byte, c.end_byte])
    const folder = await mkdtemp(join(tmpdir(), 'chunkstream-copied-'))
    try {
      await writeFile(join(folder, 'guide.md'), guide)
      await symlink(program, join(folder, 'chunkstream'))
      const run = (command) => {
        const { stdout, stderr } = spawnSync('/bin/sh', ['-c', command], { cwd: folder, encoding: 'utf8', env: { ...process.env, PATH: `${folder}:${process.env.PATH}` } })
        return stdout || assert.fail(stderr)
      }
      const read = async (language) => {
        await page.getByRole('button', { name: language, exact: true }).click()
        return code.textContent()
      }
      const bytes = (lines) => lines.trim().split('\n').map((l) => JSON.parse(l)).map((c) => [c.start_byte, c.end_byte])
      assert.deepEqual(bytes(run(`${await read('CLI')} --json`)), want, 'CLI')
      const op = JSON.parse(run(`${await read('curl')} -s`))
      assert.deepEqual((await server.api(`/v1/operations/${op.id}/chunks?limit=1000`)).data.map((c) => [c.start_byte, c.end_byte]), want, 'curl')
      await writeFile(join(folder, 'it.py'), await read('Python'))
      assert.equal(run('python3 it.py').trim().split('\n').length, want.length, 'Python')
      await writeFile(join(folder, 'chunkstream.yaml'), await read('YAML'))
      assert.deepEqual(bytes(run('chunkstream chunk guide.md --json')), want, 'YAML')
      assert.match(await read('Go'), /chunk\.Parse\("recursive", \[\]byte\(/) // the README's test builds such a program
    } finally {
      await rm(folder, { recursive: true })
    }
    await finish(page)
  })

  test('a chunk in tokens, as the vocabulary has them', async () => {
    const page = await openPage(browser, `${server.url}/#s=recursive&unit=tokens&chunk_size=40&tokenizer=o200k_base;sample=cjk&c=0`)
    await page.getByText('Why here?').waitFor()
    await page.getByText('Tokens', { exact: true }).click()
    for (const n of [1, 2, 3]) {
      await page.getByRole('heading', { name: `Chunk ${n} of` }).waitFor()
      const size = (await page.locator('.size b').textContent()).replace(/\D/g, '')
      await page.locator(`[data-tokens="${size}"]`).waitFor()
      const text = await page.locator('.tokens').evaluate((e) => [...e.querySelectorAll('span')].map((s) => s.textContent).join(''))
      const chunk = (await preview(await sampleText(page), 'strategy=recursive&unit=tokens&chunk_size=40&tokenizer=o200k_base')).data[n - 1]
      assert.equal(text, chunk.text.replace(/\n/g, '↵').replace(/ /g, '·'))
      assert.equal(await page.locator('.tokens span, .tokens .part').count(), Number(size))
      if (n < 3) await page.keyboard.press('j')
    }
    await accessible(page, 'tokens')
    await finish(page, 'tokens')
  })

  test('the checks find what chunkstream lint finds', async () => {
    const page = await openPage(browser, `${server.url}/#s=recursive&chunk_size=100`, { viewport: { width: 1400, height: 1400 } })
    await page.locator('.mark.start').first().waitFor()
    const twice = 'The harbour master writes down every ship that comes and goes, and what it carries.'
    const chinese = '我们今天讨论的是文本分块的方法和质量，以及如何比较不同的策略。每一种策略都有自己的优点和缺点，选择时要看文本的种类、问题的种类和可以花费的时间，没有一种是最好的。'
    const text = [twice, 'Something else stands between the two of them, long enough to fill a chunk of its own.', twice.toUpperCase(), chinese,
      'x'.repeat(150), chinese, 'More words. '.repeat(12)].join('\n\n')
    await drop(page, 'twice.txt', text)
    await page.locator('[data-check=copies]').waitFor()
    const found = Object.fromEntries(await page.locator('[data-check]').evaluateAll((all) => all.map((e) => [e.dataset.check, Number(e.dataset.problems)])))
    const file = join(server.data, 'twice.txt')
    await writeFile(file, text)
    const lint = spawnSync(program, ['lint', '--json', '--chunk-size=100', file], { encoding: 'utf8' })
    const want = {}
    for (const line of lint.stdout.trim().split('\n').map((l) => JSON.parse(l))) want[line.kind] = (want[line.kind] ?? 0) + 1
    assert.equal(want.near_duplicate, 2, lint.stdout + lint.stderr)
    assert.deepEqual([found.copies, found.words, found.limit], [want.near_duplicate, want.torn_word ?? 0, want.over_limit ?? 0])
    await page.locator('[data-check=copies] button').click()
    await page.getByRole('heading', { name: /^Chunk 3 of/ }).waitFor()
    await finish(page)
  })

  for (const [name, options] of [['dark', { colorScheme: 'dark' }], ['light', { colorScheme: 'light' }]])
    test(`${name}: WCAG 2.2 AA by axe, and the theme stays chosen`, async () => {
      const page = await openPage(browser, `${server.url}/#s=recursive&chunk_size=400&chunk_overlap=80;sample=guide`, options)
      await page.locator('.mark.start').first().waitFor()
      await page.keyboard.press('j')
      await page.getByText('Why here?').waitFor()
      const paper = () => page.locator('.text').evaluate((e) => getComputedStyle(e).backgroundColor)
      assert.equal(await paper(), name === 'dark' ? 'rgb(18, 22, 27)' : 'rgb(255, 255, 255)')
      await accessible(page, name)
      await page.screenshot({ path: `${screenshots}playground-overlap-${name}.png` })
      const other = name === 'dark' ? 'light' : 'dark'
      while (!(await page.locator('#theme').getAttribute('aria-label')).endsWith(other)) await page.locator('#theme').click()
      await page.reload()
      await page.locator('.mark.start').first().waitFor()
      assert.equal(await paper(), name === 'dark' ? 'rgb(255, 255, 255)' : 'rgb(18, 22, 27)')
      await finish(page)
    })

  test('a phone of 360 px shows all of it', async () => {
    const page = await openPage(browser, `${server.url}/#s=markdown&chunk_size=300;sample=guide`, { viewport: { width: 360, height: 740 }, hasTouch: true })
    await page.locator('.mark.start').first().waitFor()
    await fits(page)
    await accessible(page, '360 px')
    await page.screenshot({ path: `${screenshots}phone.png` })
    await page.getByRole('button', { name: 'Settings' }).click()
    await page.locator('#f-chunk_size').waitFor()
    await fits(page)
    await page.screenshot({ path: `${screenshots}phone-settings.png` })
    await page.keyboard.press('Escape')
    await page.getByRole('button', { name: 'Details' }).click()
    await page.getByRole('heading', { name: 'Sizes' }).waitFor()
    await fits(page)
    await accessible(page, '360 px, details')
    await finish(page)
  })

  test('right to left and East Asian texts keep their direction and their offsets', async () => {
    const rtl = await readFile(new URL('../src/samples/rtl.txt', import.meta.url), 'utf8')
    const page = await openPage(browser, `${server.url}/#s=sentence&chunk_size=120;sample=rtl`, { viewport: { width: 1400, height: 1200 } })
    await paintedAs(page, rtl, 'strategy=sentence&chunk_size=120')
    await page.screenshot({ path: `${screenshots}rtl.png` })
    const cjk = await readFile(new URL('../src/samples/cjk.txt', import.meta.url), 'utf8')
    await page.locator('#sample').selectOption('cjk')
    await paintedAs(page, cjk, 'strategy=sentence&chunk_size=120')
    await finish(page)
  })

  test('texts and names never become nodes', async () => {
    const page = await openPage(browser, `${server.url}/#s=markdown&chunk_size=100`)
    await page.locator('.mark.start').first().waitFor()
    await drop(page, attack + '.md', `# ${attack}\n\n${attack}\n\n| ${attack} | b |\n|---|---|\n| c | d |\n`)
    await page.locator('.name', { hasText: 'onerror' }).waitFor()
    await page.keyboard.press('j')
    await page.getByText('Why here?').waitFor()
    await harmless(page, 'text')
    for (const view of ['Chunks', 'Tree', 'Text']) {
      await page.getByRole('button', { name: view, exact: true }).click()
      await harmless(page, view)
    }
    // The browser itself would refuse.
    const refused = await page.evaluate((attack) => {
      try {
        document.querySelector('main').innerHTML = attack
        return false
      } catch (e) {
        return e instanceof TypeError
      }
    }, attack)
    assert.ok(refused, 'innerHTML takes a string')
    await page.context().close() // it has complained, as it should
  })
})

describe('operations', { concurrency: 2 }, () => {
  test('a text becomes an operation, and its page shows its chunks, also when opened anew', async () => {
    const page = await openPage(browser, `${server.url}/#s=sentence&chunk_size=350;sample=guide`, { viewport: { width: 1400, height: 1800 } })
    await page.locator('.mark.start').first().waitFor()
    await page.getByRole('button', { name: 'Run as an operation' }).click()
    await page.waitForURL('**/operations/op_*')
    const look = async () => {
      await page.locator('[data-status=completed]').waitFor()
      const chunks = await paintedAs(page, guide, 'strategy=sentence&chunk_size=350')
      await page.getByRole('button', { name: 'Events' }).click()
      await page.locator('[data-live=ended]').waitFor()
      assert.equal(await page.getByRole('progressbar').getAttribute('aria-valuenow'), '100')
      return [chunks.length, await page.locator('.events li').allTextContents()]
    }
    const first = await look()
    await page.reload()
    assert.deepEqual(await look(), first)
    const seqs = await page.locator('.events li').evaluateAll((all) => all.map((e) => Number(e.dataset.seq)))
    assert.deepEqual(seqs, seqs.map((_, i) => seqs.length - i), 'dense and in order')
    await accessible(page, 'operation')
    // Every format that the API has, byte for byte what the API gives.
    const { paths } = await server.api('/openapi.json')
    const formats = paths['/v1/operations/{id}/download'].get.parameters.find((p) => p.name === 'format').schema.enum
    assert.deepEqual(await page.locator('[data-format]').evaluateAll((all) => all.map((e) => e.dataset.format).sort()), [...formats].sort())
    for (const format of formats) {
      const waiting = page.waitForEvent('download')
      await page.getByText('Download ▾').click()
      await page.locator(`[data-format=${format}]`).click()
      const file = await waiting
      assert.match(file.suggestedFilename(), /^guide\.md\..*(jsonl|json|csv|txt|parquet|sql)$/)
      const want = await fetch(`${server.url}/v1/operations/${page.url().split('/').pop()}/download?format=${format}`)
      assert.deepEqual(await readFile(await file.path()), Buffer.from(await want.arrayBuffer()), format)
    }
    await page.setViewportSize({ width: 1400, height: 900 })
    await page.screenshot({ path: `${screenshots}operation.png` })
    const before = page.url()
    await page.getByRole('button', { name: 'Run again' }).click()
    await page.waitForURL((url) => String(url) !== before)
    await page.locator('[data-status=completed]').waitFor()
    await page.getByRole('button', { name: 'Settings' }).click()
    await page.getByText('again of').waitFor()
    await finish(page)
  })

  test('it waits, outlives the server, and is done after a restart without a reload', async () => {
    const own = await Server.start({ workers: 0 })
    try {
      const op = await own.submit('A sentence to be cut. '.repeat(200), 'chunk_size=100&name=patient.txt')
      const page = await openPage(browser, `${own.url}/operations/${op.id}`, { colorScheme: 'dark' })
      await page.locator('[data-status=queued]').waitFor()
      await page.locator('[data-live=live]').waitFor()
      await own.kill()
      await page.locator('[data-live=waiting]').waitFor()
      await page.getByText('reconnecting in').waitFor()
      await page.screenshot({ path: `${screenshots}reconnecting.png` })
      await own.run(2)
      await page.locator('[data-status=completed]').waitFor()
      const stored = await own.api(`/v1/operations/${op.id}`)
      await page.locator(`[data-chunks="${stored.chunks}"]`).waitFor()
      await page.getByRole('button', { name: 'Events' }).click()
      await until('every event once', async () => {
        const seqs = await page.locator('.events li').evaluateAll((all) => all.map((e) => Number(e.dataset.seq)))
        return seqs.length === stored.seq && seqs.every((s, i) => s === stored.seq - i)
      })
      await finish(page)
    } finally {
      await own.end()
    }
  })

  test('the bar says what the events say: moving, stalled, failed', async () => {
    const op = await idle.submit('Something to be done. '.repeat(50), `name=${encodeURIComponent(attack.slice(0, 120))}`)
    const page = await openPage(browser, '')
    let say
    await page.routeWebSocket(/\/ws/, (socket) => {
      const real = socket.connectToServer()
      real.onMessage((m) => socket.send(m))
      say = (type, seq, data) => socket.send(JSON.stringify({ type, seq, operation_id: op.id, time: new Date().toISOString(), data }))
    })
    await page.goto(`${idle.url}/operations/${op.id}`)
    await page.getByRole('button', { name: 'Events' }).click()
    await page.locator('li[data-seq="1"]').waitFor() // all that the server itself has to say
    const total = op.bytes_total
    const state = { status: 'processing', phase: 'chunking', attempt: 1, worker: 'w-1', bytes_total: total }
    say('started', 2, { ...state, bytes_done: 0 })
    say('progress', undefined, { ...state, bytes_done: total / 4, chunks: 3, eta_ms: 1500 })
    const bar = page.getByRole('progressbar')
    await until('a quarter', async () => (await bar.getAttribute('aria-valuenow')) === '25')
    assert.match(await bar.getAttribute('aria-valuetext'), /chunking.*3 chunks.*1\.5 s left/)
    await page.screenshot({ path: `${screenshots}running.png` })
    say('stalled', undefined, { ...state, bytes_done: total / 4, chunks: 3 })
    await page.locator('[data-status=stalled]').waitFor()
    assert.match(await bar.getAttribute('aria-valuetext'), /w-1 is silent/)
    await accessible(page, 'stalled')
    await page.screenshot({ path: `${screenshots}stalled.png` })
    say('failed', 3, { ...state, status: 'failed', bytes_done: total / 4, error: { code: 'strategy_failed', detail: attack } })
    await page.locator('[data-status=failed]').waitFor()
    assert.equal(await bar.getAttribute('aria-valuenow'), '25', 'no 100 % on failure')
    await page.getByRole('alert').filter({ hasText: 'onerror' }).waitFor()
    await harmless(page, 'error')
    await finish(page, 'failed')
  })

  test('cancel asks, and cancels', async () => {
    const op = await idle.submit('To be cancelled. '.repeat(10), 'name=cancel.txt')
    const page = await openPage(browser, `${idle.url}/operations/${op.id}`)
    await page.getByRole('button', { name: 'Cancel', exact: true }).click()
    await page.getByRole('dialog').waitFor()
    await accessible(page, 'cancel')
    await page.getByRole('button', { name: 'Cancel it' }).click()
    await page.locator('[data-status=cancelled]').waitFor()
    assert.equal((await idle.api(`/v1/operations/${op.id}`)).status, 'cancelled')
    await finish(page)
  })

  test('what does not exist says so', async () => {
    const page = await openPage(browser, `${server.url}/operations/op_00000000000000000000000000000000`)
    await page.getByRole('alert').waitFor()
    await accessible(page, 'not found')
    await finish(page)
  })

  test('the overview is pushed, filtered by its address, and holds names harmlessly', async () => {
    const own = await Server.start()
    try {
      const page = await openPage(browser, `${own.url}/operations`)
      await page.locator('[data-live=live]').waitFor()
      await page.locator('[data-operation]').first().waitFor() // the sample
      const op = await own.submit('Pushed. '.repeat(30), `name=${encodeURIComponent(attack.slice(0, 120))}`)
      const row = page.locator(`[data-operation="${op.id}"]`)
      await row.locator('[data-status=completed]').waitFor()
      await harmless(page, 'names')
      await page.getByText(/^[1-9]\d* in 30 min$/).waitFor() // the minute may have turned
      await accessible(page, 'overview')
      await page.screenshot({ path: `${screenshots}overview.png` })
      await page.getByRole('button', { name: 'failed', exact: true }).click()
      await row.waitFor({ state: 'detached' })
      assert.match(page.url(), /\?status=failed$/)
      await page.reload()
      await page.getByRole('button', { name: 'failed', pressed: true }).waitFor()
      await page.getByText('Nothing like that here').waitFor()
      await page.getByRole('button', { name: 'all', exact: true }).click()
      await row.waitFor()
      await page.getByRole('searchbox').fill('sample.md')
      await row.waitFor({ state: 'detached' })
      assert.match(page.url(), /\?q=sample.md$/)
      await page.setViewportSize({ width: 360, height: 740 })
      await fits(page)
      await page.emulateMedia({ colorScheme: 'dark' })
      await accessible(page, 'overview, 360 px, dark')
      await finish(page, 'overview-phone-dark')
    } finally {
      await own.end()
    }
  })

  test('a server with a key asks for it, once a tab, and the socket has it too', async () => {
    const own = await Server.start({ key: 'correct-horse-battery' })
    try {
      const page = await openPage(browser, `${own.url}/operations`, { colorScheme: 'dark' })
      const field = page.getByLabel('Key', { exact: true })
      await field.fill('wrong-horse-battery')
      await page.keyboard.press('Enter')
      await page.getByText('does not take this key').waitFor()
      await accessible(page, 'sign-in')
      await page.screenshot({ path: `${screenshots}sign-in.png` })
      await field.fill('correct-horse-battery')
      await page.keyboard.press('Enter')
      await page.locator('[data-operation]').first().waitFor()
      await page.locator('[data-live=live]').waitFor()
      assert.doesNotMatch(page.url(), /horse/)
      await page.locator('[data-operation] a').first().click()
      await page.locator('[data-status=completed]').waitFor()
      await page.locator('.mark.start').first().waitFor()
      // Signed out, nothing that the key showed is left; signed in again, one is where one was.
      const where = page.url()
      await page.getByRole('button', { name: 'Sign out' }).click()
      await page.getByRole('dialog').waitFor()
      assert.equal(await page.locator('.text, h1:has-text("sample")').count(), 0)
      assert.equal(await page.evaluate(() => sessionStorage.length), 0)
      await field.fill('correct-horse-battery')
      await page.keyboard.press('Enter')
      await page.locator('.mark.start').first().waitFor()
      assert.equal(page.url(), where)
      await finish(page)
    } finally {
      await own.end()
    }
  })

  test('a key that is revoked while it is used is asked for again, and the page goes on where it was', async () => {
    const own = await Server.start({ key: 'correct-horse-battery', workers: 0 })
    try {
      const make = () => own.api('/v1/keys', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"owner":"ann"}' })
      const [first, second] = [await make(), await make()]
      const page = await openPage(browser, `${own.url}/operations`)
      const shown = []
      page.on('websocket', (socket) => shown.push(socket.url()))
      page.on('request', (request) => shown.push(request.url()))
      const field = page.getByLabel('Key', { exact: true })
      await field.fill(first.key)
      await page.keyboard.press('Enter')
      await page.locator('[data-live=live]').waitFor()
      await page.getByRole('searchbox').fill('mine')
      await own.api(`/v1/keys/${first.id}`, { method: 'DELETE' })
      await page.getByText('does not take this key').waitFor() // the stream was closed
      await field.fill(second.key)
      await page.keyboard.press('Enter')
      await page.locator('[data-live=live]').waitFor()
      assert.equal(await page.getByRole('searchbox').inputValue(), 'mine')
      assert.match(page.url(), /\?q=mine$/)
      // A key without the scope says which it needs.
      await page.goto(`${own.url}/keys`)
      await page.getByRole('alert').filter({ hasText: 'needs the scope admin' }).waitFor()
      await accessible(page, 'keys, forbidden')
      assert.ok(!shown.some((url) => url.includes(second.key) || url.includes('access_token')))
      await finish(page)
    } finally {
      await own.end()
    }
  })

  test('all that a filter leaves are cancelled, and run again, after it was shown which', async () => {
    const own = await Server.start({ workers: 0 })
    try {
      const names = ['a-1.txt', 'a-2.txt', 'b-1.txt', attack.slice(0, 100)]
      for (const name of names) await own.submit(`Text of ${name}`, `name=${encodeURIComponent(name)}`)
      const states = async () => Object.fromEntries((await own.api('/v1/operations?limit=200')).data.map((op) => [op.name, op.status]))
      const page = await openPage(browser, `${own.url}/operations?q=a-`)
      await page.locator('[data-operation]').nth(1).waitFor()
      await page.getByRole('button', { name: 'Cancel all' }).click()
      await page.locator('[data-touched="2"]').waitFor()
      await accessible(page, 'dry run')
      assert.equal((await states())['a-1.txt'], 'queued', 'a dry run touches nothing')
      await page.getByRole('button', { name: 'Leave them' }).click()
      assert.equal((await states())['a-1.txt'], 'queued')
      await page.getByRole('button', { name: 'Cancel all' }).click()
      await page.getByRole('button', { name: 'Cancel 2', exact: true }).click()
      await page.getByText('2 of 2 cancelled').waitFor()
      await page.getByRole('button', { name: 'Close', exact: true }).last().click()
      const after = await states()
      assert.deepEqual(names.map((n) => after[n]), ['cancelled', 'cancelled', 'queued', 'queued'])
      // Again: two new ones; a second time none, they have been run again already.
      for (const said of ['2 of 2 submitted again', '0 of 2 submitted again, 2 had been run again already']) {
        await page.getByRole('button', { name: 'Run all again' }).click()
        await page.getByRole('button', { name: 'Run 2 again' }).click()
        await page.getByText(said).waitFor()
        await page.getByRole('button', { name: 'Close', exact: true }).last().click()
      }
      assert.equal((await own.api('/v1/operations?limit=200')).data.filter((op) => op.retry_of).length, 2)
      await page.keyboard.press('/')
      await page.keyboard.press('ControlOrMeta+a')
      await page.keyboard.type('onerror')
      await page.getByRole('button', { name: 'Cancel all' }).click()
      await page.locator('[data-touched="1"]').waitFor()
      await harmless(page, 'dry run')
      assert.equal(await page.locator('dialog img, dialog script').count(), 0)
      await finish(page, 'dry-run')
    } finally {
      await own.end()
    }
  })
})

describe('saved settings and keys', { concurrency: 2 }, () => {
  test('settings are saved, changed, begun with and deleted', async () => {
    const own = await Server.start({ workers: 0 })
    const stored = async () => (await own.api('/v1/configurations')).data
    try {
      const page = await openPage(browser, `${own.url}/configurations`)
      await page.getByText('Nothing is saved yet').waitFor()
      await accessible(page, 'nothing saved')
      await page.getByRole('button', { name: 'New', exact: true }).click()
      await page.getByLabel('Name').fill(attack)
      await page.getByLabel('Begin with it').check()
      await page.locator('#strategy').selectOption('sentence')
      await page.locator('#f-chunk_size').fill('0')
      await page.locator('#f-chunk_size').press('Tab')
      await page.getByRole('button', { name: 'Save', exact: true }).click()
      await page.locator('#f-chunk_size[aria-invalid=true]').waitFor()
      await page.locator('#f-chunk_size').fill('321')
      await page.locator('#f-chunk_size').press('Tab')
      await accessible(page, 'form')
      await page.getByRole('button', { name: 'Save', exact: true }).click()
      await page.locator('[data-configuration]').waitFor()
      await harmless(page, 'names of settings')
      const [one] = await stored()
      assert.deepEqual([one.name, one.strategy, one.config.chunk_size, one.default], [attack, 'sentence', 321, true])
      // The playground begins with it, and saves under a name, or over one that is there.
      await page.getByRole('link', { name: 'Playground', exact: true }).click()
      await page.locator('[data-chunks]').first().waitFor()
      assert.match(page.url(), /#s=sentence&chunk_size=321/)
      for (const [size, button] of [['444', 'Save'], ['555', 'Replace it']]) {
        await page.locator('#f-chunk_size').fill(size)
        await page.locator('#f-chunk_size').press('Enter')
        await page.getByRole('button', { name: 'Save', exact: true }).click()
        await page.getByLabel('Name', { exact: true }).fill('mine')
        await page.getByRole('dialog').getByRole('button', { name: button, exact: true }).click()
        await page.getByRole('dialog').waitFor({ state: 'detached' })
      }
      await page.locator('#saved').selectOption({ label: `★ ${attack}` })
      await until('the saved size', async () => (await page.locator('#f-chunk_size').inputValue()) === '321')
      await harmless(page, 'playground')
      const mine = (await stored()).find((c) => c.name === 'mine')
      assert.deepEqual([mine.config.chunk_size, mine.version], [555, 2])
      // A change by somebody else in between is not overwritten.
      await page.getByRole('link', { name: 'Saved' }).click()
      await page.getByRole('button', { name: 'Edit mine' }).click()
      await own.api(`/v1/configurations/${mine.id}`, {
        method: 'PUT', headers: { 'Content-Type': 'application/json', 'If-Match': '"2"' }, body: JSON.stringify({ name: 'mine', config: { chunk_size: 9 } }),
      })
      await page.getByRole('button', { name: 'Save', exact: true }).click()
      await page.getByRole('dialog').getByRole('alert').filter({ hasText: /\S/ }).waitFor()
      await page.getByRole('button', { name: 'Leave it' }).click()
      await page.getByText('chunk size 9').waitFor()
      await page.getByRole('button', { name: 'Make default: mine' }).click()
      await until('the default', async () => (await stored()).filter((c) => c.default).map((c) => c.name).join() === 'mine')
      await page.getByRole('button', { name: 'Not the default: mine' }).waitFor()
      await accessible(page, 'saved settings')
      await page.screenshot({ path: `${screenshots}configurations.png` })
      await page.getByRole('button', { name: 'Delete mine' }).click()
      await page.getByRole('button', { name: 'Delete', exact: true }).click()
      await until('it to be gone', async () => (await stored()).length === 1)
      await page.setViewportSize({ width: 360, height: 740 })
      await page.emulateMedia({ colorScheme: 'dark' })
      await fits(page)
      await accessible(page, 'saved settings, 360 px, dark')
      await finish(page, 'configurations-phone-dark')
    } finally {
      await own.end()
    }
  })

  test('a key is made, seen once, used and revoked', async () => {
    const own = await Server.start({ key: 'correct-horse-battery', workers: 0 })
    try {
      const page = await openPage(browser, `${own.url}/keys`)
      await page.getByLabel('Key', { exact: true }).fill('correct-horse-battery')
      await page.keyboard.press('Enter')
      await page.getByText('There are no keys yet').waitFor()
      await page.getByRole('button', { name: 'New key' }).click()
      await page.getByLabel(/^Owner/).fill('not printable ä')
      await page.getByLabel(/^Name/).fill(attack)
      for (const box of await page.getByRole('checkbox').all()) await box.check()
      await page.getByRole('button', { name: 'Make it' }).click()
      await page.locator('#key-owner[aria-invalid=true]').waitFor()
      await accessible(page, 'new key')
      await page.screenshot({ path: `${screenshots}key-new.png` })
      await page.getByLabel(/^Owner/).fill('ann')
      await page.getByRole('button', { name: 'Make it' }).click()
      const key = await page.locator('[data-secret]').textContent()
      await accessible(page, 'the key')
      const me = await fetch(`${own.url}/v1/me`, { headers: { Authorization: `Bearer ${key}` } }).then((r) => r.json())
      assert.equal(me.owner, 'ann')
      const { paths } = await own.api('/openapi.json')
      const known = Object.values(paths).flatMap(Object.values).flatMap((route) => route.security ?? []).flatMap(Object.values).flat()
      assert.deepEqual([...me.scopes].sort(), [...new Set(known)].sort(), 'every scope that a route needs can be chosen')
      await page.getByRole('button', { name: 'I have it' }).click()
      await page.locator('[data-key][data-state=active]').waitFor()
      assert.ok(!(await page.content()).includes(key))
      await harmless(page, 'names of keys')
      await accessible(page, 'keys')
      await page.screenshot({ path: `${screenshots}keys.png` })
      await page.getByRole('button', { name: /^Revoke/ }).click()
      await page.getByRole('button', { name: 'Revoke it' }).click()
      await page.locator('[data-key][data-state=revoked]').waitFor()
      await page.getByText('key.revoke').waitFor()
      await until('it to open nothing', async () => (await fetch(`${own.url}/v1/me`, { headers: { Authorization: `Bearer ${key}` } })).status === 401)
      await page.setViewportSize({ width: 360, height: 740 })
      await page.emulateMedia({ colorScheme: 'dark' })
      await fits(page)
      await accessible(page, 'keys, 360 px, dark')
      await finish(page, 'keys-phone-dark')
    } finally {
      await own.end()
    }
  })
})
