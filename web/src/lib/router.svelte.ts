// The address bar is the only place that says which page is shown.

export type Route =
  | { page: 'home' }
  | { page: 'join' }
  | { page: 'enter' }
  | { page: 'setup' }
  | { page: 'account' }
  | { page: 'demo' }
  | { page: 'room'; id: string }
  | { page: 'wall'; id: string }
  | { page: 'case'; id: string }
  | { page: 'missing' }

export function parse(path: string): Route {
  const parts = path.split('/').filter((part) => part !== '')
  const [first, second] = parts
  if (first === undefined) return { page: 'home' }
  if (parts.length === 1 && isPage(first)) return { page: first }
  if (parts.length === 2 && second !== undefined && (first === 'room' || first === 'wall' || first === 'case')) {
    return { page: first, id: safeDecode(second) }
  }
  return { page: 'missing' }
}

const PAGES = ['join', 'enter', 'setup', 'account', 'demo'] as const

function isPage(word: string): word is (typeof PAGES)[number] {
  return (PAGES as readonly string[]).includes(word)
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

let route = $state.raw<Route>(parse(location.pathname))

export const router = {
  get route(): Route {
    return route
  },
  go(path: string): void {
    history.pushState(null, '', path)
    route = parse(location.pathname)
    window.scrollTo(0, 0)
  },
  /** As `go`, without leaving the present address in the history. */
  replace(path: string): void {
    history.replaceState(null, '', path)
    route = parse(location.pathname)
  },
}

window.addEventListener('popstate', () => (route = parse(location.pathname)))
// A second invitation opened in the same tab changes nothing but the fragment.
window.addEventListener('hashchange', () => (route = parse(location.pathname)))

/** Lets plain `<a href="/…">` links change the page without a reload. */
export function followLinks(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return
  const link = (event.target as Element | null)?.closest('a')
  if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return
  if (parse(link.pathname).page === 'missing') return
  event.preventDefault()
  router.go(link.pathname + link.search + link.hash)
}
