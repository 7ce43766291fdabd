// The words on the screen, in Chinese and English, and how times are written.

import { en } from './en'
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
show()

function show(): void {
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en'
  document.title = t('app.name')
}

export const i18n = {
  get language(): Language {
    return language
  },
  toggle(): void {
    language = language === 'zh' ? 'en' : 'zh'
    localStorage.setItem(LANGUAGE_KEY, language)
    show()
  },
}

/** The text for `key` in the present language, with each `{name}` filled in. */
export function t(key: Key, values?: Record<string, string | number>): string {
  const text: string = (language === 'zh' ? zh : en)[key]
  return values ? text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole)) : text
}

/** Names joined as the language does. */
export function list(names: readonly string[]): string {
  return names.join(language === 'zh' ? '、' : ', ')
}
