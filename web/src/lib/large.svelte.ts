// Large text, for those who want it.

const KEY = 'hewei.large'

let large = $state(false)

function set(on: boolean): void {
  large = on
  document.documentElement.classList.toggle('large', on)
}

set(localStorage.getItem(KEY) === '1')

export const largeText = {
  get on(): boolean {
    return large
  },
  toggle(): void {
    set(!large)
    localStorage.setItem(KEY, large ? '1' : '0')
  },
}
