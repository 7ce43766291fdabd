// The words on the screen, in Chinese and English. The English ones are fetched when they are wanted: most people who
// open a link on a thin line never do.

import { zh } from './zh'

export type Key = keyof typeof zh
export type Language = 'zh' | 'en'

const LANGUAGE_KEY = 'hewei.language'

function initial(): Language {
  const kept = localStorage.getItem(LANGUAGE_KEY)
  if (kept === 'zh' || kept === 'en') return kept
  return navigator.language.toLowerCase().startsWith('en') ? 'en' : 'zh'
}

let language = $state<Language>(initial())
let english = $state.raw<Record<Key, string> | null>(null)
show()

function show(): void {
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en'
  document.title = t('app.name')
}

export const i18n = {
  get language(): Language {
    return language
  },
  /** Resolves when the words of the present language are here. Without a network it is Chinese for now. */
  async ready(): Promise<void> {
    if (language === 'en' && english === null) {
      english = await import('./en').then(({ en }) => en, () => null)
    }
    show()
  },
  toggle(): void {
    language = language === 'zh' ? 'en' : 'zh'
    localStorage.setItem(LANGUAGE_KEY, language)
    void i18n.ready()
  },
}

/** The text for `key` in the present language, with each `{name}` filled in. */
export function t(key: Key, values?: Record<string, string | number>): string {
  const text: string = (language === 'en' ? (english ?? zh) : zh)[key]
  return values ? text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole)) : text
}

/** Names joined as the language does. */
export function list(names: readonly string[]): string {
  return names.join(language === 'zh' ? '、' : ', ')
}
