// The order in which video codecs are offered.

export type PreferredCodec = 'H264' | 'VP8'

export function readPreferred(text: string | null): PreferredCodec | null {
  const name = text?.toUpperCase()
  return name === 'H264' || name === 'VP8' ? name : null
}

interface CodecLike {
  mimeType: string
  sdpFmtpLine?: string
}

/** `codecs` with the preferred one first and nothing dropped. H.264 in packetization mode 1 goes before mode 0, which
 * the server does not take. */
export function orderCodecs<T extends CodecLike>(codecs: readonly T[], preferred: PreferredCodec): T[] {
  const rank = (codec: T): number => {
    if (codec.mimeType.toLowerCase() !== `video/${preferred.toLowerCase()}`) return 2
    return preferred === 'H264' && !/packetization-mode=1/.test(codec.sdpFmtpLine ?? '') ? 1 : 0
  }
  return codecs
    .map((codec, index) => ({ codec, index }))
    .sort((a, b) => rank(a.codec) - rank(b.codec) || a.index - b.index)
    .map(({ codec }) => codec)
}
