// Takes the picture in the README from the real program: npm run picture, with CHUNKSTREAM naming the program.

import { openBrowser, openPage, Server } from './harness.mjs'

const [browser, server] = await Promise.all([openBrowser(), Server.start()])
try {
  for (const colorScheme of ['light', 'dark']) {
    const page = await openPage(browser, `${server.url}/#s=markdown&chunk_size=420&chunk_overlap=60;sample=guide`, {
      colorScheme, viewport: { width: 1120, height: 600 },
    })
    await page.locator('.mark.start').nth(2).click()
    await page.getByText('Why here?').waitFor()
    await page.mouse.move(0, 0)
    await page.screenshot({ path: new URL(`../../docs/pictures/playground-${colorScheme}.png`, import.meta.url).pathname })
  }
} finally {
  await browser.close()
  await server.end()
}
