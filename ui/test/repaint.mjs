// How long a new cut of a megabyte takes from its answer to the picture: CHUNKSTREAM=../chunkstream node test/repaint.mjs. Wall time is what
// a person waits on an idle machine; the page's own time on the processor is the same on a busy one.

import { drop, openBrowser, openPage, Server, until } from './harness.mjs'

const [browser, server] = await Promise.all([openBrowser(), Server.start({ workers: 0 })])
try {
  const page = await openPage(browser, `${server.url}/#s=recursive&chunk_size=400`)
  await page.locator('.mark.start').first().waitFor()
  const line = 'The tide comes twice a day, fifty minutes later every time, and never quite as high as the day before. '
  const text = Array.from({ length: 1600 }, (_, i) => `${i}. ${line.repeat(6)}`).join('\n').slice(0, 1 << 20)
  await drop(page, 'megabyte.txt', text)
  const shown = () => page.evaluate(() => [...document.querySelectorAll('.text .block')].reduce((n, b) => n + b.firstChild.data.length, 0))
  await until('the text, painted', async () => (await shown()) === text.length && (await page.locator('.mark.start').count()) > 3)
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
  const devtools = await page.context().newCDPSession(page)
  await devtools.send('Performance.enable', { timeDomain: 'threadTicks' })
  const used = async () => (await devtools.send('Performance.getMetrics')).metrics.find((m) => m.name === 'TaskDuration').value * 1000
  const slider = page.getByLabel('chunk size, roughly', { exact: true })
  await slider.focus()
  const cpu = []
  const rounds = 20
  for (let i = 0; i < rounds; i++) {
    const before = await used()
    await page.keyboard.press(i % 2 ? 'ArrowLeft' : 'ArrowRight')
    await until('a frame', () => page.evaluate((n) => window.took.length > n, i))
    cpu.push((await used()) - before) // asking, reading the answer and painting
  }
  const middle = (all) => all.sort((a, b) => a - b)[all.length >> 1]
  const wall = await page.evaluate(() => window.took)
  console.log(`1 MB, ${rounds} cuts: painted ${middle(wall).toFixed(0)} ms after the answer (median), least ${Math.min(...wall).toFixed(0)} ms; ` +
    `${middle(cpu).toFixed(0)} ms of the page's processor time from the key to the picture`)
} finally {
  await browser.close()
  await server.end()
}
