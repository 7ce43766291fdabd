// Which codecs are offered, and in which order.

export type PreferredCodec = 'H264' | 'VP8'

export function readPreferred(text: string | null): PreferredCodec | null {
  const name = text?.toUpperCase()
  return name === 'H264' || name === 'VP8' ? name : null
}

interface CodecLike {
  mimeType: string
  sdpFmtpLine?: string
}

/** What the server takes. Everything else a browser knows would only make the offer longer: a slot of all codecs is
 * some 4 KB of SDP, and a room may have dozens. */
const TAKEN = ['video/h264', 'video/vp8', 'video/rtx', 'audio/opus', 'audio/pcma', 'audio/pcmu']

/** Those of `codecs` that the server takes, the preferred video codec first. H.264 goes in packetization mode 1 only.
 * A browser that knows none of them offers what it has. */
export function chooseCodecs<T extends CodecLike>(codecs: readonly T[], preferred: PreferredCodec = 'H264'): T[] {
  const chosen = codecs.filter((codec) => {
    const name = codec.mimeType.toLowerCase()
    return TAKEN.includes(name) && (name !== 'video/h264' || /packetization-mode=1/.test(codec.sdpFmtpLine ?? ''))
  })
  const rank = (codec: T) => (codec.mimeType.toLowerCase() === `video/${preferred.toLowerCase()}` ? 0 : 1)
  return (chosen.length > 0 ? chosen : [...codecs])
    .map((codec, index) => ({ codec, index }))
    .sort((a, b) => rank(a.codec) - rank(b.codec) || a.index - b.index)
    .map(({ codec }) => codec)
}
