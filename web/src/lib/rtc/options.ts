// `?codec=H264|VP8` on the first page of a tab makes that the only video codec it publishes in.

import { readPreferred, type PreferredCodec } from './codecs'

const KEY = 'hewei.codec'

export function preferredCodec(): PreferredCodec | null {
  const asked = readPreferred(new URLSearchParams(location.search).get('codec'))
  if (asked) sessionStorage.setItem(KEY, asked)
  return asked ?? readPreferred(sessionStorage.getItem(KEY))
}
