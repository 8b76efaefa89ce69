// What of the playground changes seldom, in a real browser: ./test all runs it.

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { accessible, drop, finish, guide, openBrowser, openPage, paintedAs, preview, program, sampleText, screenshots, Server, until } from './harness.mjs'

let browser, server

before(async () => {
  ;[browser, server] = await Promise.all([openBrowser(), Server.start()])
})
after(async () => {
  await browser?.close()
  await server?.end()
})

describe('playground', { concurrency: 2 }, () => {
  test('hierarchical chunks are a tree, and each level is a picture', async () => {
    const page = await openPage(browser, `${server.url}/#s=hierarchical&chunk_size=900&child_sizes=[300];sample=guide;`)
    await page.locator('#strategy').selectOption('hierarchical')
    await page.getByRole('button', { name: 'smallest' }).click()
    await page.getByRole('button', { name: 'Tree' }).click()
    const chunks = (await preview(server, guide, `strategy=hierarchical&chunk_size=900&child_sizes=${encodeURIComponent('[300]')}&limit=1000`)).data
    const shown = () => page.locator('.tree .node .n').allTextContents()
    await until('all of them', async () => (await shown()).length === chunks.length)
    assert.deepEqual(await shown(), chunks.map((c) => String(c.index + 1)), 'a parent, then its children')
    // What is folded away is not there; what is picked in the tree is described, and outlined in the text.
    await page.locator('.tree .turn').first().click()
    const folded = chunks.filter((c) => c.parent_index !== 0)
    assert.deepEqual(await shown(), folded.map((c) => String(c.index + 1)))
    const parent = folded.find((c) => c.level === 0 && c.index > 0)
    await page.locator('.tree .node button:not(.turn)', { hasText: `${parent.size} chars` }).first().click()
    await page.getByRole('heading', { name: `Chunk ${parent.index + 1} of ${chunks.length}` }).waitFor()
    await accessible(page, 'tree')
    await page.screenshot({ path: `${screenshots}tree.png` })
    await page.getByRole('button', { name: 'Text', exact: true }).click()
    await page.getByRole('button', { name: 'largest' }).click()
    // Of Markdown it is the headings, each with all that is below it.
    await page.locator('#strategy').selectOption('markdown')
    await page.getByRole('button', { name: 'Tree' }).click()
    await page.locator('.tree b', { hasText: 'Tides' }).waitFor()
    const below = (await preview(server, guide, 'strategy=markdown&chunk_size=900&limit=1000')).data
      .filter((c) => c.context?.some((k) => k.kind === 'heading' && guide.slice(k.start_byte, k.end_byte).includes('Tides')))
    const sum = below.reduce((n, c) => n + c.size, 0).toLocaleString('en')
    await page.locator('.tree .node', { has: page.locator('b', { hasText: 'Tides' }) }).getByText(`${sum} chars in`).waitFor()
    await finish(page)
  })

  test('the same as a command: what is copied gives the chunks that are seen', async () => {
    const query = 'strategy=recursive&chunk_size=300&min_chunk_size=20'
    const page = await openPage(browser, `${server.url}/#s=recursive&chunk_size=300&min_chunk_size=20&separators=%5B%22%5Cn%22%2C%22+%22%5D;sample=guide`)
    const code = page.locator('pre')
    await until('the command', async () => (await code.textContent()).includes('chunkstream chunk guide.md --strategy=recursive --chunk-size=300'))
    const want = (await preview(server, guide, `${query}&separators=${encodeURIComponent('["\\n"," "]')}&limit=1000`)).data.map((c) => [c.start_byte, c.end_byte])
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
      await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
      await page.locator('section[aria-labelledby=copy-as]').getByRole('button', { name: 'Copy', exact: true }).click()
      await until('it on the clipboard', async () => (await page.evaluate(() => navigator.clipboard.readText())) === (await code.textContent()))
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
      const chunk = (await preview(server, await sampleText(page), 'strategy=recursive&unit=tokens&chunk_size=40&tokenizer=o200k_base')).data[n - 1]
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
    // What Markdown can lose: a fence left open, a table torn from its header, a heading left behind.
    const torn = '# One\n\nSome words that fill the chunk, and then some more words here.\n\n## Two\n\n' +
      '```go\n' + 'fmt.Println("a line of code")\n'.repeat(8) + '```\n\n## Three\n\n| name | size |\n|---|---|\n' + '| something | 12345 |\n'.repeat(12)
    await drop(page, 'torn.md', torn)
    const counts = async () => Object.fromEntries(await page.locator('[data-check]').evaluateAll((all) => all.map((e) => [e.dataset.check, Number(e.dataset.problems)])))
    await writeFile(join(server.data, 'torn.md'), torn)
    const said = spawnSync(program, ['lint', '--json', '--strategy=recursive', '--chunk-size=100', join(server.data, 'torn.md')], { encoding: 'utf8' })
    const kinds = {}
    for (const line of said.stdout.trim().split('\n').map((l) => JSON.parse(l))) kinds[line.kind] = (kinds[line.kind] ?? 0) + 1
    assert.ok(kinds.open_fence && kinds.torn_table && kinds.orphan_heading, said.stdout)
    let last
    await until(`what lint finds: ${JSON.stringify(kinds)}`, async () => {
      last = await counts()
      return last.fences === kinds.open_fence && last.tables === kinds.torn_table && last.headings === kinds.orphan_heading
    }).catch((late) => assert.fail(`${late.message}, not ${JSON.stringify(last)}`))
    await finish(page)
  })

  test('in the reader\'s own colours everything is still told apart', async () => {
    const page = await openPage(browser, `${server.url}/#s=recursive&chunk_size=400&chunk_overlap=80;sample=guide&c=1`, { forcedColors: 'active', colorScheme: 'dark' })
    await page.getByText('Why here?').waitFor()
    // What is seen, not what is computed: in each of these there is paper and ink, and nothing else but their mixtures.
    for (const selector of ['.text .block', '.mark.start', '.tabs [aria-pressed=true]', 'button.primary']) {
      const picture = (await page.locator(selector).first().screenshot()).toString('base64')
      const [dark, light, coloured] = await page.evaluate(async (picture) => {
        const image = new Image()
        image.src = `data:image/png;base64,${picture}`
        await image.decode()
        const canvas = document.createElement('canvas')
        ;[canvas.width, canvas.height] = [image.width, image.height]
        const paper = canvas.getContext('2d')
        paper.drawImage(image, 0, 0)
        const all = paper.getImageData(0, 0, image.width, image.height).data
        const found = [0, 0, 0]
        for (let i = 0; i < all.length; i += 4) {
          const [least, most] = [Math.min(all[i], all[i + 1], all[i + 2]), Math.max(all[i], all[i + 1], all[i + 2])]
          if (most - least > 24) found[2]++
          else if (most < 60) found[0]++
          else if (least > 195) found[1]++
        }
        return found.map((n) => n / (all.length / 4))
      }, picture)
      assert.ok(dark > 0.02 && light > 0.02 && coloured < 0.001, `${selector}: ${dark} dark, ${light} light, ${coloured} coloured`)
    }
    await accessible(page, 'forced colours')
    await finish(page, 'forced-colours')
  })

  test('right to left and East Asian texts keep their direction and their offsets', async () => {
    const rtl = await readFile(new URL('../src/samples/rtl.txt', import.meta.url), 'utf8')
    const page = await openPage(browser, `${server.url}/#s=sentence&chunk_size=120;sample=rtl`, { viewport: { width: 1400, height: 1200 } })
    await paintedAs(server, page, rtl, 'strategy=sentence&chunk_size=120')
    await page.screenshot({ path: `${screenshots}rtl.png` })
    const cjk = await readFile(new URL('../src/samples/cjk.txt', import.meta.url), 'utf8')
    await page.locator('#sample').selectOption('cjk')
    await paintedAs(server, page, cjk, 'strategy=sentence&chunk_size=120')
    await finish(page)
  })
})

describe('operations', () => {
  test('the overview shows what fails, who works, and that Redis is away', async () => {
    const port = await freePort()
    const redis = () => spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'], { stdio: 'ignore' })
    let running = redis()
    const ended = () => new Promise((go) => running.once('exit', go))
    const own = await Server.start({ workers: 1, flags: ['--redis', `redis://127.0.0.1:${port}`, '--max-chunks', '3'] })
    try {
      const page = await openPage(browser, `${own.url}/operations`)
      await page.locator('[data-live=live]').waitFor()
      const failed = await own.submit('Too much of it. '.repeat(60), 'name=much.txt&chunk_size=100&wait=10')
      assert.equal(failed.status, 'failed')
      await page.locator(`[data-operation="${failed.id}"] [data-status=failed]`).waitFor()
      await until('the title', async () => (await page.title()).startsWith('(1 failed) '))
      await page.locator('section[aria-labelledby=failures] button', { hasText: failed.error.code }).click() // and its filter
      await page.locator(`[data-operation="${failed.id}"]`).waitFor()
      assert.match(page.url(), new RegExp(`q=${failed.error.code}`))
      for (const role of ['commands', 'blocking', 'feed']) await page.getByText(new RegExp(`^Redis, ${role}: answers$`)).waitFor()
      await page.screenshot({ path: `${screenshots}overview-failed.png` })
      const gone = ended()
      running.kill('SIGKILL')
      await gone
      await until('the word of it', async () => {
        await own.submit('Without Redis. ', 'wait=10')
        return (await page.getByText(/^Redis, .*: is away$/).count()) > 0 && (await page.locator('.health.degraded').count()) > 0
      })
      await page.getByText('Database: answers').waitFor()
      await accessible(page, 'degraded')
      await page.screenshot({ path: `${screenshots}overview-degraded.png` })
      running = redis()
      await until('it to be back', async () => {
        await own.submit('With Redis again. ', 'wait=10')
        return (await page.locator('.health.ready').count()) > 0 && (await page.getByText(/is away$/).count()) === 0
      })
      await finish(page)
    } finally {
      await own.end()
      if (running.exitCode === null && running.signalCode === null) {
        const gone = ended()
        running.kill('SIGKILL')
        await gone
      }
    }
  })
})

function freePort() {
  return new Promise((go) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => go(port))
    })
  })
}
