// The level of a microphone, for people to see that they are heard.

/** Calls `level` about ten times a second with 0..1. The function returned ends it. */
export function meter(track: MediaStreamTrack, level: (value: number) => void): () => void {
  const context = new AudioContext()
  const source = context.createMediaStreamSource(new MediaStream([track]))
  const analyser = context.createAnalyser()
  analyser.fftSize = 1024
  source.connect(analyser)
  const samples = new Float32Array(analyser.fftSize)
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples)
    let sum = 0
    for (const sample of samples) sum += sample * sample
    level(scale(Math.sqrt(sum / samples.length)))
  }, 100)
  // Browsers start it asleep until the page was touched.
  void context.resume().catch(() => undefined)
  return () => {
    clearInterval(timer)
    void context.close().catch(() => undefined)
  }
}

/** A loudness of -50..-10 dBFS as 0..1. */
export function scale(rms: number): number {
  if (rms <= 0) return 0
  return Math.min(1, Math.max(0, (20 * Math.log10(rms) + 50) / 40))
}
