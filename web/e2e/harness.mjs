// What the browser tests share: a server and a browser of their own, people at pages, and patient waiting.
//
// Nothing here measures time. A condition is polled until it holds or a generous deadline passes, since two cores may
// carry four encoders, twelve decoders and a compiler at once.

import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { X509Certificate, createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { chromium } from 'playwright-core'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const BINARY = process.env.E2E_BINARY ?? path.join(ROOT, 'target/debug/hewei')

const DEADLINE_MS = 45_000
const POLL_MS = 200
const START_MS = 30_000
const STOP_MS = 15_000

const run = promisify(execFile)

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms))

/**
 * Waits until `check` gives something truthy, and gives that. An assertion that fails within `check` counts as "not
 * yet", and is what the deadline reports.
 * @template T
 * @param {string} what
 * @param {() => Promise<T> | T} check
 * @returns {Promise<NonNullable<T>>}
 */
export async function until(what, check, { within = DEADLINE_MS, every = POLL_MS } = {}) {
  const deadline = Date.now() + within
  for (;;) {
    let last
    let failure
    try {
      last = await check()
      if (last) return last
    } catch (error) {
      if (!(error instanceof assert.AssertionError)) throw error
      failure = error
    }
    if (Date.now() > deadline) {
      throw new Error(`not within ${within} ms: ${what}${failure ? `\n${failure.message}` : ''}`)
    }
    await sleep(every)
  }
}

/** Runs a program to its end, whatever its status. */
export async function execute(program, args, options = {}) {
  try {
    const { stdout, stderr } = await run(program, args, { maxBuffer: 64 << 20, ...options })
    return { status: 0, stdout, stderr }
  } catch (error) {
    if (typeof error.code !== 'number') throw error
    return { status: error.code, stdout: error.stdout, stderr: error.stderr }
  }
}

/** A running `hewei serve`, or `hewei demo`, with a storage folder of its own. */
export class Server {
  /** Where it answers, each with scheme and port, in the order of the settings. */
  urls = []
  /** A folder for the test, within it `data`: the server's storage. */
  folder = ''
  #process
  #environment
  #log = []
  #listensSince = 0
  #command = 'serve'

  /** @param {Record<string, string>} settings environment variables over the test's own */
  static async start(settings = {}, { command = 'serve' } = {}) {
    const server = new Server()
    server.#command = command
    server.folder = await mkdtemp(path.join(os.tmpdir(), 'hewei-e2e-'))
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('HEWEI_'))
    server.#environment = {
      ...Object.fromEntries(inherited),
      HEWEI_HTTP_LISTEN: '127.0.0.1:0',
      HEWEI_MEDIA_BIND: '127.0.0.1',
      HEWEI_MEDIA_PORT: '0',
      HEWEI_STORAGE_FOLDER: path.join(server.folder, 'data'),
      HEWEI_LOG_FORMAT: 'json',
      ...settings,
    }
    // A test that dies must not leave it running.
    process.once('exit', () => server.#process.kill('SIGKILL'))
    await server.#run()
    await until('the server is ready', async () => (await fetch(`${server.url}/readyz`)).ok)
    return server
  }

  async #run() {
    this.urls = []
    const serve = spawn(BINARY, [this.#command], { env: this.#environment, stdio: ['ignore', 'ignore', 'pipe'] })
    this.#process = serve
    createInterface({ input: serve.stderr }).on('line', (line) => this.#logged(line))
    await until('the server listens', () => {
      assert.equal(serve.exitCode, null, `the server ended:\n${this.#log.join('\n')}`)
      return this.urls.length === this.#environment.HEWEI_HTTP_LISTEN.split(',').length
    }, { within: START_MS, every: 20 })
  }

  /** `kill -9`. Gives the moment. */
  async kill() {
    const ended = new Promise((done) => this.#process.once('exit', done))
    const at = Date.now()
    this.#process.kill('SIGKILL')
    await ended
    return at
  }

  /** Ends it as an administrator would, and leaves its folder. */
  async terminate() {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const ended = new Promise((done) => this.#process.once('exit', done))
    this.#process.kill('SIGTERM')
    const stuck = setTimeout(() => this.#process.kill('SIGKILL'), STOP_MS)
    await ended
    clearTimeout(stuck)
  }

  /** After its end: the same again, on the same folder and addresses. Gives the moment since which it listens. */
  async again() {
    this.#environment.HEWEI_HTTP_LISTEN = this.urls.map((url) => new URL(url).host).join(',')
    await this.#run()
    return this.#listensSince
  }

  get url() {
    return this.urls[0]
  }

  get storage() {
    return this.#environment.HEWEI_STORAGE_FOLDER
  }

  /** The CA of the recorder, as one keeps it outside the packages. */
  get recorderCa() {
    return path.join(this.storage, 'keys/recorder/ca.pem')
  }

  /** Errors that the server logged. */
  get errors() {
    return this.#log.filter((line) => line.includes('"level":"ERROR"'))
  }

  /** Any other command of the binary, with the server's settings. */
  hewei(...args) {
    return execute(BINARY, args, { env: this.#environment })
  }

  /** What `/metrics` says, by name; without those that have labels. */
  async metrics() {
    const lines = (await (await fetch(`${this.url}/metrics`)).text()).split('\n')
    const told = lines.map((line) => /^(\w+) (\d+)$/.exec(line)).filter(Boolean)
    return Object.fromEntries(told.map(([, name, value]) => [name, Number(value)]))
  }

  /** A token for all rooms, or for one. */
  async token(role, { name = role, room = '*', ttl = '1h' } = {}) {
    const { status, stdout, stderr } = await this.hewei(
      'token', '--room', room, '--role', role, '--name', name, '--ttl', ttl,
    )
    assert.equal(status, 0, stderr)
    return stdout.trim()
  }

  /** A REST call that must succeed. */
  async call(method, route, token, body) {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const response = await fetch(`${this.url}/api/v1/${route}`, { method, headers, body: body && JSON.stringify(body) })
    const text = await response.text()
    assert.ok(response.ok, `${method} ${route}: ${response.status} ${text}`)
    return JSON.parse(text)
  }

  /** A case with one room. */
  async openRoom(token, { number = '2026-M-0001', title = '承包地青苗补偿纠纷', name = '一号调解室' } = {}) {
    const made = await this.call('POST', 'cases', token, { number, title })
    const room = await this.call('POST', 'rooms', token, { case_id: made.id, name })
    return { caseId: made.id, roomId: room.id }
  }

  /** The link of an invitation. */
  async invite(token, roomId, name, role = 'party') {
    const { path: link } = await this.call('POST', `rooms/${roomId}/invitations`, token, { name, role })
    return this.url + link
  }

  /** Ends it as an administrator would, and takes its folder away. */
  async stop() {
    await this.terminate()
    await rm(this.folder, { recursive: true, force: true })
  }

  #logged(line) {
    this.#log.push(line)
    if (this.#log.length > 2_000) this.#log.shift()
    const listening = /"message":"listening","address":"([^"]+)","tls":(true|false)/.exec(line)
    if (!listening) return
    this.#listensSince = Date.now()
    this.urls.push(`${listening[2] === 'true' ? 'https' : 'http'}://${listening[1]}`)
  }
}

/** One of the demo's cameras: a process of its own, on a port that it keeps when it is started again. */
export class Camera {
  static USER = 'demo'
  static PASSWORD = 'for the tests alone'
  #process = null

  /** @param {number} index which picture; the first has sound in G.711 */
  constructor(index) {
    this.index = index
  }

  /** Starts it, and waits until it listens. */
  async start() {
    this.port ??= await freePort()
    const script = path.join(ROOT, 'signaling/demo/cameras.py')
    const options = ['--port', String(this.port), '--index', String(this.index), '--user', Camera.USER]
    this.#process = spawn('/usr/bin/python3', [script, ...options], {
      env: { ...process.env, HEWEI_DEMO_CAMERA_PASSWORD: Camera.PASSWORD },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    for await (const line of createInterface({ input: this.#process.stdout })) if (line === 'ready') return
    throw new Error(`camera ${this.index} did not start`)
  }

  /** @param {NodeJS.Signals} signal */
  kill(signal) {
    this.#process?.kill(signal)
  }

  /** What an administrator types in. */
  registration(name) {
    return {
      number: this.index + 1,
      name,
      url: `rtsp://127.0.0.1:${this.port}/cam`,
      username: Camera.USER,
      password: Camera.PASSWORD,
    }
  }
}

/** A port for media that is free now, for a server that must find it again. */
export async function freeMediaPort() {
  const socket = createSocket('udp4')
  await new Promise((done) => socket.bind(0, '127.0.0.1', done))
  const { port } = socket.address()
  await new Promise((done) => socket.close(done))
  return port
}

async function freePort() {
  const socket = createServer()
  await new Promise((done) => socket.listen(0, '127.0.0.1', done))
  const { port } = socket.address()
  await new Promise((done) => socket.close(done))
  return port
}

/** For `launch`: a browser on the far side of `scripts/netns.sh`. */
export const ABROAD = { executablePath: path.join(ROOT, 'scripts/netns-chromium.sh') }

/** Chromium with devices that are made up: a clock that beeps each second. */
export function launch({ executablePath = '/usr/bin/chromium', args = [] } = {}) {
  return chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--use-fake-device-for-media-stream',
      '--use-fake-ui-for-media-stream',
      '--autoplay-policy=no-user-gesture-required',
      '--allow-loopback-in-peer-connection',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
      ...args,
    ],
  })
}

/** One person: a browser context with one page, and what the page complained of. */
export class Person {
  /** @type {import('playwright-core').Page} */
  page
  /** Errors in the console (a violated content security policy is one) and exceptions. */
  complaints = []

  constructor(name, context) {
    this.name = name
    this.context = context
  }

  static async sitDown(browser, name, options = {}) {
    const context = await browser.newContext({
      locale: 'zh-CN',
      viewport: { width: 1280, height: 800 },
      permissions: ['camera', 'microphone'],
      ...options,
    })
    context.setDefaultTimeout(DEADLINE_MS)
    await context.addInitScript(watchSending)
    const person = new Person(name, context)
    await person.openTab()
    return person
  }

  /** A fresh tab: what was in the `sessionStorage` of the one before is gone, `localStorage` stays. */
  async openTab() {
    this.page = await this.context.newPage()
    this.page.on('console', (message) => {
      if (message.type() === 'error') this.complaints.push(message.text())
    })
    this.page.on('pageerror', (error) => this.complaints.push(String(error)))
  }

  /** A part of the page by its `data-testid`. */
  get(id) {
    return this.page.getByTestId(id)
  }

  /** Enters by a staff link, then goes on to `path`. */
  async enter(server, token, path = '/') {
    await this.page.goto(`${server.url}/enter#${token}`)
    await this.page.waitForURL((url) => url.pathname !== '/enter')
    if (path !== '/') await this.page.goto(server.url + path)
    if (path.startsWith('/room/')) await this.atTheDoor()
  }

  /** Says at the door of a room whether one may be recorded. */
  async atTheDoor({ record = true } = {}) {
    await this.get(record ? 'door-record-yes' : 'door-record-no').click()
  }

  /** Takes an invitation, agreeing to be recorded or not. */
  async join(link, { record = true } = {}) {
    await this.page.goto(link)
    await this.get(record ? 'join-consent-yes' : 'join-consent-no').check()
    await this.get('join-button').click()
  }

  /** Nothing went wrong in this page but what `allowed` matches. */
  assertQuiet(...allowed) {
    const rest = this.complaints.filter((text) => !allowed.some((pattern) => pattern.test(text)))
    assert.deepEqual(rest, [], `${this.name}'s page complained`)
  }
}

/** Runs in each page: between which two moments the first packet of each kind was sent. */
function watchSending() {
  const sent = {}
  let pc = null
  let asked = Date.now()
  const look = async () => {
    const now = window.__hewei?.pc ?? null
    if (now === null) return
    if (now !== pc) {
      pc = now
      asked = Date.now()
      for (const kind of Object.keys(sent)) delete sent[kind]
    }
    if (sent.audio && sent.video) return
    const began = Date.now()
    for (const report of (await pc.getStats()).values()) {
      if (report.type === 'outbound-rtp' && report.packetsSent > 0) {
        sent[report.kind] ??= { after: asked, before: Date.now() }
      }
    }
    asked = began
  }
  window.__sent = sent
  setInterval(() => void look().catch(() => undefined), 60)
}

/**
 * What a person's page receives by the server's plan: one entry a slot that is taken, with the name of whom it plays
 * (or the camera's id), its kind and what the browser counted.
 */
export function received(person) {
  return person.page.evaluate(async () => {
    const probe = window.__hewei
    if (!probe?.pc || probe.pc.connectionState !== 'connected') return []
    const names = new Map(probe.participants().map((item) => [item.id, item.name]))
    const report = await probe.pc.getStats()
    const inbound = [...report.values()].filter((item) => item.type === 'inbound-rtp')
    return probe.slots().flatMap((slot) => {
      const owner = slot.participant_id ?? slot.camera_id
      if (!owner) return []
      const total = { packets: 0, frames: 0, energy: 0, codec: '' }
      for (const item of inbound.filter((each) => each.mid === slot.mid)) {
        total.packets += item.packetsReceived
        total.frames += item.framesDecoded ?? 0
        total.energy += item.totalAudioEnergy ?? 0
        total.codec = report.get(item.codecId)?.mimeType ?? total.codec
      }
      return [{ from: names.get(owner) ?? owner, kind: slot.kind, mid: slot.mid, ...total }]
    })
  })
}

/** The cipher of the media connection, by the browser's word. */
export function cipher(person) {
  return person.page.evaluate(async () => {
    for (const item of (await window.__hewei.pc.getStats()).values()) {
      if (item.type === 'transport') return item.srtpCipher
    }
    return null
  })
}

/** SHA-256 of the public key of the server's certificate. */
export async function spki(server) {
  const pem = await readFile(path.join(server.storage, 'keys/https/server.pem'))
  const key = new X509Certificate(pem).publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(key).digest('base64')
}

/** The two ends that media goes between. */
export function ends(person) {
  return person.page.evaluate(async () => {
    const report = await window.__hewei.pc.getStats()
    const transport = [...report.values()].find((item) => item.type === 'transport')
    const pair = report.get(transport.selectedCandidatePairId)
    const [local, remote] = [report.get(pair.localCandidateId), report.get(pair.remoteCandidateId)]
    // `relayed`: by which protocol the relay is reached, if there is one.
    const relayed = local.relayProtocol ?? null
    return { local: local.address, remote: remote.address, protocol: remote.protocol, relayed }
  })
}

/** Waits until `person` decodes new frames and hears sound of each of `names`, and sees and plays them on the page. */
export async function seesAndHears(person, names) {
  const before = await received(person)
  const at = (list, from, kind) => list.find((item) => item.from === from && item.kind === kind)
  await until(`${person.name} sees and hears ${names.join(', ')}`, async () => {
    const now = await received(person)
    const want = names.flatMap((name) => [`${name} audio`, `${name} video`]).sort()
    assert.deepEqual(now.map(({ from, kind }) => `${from} ${kind}`).sort(), want)
    for (const item of now) {
      const then = at(before, item.from, item.kind)
      const rose = item.kind === 'video' ? item.frames - (then?.frames ?? 0) : item.energy - (then?.energy ?? 0)
      assert.ok(item.kind === 'video' ? rose >= 10 : rose > 0, `${item.kind} of ${item.from} rose by ${rose}`)
    }
    for (const name of names) {
      const tile = person.page.locator(`[data-testid=room-tile][data-name="${name}"] video`)
      assert.ok((await tile.count()) === 1 && (await tile.evaluate(isPicture)), `a picture in the tile of ${name}`)
    }
    const silent = await person.page.locator('audio').evaluateAll((all) => all.filter((one) => one.paused).length)
    assert.equal(silent, 0, 'players of sound that stand still')
    return true
  })
}

/** Runs in a page: whether a video shows more than one colour. */
export function isPicture(video) {
  if (video.readyState < 2 || video.videoWidth === 0) return false
  const canvas = document.createElement('canvas')
  canvas.width = 32
  canvas.height = 18
  const context = canvas.getContext('2d', { willReadFrequently: true })
  context.drawImage(video, 0, 0, canvas.width, canvas.height)
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height)
  let low = 255
  let high = 0
  for (let index = 0; index < data.length; index += 4) {
    low = Math.min(low, data[index], data[index + 1], data[index + 2])
    high = Math.max(high, data[index], data[index + 1], data[index + 2])
  }
  return high - low > 60
}
