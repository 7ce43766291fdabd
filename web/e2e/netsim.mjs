// Calls over a bad line: the server and its neighbours on the near side, one person on the far side, and between them
// `hewei-netsim`, which loses, delays and holds up their packets. Runs within `NETNS_LINK=none scripts/netns.sh`.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { ABROAD, Person, ROOT, Server, execute, launch, spki, until } from './harness.mjs'

const EMULATOR = process.env.E2E_NETSIM ?? path.join(ROOT, 'target/debug/hewei-netsim')
const { NETNS_NEAR: near, NETNS_FAR_PID: farPid } = process.env

export const MEDIATOR = '王调解员'
export const PARTY = '赵大山'
export const NEIGHBOUR = '李秀英'

/** How long a person tries to get into a call, all steps together. */
export const JOIN_MS = 60_000

/** The line between the two sides, and what it does. */
export class Line {
  #process
  #answers
  #seed

  static async start({ seed = 1 } = {}) {
    assert.ok(near && farPid, 'run this by: NETNS_LINK=none scripts/netns.sh ...')
    const line = new Line()
    line.#seed = seed
    // Before the encoders, where one may: a packet that waits for a processor is later than the line makes it.
    const command = ['-n', '-10', EMULATOR, `/proc/${farPid}/ns/net`, String(seed)]
    line.#process = spawn('nice', command, { stdio: ['pipe', 'pipe', 'inherit'] })
    line.#answers = createInterface({ input: line.#process.stdout })[Symbol.asyncIterator]()
    assert.equal(await line.#answer(), 'ready')
    return line
  }

  get seed() {
    return this.#seed
  }

  /** What it does from now on, in the emulator's words (`crates/netsim/src/conditions.rs`); none is a clean line. */
  async set(conditions) {
    assert.equal(await this.#say(`conditions ${conditions}`), 'ok')
  }

  /** Whatever is sent in so many seconds from now is lost. */
  async interrupt(seconds) {
    assert.equal(await this.#say(`outage ${seconds}s`), 'ok')
  }

  /** The far side has another address from now on, and no more the one before. */
  async moveFarTo(address) {
    assert.equal(await this.#say(`address ${address}`), 'ok')
  }

  /** What became of the packets in each direction since the last report. */
  async report() {
    return JSON.parse(await this.#say('report'))
  }

  async stop() {
    if (this.#process.exitCode !== null) return
    const ended = new Promise((done) => this.#process.once('exit', done))
    this.#process.stdin.end()
    await ended
  }

  #say(command) {
    this.#process.stdin.write(`${command}\n`)
    return this.#answer()
  }

  async #answer() {
    const { value, done } = await this.#answers.next()
    assert.ok(!done, 'the emulator of the line ended')
    return value
  }
}

/** A line, a server on its near side, and a browser on each. */
export class Stage {
  /** @type {Line} */
  line
  /** @type {Server} */
  server
  /** @type {Record<'near' | 'far', import('playwright-core').Browser>} */
  browsers = {}
  #token = ''
  #calls = 0

  /** With `camera`, each has a camera whose picture is as dear as a real one's; without, Chromium's own. */
  static async begin({ seed, camera = false }) {
    const stage = new Stage()
    try {
      stage.line = await Line.start({ seed })
      const server = await Server.start({ HEWEI_HTTP_LISTEN: `127.0.0.1:0,${near}:0`, HEWEI_MEDIA_BIND: near })
      stage.server = server
      const args = [`--ignore-certificate-errors-spki-list=${await spki(server)}`]
      if (camera) args.push(`--use-file-for-fake-video-capture=${await film(server.folder)}`)
      stage.browsers.near = await launch({ args })
      stage.browsers.far = await launch({ ...ABROAD, args })
      stage.#token = await server.token('mediator', { name: MEDIATOR, ttl: '12h' })
    } catch (error) {
      await stage.end()
      throw error
    }
    return stage
  }

  get browserVersion() {
    return this.browsers.near.version()
  }

  /**
   * A call of its own: a mediator near, who lets in at once whoever comes, and a party far away who opens the link when
   * the line is as `conditions` say. With `neighbour`, somebody near is in before.
   */
  async call(conditions, { neighbour = false } = {}) {
    const { line, server } = this
    await line.set('')
    const number = `2026-M-${String((this.#calls += 1)).padStart(4, '0')}`
    const { roomId } = await server.openRoom(this.#token, { number })
    const call = new Call()
    try {
      const mediator = (call.mediator = await sitDown(this.browsers.near, MEDIATOR))
      await mediator.page.goto(`${server.url}/enter#${this.#token}`)
      await mediator.page.waitForURL((url) => url.pathname !== '/enter')
      await mediator.page.goto(`${server.url}/room/${roomId}`)
      await mediator.atTheDoor({ record: false })
      if (neighbour) {
        call.neighbour = await sitDown(this.browsers.near, NEIGHBOUR)
        await this.#comesIn(call.neighbour, await server.invite(this.#token, roomId, NEIGHBOUR), mediator)
      }
      await until('the mediator sends', () => mediator.page.evaluate(() => window.__sent.audio && window.__sent.video))
      const link = (await server.invite(this.#token, roomId, PARTY)).replace(server.url, server.urls[1])
      call.party = await sitDown(this.browsers.far, PARTY)
      await line.set(conditions)
      const opened = Date.now()
      call.heardMs = (await this.#comesIn(call.party, link, mediator)) - opened
    } catch (error) {
      await call.end()
      throw error
    }
    return call
  }

  async end() {
    for (const browser of Object.values(this.browsers)) await browser.close()
    await this.server?.stop()
    await this.line?.stop()
  }

  async #comesIn(person, link, mediator) {
    const deadline = Date.now() + JOIN_MS
    const left = () => ({ timeout: Math.max(1, deadline - Date.now()) })
    await person.page.goto(link, { waitUntil: 'commit', ...left() })
    for (const kind of ['audio', 'video']) {
      await person.page.locator(`[data-testid=device-${kind}][data-state=on]`).waitFor(left())
    }
    await person.get('join-consent-no').check(left())
    await person.get('join-button').click(left())
    await mediator.get('admit-button').click(left())
    return heard(person, left().timeout)
  }
}

export class Call {
  /** @type {Person} */
  mediator
  /** @type {Person} */
  party
  /** @type {Person | undefined} */
  neighbour
  /** From the moment the party opened the link to the first sound heard; up to a second of it waits for the beep. */
  heardMs = 0

  async end() {
    for (const person of [this.party, this.neighbour, this.mediator]) await person?.context.close()
  }
}

/**
 * Somebody who moves before a wall, with the noise of a small camera: without it a picture fits in any line. Gives the
 * file, three seconds of 640x360 at 20 frames a second, which Chromium repeats.
 */
async function film(folder) {
  const file = path.join(folder, 'camera.y4m')
  const wall = 'gradients=s=640x360:r=20:c0=0x8FA9BD:c1=0x4E6A80:speed=0.01:d=3,format=yuv420p'
  const disc = (x, y, scale) => `hypot(X-(320+${x}*sin(T*PI*2/3)),Y-${y})*${scale}`
  const person = `geq=lum='if(lt(${disc(40, 150, 1)},70)+lt(${disc(15, 400, 0.8)},170),70,170+20*X/W)':cb='cb(X,Y)':cr='cr(X,Y)'`
  const source = `${wall},${person},noise=alls=12:allf=t:all_seed=1`
  const { status, stderr } = await execute('ffmpeg', ['-v', 'error', '-y', '-f', 'lavfi', '-i', source, file])
  assert.equal(status, 0, stderr)
  return file
}

/** Somebody whose page notes when it hears the first sound. */
export async function sitDown(browser, name) {
  const person = await Person.sitDown(browser, name)
  person.context.setDefaultTimeout(JOIN_MS)
  await person.page.addInitScript(listen)
  return person
}

/** When `person` heard the first sound of somebody. */
export function heard(person, within) {
  return until(`${person.name} hears somebody`, () => person.page.evaluate(() => window.__heardAt), { within, every: 50 })
}

/** Runs in each page: when the first sound of somebody was played. */
function listen() {
  window.__heardAt = null
  const look = async () => {
    for (const item of (await window.__hewei?.pc?.getStats())?.values() ?? []) {
      if (item.type === 'inbound-rtp' && item.totalAudioEnergy > 1e-5) window.__heardAt ??= Date.now()
    }
    if (window.__heardAt !== null) clearInterval(timer)
  }
  const timer = setInterval(() => void look().catch(() => undefined), 50)
}

/** What `person` saw and heard of the one with this name in so many seconds, by the browser's own counters. */
export function measure(person, from, seconds) {
  return person.page.evaluate(watch, { from, ms: seconds * 1_000 })
}

/**
 * Runs in a page. Gaps are told from looking ten times a second, so they are right to 0.1 s, or to the time between two
 * looks on a busy machine. Counters are summed over all media connections of the time.
 */
async function watch({ from, ms }) {
  const FIELDS = [
    'framesDecoded', 'freezeCount', 'totalFreezesDuration', 'bytesReceived', 'packetsReceived',
    'concealedSamples', 'silentConcealedSamples', 'totalSamplesReceived', 'jitterBufferDelay', 'jitterBufferEmittedCount',
  ]
  const zero = () => Object.fromEntries(FIELDS.map((field) => [field, 0]))
  const sums = { audio: zero(), video: zero() }
  const gapMs = { audio: 0, video: 0 }
  const began = performance.now()
  const last = { audio: began, video: began }
  const heights = new Map()
  const roundTrips = []
  let connections = 0
  let looks = 0
  let pc = null
  let before = new Map()
  const note = (item, now) => {
    const then = before.get(item.id) ?? (looks === 1 ? item : {})
    const rose = (field) => (item[field] ?? 0) - (then[field] ?? 0)
    for (const field of FIELDS) sums[item.kind][field] += rose(field)
    const frames = rose('framesDecoded')
    if (item.kind === 'video' ? frames > 0 : rose('packetsReceived') > 0) {
      gapMs[item.kind] = Math.max(gapMs[item.kind], now - last[item.kind])
      last[item.kind] = now
    }
    if (frames > 0) heights.set(item.frameHeight, (heights.get(item.frameHeight) ?? 0) + frames)
    before.set(item.id, item)
  }
  while (performance.now() - began < ms) {
    const probe = window.__hewei
    if (probe?.pc) {
      if (probe.pc !== pc) {
        pc = probe.pc
        before = new Map()
        connections += 1
      }
      const report = await pc.getStats()
      looks += 1
      const now = performance.now()
      const owner = probe.participants().find((item) => item.name === from)?.id
      const mids = new Set(probe.slots().filter((slot) => slot.participant_id === owner).map((slot) => slot.mid))
      for (const item of report.values()) {
        if (item.type === 'inbound-rtp' && mids.has(item.mid)) note(item, now)
        if (item.type === 'transport') {
          const time = report.get(item.selectedCandidatePairId)?.currentRoundTripTime
          if (time !== undefined) roundTrips.push(time * 1_000)
        }
      }
    }
    await new Promise((done) => setTimeout(done, 100))
  }
  const ended = performance.now()
  const seconds = (ended - began) / 1_000
  const sinceMs = { audio: ended - last.audio, video: ended - last.video }
  const share = (part, whole) => (whole > 0 ? part / whole : null)
  const { audio, video } = sums
  const heard = audio.concealedSamples - audio.silentConcealedSamples
  return {
    seconds,
    connections,
    freezes: video.freezeCount,
    frozenSeconds: video.totalFreezesDuration,
    /** The longest time without a new frame, without a packet of sound. */
    gapSeconds: {
      video: Math.max(gapMs.video, sinceMs.video) / 1_000,
      audio: Math.max(gapMs.audio, sinceMs.audio) / 1_000,
    },
    /** At the end there was something new in the last two seconds. */
    flows: { video: sinceMs.video < 2_000, audio: sinceMs.audio < 2_000 },
    framesPerSecond: video.framesDecoded / seconds,
    /** Lines of the picture, and the share of frames that had so many. */
    heights: [...heights].sort(([a], [b]) => b - a).map(([lines, frames]) => [lines, frames / video.framesDecoded]),
    kilobits: ((audio.bytesReceived + video.bytesReceived) * 8) / 1_000 / seconds,
    /** Shares of all sound that was played: made up to hide a loss, and with silence for want of anything to go by. */
    concealed: share(heard, audio.totalSamplesReceived),
    concealedSilent: share(audio.silentConcealedSamples, audio.totalSamplesReceived),
    bufferMs: share(audio.jitterBufferDelay * 1_000, audio.jitterBufferEmittedCount),
    roundTripMs: roundTrips.length > 0 ? roundTrips.reduce((sum, time) => sum + time, 0) / roundTrips.length : null,
  }
}
