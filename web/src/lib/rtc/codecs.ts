// Which codecs are offered.

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
const TAKEN = ['video/h264', 'video/vp8', 'video/rtx', 'audio/red', 'audio/opus', 'audio/pcma', 'audio/pcmu']

/** Those of `codecs` that the server takes, H.264 first, in packetization mode 1 only; sound that carries each frame
 * twice before sound that does not, for a browser uses it only then. With `only`, no other video codec
 * is among them: of several that it is offered the server chooses by its own setting. A browser that knows none of them
 * offers what it has. */
export function chooseCodecs<T extends CodecLike>(codecs: readonly T[], only: PreferredCodec | null = null): T[] {
  const unwanted = only === null ? '' : only === 'H264' ? 'video/vp8' : 'video/h264'
  const chosen = codecs.filter((codec) => {
    const name = codec.mimeType.toLowerCase()
    if (name === unwanted || !TAKEN.includes(name)) return false
    return name !== 'video/h264' || /packetization-mode=1/.test(codec.sdpFmtpLine ?? '')
  })
  const rank = (codec: T) => (['video/h264', 'audio/red'].includes(codec.mimeType.toLowerCase()) ? 0 : 1)
  return (chosen.length > 0 ? chosen : [...codecs])
    .map((codec, index) => ({ codec, index }))
    .sort((a, b) => rank(a.codec) - rank(b.codec) || a.index - b.index)
    .map(({ codec }) => codec)
}
