// A server that is killed in mid-call, twenty times (`CRASHES=200` by hand), and what people and packages have of it.
//
// Pages measure for themselves when they are back, so that the test's own polling is not in the numbers. The numbers are
// printed; what is asserted of time is generous, since two cores may carry all of it and a compiler besides.

import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import {
  Camera, Person, Server, execute, freeMediaPort, isPicture, launch, received, seesAndHears, sleep, until,
} from './harness.mjs'
import { assertDecodes, verify } from './package.mjs'

const CRASHES = Number(process.env.CRASHES ?? 20)
const SEED = Number(process.env.CRASH_SEED ?? Math.floor(Math.random() * 2 ** 32))
const [MEDIATOR, A, B, WAITING, OPERATOR] = ['王调解员', '赵大山', '钱有福', '孙三', '陈值班员']
const IN_THE_CALL = [MEDIATOR, A, B]
/** Who consents to being recorded; the other one withdrew. */
const RECORDED = [MEDIATOR, A]
const CODECS = { [MEDIATOR]: 'H264', [A]: 'VP8', [B]: 'H264', [WAITING]: 'VP8' }
/** Back in the call this soon after the server listens: half of the times, and each time. */
const BACK_MEDIAN_MS = 5_000
const BACK_MAX_MS = 15_000
const BACK_GIVE_UP_MS = 60_000
/** What may be missing at the end of a track, of what the others were shown or heard of it. */
const MISSING_MAX_MS = 2_000
/** Of a longer time between two moments at which a source was played, only so much is media: a browser may send none for
 * seconds soon after it is back, and what was never sent is not missing. */
const PICTURE_MAX_MS = 500
/** Long enough for a media connection to be given up, while the socket keeps being tried. */
const LONG_OUTAGE_MS = 12_000

test(`a call survives ${CRASHES} kills of the server`, async (t) => {
  console.log(`CRASH_SEED=${SEED}`)
  const server = await Server.start({
    HEWEI_MEDIA_PORT: String(await freeMediaPort()),
    HEWEI_CAMERAS_LINGER_S: '2',
  })
  const camera = new Camera(0)
  const story = new Story(server, camera)
  const step = async (name, body) => {
    let failure
    await t.test(name, () => body.call(story).catch((error) => {
      failure = error
      throw error
    }))
    if (failure) throw new Error(`stopped at: ${name}`)
  }
  try {
    await camera.start()
    await step('three in a call, one in the lobby, and a wall', story.begins)
    await step('last pictures and words while the server is away', story.waitsInTheDark)
    await step('everybody is back after each kill, and who waits still waits', story.isKilled)
    await step('a server that is stopped says so, and everybody is back after it too', story.isStopped)
    await step('the mediator ends the session, for good', story.ends)
    await step('each package is sealed and names the one before it', story.packagesAreSealed)
    await step('each track decodes, and no more than two seconds are missing', story.tracksAreWhole)
    for (const person of story.people) {
      person.assertQuiet(/WebSocket connection to/, /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE/, /503/)
    }
    assert.deepEqual(server.errors, [])
  } catch (error) {
    for (const line of server.errors) console.error(line)
    throw error
  } finally {
    story.printTable()
    await Promise.all(story.browsers.map((browser) => browser.close()))
    camera.kill('SIGKILL')
    await server.stop()
  }
})

class Story {
  /** @type {Person[]} */
  people = []
  browsers = []
  /** One entry a run of the server that was killed. */
  kills = []
  #random = seeded(SEED)

  constructor(server, camera) {
    this.server = server
    this.camera = camera
  }

  async begins() {
    const { server } = this
    const administrator = await server.token('administrator')
    const { id: cameraId } = await server.call('POST', 'cameras', administrator, this.camera.registration('望江村 · 村口'))
    const wall = await server.call('POST', 'walls', administrator, { name: '零点夜查', camera_ids: [cameraId] })
    this.cameraId = cameraId
    this.token = await server.token('mediator', { name: MEDIATOR, ttl: '12h' })
    const { caseId, roomId } = await server.openRoom(this.token)
    this.caseId = caseId

    const mediator = await this.sitDown(MEDIATOR)
    await mediator.page.goto(`${server.url}/enter?codec=${CODECS[MEDIATOR]}#${this.token}`)
    await mediator.page.locator(`[data-room="${roomId}"]`).getByTestId('enter-room').click()
    await mediator.atTheDoor()
    await mediator.page.locator('[data-testid=rec-state][data-recording=true]').waitFor()
    for (const name of [A, B, WAITING]) {
      const party = await this.sitDown(name)
      const link = await server.invite(this.token, roomId, name)
      await party.join(link.replace('#', `?codec=${CODECS[name]}#`))
      await party.get('lobby-wait').waitFor()
      if (name === WAITING) break
      await mediator.get('admit-button').click()
      await party.page.locator('[data-testid=rec-state][data-recording=true]').waitFor()
    }
    // A consent that was withdrawn in the call must outlive all that follows.
    await this.person(B).get('people').click()
    await this.person(B).get('consent-toggle').click()

    const operator = await this.sitDown(OPERATOR)
    await operator.enter(server, await server.token('operator', { name: OPERATOR, ttl: '12h' }), `/wall/${wall.id}`)
    await operator.get('wall-purpose-patrol').check()
    await operator.get('wall-purpose-reason').fill('周五零点夜查,村口岗位')
    await operator.get('wall-open').click()
    await Promise.all(IN_THE_CALL.map((name) => seesAndHears(this.person(name), IN_THE_CALL.filter((other) => other !== name))))
    await until('the wall shows its camera', async () => {
      const [video] = (await received(operator)).filter(({ kind }) => kind === 'video')
      const state = await operator.get('wall-tile').getAttribute('data-state')
      assert.ok(video?.frames > 10, `the tile is ${state}; ${JSON.stringify(video)}`)
      return true
    })
    for (const person of IN_THE_CALL.map((name) => this.person(name))) {
      for (const { from, kind, codec } of await received(person)) {
        if (kind === 'video') assert.equal(codec, `video/${CODECS[from]}`, `${from} at ${person.name}`)
      }
    }
    this.listensSince = Date.now()
  }

  async waitsInTheDark() {
    const pictures = async () => {
      for (const name of IN_THE_CALL) {
        const { page } = this.person(name)
        await page.getByTestId('reconnecting').waitFor()
        for (const other of IN_THE_CALL.filter((each) => each !== name)) {
          const tile = page.locator(`[data-testid=room-tile][data-name="${other}"]`)
          assert.ok(await tile.evaluate((element) => element.classList.contains('stale')), 'marked as old')
          assert.ok(await tile.locator('video').evaluate(isPicture), `the last picture of ${other}`)
        }
      }
    }
    await this.crash(async () => {
      await pictures()
      await sleep(LONG_OUTAGE_MS)
      await pictures()
    })
  }

  async isKilled() {
    for (let n = 1; n < CRASHES; n += 1) {
      await sleep(1_000 + 3_000 * this.#random())
      await this.crash(() => undefined)
    }
    const all = this.kills.flatMap(({ back }) => Object.values(back))
    assert.ok(median(all) <= BACK_MEDIAN_MS, `half were back after ${median(all)} ms`)
    assert.ok(Math.max(...all) <= BACK_MAX_MS, `somebody was back after ${Math.max(...all)} ms only`)
  }

  /** One kill: everybody must be back. `meanwhile` is what is looked at while there is no server. */
  async crash(meanwhile) {
    await Promise.all(this.people.map(({ page }) => page.evaluate(mark)))
    const at = await this.server.kill()
    const heard = await this.lastHeard()
    await meanwhile()
    const since = this.listensSince
    this.listensSince = await this.server.again()
    const kill = { at, heard, ran: at - since, back: {} }
    this.kills.push(kill)
    await this.allBack(kill.back)
  }

  /** Everybody is back; in `back` since when, in milliseconds after the server listened. */
  async allBack(back) {
    const page = (name) => this.person(name).page
    const wait = async (name, found) => {
      const { at, missing } = await found
      assert.ok(at, `${name} is not back after ${BACK_GIVE_UP_MS} ms: ${missing}`)
      back[name] = at - this.listensSince
    }
    await Promise.all([
      ...IN_THE_CALL.map((name) => {
        const others = IN_THE_CALL.filter((other) => other !== name)
        return wait(name, page(name).evaluate(backInTheCall, { others, giveUp: BACK_GIVE_UP_MS }))
      }),
      wait(WAITING, page(WAITING).evaluate(backInTheLobby, { giveUp: BACK_GIVE_UP_MS })),
      wait(OPERATOR, page(OPERATOR).evaluate(backAtTheWall, { camera: this.cameraId, giveUp: BACK_GIVE_UP_MS })),
    ])
    const consents = await page(MEDIATOR).evaluate(() =>
      Object.fromEntries(window.__hewei.participants().map(({ name, record }) => [name, record])))
    assert.deepEqual(consents, { [MEDIATOR]: true, [A]: true, [B]: false, [WAITING]: true })
  }

  /** When each source was played to each of the others, by the browsers' word. */
  async lastHeard() {
    const heard = {}
    for (const name of IN_THE_CALL) {
      for (const { source, times } of await this.person(name).page.evaluate(played)) (heard[source] ??= []).push(times)
    }
    return heard
  }

  async isStopped() {
    await sleep(2_000)
    await Promise.all(this.people.map(({ page }) => page.evaluate(mark)))
    await this.server.terminate()
    await this.person(A).get('reconnecting').getByText('服务器正在重新启动').waitFor()
    this.listensSince = await this.server.again()
    const back = {}
    await this.allBack(back)
    console.log(`after SIGTERM back in ${Object.values(back).map((ms) => `${Math.round(ms)} ms`).join(', ')}`)
    await sleep(2_000)
  }

  async ends() {
    const mediator = this.person(MEDIATOR)
    await mediator.get('end-session').click()
    await mediator.get('end-confirm').click()
    for (const name of IN_THE_CALL) {
      await this.person(name).get('room-ended').waitFor()
      assert.equal(await this.person(name).get('room-ended').getAttribute('data-reason'), 'session_ended', name)
    }
  }

  async packagesAreSealed() {
    const recordings = await until('all are sealed', async () => {
      const found = await this.server.call('GET', `recordings?case_id=${this.caseId}&limit=500`, this.token)
      const open = found.filter(({ state }) => state !== 'sealed')
      assert.deepEqual(open.map(({ id, state, detail }) => ({ id, state, detail })), [])
      return found
    }, { within: 120_000, every: 1_000 })
    // One that was cut off by each kill, one by the stop, and the last.
    assert.equal(recordings.length, CRASHES + 2)
    recordings.sort((one, other) => one.started_at.localeCompare(other.started_at))
    this.recordings = recordings
    let before = null
    for (const [index, recording] of recordings.entries()) {
      const folder = path.join(this.server.storage, 'recordings', recording.id)
      const journal = (await readFile(path.join(folder, 'data/journal/journal.jsonl'), 'utf8')).trim().split('\n')
      recording.folder = folder
      recording.lines = journal.map((line) => JSON.parse(line))
      const kill = this.kills[index]
      assert.equal(recording.lines.filter(({ t }) => t === 'recovered').length, kill ? 1 : 0, recording.id)
      assert.equal(recording.lines[0].continues?.recording, before?.id, 'the parts of one session form a chain')
      assert.equal(recording.lines[0].session, recordings[0].lines?.[0].session ?? recording.lines[0].session)
      if (kill) kill.recording = recording
      const byBinary = await this.server.hewei('verify', folder, '--ca', this.server.recorderCa)
      assert.equal(byBinary.status, 0, byBinary.stdout + byBinary.stderr)
      if (kill) kill.verdict = 'intact'
      before = recording
    }
    const script = path.join(this.server.folder, 'verify.sh')
    await writeFile(script, await readFile(path.join(recordings[0].folder, 'verify.sh')))
    for (const { folder } of [recordings[0], recordings[1], recordings.at(-1)]) {
      const { byScript } = await verify(this.server, script, folder)
      assert.equal(byScript.status, 0, byScript.text)
    }
    // The one after the stop knows what the one before was sealed with.
    assert.equal(recordings.at(-1).lines[0].continues.head_hash, recordings.at(-2).head_hash)
  }

  async tracksAreWhole() {
    let unreadable = 0
    for (const recording of this.recordings) {
      const { tracks, ticket } = await this.server.call('GET', `recordings/${recording.id}/tracks`, this.token)
      for (const track of tracks) {
        const address = `${this.server.url}/api/v1/recordings/${recording.id}/tracks/${track.id}?ticket=${ticket}`
        const response = await fetch(address)
        assert.equal(response.status, 200)
        const file = path.join(this.server.folder, `track.${track.content_type.split('/')[1]}`)
        await writeFile(file, Buffer.from(await response.arrayBuffer()))
        try {
          await assertDecodes(file)
        } catch (error) {
          unreadable += 1
          console.error(`${track.kind} of ${track.person} in ${recording.id}: ${error.message}`)
        }
      }
    }
    assert.equal(unreadable, 0, 'tracks that do not decode')

    // Who runs for a moment only has played nothing yet; were it so of most, nothing would be measured.
    const measured = this.kills.filter(({ heard }) => Object.values(heard).every((viewers) => viewers.flat().length > 10))
    assert.ok(2 * measured.length > this.kills.length, `only ${measured.length} kills came after media of all`)

    const worst = []
    for (const [index, kill] of this.kills.entries()) {
      const ends = lastMedia(kill.recording.lines)
      // Nothing of who withdrew, from the first recording on that began after it.
      if (index > 0) assert.deepEqual(Object.keys(ends).filter((source) => source.startsWith(B)), [])
      kill.missing = []
      for (const name of RECORDED) {
        for (const kind of ['audio', 'video']) {
          const source = `${name} ${kind}`
          // A track that is not there at all misses everything since the server came.
          const end = ends[source] ?? kill.at - kill.ran
          const byReceived = Math.max(...kill.heard[source].map((times) => mediaAfter(end, times)))
          kill.missing.push({ source, byKill: kill.at - end, byReceived })
        }
      }
      worst.push(...kill.missing.filter(({ byReceived }) => !(byReceived <= MISSING_MAX_MS)).map((one) => ({ index, ...one })))
    }
    for (const { index, source } of worst) this.tellTrack(index, source)
    assert.deepEqual(worst, [], `tracks that miss more than ${MISSING_MAX_MS} ms of what the others received`)
  }

  /** What the journal says of one source, for whoever looks into a miss. */
  tellTrack(index, source) {
    const { at, ran, heard, recording } = this.kills[index]
    const began = Date.parse(recording.lines[0].at)
    const track = recording.lines.find((line) => line.t === 'track_open' && `${line.name} ${line.kind}` === source)?.track
    console.error(`kill ${index + 1}, ${source}: the server ran ${ran} ms, recording began ${at - began} ms before the kill`)
    for (const line of recording.lines) {
      if (line.track === track || line.t === 'recovered') console.error(`  ${JSON.stringify(line)}`)
    }
    console.error(`  the others had the last of it ${Math.round(at - Math.max(...heard[source].flat()))} ms before the kill`)
  }

  printTable() {
    const seconds = (ms) => (ms === undefined ? '-' : (ms / 1_000).toFixed(2))
    const columns = [...IN_THE_CALL, WAITING, OPERATOR]
    const rows = this.kills.map(({ ran, back, missing, verdict }, index) => ({
      kill: index + 1,
      'ran s': seconds(ran),
      ...Object.fromEntries(columns.map((name) => [`${name} back ms`, Math.round(back[name])])),
      'missing s before the kill': missing && seconds(Math.max(...missing.map(({ byKill }) => byKill))),
      'of what was received': missing && seconds(Math.max(...missing.map(({ byReceived }) => byReceived))),
      package: verdict ?? '-',
    }))
    console.table(rows.length > 40 ? [...rows.slice(0, 20), ...rows.slice(-5)] : rows)
    const back = this.kills.flatMap((kill) => Object.values(kill.back))
    const missing = this.kills.flatMap((kill) => kill.missing ?? [])
    if (back.length === 0) return
    console.log(`seed ${SEED}: ${this.kills.length} kills; back after ${Math.round(median(back))} ms (median), `
      + `${Math.round(Math.max(...back))} ms (most)`)
    if (missing.length === 0) return
    const most = (key) => seconds(Math.max(...missing.map((one) => one[key])))
    const middle = (key) => seconds(median(missing.map((one) => one[key])))
    console.log(`${missing.length} tracks; missing before the kill ${middle('byKill')} s (median), ${most('byKill')} s (most); `
      + `of what others received ${middle('byReceived')} s, ${most('byReceived')} s`)
  }

  /** In a browser of their own: the pages of one browser share its made-up camera, which at times stands still for three
   * seconds when several of them come back at once. */
  async sitDown(name) {
    const browser = await launch()
    this.browsers.push(browser)
    const person = await Person.sitDown(browser, name)
    await person.page.addInitScript(keepPlayed)
    this.people.push(person)
    return person
  }

  person(name) {
    return this.people.find((person) => person.name === name)
  }
}

/** How much of what was played at these moments came after `end`, in milliseconds. */
function mediaAfter(end, times) {
  const gaps = times.slice(1).map((time, index) => time - Math.max(times[index], end))
  return gaps.filter((gap) => gap > 0).reduce((sum, gap) => sum + Math.min(gap, PICTURE_MAX_MS), 0)
}

/** Where the media of each person and kind end, as wall-clock time. */
function lastMedia(lines) {
  const began = Date.parse(lines[0].at)
  const sources = new Map()
  const ends = {}
  for (const line of lines) {
    if (line.t === 'track_open') sources.set(line.track, `${line.name} ${line.kind}`)
    if (line.t !== 'seg') continue
    const source = sources.get(line.track)
    ends[source] = Math.max(ends[source] ?? 0, began + line.start_ms + line.duration_ms)
  }
  return ends
}

function median(numbers) {
  const sorted = [...numbers].sort((one, other) => one - other)
  return sorted[Math.floor(sorted.length / 2)]
}

/** Mulberry32: 0..1, the same for the same seed. */
function seeded(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

// What follows runs in the pages.

/** Keeps what there is before a kill. */
function mark() {
  const { pc, ws, slots, participants } = window.__hewei
  const names = new Map(participants().map(({ id, name }) => [id, name]))
  window.__before = { pc, ws, names, slots: slots() }
}

/** Keeps the moments at which anything was played, by receiver. Packets would not do: the server sends padding, to learn
 * what a line takes. */
function keepPlayed() {
  window.__played = new WeakMap()
  window.__keep = () => {
    for (const receiver of window.__hewei?.pc?.getReceivers() ?? []) {
      const times = window.__played.get(receiver) ?? []
      const last = Math.max(0, ...receiver.getSynchronizationSources().map(({ timestamp }) => timestamp))
      const at = last < performance.timeOrigin ? performance.timeOrigin + last : last
      if (last > 0 && at !== times.at(-1)) times.push(at)
      window.__played.set(receiver, times)
    }
  }
  setInterval(window.__keep, 50)
}

/** When each source was played over the connection that was there at the mark. */
function played() {
  const { pc, slots, names } = window.__before
  if (window.__hewei.pc === pc) window.__keep()
  return slots.filter(({ participant_id }) => participant_id).map(({ mid, kind, participant_id }) => {
    const receiver = pc.getTransceivers().find((transceiver) => transceiver.mid === mid)?.receiver
    return { source: `${names.get(participant_id)} ${kind}`, times: window.__played.get(receiver) ?? [] }
  })
}

/** Waits until frames of each of the others are decoded and sound of each is heard on a new connection. */
async function backInTheCall({ others, giveUp }) {
  const deadline = Date.now() + giveUp
  let missing = []
  while (Date.now() < deadline) {
    const { pc, ws, slots, participants } = window.__hewei
    if (pc === window.__before.pc || ws === window.__before.ws) missing = ['a new connection']
    else if (ws?.readyState !== WebSocket.OPEN || pc?.connectionState !== 'connected') missing = ['an open connection']
    else {
      const names = new Map(participants().map(({ id, name }) => [id, name]))
      const inbound = [...(await pc.getStats()).values()].filter(({ type }) => type === 'inbound-rtp')
      const flows = (name, kind) => slots().some((slot) =>
        slot.kind === kind && names.get(slot.participant_id) === name
        && inbound.some((item) => item.mid === slot.mid && (item.framesDecoded ?? item.totalAudioEnergy) > 0))
      missing = others.flatMap((name) => ['audio', 'video'].filter((kind) => !flows(name, kind)).map((kind) => `${kind} of ${name}`))
      if (missing.length === 0) return { at: Date.now() }
    }
    await new Promise((done) => setTimeout(done, 40))
  }
  const { pc, slots } = window.__hewei
  const inbound = [...((await pc?.getStats())?.values() ?? [])].filter(({ type, kind }) => type === 'inbound-rtp' && kind === 'video')
  const seen = inbound.map(({ mid, ssrc, packetsReceived, framesReceived, framesDecoded, keyFramesDecoded, pliCount, nackCount }) =>
    ({ mid, ssrc, packetsReceived, framesReceived, framesDecoded, keyFramesDecoded, pliCount, nackCount }))
  return { missing: `${missing.join(', ')}; ${JSON.stringify({ slots: slots(), seen })}` }
}

async function backInTheLobby({ giveUp }) {
  const deadline = Date.now() + giveUp
  while (Date.now() < deadline) {
    const { pc, ws, participants } = window.__hewei
    const lobby = document.querySelector('[data-testid=lobby-wait]')
    const alone = participants().length === 1 && participants()[0].lobby
    if (ws !== window.__before.ws && ws?.readyState === WebSocket.OPEN && lobby && !lobby.querySelector('.lost') && alone && !pc) {
      return { at: Date.now() }
    }
    await new Promise((done) => setTimeout(done, 40))
  }
  return { missing: 'the lobby' }
}

async function backAtTheWall({ camera, giveUp }) {
  const deadline = Date.now() + giveUp
  let missing = ''
  while (Date.now() < deadline) {
    const { pc, slots } = window.__hewei
    const tile = document.querySelector(`[data-camera="${camera}"]`)
    missing = pc === window.__before.pc ? 'a new connection' : `a live tile, it is ${tile?.dataset.state}`
    if (pc && pc !== window.__before.pc && pc.connectionState === 'connected' && tile?.dataset.state === 'live') {
      const slot = slots().find((item) => item.camera_id === camera && item.kind === 'video')
      const inbound = [...(await pc.getStats()).values()].filter((item) => item.type === 'inbound-rtp')
      if (slot && inbound.some((item) => item.mid === slot.mid && item.framesDecoded > 0)) return { at: Date.now() }
    }
    await new Promise((done) => setTimeout(done, 40))
  }
  return { missing }
}
