// Measures calls over bad lines and writes docs/netsim.md: `make netsim`. With `--janus`, some of them over Janus as well,
// each right after ours, into docs/netsim-janus.md: `make netsim-janus`. With words as arguments it measures the profiles
// whose names hold one of them, and prints alone.

import { writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { ROOT, sleep } from './harness.mjs'
import { JanusStage } from './netsim-janus.mjs'
import { MEDIATOR, PARTY, Stage, measure } from './netsim.mjs'
import { factorTable, janusPage, page, percent, promiseTable, seconds } from './netsim-words.mjs'

const SEED = Number(process.env.NETSIM_SEED ?? 1)
/** A profile that would begin later is left out, and the table says so: the whole takes a quarter of an hour at most,
 * or 25 minutes with Janus. */
const BEGIN_MAX_MS = (process.argv.includes('--janus') ? 22.5 : 12.5) * 60_000
/** What a call may do before it is measured: the first keyframe, the first estimates. */
const SETTLE_MS = 3_000
const MEASURE_S = 15
const OUTAGE_S = 3
/** The far side's address after it changed. */
const NEW_ADDRESS = '10.77.0.3'
const OLD_ADDRESS = process.env.NETNS_FAR

const VILLAGE = 'loss=5% delay=150ms rate=1000kbit'
const WORST = 'loss=5% delay=300ms rate=300kbit'

/** One thing at a time. The delay is one way. Those that are named in `BESIDE` are measured over Janus too. */
const FACTORS = [
  ['clean', ''],
  ['loss 1 %', 'loss=1%'],
  ['loss 5 %', 'loss=5%'],
  ['loss 10 %', 'loss=10%'],
  ['loss 20 %', 'loss=20%'],
  ['loss 5 %, four in a row', 'loss=5% burst=4'],
  ['delay 50 ms', 'delay=50ms'],
  ['delay 150 ms', 'delay=150ms'],
  ['delay 300 ms', 'delay=300ms'],
  ['delay 50 ± 30 ms', 'delay=50ms jitter=30ms'],
  ['1 Mbit/s', 'rate=1000kbit'],
  ['300 kbit/s', 'rate=300kbit'],
]

const BESIDE = ['clean', 'loss 5 %', 'loss 10 %', 'loss 20 %', '1 Mbit/s', '300 kbit/s']

/** What a call must stand; each gives rows of `promiseTable`. The last asks for a new WebSocket with the old seat, so it
 * is ours alone. */
const PROMISES = [
  ['5 % + 150 ms + 1 Mbit/s, one minute', village],
  ['5 % + 300 ms + 300 kbit/s', worst],
  ['two who receive, one on the worst line', twoWhoReceive],
  ['no line for 3 s', outage],
  ['the far side gets another address', newAddress],
]

const janus = process.argv.includes('--janus')
const wanted = process.argv.slice(2).filter((word) => word !== '--janus')
const began = Date.now()
const stage = await Stage.begin({ seed: SEED, camera: true })
const servers = { Hewei: stage }
try {
  if (janus) servers.Janus = await JanusStage.begin(stage)
  const promises = await all(janus ? PROMISES.slice(0, -1) : PROMISES, (scenario, on) => scenario(on))
  const factors = await all(janus ? FACTORS.filter(([name]) => BESIDE.includes(name)) : FACTORS, factor)
  const tables = [factorTable(factors), promiseTable(promises)]
  console.log(tables.join('\n\n'))
  const minutes = Math.round((Date.now() - began) / 6_000) / 10
  console.log(`\n${minutes} minutes`)
  if (wanted.length === 0) {
    const cores = os.availableParallelism()
    const about = { seed: SEED, cores, browser: stage.browserVersion, seconds: MEASURE_S, version: servers.Janus?.version }
    const [file, text] = janus ? ['docs/netsim-janus.md', janusPage(about, tables)] : ['docs/netsim.md', page(about, tables)]
    await writeFile(path.join(ROOT, file), text)
  }
} finally {
  await servers.Janus?.end()
  await stage.end()
}

/** Runs each that is wanted on each server while there is time. One that fails is a row that says so, not the end. */
async function all(profiles, run) {
  const results = []
  for (const [name, what] of profiles) {
    if (wanted.length > 0 && !wanted.some((word) => name.includes(word))) continue
    const by = {}
    for (const [server, on] of Object.entries(servers)) {
      if (Date.now() - began > BEGIN_MAX_MS) {
        by[server] = { failed: 'not measured, out of time' }
        continue
      }
      try {
        by[server] = { ...(await run(what, on)), load: os.loadavg()[0] }
      } catch (error) {
        console.error(`${name}: ${error.message}`)
        by[server] = { failed: `no call: ${error.message.split('\n')[0]}` }
      }
      console.error(`${Math.round((Date.now() - began) / 1_000)} s: ${name} over ${server} done`)
    }
    results.push({ name, by })
  }
  return results
}

/** A call in these conditions, then `run`. */
async function inCall(on, conditions, run, options) {
  const call = await on.call(conditions, options)
  try {
    await sleep(SETTLE_MS)
    await stage.line.report()
    return await run(call)
  } finally {
    await call.end()
    await stage.line.set('')
  }
}

function factor(conditions, on) {
  return inCall(on, conditions, async ({ mediator, party, heardMs }) => {
    const [down, up] = await Promise.all([measure(party, MEDIATOR, MEASURE_S), measure(mediator, PARTY, MEASURE_S)])
    return { heardMs, down, up, line: await stage.line.report() }
  })
}

function village(on) {
  return inCall(on, VILLAGE, async ({ mediator, party }) => {
    const both = await Promise.all([measure(party, MEDIATOR, 60), measure(mediator, PARTY, 60)])
    return {
      rows: both.flatMap((seen, index) => {
        const whose = index === 0 ? 'far' : 'near'
        return [
          row(`${whose}: concealed sound < 3 %`, percent(seen.concealed), seen.concealed !== null && seen.concealed < 0.03),
          row(`${whose}: no freeze > 1 s`, `longest gap ${seconds(seen.gapSeconds.video)}`, seen.gapSeconds.video <= 1),
        ]
      }),
    }
  })
}

function worst(on) {
  return inCall(on, WORST, async ({ mediator, party, heardMs }) => {
    const seen = await measure(party, MEDIATOR, MEASURE_S)
    const full = await linesSent(mediator)
    const sound = seen.gapSeconds.audio <= 1 && seen.concealed < 0.2
    const lines = seen.heights.map(([height]) => height).join(', ') || 'none'
    await stage.line.set('')
    const lifted = await fullAfter(party, mediator)
    return {
      rows: [
        row('link opened → sound heard ≤ 5 s', seconds(heardMs / 1_000), heardMs <= 5_000),
        row(
          'sound holds',
          `longest gap ${seconds(seen.gapSeconds.audio)}, concealed ${percent(seen.concealed)}`,
          sound,
        ),
        row(
          'lowest layer or sound alone',
          `lines ${lines} of ${full}, ${seen.framesPerSecond.toFixed(1)} frames/s`,
          // No picture and no sound either is not sound alone.
          sound && !seen.heights.some(([height]) => height > full / 2),
        ),
        row('cap lifted: full layer ≤ 10 s', lifted === null ? 'not in 20 s' : seconds(lifted), lifted !== null && lifted <= 10),
      ],
    }
  })
}

function twoWhoReceive(on) {
  return inCall(on, WORST, async ({ mediator, party, neighbour }) => {
    const before = await linesSent(mediator)
    const [bad, good] = await Promise.all([measure(party, MEDIATOR, MEASURE_S), measure(neighbour, MEDIATOR, MEASURE_S)])
    const full = shareOf(good.heights, Math.min(before, await linesSent(mediator)))
    return {
      rows: [
        row(
          'the good one keeps the full layer',
          `${percent(full)} of frames full, ${good.framesPerSecond.toFixed(1)} frames/s, longest gap ` +
            `${seconds(good.gapSeconds.video)} (the bad one: ${bad.framesPerSecond.toFixed(1)} frames/s)`,
          full > 0.95 && good.gapSeconds.video <= 1,
        ),
      ],
    }
  }, { neighbour: true })
}

function outage(on) {
  return inCall(on, '', async ({ mediator, party }) => {
    const measuring = Promise.all([measure(party, MEDIATOR, 20), measure(mediator, PARTY, 20)])
    await sleep(2_000)
    await stage.line.interrupt(OUTAGE_S)
    const both = await measuring
    return {
      rows: both.flatMap((seen, index) =>
        ['audio', 'video'].map((kind) => {
          const after = Math.max(0, seen.gapSeconds[kind] - OUTAGE_S)
          const what = `${index === 0 ? 'far' : 'near'}: ${kind === 'audio' ? 'sound' : 'picture'} again`
          return row(what, seen.flows[kind] ? `${seconds(after)} after it` : 'not in 15 s', seen.flows[kind])
        }),
      ),
    }
  })
}

function newAddress(on) {
  return inCall(on, '', async ({ mediator, party }) => {
    const seatOf = () => mediator.page.evaluate(
      (name) => window.__hewei.participants().filter((one) => one.name === name).map(({ id, lobby }) => ({ id, lobby })),
      PARTY,
    )
    const [seat] = await seatOf()
    const time = 30
    let measuring = true
    const others = new Set()
    let lobby = false
    const watching = (async () => {
      while (measuring) {
        for (const one of await seatOf()) {
          if (one.id !== seat.id) others.add(one.id)
          lobby ||= one.lobby
        }
        await sleep(200)
      }
    })()
    try {
      const measured = Promise.all([measure(party, MEDIATOR, time), measure(mediator, PARTY, time)])
      await sleep(2_000)
      await stage.line.moveFarTo(NEW_ADDRESS)
      const both = await measured
      return {
        rows: [
          ...both.map((seen, index) => {
            const flows = seen.flows.audio && seen.flows.video
            const gap = Math.max(seen.gapSeconds.audio, seen.gapSeconds.video)
            const what = `${index === 0 ? 'far' : 'near'}: media again ≤ 5 s`
            return row(what, flows ? seconds(gap) : 'not in 28 s', flows && gap <= 5)
          }),
          row('same seat, none beside it', others.size === 0 ? 'yes' : 'another seat', others.size === 0),
          row('no second lobby', lobby ? 'in the lobby' : 'yes', !lobby),
          row('far: the same media connection', `${both[0].connections} in all`, both[0].connections === 1),
        ],
      }
    } finally {
      measuring = false
      await watching.catch(() => undefined)
      await stage.line.moveFarTo(OLD_ADDRESS)
    }
  })
}

/** Seconds until a picture of the full size moves again; `null` if not within twenty. */
async function fullAfter(person, mediator) {
  const since = Date.now()
  while (Date.now() - since < 20_000) {
    const before = await linesSent(mediator)
    const seen = await measure(person, MEDIATOR, 1)
    const full = shareOf(seen.heights, Math.min(before, await linesSent(mediator)))
    if (full > 0.9 && seen.framesPerSecond >= 10) return (Date.now() - since) / 1_000
  }
  return null
}

/** Lines of the largest picture that `person` sends now: an encoder short of bits or of a processor makes it smaller. */
function linesSent(person) {
  return person.page.evaluate(async () => {
    // Janus takes what is sent on a connection of its own.
    const report = await (window.__hewei.publishing ?? window.__hewei.pc).getStats()
    const sent = [...report.values()].filter((item) => item.type === 'outbound-rtp')
    return Math.max(...sent.map((item) => item.frameHeight ?? 0))
  })
}

/** The share of frames that had at least so many lines. */
function shareOf(heights, lines) {
  return heights.filter(([height]) => height >= lines).reduce((sum, [, share]) => sum + share, 0)
}

function row(what, measured, holds) {
  return { what, measured, holds }
}
