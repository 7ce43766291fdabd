// The sizes in which one's own picture is sent at once: each receiver gets the one that its tile and line can take.

/** The largest last. The names are the layers' RIDs. */
const LADDER: RTCRtpEncodingParameters[] = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 100_000 },
  { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 250_000 },
  { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 900_000 },
]

/** So many for a capture of this size. Chromium sends no more than these in any case, and leaves out the largest. */
export function encodingsFor({ width = 640, height = 360 }: MediaTrackSettings): RTCRtpEncodingParameters[] {
  const pixels = width * height
  const count = pixels >= 960 * 540 ? 3 : pixels >= 480 * 270 ? 2 : 1
  const chosen = LADDER.slice(-count)
  // One alone is no simulcast and has no name.
  return count === 1 ? chosen.map(({ maxBitrate }) => ({ maxBitrate })) : chosen.map((encoding) => ({ ...encoding }))
}

interface Layer {
  rid?: string
  active?: boolean
}

/** Switches the layers on that are `taken` and the others off. Whether that changes anything; where none of them is
 * known, it does not. */
export function activate(layers: Layer[], taken: readonly string[]): boolean {
  if (!layers.some(({ rid }) => rid !== undefined && taken.includes(rid))) return false
  let changed = false
  for (const layer of layers) {
    const active = layer.rid === undefined || taken.includes(layer.rid)
    changed ||= layer.active !== active
    layer.active = active
  }
  return changed
}
