// Takes the pictures of the pages in the README from the real program: npm run picture, with CHUNKSTREAM naming the program.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { openBrowser, openPage, Server } from './harness.mjs'

const [browser, server] = await Promise.all([openBrowser(), Server.start()])
try {
  const guide = await readFile(new URL('../src/samples/guide.md', import.meta.url), 'utf8')
  const operation = await server.submit(guide, 'name=guide.md&strategy=markdown&chunk_size=420&wait=10')
  for (const colorScheme of ['light', 'dark']) {
    const take = async (name, path, ready) => {
      const page = await openPage(browser, server.url + path, { colorScheme, viewport: { width: 1120, height: 600 } })
      await ready(page)
      await page.mouse.move(0, 0)
      await page.screenshot({ path: new URL(`../../docs/pictures/${name}-${colorScheme}.png`, import.meta.url).pathname })
      assert.deepEqual(page.complaints, [])
    }
    await take('playground', '/#s=recursive&chunk_size=420&chunk_overlap=60&overlap_mode=boundary;sample=guide', async (page) => {
      await page.locator('.mark.start').nth(1).click()
      await page.getByText('Why here?').waitFor()
    })
    await take('compare', '/#s=recursive&chunk_size=300;s=markdown&chunk_size=300;sample=guide', async (page) => {
      for (const n of [0, 1]) await page.locator('.column').nth(n).locator('.mark.start').first().waitFor()
      await page.getByRole('row', { name: /^cut in.* ms.* ms/ }).waitFor()
    })
    await take('operation', `/operations/${operation.id}`, async (page) => {
      await page.locator('.mark.start').nth(1).waitFor()
      await page.getByRole('button', { name: 'Events' }).click()
      await page.locator('[data-live=ended]').waitFor()
    })
  }
} finally {
  await browser.close()
  await server.end()
}
