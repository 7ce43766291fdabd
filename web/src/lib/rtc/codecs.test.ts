import { describe, expect, it } from 'vitest'
import { orderCodecs, readPreferred } from './codecs'

const CODECS = [
  { mimeType: 'video/VP8' },
  { mimeType: 'video/rtx' },
  { mimeType: 'video/H264', sdpFmtpLine: 'packetization-mode=0;profile-level-id=42e01f' },
  { mimeType: 'video/H264', sdpFmtpLine: 'packetization-mode=1;profile-level-id=42e01f' },
  { mimeType: 'video/AV1' },
]

describe('codecs', () => {
  it('puts H.264 of packetization mode 1 first and drops nothing', () => {
    const ordered = orderCodecs(CODECS, 'H264')
    expect(ordered.map((codec) => CODECS.indexOf(codec))).toEqual([3, 2, 0, 1, 4])
  })

  it('puts VP8 first', () => {
    expect(orderCodecs(CODECS, 'VP8').map((codec) => CODECS.indexOf(codec))).toEqual([0, 1, 2, 3, 4])
    expect(orderCodecs([...CODECS].reverse(), 'VP8')[0]).toBe(CODECS[0])
  })

  it('reads the two names only', () => {
    expect(readPreferred('vp8')).toBe('VP8')
    expect(readPreferred('H264')).toBe('H264')
    expect(readPreferred('AV1')).toBeNull()
    expect(readPreferred(null)).toBeNull()
  })
})
