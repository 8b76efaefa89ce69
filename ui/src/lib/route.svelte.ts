// The pages, by the path of the address. The fragment belongs to the page.

/** note stands in front of the title, for who looks at other tabs. */
export const route = $state({ path: location.pathname, note: '' })

addEventListener('popstate', () => (route.path = location.pathname))

/** Goes to a page of this site without loading it anew. */
export function go(href: string) {
  history.pushState(null, '', href)
  route.path = location.pathname
  scrollTo(0, 0)
}

/** For links: a plain click stays in this document, every other is the browser's. */
export function link(e: MouseEvent) {
  const a = e.currentTarget as HTMLAnchorElement
  if (e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey || a.target) return
  e.preventDefault()
  go(a.href)
}
