// What of the playground changes seldom, in a real browser: ./test all runs it.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
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
    await page.locator('.tree .node').nth(3).waitFor()
    await accessible(page, 'tree')
    await finish(page, 'tree')
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
    await finish(page)
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
