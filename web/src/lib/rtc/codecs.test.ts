import { describe, expect, it } from 'vitest'
import { chooseCodecs, readPreferred } from './codecs'

const CODECS = [
  { mimeType: 'video/VP8' },
  { mimeType: 'video/rtx' },
  { mimeType: 'video/H264', sdpFmtpLine: 'packetization-mode=0;profile-level-id=42e01f' },
  { mimeType: 'video/H264', sdpFmtpLine: 'packetization-mode=1;profile-level-id=42e01f' },
  { mimeType: 'video/H264', sdpFmtpLine: 'packetization-mode=1;profile-level-id=64001f' },
  { mimeType: 'video/AV1' },
]

describe('codecs', () => {
  it('offers H.264 of packetization mode 1 first, and no codec that the server does not take', () => {
    expect(chooseCodecs(CODECS).map((codec) => CODECS.indexOf(codec))).toEqual([3, 4, 0, 1])
  })

  it('offers one video codec alone when asked', () => {
    expect(chooseCodecs(CODECS, 'VP8').map((codec) => CODECS.indexOf(codec))).toEqual([0, 1])
    expect(chooseCodecs(CODECS, 'H264').map((codec) => CODECS.indexOf(codec))).toEqual([3, 4, 1])
  })

  it('keeps Opus and G.711, and puts redundant sound first', () => {
    const audio = ['audio/opus', 'audio/red', 'audio/G722', 'audio/PCMU', 'audio/PCMA', 'audio/CN'].map((mimeType) => ({ mimeType }))
    expect(chooseCodecs(audio).map((codec) => codec.mimeType)).toEqual(['audio/red', 'audio/opus', 'audio/PCMU', 'audio/PCMA'])
  })

  it('offers what there is when nothing fits', () => {
    expect(chooseCodecs([{ mimeType: 'video/AV1' }])).toEqual([{ mimeType: 'video/AV1' }])
    expect(chooseCodecs([])).toEqual([])
  })

  it('reads the two names only', () => {
    expect(readPreferred('vp8')).toBe('VP8')
    expect(readPreferred('H264')).toBe('H264')
    expect(readPreferred('AV1')).toBeNull()
    expect(readPreferred(null)).toBeNull()
  })
})
