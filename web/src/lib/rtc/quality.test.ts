import { describe, expect, it } from 'vitest'
import { readLine, type Line } from './line'
import { QualityMeter, judge, type Quality } from './quality'

const START: Line = {
  received: 0,
  lost: 0,
  sound: 0,
  frames: new Map([['2', 0], ['3', 0]]),
  lossOut: null,
  roundTripMs: 40,
  limited: false,
}

/** Two seconds later: a hundred packets of sound and as many of two pictures. */
function later(before: Line, change: Partial<Line> & { lose?: number } = {}): Line {
  const { lose = 0, ...rest } = change
  return {
    ...before,
    received: before.received + 200 - lose,
    lost: before.lost + lose,
    sound: before.sound + 100,
    frames: new Map([...before.frames].map(([mid, frames]) => [mid, frames + 40])),
    ...rest,
  }
}

describe('one look', () => {
  const cases: [Parameters<typeof later>[1], Quality][] = [
    [{}, 'good'],
    [{ lose: 4 }, 'good'],
    [{ lose: 5 }, 'fair'],
    [{ lose: 15 }, 'fair'],
    [{ lose: 16 }, 'poor'],
    [{ lossOut: 0.05 }, 'fair'],
    [{ lossOut: 0.1 }, 'poor'],
    [{ roundTripMs: 299 }, 'good'],
    [{ roundTripMs: 300 }, 'fair'],
    [{ roundTripMs: 600 }, 'poor'],
    [{ roundTripMs: null }, 'good'],
    [{ limited: true }, 'fair'],
    [{ frames: START.frames }, 'sound_only'],
    [{ frames: new Map([['2', 0], ['3', 1]]) }, 'good'],
    [{ frames: START.frames, sound: 0 }, 'good'],
    // What is lost may come after all: then fewer are lost than before.
    [{ lost: -3 }, 'good'],
  ]
  it.each(cases)('%j is %s', (change, quality) => {
    expect(judge(START, later(START, change), ['2', '3'])).toBe(quality)
  })

  it('expects no picture of those whose camera is off, and none that was not there before', () => {
    expect(judge(START, later(START, { frames: START.frames }), [])).toBe('good')
    expect(judge(START, later(START, { frames: START.frames }), ['9'])).toBe('good')
  })

  it('tells nothing from a handful of packets', () => {
    expect(judge(START, { ...START, received: 20, lost: 4 }, [])).toBe('good')
  })
})

describe('the word on the page', () => {
  /** What is shown after each of these looks. */
  function shown(looks: (Parameters<typeof later>[1] | 'still')[]): Quality[] {
    const meter = new QualityMeter()
    let line = START
    meter.look(line, ['2', '3'])
    return looks.map((look) => {
      line = later(line, look === 'still' ? { frames: line.frames } : look)
      return meter.look(line, ['2', '3'])
    })
  }
  const bad = { lose: 30 }
  const fair = { lose: 8 }

  it('stays through one bad look, however many good ones are between', () => {
    expect(shown([bad, {}, bad, {}, {}, bad, {}])).toEqual(Array(7).fill('good'))
  })

  it('gets worse after two looks, to what both of them say', () => {
    expect(shown([bad, bad])).toEqual(['good', 'poor'])
    expect(shown([bad, fair, bad, bad])).toEqual(['good', 'fair', 'fair', 'poor'])
  })

  it('gets better after four looks, to what all of them say', () => {
    expect(shown([bad, bad, {}, {}, {}, {}]).slice(2)).toEqual(['poor', 'poor', 'poor', 'good'])
    expect(shown([bad, bad, {}, fair, {}, {}]).slice(2)).toEqual(['poor', 'poor', 'poor', 'fair'])
    expect(shown([bad, bad, {}, {}, {}, bad, {}, {}, {}]).slice(2)).toEqual(Array(7).fill('poor'))
  })

  it('says that there is sound alone, and no longer than that is so', () => {
    expect(shown(['still', 'still', 'still', {}, {}, {}, {}, {}])).toEqual([
      'good', 'sound_only', 'sound_only', 'poor', 'poor', 'poor', 'poor', 'good',
    ])
  })

  it('compares nothing across connections', () => {
    const meter = new QualityMeter()
    meter.look(later(later(START, bad), bad), [])
    for (let n = 0; n < 3; n += 1) {
      meter.restart()
      expect(meter.look(START, [])).toBe('good')
    }
  })
})

describe('a report of the browser', () => {
  it('is summed over all tracks', () => {
    const line = readLine([
      { type: 'inbound-rtp', kind: 'audio', mid: '0', packetsReceived: 50, packetsLost: 1 },
      { type: 'inbound-rtp', kind: 'video', mid: '2', packetsReceived: 100, packetsLost: 2, framesDecoded: 40 },
      { type: 'inbound-rtp', kind: 'video', mid: '3', packetsReceived: 0 },
      { type: 'remote-inbound-rtp', kind: 'audio', fractionLost: 0.01 },
      { type: 'remote-inbound-rtp', kind: 'video', fractionLost: 0.04 },
      { type: 'outbound-rtp', kind: 'video', qualityLimitationReason: 'bandwidth' },
      { type: 'outbound-rtp', kind: 'audio' },
      { type: 'candidate-pair', id: 'old', currentRoundTripTime: 9 },
      { type: 'candidate-pair', id: 'in use', currentRoundTripTime: 0.25 },
      { type: 'transport', selectedCandidatePairId: 'in use' },
    ])
    expect(line).toEqual({
      received: 150,
      lost: 3,
      sound: 50,
      frames: new Map([['2', 40], ['3', 0]]),
      lossOut: 0.04,
      roundTripMs: 250,
      limited: true,
    })
  })

  it('of nothing is a line of which nothing is known', () => {
    expect(readLine([])).toEqual({ ...START, frames: new Map(), roundTripMs: null })
  })
})
