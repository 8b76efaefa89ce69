// Single keys. They can be switched off (WCAG 2.1.4): who speaks to a computer types letters by accident.

const store = 'chunkstream.shortcuts'

class Shortcuts {
  on = $state(localStorage.getItem(store) !== 'off')

  set(on: boolean) {
    this.on = on
    localStorage.setItem(store, on ? 'on' : 'off')
  }

  /** Whether a key is meant for the page: not typed into a field, not one of the browser's. */
  heard(e: KeyboardEvent): boolean {
    const at = e.target as HTMLElement
    return this.on && !e.ctrlKey && !e.metaKey && !e.altKey && !e.defaultPrevented &&
      !at.closest?.('input:not([type=range]):not([type=checkbox]), textarea, select, dialog')
  }
}

export const shortcuts = new Shortcuts()
