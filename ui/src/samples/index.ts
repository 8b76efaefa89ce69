// Texts to begin with, so that nothing is ever empty. All were written for this.

import cjk from './cjk.txt?raw'
import guide from './guide.md?raw'
import page from './page.html.txt?raw'
import queue from './queue.go.txt?raw'
import rtl from './rtl.txt?raw'
import stations from './stations.csv?raw'

export const samples = [
  { id: 'guide', label: 'Markdown: a guide', file: 'guide.md', text: guide },
  { id: 'code', label: 'Go: a queue', file: 'queue.go', text: queue },
  { id: 'table', label: 'CSV: weather stations', file: 'stations.csv', text: stations },
  { id: 'html', label: 'HTML: a page', file: 'page.html', text: page },
  { id: 'cjk', label: '日本語, 中文, 한국어', file: 'harbour.txt', text: cjk },
  { id: 'rtl', label: 'العربية, עברית', file: 'harbour-rtl.txt', text: rtl },
]
