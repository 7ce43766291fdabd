// Who may not hear somebody does not: two people's microphones give a tone each, and in every page whatever comes in is
// listened to, in slots of the plan and in others, for these tones alone. Thirty switches: muted and not, in the room and
// in the lobby. The page of the one who is switched goes on sending, so that it is the server that is tested.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Person, Server, launch, sleep, until } from './harness.mjs'

const [MEDIATOR, CANARY, LAWYER, WAITING] = ['王调解员', '赵大山', '李律师', '钱有福']
const RATE = 48_000
const WINDOW = 2_048
/** Whole periods in a window, so that neither tone shows in the other's place: some 1008 and 1500 Hz. */
const TONES = { [CANARY]: (43 * RATE) / WINDOW, [MEDIATOR]: (64 * RATE) / WINDOW }
const MUTES = 10
const MOVES = 5
/** What lies in the jitter buffer, and what the decoder makes up after the last packet, is over by then. */
const TAIL_MS = 3_000
/** For so long nothing is heard then. */
const SILENT_MS = 600

test('a tone is heard where it may be heard, and nowhere else, through 30 switches', { timeout: 180_000 }, async () => {
  const server = await Server.start()
  const browser = await launch()
  const people = {}
  try {
    const token = await server.token('mediator', { name: MEDIATOR })
    const { roomId } = await server.openRoom(token)
    const links = {}
    for (const name of [CANARY, WAITING]) links[name] = await server.invite(token, roomId, name)
    for (const name of [MEDIATOR, CANARY, LAWYER, WAITING]) {
      people[name] = await Person.sitDown(browser, name)
      await people[name].context.addInitScript(ears, { tone: TONES[name] ?? null, tones: TONES, rate: RATE, window: WINDOW })
    }
    await people[MEDIATOR].enter(server, token, `/room/${roomId}`)
    await people[LAWYER].enter(server, await server.token('lawyer', { name: LAWYER, room: roomId }), `/room/${roomId}`)
    for (const name of [CANARY, WAITING]) {
      await people[name].join(links[name])
      await people[name].get('lobby-wait').waitFor()
    }
    const say = (name, message) => people[name].page.evaluate((text) => window.__hewei.ws.send(text), JSON.stringify(message))
    const idOf = (name) => until(`the mediator sees ${name}`, () => people[MEDIATOR].page.evaluate(
      (name) => window.__hewei.participants().find((one) => one.name === name)?.id, name,
    ))
    const admit = async () => say(MEDIATOR, { type: 'admit', participant_id: await idOf(CANARY) })

    /** Waits until each of these pages hears exactly these tones, and listens for longer than one look. */
    const heard = async (what, wanted) => {
      for (const [name, tones] of Object.entries(wanted)) {
        await until(`${what}: ${name} hears ${tones}`, async () => {
          const ages = await people[name].page.evaluate(() => window.__ages())
          return tones.every((tone) => ages[tone] !== null && ages[tone] < 300)
        }, { every: 50 })
      }
      for (const [name, tones] of Object.entries(wanted)) {
        const others = Object.keys(TONES).filter((tone) => !tones.includes(tone))
        await until(`${what}: ${name} does not hear ${others}`, async () => {
          const ages = await people[name].page.evaluate(() => window.__ages())
          return others.every((tone) => ages[tone] === null || ages[tone] > SILENT_MS)
        }, { within: TAIL_MS + SILENT_MS, every: 100 })
      }
    }
    const together = { [MEDIATOR]: [CANARY], [CANARY]: [MEDIATOR], [LAWYER]: [CANARY, MEDIATOR], [WAITING]: [] }
    const silenced = { ...together, [MEDIATOR]: [], [LAWYER]: [MEDIATOR] }
    const apart = { ...silenced, [CANARY]: [] }

    await heard('in the lobby', apart)
    await admit()
    await heard('let in', together)
    const switches = { mute: 0, move: 0 }
    for (let n = 0; n < MUTES; n += 1) {
      for (const muted of [true, false]) {
        await say(CANARY, { type: 'set_muted', kind: 'audio', muted })
        switches.mute += 1
        await heard(`mute ${switches.mute}`, muted ? silenced : together)
        assert.ok(await sends(people[CANARY]), 'the canary goes on sending its tone')
      }
    }
    for (let n = 0; n < MOVES; n += 1) {
      await say(MEDIATOR, { type: 'remove', participant_id: await idOf(CANARY) })
      switches.move += 1
      await people[CANARY].get('room-ended').waitFor()
      await heard(`sent out ${switches.move}`, apart)
      await people[CANARY].page.reload()
      await people[CANARY].get('lobby-wait').waitFor()
      await heard(`waits ${switches.move}`, apart)
      await admit()
      switches.move += 1
      await heard(`let in ${switches.move}`, together)
    }
    assert.deepEqual(switches, { mute: 20, move: 10 })
    for (const person of Object.values(people)) person.assertQuiet()
    assert.deepEqual(server.errors, [])
  } finally {
    await browser.close()
    await server.stop()
  }
})

/** Whether packets of sound leave the page. */
async function sends(person) {
  const packets = () => person.page.evaluate(async () => {
    const sent = [...(await window.__hewei.pc.getStats()).values()].find((item) => item.type === 'outbound-rtp')
    return sent?.packetsSent ?? 0
  })
  const before = await packets()
  await sleep(200)
  return (await packets()) > before
}

/**
 * Runs in each page before its own scripts. The microphone is a tone, or silence; there is no camera. `__ages()` says how
 * long ago, in milliseconds, each tone was heard last in anything that the page received; `null` for never.
 */
function ears({ tone, tones, rate, window: size }) {
  const media = navigator.mediaDevices
  if (!media) return
  const context = new AudioContext({ sampleRate: rate })
  media.getUserMedia = async ({ video }) => {
    if (video) throw new DOMException('there is none', 'NotFoundError')
    const gain = new GainNode(context, { gain: tone === null ? 0 : 0.3 })
    const oscillator = new OscillatorNode(context, { frequency: tone ?? 440 })
    const microphone = context.createMediaStreamDestination()
    oscillator.connect(gain).connect(microphone)
    oscillator.start()
    return microphone.stream
  }
  /** Each track that was received. The element has the browser decode what the page itself plays nowhere. */
  const heard = new Map()
  const ear = (track) => {
    const stream = new MediaStream([track])
    const element = Object.assign(new Audio(), { srcObject: stream, muted: true })
    void element.play().catch(() => undefined)
    const analyser = new AnalyserNode(context, { fftSize: size })
    context.createMediaStreamSource(stream).connect(analyser)
    heard.set(track, { analyser, element })
  }
  /** The amplitude of one frequency (Goertzel). */
  const amplitude = (samples, frequency) => {
    const turn = 2 * Math.cos((2 * Math.PI * frequency) / rate)
    let [last, before] = [0, 0]
    for (const sample of samples) [last, before] = [sample + turn * last - before, last]
    return (2 * Math.sqrt(Math.max(0, last * last + before * before - turn * last * before))) / samples.length
  }
  const at = {}
  const samples = new Float32Array(size)
  setInterval(() => {
    for (const receiver of window.__hewei?.pc?.getReceivers() ?? []) {
      if (receiver.track.kind === 'audio' && !heard.has(receiver.track)) ear(receiver.track)
    }
    for (const [track, { analyser }] of heard) {
      if (track.readyState === 'ended') {
        heard.delete(track)
        continue
      }
      analyser.getFloatTimeDomainData(samples)
      for (const [name, frequency] of Object.entries(tones)) {
        if (amplitude(samples, frequency) > 0.02) at[name] = performance.now()
      }
    }
  }, 40)
  window.__ages = () => Object.fromEntries(
    Object.keys(tones).map((name) => [name, name in at ? performance.now() - at[name] : null]),
  )
}
