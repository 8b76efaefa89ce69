// The pages in a real browser, against a real server. Every test waits for what it wants to see, never for a time.
// long.test.mjs has those that ./test all runs.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { accessible, attack, drop, finish, fits, guide, harmless, openBrowser, openPage, painted, paintedAs, preview, readme, samePaint, sampleText, screenshots, Server, until, wanted } from './harness.mjs'

let browser, server, idle // idle has no worker: what is submitted waits

before(async () => {
  ;[browser, server, idle] = await Promise.all([openBrowser(), Server.start(), Server.start({ workers: 0 })])
})
after(async () => {
  await browser?.close()
  await Promise.all([server?.end(), idle?.end()])
})

describe('playground', { concurrency: 2 }, () => {
  test('a sample is there at once, and every colour is a chunk of the API', async () => {
    const page = await openPage(browser, server.url, { viewport: { width: 1400, height: 1800 } })
    const chunks = await paintedAs(server, page, guide, 'strategy=markdown&chunk_size=500')
    assert.equal(await sampleText(page), guide)
    const numbers = await page.locator('.mark.start').allTextContents()
    assert.deepEqual(numbers, chunks.map((_, i) => String(i + 1)))
    const glyphs = { section: '§', block: '▪', paragraph: '¶', row: '≡', line: '↵', sentence: '.', clause: ',', word: '␣', character: '✂', end: '■' }
    assert.deepEqual(await page.locator('.mark.end').allTextContents(), chunks.map((c) => glyphs[c.boundary]))
    // The strip beside it: in the middle of each chunk its colour; a press there leads to it.
    const strip = await page.locator('.map').evaluate((map, middles) => {
      const canvas = map.querySelector('canvas')
      const colours = [...map.querySelectorAll('i')].map((i) => getComputedStyle(i).backgroundColor)
      return middles.map((m) => colours.indexOf(`rgb(${[...canvas.getContext('2d').getImageData(3, Math.floor(m * canvas.height), 1, 1).data].slice(0, 3).join(', ')})`))
    }, chunks.map((c) => (c.start_char + c.end_char) / 2 / guide.length))
    assert.deepEqual(strip, chunks.map((_, i) => i % 6))
    await page.setViewportSize({ width: 1400, height: 900 })
    const { height } = await page.locator('.map').boundingBox()
    await page.locator('.map').click({ position: { x: 7, y: height * 0.95 } })
    await until('the end of the text', () => page.locator('.text').evaluate((e) => e.scrollTop > 100))
    await page.locator('.text').evaluate((e) => e.scrollTo(0, 0))
    await finish(page, 'playground-light')
  })

  test('a dropped file is cut with its overlaps, whatever its letters', async () => {
    const page = await openPage(browser, `${server.url}/#s=recursive&chunk_size=60&chunk_overlap=15`, { viewport: { width: 1400, height: 1400 } })
    const text = 'Grüße, 世界! 😀👩‍👩‍👧 A sentence of some length. '.repeat(12) + '\n\nשלום עולם. مرحبا بالعالم.\n'
    await page.locator('.mark.start').first().waitFor()
    await drop(page, 'mixed 😀.txt', text)
    await paintedAs(server, page, text, 'strategy=recursive&chunk_size=60&chunk_overlap=15')
    assert.equal(await page.locator('.name').textContent(), 'mixed 😀.txt')
    await page.screenshot({ path: `${screenshots}playground-overlap.png` })
    const pasted = 'Pasted, and cut at once. '.repeat(9)
    await page.evaluate((pasted) => {
      const data = new DataTransfer()
      data.setData('text/plain', pasted)
      document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }))
    }, pasted)
    await paintedAs(server, page, pasted, 'strategy=recursive&chunk_size=60&chunk_overlap=15')
    await finish(page)
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
    const chunks = await paintedAs(server, page, guide, 'strategy=recursive&chunk_size=300')
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
    const details = await page.locator('section[aria-labelledby=chunk]').textContent()
    const places = { paragraph: 'at the end of a paragraph', line: 'at the end of a line', sentence: 'at the end of a sentence' }
    for (const said of [`${chunks[2].size} of 300 characters`, `characters ${third[0]} – ${third[1]}`, `bytes ${chunks[2].start_byte} – ${chunks[2].end_byte}`,
      `fitted into 300 characters. The best place to cut before that was ${places[chunks[2].boundary]}.`, chunks[2].id])
      assert.ok(details.replace(/[,\s]/g, '').includes(said.replaceAll(' ', '')), `${said} is not in ${details}`)
    // The histogram has them all, its line is at the limit, and a bar leads to one of its size.
    const bars = page.locator('section[aria-labelledby=sizes] button')
    const ranges = (await bars.evaluateAll((all) => all.map((b) => b.ariaLabel))).map((l) => /^(\d+) chunks? of (\d+) to (\d+) chars$/.exec(l).slice(1).map(Number))
    assert.deepEqual(ranges.map(([, low, high]) => chunks.filter((c) => low <= c.size && c.size <= high).length), ranges.map(([n]) => n))
    assert.equal(await page.locator('.chart .limit').evaluate((e) => e.style.left), '100%')
    const fullest = ranges.findIndex(([n]) => n > 0)
    await bars.nth(fullest).click()
    const size = async () => Number(await page.locator('.size b').textContent())
    await until('a chunk of that size', async () => ranges[fullest][1] <= (await size()) && (await size()) <= ranges[fullest][2])
    // The same without a mouse: everything can be reached, and seen where it is.
    await page.locator('.logo').focus()
    const seen = new Set()
    const wanting = () => ['theme', 'strategy', 'f-chunk_size', 'f-unit', 'sample'].filter((id) => !seen.has(id))
    const text = () => [...seen].some((s) => s.startsWith('Text cut by recursive'))
    for (let i = 0; i < 80 && (wanting().length || !text()); i++) {
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
    assert.deepEqual(wanting(), [], `cannot be reached: ${[...seen].join(', ')}`)
    assert.ok(text(), 'the text cannot be reached')
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
    await paintedAs(server, page, guide, 'strategy=fixed_size&chunk_size=500')
    const slider = page.getByLabel('chunk size, roughly', { exact: true })
    await slider.focus()
    for (let i = 0; i < 25; i++) await page.keyboard.press('ArrowLeft')
    const size = await page.locator('#f-chunk_size').inputValue()
    assert.notEqual(size, '500')
    await paintedAs(server, page, guide, `strategy=fixed_size&chunk_size=${size}`)
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
    await paintedAs(server, page, text, `strategy=fixed_size&chunk_size=${size}`)
    assert.equal(asked, 2)
    await finish(page)
  })

  test('text that no chunk holds is hatched, on every line of it, and nothing else is', async () => {
    const page = await openPage(browser, '', { viewport: { width: 1100, height: 1500 } })
    const text = 'Some words on a line that goes on and on. '.repeat(40) + '\n\n' + 'And more of them. '.repeat(30)
    let held = [] // the chunks that are not taken away
    await page.route('**/v1/preview*', async (route) => {
      const response = await route.fetch()
      const answer = await response.json()
      if (answer.bytes_total === text.length) held = answer.data = answer.data.filter((_, i) => i % 4 !== 1)
      await route.fulfill({ response, json: answer })
    })
    await page.goto(`${server.url}/#s=recursive&chunk_size=200`)
    await page.locator('.mark.start').first().waitFor()
    assert.equal(await page.locator('.mark.gap').count(), 0)
    await drop(page, 'gaps.txt', text)
    await page.locator('.mark.gap').first().waitFor()
    // Of each letter: whether its middle lies under a hatching.
    const hatched = await page.evaluate(() => {
      const areas = [...document.querySelectorAll('.mark.gap')].map((m) => m.getBoundingClientRect())
      return [...document.querySelectorAll('.text .block')].flatMap((block) => [...block.firstChild.data].map((_, i) => {
        const range = new Range()
        range.setStart(block.firstChild, i)
        range.setEnd(block.firstChild, i + 1)
        const r = range.getBoundingClientRect()
        const [x, y] = [r.left + r.width / 2, r.top + r.height / 2]
        return areas.some((a) => a.left <= x && x <= a.right && a.top <= y && y <= a.bottom)
      }))
    })
    const wrong = [...text].flatMap((c, i) =>
      /\S/.test(c) && hatched[i] === held.some((h) => h.start_char <= i && i < h.end_char) ? [i] : [])
    assert.deepEqual(wrong, [])
    await page.locator('[data-check=coverage]:not([data-problems="0"])').waitFor()
    await finish(page, 'gaps')
  })

  test('a megabyte is painted where it is seen, and nothing is cut short', async () => {
    const page = await openPage(browser, `${server.url}/#s=recursive&chunk_size=400`)
    await page.locator('.mark.start').first().waitFor()
    const line = 'The tide comes twice a day, fifty minutes later every time, and never quite as high as the day before. '
    const text = Array.from({ length: 1600 }, (_, i) => `${i}. ${line.repeat(6)}`).join('\n').slice(0, 1 << 20)
    await drop(page, 'megabyte.txt', text)
    const chunks = (await preview(server, text, 'strategy=recursive&chunk_size=400&limit=20000&texts=false')).data
    await page.locator(`[data-chunks="${chunks.length}"]`).waitFor()
    await until('colours', async () => (await painted(page)).layers['chunk-0']?.length > 0)
    const { layers, length } = await painted(page)
    assert.equal(length, text.length)
    assert.ok(Object.values(layers).flat().length < 200, 'only what is near the window is painted')
    // Far down it is painted as well, and right.
    await page.locator('.text').evaluate((e) => e.scrollTo(0, e.scrollHeight))
    const last = chunks[chunks.length - 1]
    await until('the end', async () => Object.values((await painted(page)).layers).flat().some((r) => r[1] === last.end_char))
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
    // What embedding would cost is the tokens of each by the price that was typed.
    assert.equal(await page.locator('[data-cost]').count(), 0, 'a price that nobody gave')
    await page.getByLabel('A million tokens cost').fill('0,5')
    const tokens = (await server.api('/v1/compare', {
      method: 'POST', headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ text: guide, count: 'cl100k_base', strategies: ['markdown', 'recursive', 'sentence'].map((strategy) => ({ strategy, config: { chunk_size: 500 } })) }),
    })).data.map((c) => c.tokens)
    const cells = (row) => page.getByRole('row', { name: row }).locator('td').allTextContents()
    assert.deepEqual(await cells(/^tokens/), tokens.map((n) => n.toLocaleString('en')))
    assert.deepEqual((await cells(/^cost/)).map(Number), tokens.map((n) => Number((n / 2e6).toPrecision(3))))
    await accessible(page, 'compare')
    await page.screenshot({ path: `${screenshots}compare.png` })
    await page.locator('.text').nth(0).focus() // from the price, where a letter is a letter
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
    const all = await Promise.all(names.map((n) => preview(server, guide, `strategy=${n}&chunk_size=500&limit=1000`)))
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

  test('texts and names never become nodes', async () => {
    const page = await openPage(browser, `${server.url}/#s=markdown&chunk_size=100`)
    await page.locator('.mark.start').first().waitFor()
    const text = `# ${attack}\n\n${attack}\n\n| ${attack} | b |\n|---|---|\n| c | d |\n`
    await drop(page, attack + '.md', text)
    await page.locator('.name', { hasText: 'onerror' }).waitFor()
    await paintedAs(server, page, text, 'strategy=markdown&chunk_size=100') // a key before that is for the text before
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
      const chunks = await paintedAs(server, page, guide, 'strategy=sentence&chunk_size=350')
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
      const page = await openPage(browser, '', { colorScheme: 'dark' })
      let away = true // the text is asked for as the server goes
      await page.route('**/v1/documents/*/text', (route) => (away ? route.abort('connectionrefused') : route.continue()))
      await page.goto(`${own.url}/operations/${op.id}`)
      await page.locator('[data-status=queued]').waitFor()
      await page.locator('[data-live=live]').waitFor()
      await own.kill()
      await page.locator('[data-live=waiting]').waitFor()
      await page.getByText('reconnecting in').waitFor()
      await page.screenshot({ path: `${screenshots}reconnecting.png` })
      await own.run(2)
      await page.locator('[data-status=completed]').waitFor()
      away = false
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
    const op = await idle.submit('Something to be done. '.repeat(50), `chunk_size=100&name=${encodeURIComponent(attack.slice(0, 120))}`)
    const page = await openPage(browser, '')
    let say
    await page.routeWebSocket(/\/ws/, (socket) => {
      const real = socket.connectToServer()
      real.onMessage((m) => socket.send(m))
      say = (type, seq, data) => socket.send(JSON.stringify({ type, seq, operation_id: op.id, time: new Date().toISOString(), data }))
    })
    const made = (await preview(idle, 'Something to be done. '.repeat(50), 'chunk_size=100&limit=1000')).data
    let stored = 0 // of made
    await page.route('**/v1/operations/*/chunks*', (route) => route.fulfill({ json: { data: made.slice(0, stored), has_more: false, next_cursor: '' } }))
    await page.goto(`${idle.url}/operations/${op.id}`)
    await page.getByRole('button', { name: 'Events' }).click()
    await page.locator('li[data-seq="1"]').waitFor() // all that the server itself has to say
    await page.getByText('Something to be done').first().waitFor()
    const total = op.bytes_total
    const state = { status: 'processing', phase: 'chunking', attempt: 1, worker: 'w-1', bytes_total: total }
    say('started', 2, { ...state, bytes_done: 0 })
    say('progress', undefined, { ...state, bytes_done: total / 4, chunks: 3, eta_ms: 1500 })
    const bar = page.getByRole('progressbar')
    await until('a quarter', async () => (await bar.getAttribute('aria-valuenow')) === '25')
    assert.match(await bar.getAttribute('aria-valuetext'), /chunking.*3 chunks.*1\.5 s left/)
    // Chunks colour in as they are stored, and nothing behind them is said to be left out.
    for (const [seq, n] of [[3, 2], [4, 5]]) {
      stored = n
      say('batch', seq, { ...state, bytes_done: total / 4, chunks: n })
      await page.locator(`[data-chunks="${n}"]`).waitFor()
      await until('their colours', async () => samePaint((await painted(page)).layers, wanted('Something to be done. '.repeat(50), made.slice(0, n))))
    }
    assert.equal(await page.locator('.mark.gap').count(), 0)
    await page.screenshot({ path: `${screenshots}running.png` })
    const moves = () => page.locator('.bar i').evaluate((e) => getComputedStyle(e).transitionDuration)
    assert.equal(await moves(), '0s', 'motion although it is not wanted')
    await page.emulateMedia({ reducedMotion: 'no-preference' })
    assert.equal(await moves(), '0.15s')
    // While it is paused the bar goes on and the list stands still.
    await page.getByRole('button', { name: 'Pause' }).click()
    say('batch', 5, { ...state, bytes_done: total / 2, chunks: 5 })
    await until('half', async () => (await bar.getAttribute('aria-valuenow')) === '50')
    assert.equal(await page.locator('li[data-seq="5"]').count(), 0)
    await page.getByRole('button', { name: 'Go on' }).click()
    await page.locator('li[data-seq="5"]').waitFor()
    say('stalled', undefined, { ...state, bytes_done: total / 4, chunks: 3 })
    await page.locator('[data-status=stalled]').waitFor()
    assert.match(await bar.getAttribute('aria-valuetext'), /nothing stored for 10 s: worker w-1 still holds it/)
    await accessible(page, 'stalled')
    await page.screenshot({ path: `${screenshots}stalled.png` })
    say('failed', 6, { ...state, status: 'failed', bytes_done: total / 4, error: { code: 'strategy_failed', detail: attack } })
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

  test('what the README shows for the console of a browser prints every event, to the end', async () => {
    const blocks = [...(await readFile(readme, 'utf8')).matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code)
    assert.equal(blocks.length, 1)
    const page = await openPage(browser, server.url)
    const printed = []
    page.on('console', (m) => {
      if (m.type() === 'log') printed.push(m.args()[0].jsonValue())
    })
    await page.evaluate(`(async () => {${blocks[0]}})()`) // the console, too, lets a line wait
    const last = await until('the last event', async () => (await Promise.all(printed)).find((e) => e.type === 'completed'))
    const events = await Promise.all(printed)
    assert.deepEqual(events.filter((e) => e.seq).map((e) => e.seq), Array.from({ length: last.seq }, (_, i) => i + 1))
    assert.equal(events[0].type, 'queued')
    assert.equal(events.at(-1), last)
    assert.ok(last.data.chunks > 1)
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
      await page.getByText('Database: answers').waitFor()
      await page.getByText('Redis: not used here').waitFor()
      await page.locator('.card', { hasText: 'live connections' }).locator('b').filter({ hasText: /^[1-9]/ }).waitFor() // its own
      await own.submit('All work and no play. '.repeat(300_000), 'name=long.txt&chunk_size=60')
      await page.locator('section[aria-labelledby=workers] li').first().waitFor() // the one that has the long text
      await page.getByText('None: nothing is being processed.').waitFor()
      await page.getByRole('button', { name: 'Pause' }).click()
      const later = await own.submit('Later. '.repeat(30), 'name=later.txt&wait=10')
      await page.getByRole('button', { name: 'Go on' }).click() // and what was told meanwhile is shown
      await page.locator(`[data-operation="${later.id}"] [data-status=completed]`).waitFor()
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
      await page.locator('[data-number=queued]', { hasText: /^[45]$/ }).waitFor() // these, and the sample where there is one
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

describe('saved settings, keys and webhooks', { concurrency: 2 }, () => {
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
      // Her owner is blocked, and let in again.
      const status = async () => (await fetch(`${own.url}/v1/me`, { headers: { Authorization: `Bearer ${key}` } })).status
      await page.getByRole('button', { name: 'Block …' }).click()
      await page.getByLabel('Owner', { exact: true }).fill('ann')
      await page.getByLabel(/^Why/).fill(attack)
      await accessible(page, 'block')
      await page.getByRole('button', { name: 'Block', exact: true }).click()
      await page.locator('[data-block=ann]').waitFor()
      await until('her to be refused', async () => (await status()) === 401)
      await harmless(page, 'reasons')
      await accessible(page, 'keys, one blocked')
      await page.screenshot({ path: `${screenshots}keys.png` })
      await page.getByRole('button', { name: 'Let in again: ann' }).click()
      await page.locator('[data-block=ann]').waitFor({ state: 'detached' })
      await until('her to be let in', async () => (await status()) === 200)
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

  test('a webhook is made, told, given up, told again, and deleted', async () => {
    const own = await Server.start({ flags: ['--webhook-http', '--webhook-network', '127.0.0.0/8'] })
    const told = []
    let answer = 410 // gone: given up at once
    const receiver = createServer((request, response) => {
      told.push(request.headers['webhook-id'])
      response.writeHead(answer).end()
    })
    await new Promise((go) => receiver.listen(0, '127.0.0.1', go))
    try {
      const page = await openPage(browser, `${own.url}/webhooks`)
      await page.getByText('There are none yet').waitFor()
      await page.getByRole('button', { name: 'New', exact: true }).click()
      await page.getByLabel(/^Address/).fill('http://10.0.0.1/inside')
      await page.getByLabel(/^Name/).fill(attack)
      await page.getByLabel('cancelled').uncheck()
      await page.getByRole('button', { name: 'Make it' }).click()
      await page.locator('#hook-url[aria-invalid=true]').waitFor()
      await accessible(page, 'new webhook')
      await page.getByLabel(/^Address/).fill(`http://127.0.0.1:${receiver.address().port}/hook`)
      await page.getByRole('button', { name: 'Make it' }).click()
      const first = await page.locator('[data-secret]').textContent()
      assert.match(first, /^whsec_/)
      await page.getByRole('button', { name: 'I have it' }).click()
      const [made] = (await own.api('/v1/webhooks')).data
      assert.deepEqual([made.name, made.events, made.all], [attack, ['completed', 'failed'], true])
      await harmless(page, 'names of webhooks')
      await own.submit('To be told of.', 'wait=10')
      await page.getByRole('button', { name: /^Deliveries/ }).click()
      await until('the delivery, given up', async () => {
        await page.getByRole('button', { name: 'Look again' }).click()
        return page.locator('[data-delivery][data-state=dead]').count()
      })
      await page.getByText('answered 410').waitFor()
      await accessible(page, 'webhooks')
      await page.screenshot({ path: `${screenshots}webhooks.png` })
      answer = 204
      await page.getByRole('button', { name: 'Try those given up again' }).click()
      await page.getByText('1 delivery tried again').waitFor()
      await until('the delivery, taken', async () => {
        await page.getByRole('button', { name: 'Look again' }).click()
        return page.locator('[data-delivery][data-state=delivered]').count()
      })
      assert.equal(new Set(told).size, 1, 'under one id')
      await page.getByRole('button', { name: /^New secret/ }).click()
      await page.getByRole('button', { name: 'Make one' }).click()
      assert.notEqual(await page.locator('[data-secret]').textContent(), first)
      await page.getByRole('button', { name: 'I have it' }).click()
      await page.getByText('the secret before signs too').waitFor()
      await page.setViewportSize({ width: 360, height: 740 })
      await page.emulateMedia({ colorScheme: 'dark' })
      await fits(page)
      await accessible(page, 'webhooks, 360 px, dark')
      await page.screenshot({ path: `${screenshots}webhooks-phone-dark.png` })
      await page.getByRole('button', { name: /^Delete/ }).click()
      await page.getByRole('button', { name: 'Delete it' }).click()
      await page.getByText('There are none yet').waitFor()
      assert.deepEqual((await own.api('/v1/webhooks')).data, [])
      await finish(page)
    } finally {
      receiver.close()
      await own.end()
    }
  })
})
