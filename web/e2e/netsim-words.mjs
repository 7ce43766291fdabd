// The words and tables of docs/netsim.md.

const FACTOR_HEAD = [
  'line', 'who receives', 'heard after', 'freezes', 'frozen', 'longest gap, picture', 'longest gap, sound', 'picture',
  'frames/s', 'kbit/s', 'concealed', 'silence', 'round trip', 'sound waits', 'lost by the line', 'late by us', 'load',
]

/**
 * One row a receiver: the far person behind the line (`down`), and the near one (`up`). Where there are two servers, each
 * has its row beside the other's, and a column says which.
 */
export function factorTable(results) {
  const several = results.some(({ by }) => Object.keys(by).length > 1)
  const head = several ? ['line', 'who receives', 'server', ...FACTOR_HEAD.slice(2)] : FACTOR_HEAD
  const rows = results.flatMap(({ name, by }) =>
    ['far', 'near'].flatMap((who, index) =>
      Object.entries(by).map(([server, result], at) => {
        const first = at === 0 && index === 0
        const start = [first ? name : '', who, ...(several ? [server] : [])]
        if (result.failed) return [...start, result.failed, ...Array(head.length - start.length - 1).fill('—')]
        const [seen, line] = index === 0 ? [result.down, result.line.down] : [result.up, result.line.up]
        const [heard, load] = index === 0 ? [seconds(result.heardMs / 1_000), result.load.toFixed(1)] : ['', '']
        return [...start, heard, ...cells(seen, line), load]
      }),
    ),
  )
  return table(head, rows)
}

/** What is asked of a call, and what each server gave. */
export function promiseTable(results) {
  const servers = [...new Set(results.flatMap(({ by }) => Object.keys(by)))]
  const several = servers.length > 1
  const head = ['call', 'must', ...servers.flatMap((server) => (several ? [server, 'holds', 'load'] : ['measured', 'holds']))]
  const rows = results.flatMap(({ name, by }) => {
    const whole = Object.values(by).find(({ failed }) => !failed)
    const asked = whole ? whole.rows.map(({ what }) => what) : ['']
    return asked.map((what, index) => [
      index === 0 ? name : '',
      what,
      ...servers.flatMap((server) => {
        const { failed, rows: promises, load } = by[server]
        const told = several ? [index === 0 && !failed ? load.toFixed(1) : ''] : []
        if (failed) return [index === 0 ? failed : '—', '**no**', ...told]
        const { measured, holds } = promises[index]
        return [measured, holds ? 'yes' : '**no**', ...told]
      }),
    ])
  })
  return table(head, rows)
}

const LEGEND = `- *heard after*: from opening the link to the first sound, with the page, the devices, the consent and being let in at
  once; up to a second is waiting for the beep.
- *freezes*, *frozen*: \`freezeCount\` and \`totalFreezesDuration\`. *longest gap*: without a new frame, without a packet
  of sound; right to 0.1 s.
- *picture*: lines of the frames, with their share where there was more than one size.
- *concealed*: share of the sound that was made up to hide a loss and could be heard. *silence*: beside that, the share
  filled with silence for want of anything to go by.
- *round trip*: between the one who receives and the server; the near one's does not go over the line.
- *sound waits*: the mean time in the receiver's jitter buffer.
- *lost by the line*: lost by chance, or dropped since too much waited before a slow line. *late by us*: the most that a
  packet came later than the line made it, for want of a processor.`

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

${LEGEND}

## One thing at a time

${factors}

## What a call must stand

The lines here: 5 % + 150 ms + 1 Mbit/s is a village, 5 % + 300 ms + 300 kbit/s the worst line a call must hold on.
*far* and *near* is who receives; the full layer is the largest picture that is sent at the time. Whether the page says
so when it falls back to sound alone is not looked at here.

${promises}
`
}

export function janusPage({ seed, cores, browser, seconds: measured, version }, [factors, promises]) {
  return `# Calls over bad lines, with Janus beside

Made by \`make netsim-janus\` with seed ${seed}, in Chromium ${browser}, on ${cores} cores, with Janus ${version}. Don't edit.

The calls of [netsim.md](netsim.md), and right after each the same call over [Janus](https://janus.conf.meetecho.com)
VideoRoom as Debian packages it: on the same line, in the same two browsers, with the same camera and microphone, counted
by the same code. How the line and the numbers are made is told there.

The same on both sides: H.264 in two sizes (360 lines at 900 kbit/s at most, 180 at 250), Opus, the page over HTTPS and a
WebSocket with the same certificate, media over UDP. Not the same:

- Janus's page is our own, as small as can be, with as few round trips as its protocol allows. It has no door, no consent
  and no lobby, so *heard after* has less to wait for: ours has an application to load, a form to send, and somebody who
  lets in.
- Janus has its own settings wherever it has some: no bound on a picture but the sender's, Opus with the repair that is
  within it (VideoRoom has no sound that carries each frame twice, which ours has), and the largest picture for everybody.
  It gives a smaller one to who asks, or when the larger ones stop coming. To ask as the line allows is the work of a page;
  this one does not, nor does the one that Janus comes with. A room with a smaller bound fits a narrower line, and has a
  worse picture for everybody.
- A far side that gets another address is not measured: that takes a page that finds its session again.

*load* is the mean number of threads that ran or waited for one of the cores in the last minute of the call. Compare two
rows only where it is alike. Where it is high, missing frames and sound that waits long are the machine's doing.
Each line is measured for ${measured} s but the one that says a minute.

${LEGEND}

## One thing at a time

${factors}

## What a call must stand

What ours must stand is asked of both; nobody promised it for Janus.

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
