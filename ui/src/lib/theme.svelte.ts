// System, light or dark: the system's unless a person has chosen, and then that, in this browser.

export type Theme = 'system' | 'light' | 'dark'
const store = 'chunkstream.theme'

function chosen(): Theme {
  try {
    const t = localStorage.getItem(store)
    return t === 'light' || t === 'dark' ? t : 'system'
  } catch {
    return 'system' // storage is forbidden here
  }
}

/** changed counts changes of what is seen, for those who paint by themselves. */
export const theme = $state({ choice: chosen(), changed: 0 })

export function choose(choice: Theme) {
  theme.choice = choice
  theme.changed++
  show()
  try {
    if (choice === 'system') localStorage.removeItem(store)
    else localStorage.setItem(store, choice)
  } catch {
    // then it holds for this page alone
  }
}

function show() {
  if (theme.choice === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme.choice
}

show()
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => theme.changed++)
