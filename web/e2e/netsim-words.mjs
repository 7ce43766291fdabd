// The words and tables of docs/netsim.md.

const FACTOR_HEAD = [
  'line', 'who receives', 'heard after', 'freezes', 'frozen', 'longest gap, picture', 'longest gap, sound', 'picture',
  'frames/s', 'kbit/s', 'concealed', 'silence', 'round trip', 'sound waits', 'lost by the line', 'late by us', 'load',
]

/** One row a receiver: the far person behind the line (`down`), and the near one (`up`). */
export function factorTable(results) {
  const rows = results.flatMap((result) => {
    if (result.failed) return [[result.name, result.failed, ...FACTOR_HEAD.slice(2).map(() => '—')]]
    return [
      [result.name, 'far', seconds(result.heardMs / 1_000), ...cells(result.down, result.line.down), result.load.toFixed(1)],
      ['', 'near', '', ...cells(result.up, result.line.up), ''],
    ]
  })
  return table(FACTOR_HEAD, rows)
}

export function promiseTable(results) {
  const rows = results.flatMap(({ name, failed, rows: promises }) => {
    if (failed) return [[name, failed, '—', '**no**']]
    return promises.map(({ what, measured, holds }, index) => [index === 0 ? name : '', what, measured, holds ? 'yes' : '**no**'])
  })
  return table(['call', 'must', 'measured', 'holds'], rows)
}

export function page({ seed, cores, browser, seconds: measured }, [factors, promises]) {
  return `# Calls over bad lines

Made by \`make netsim\` with seed ${seed}, in Chromium ${browser}, on ${cores} cores. Don't edit.

A server and a mediator are on the near side of a line, a party is on the far side, both in Chromium with a made-up
camera of 640x360 at 20 frames a second, as noisy as a small one is, and a microphone that beeps each second.
\`crates/netsim\` is the line: it loses, delays and holds up whole IP packets, so the page, the WebSocket and the media
all go over it. Conditions hold in both directions; a delay is one way; before a slow line a packet waits 300 ms at most.
Each line is a call of its own, opened when the line was bad already, then measured for ${measured} s by the browser's
own counters (\`getStats\`).

The seed decides which packet of a stream is lost. The streams themselves come of live encoders on a machine with other
work, so numbers differ from run to run; what both browsers, the encoders and the server need of the processor is in
them. The first row says what the machine gives without a bad line. *load*, the mean number of threads that ran or waited
for one of the cores in the minute before, says how far to trust a row: where it is high, missing frames and sound that
waits long are the machine's doing rather than the line's.

- *heard after*: from opening the link to the first sound, with the page, the devices, the consent and being let in at
  once; up to a second is waiting for the beep.
- *freezes*, *frozen*: \`freezeCount\` and \`totalFreezesDuration\`. *longest gap*: without a new frame, without a packet
  of sound; right to 0.1 s.
- *picture*: lines of the frames, with their share where there was more than one size.
- *concealed*: share of the sound that was made up to hide a loss and could be heard. *silence*: beside that, the share
  filled with silence for want of anything to go by.
- *round trip*: between the one who receives and the server; the near one's does not go over the line.
- *sound waits*: the mean time in the receiver's jitter buffer.
- *lost by the line*: lost by chance, or dropped since too much waited before a slow line. *late by us*: the most that a
  packet came later than the line made it, for want of a processor.

## One thing at a time

${factors}

## What a call must stand

The lines here: 5 % + 150 ms + 1 Mbit/s is a village, 5 % + 300 ms + 300 kbit/s the worst line a call must hold on.
*far* and *near* is who receives; the full layer is the largest picture that is sent at the time. Whether the page says
so when it falls back to sound alone is not looked at here.

${promises}
`
}

function cells(seen, line) {
  const gone = line.lost + line.queue_full + line.outage
  return [
    String(seen.freezes),
    seconds(seen.frozenSeconds),
    seen.flows.video ? seconds(seen.gapSeconds.video) : `${seconds(seen.gapSeconds.video)}, to the end`,
    seen.flows.audio ? seconds(seen.gapSeconds.audio) : `${seconds(seen.gapSeconds.audio)}, to the end`,
    picture(seen.heights),
    seen.framesPerSecond.toFixed(1),
    seen.kilobits.toFixed(0),
    percent(seen.concealed),
    percent(seen.concealedSilent),
    milliseconds(seen.roundTripMs),
    milliseconds(seen.bufferMs),
    percent(line.accepted > 0 ? gone / line.accepted : null),
    milliseconds(line.late_max_us / 1_000),
  ]
}

function picture(heights) {
  if (heights.length === 0) return 'none'
  if (heights.length === 1) return String(heights[0][0])
  return heights.map(([lines, share]) => `${lines} (${Math.round(share * 100)} %)`).join(', ')
}

function table(head, rows) {
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}

export const seconds = (value) => `${value.toFixed(1)} s`
const milliseconds = (value) => (value === null ? '—' : `${value.toFixed(0)} ms`)
export const percent = (share) => (share === null ? '—' : `${(share * 100).toFixed(1)} %`)
