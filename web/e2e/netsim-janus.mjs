// The calls of `netsim.mjs` over another server: Janus VideoRoom, as Debian packages it, on the same line and between the
// same two browsers. Its page is as small as can be (`janus-page.js`); it has no door, no consent and no lobby.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdir, readFile, readdir, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import { connect } from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { execute, until } from './harness.mjs'
import { Call, JOIN_MS, MEDIATOR, NEIGHBOUR, PARTY, heard, sitDown } from './netsim.mjs'

const near = process.env.NETNS_NEAR
/** The namespace is ours alone, so no other program has it. */
const PORT = 8989
const STOP_MS = 5_000

/**
 * Its own settings wherever it has some: no bound on a picture but the sender's and what the line to Janus takes, sound
 * with the repair that Opus has within. It has no sound that is sent twice, nor an estimate of the line to who receives.
 */
const ROOM = { publishers: 6, bitrate: 0, audiocodec: 'opus', opus_fec: true, videocodec: 'h264' }

export class JanusStage {
  /** As Debian numbers it. */
  version = ''
  #stage
  #process
  #page
  #log = []
  #rooms = 0

  /** Beside a `Stage`: on its line, with its browsers and its certificate. */
  static async begin(stage) {
    const janus = new JanusStage()
    janus.#stage = stage
    try {
      janus.version = await version()
      await janus.#run(await configure(stage.server))
      await janus.#serve(stage.server)
    } catch (error) {
      await janus.end()
      throw error
    }
    return janus
  }

  get line() {
    return this.#stage.line
  }

  /** As `Stage.call`; whoever opens the page is in the call. */
  async call(conditions, { neighbour = false } = {}) {
    const { line, browsers } = this.#stage
    await line.set('')
    const room = (this.#rooms += 1)
    const call = new Call()
    try {
      call.mediator = await sitDown(browsers.near, MEDIATOR)
      await call.mediator.page.goto(this.#link(room, MEDIATOR, { create: JSON.stringify(ROOM) }))
      await sends(call.mediator)
      if (neighbour) {
        call.neighbour = await sitDown(browsers.near, NEIGHBOUR)
        await this.#comesIn(call.neighbour, room)
        await sends(call.neighbour)
      }
      call.party = await sitDown(browsers.far, PARTY)
      await line.set(conditions)
      const opened = Date.now()
      call.heardMs = (await this.#comesIn(call.party, room)) - opened
    } catch (error) {
      await call.end()
      throw error
    }
    return call
  }

  async end() {
    this.#page?.close()
    if (!this.#process || this.#process.exitCode !== null) return
    const ended = new Promise((done) => this.#process.once('exit', done))
    this.#process.kill('SIGTERM')
    const stuck = setTimeout(() => this.#process.kill('SIGKILL'), STOP_MS)
    await ended
    clearTimeout(stuck)
  }

  async #run(folder) {
    const janus = (this.#process = spawn('janus', ['-F', folder, '-o'], { stdio: ['ignore', 'pipe', 'pipe'] }))
    // One that does not run has no exit code, so it is known by the error.
    let failure
    janus.once('error', (error) => (failure = error))
    process.once('exit', () => janus.kill('SIGKILL'))
    for (const input of [janus.stdout, janus.stderr]) {
      createInterface({ input }).on('line', (line) => {
        this.#log.push(line)
        if (this.#log.length > 200) this.#log.shift()
      })
    }
    await until('Janus listens', () => {
      if (failure) throw failure
      if (janus.exitCode !== null) throw new Error(`Janus ended:\n${this.#log.join('\n')}`)
      return new Promise((done) => {
        const socket = connect(PORT, near, () => done(true)).once('error', () => done(false))
        socket.once('connect', () => socket.end())
      })
    })
  }

  /** Its page, in one answer. */
  async #serve(server) {
    const script = await readFile(new URL('janus-page.js', import.meta.url), 'utf8')
    const html = `<!doctype html><meta charset="utf-8"><title>Janus VideoRoom</title><body><script type="module">${script}</script>`
    const { cert, key } = certificate(server)
    const pair = { cert: await readFile(cert), key: await readFile(key) }
    this.#page = createServer(pair, (_, response) => {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(html)
    })
    await new Promise((done) => this.#page.listen(0, near, done))
  }

  #link(room, name, more = {}) {
    const asked = new URLSearchParams({ janus: `wss://${near}:${PORT}`, room: String(room), name, ...more })
    return `https://${near}:${this.#page.address().port}/?${asked}`
  }

  async #comesIn(person, room) {
    const deadline = Date.now() + JOIN_MS
    await person.page.goto(this.#link(room, person.name), { waitUntil: 'commit', timeout: JOIN_MS })
    try {
      return await heard(person, Math.max(1, deadline - Date.now()))
    } catch (error) {
      throw new Error([error.message, ...person.complaints].join('\n'), { cause: error })
    }
  }
}

/** Waits until `person` sends sound and picture. */
function sends(person) {
  return until(`${person.name} sends`, async () => {
    const kinds = await person.page.evaluate(async () => {
      const sent = [...((await window.__hewei?.publishing.getStats())?.values() ?? [])]
      return sent.filter((item) => item.type === 'outbound-rtp' && item.packetsSent > 0).map((item) => item.kind)
    })
    assert.ok(kinds.includes('audio') && kinds.includes('video'), `${kinds} ${person.complaints.join('\n')}`)
    return true
  })
}

/** Writes what Janus is started with: VideoRoom alone, over WebSocket alone, at the near side's address alone. */
async function configure(server) {
  const folder = path.join(server.folder, 'janus')
  const parts = await libraries()
  for (const [kind, name] of [['plugins', 'videoroom'], ['transports', 'websockets']]) {
    await mkdir(path.join(folder, kind), { recursive: true })
    const file = `libjanus_${name}.so`
    await symlink(path.join(parts, kind, file), path.join(folder, kind, file))
  }
  const { cert, key } = certificate(server)
  const files = {
    'janus.jcfg': `
      general: {
        configs_folder = "${folder}"
        plugins_folder = "${folder}/plugins"
        transports_folder = "${folder}/transports"
        interface = "${near}"
        debug_level = 3
      }
      nat: { ice_enforce_list = "${near}" }`,
    'janus.transport.websockets.jcfg': `
      general: { json = "compact", ws = false, wss = true, wss_port = ${PORT}, wss_ip = "${near}" }
      certificates: { cert_pem = "${cert}", cert_key = "${key}" }`,
    'janus.plugin.videoroom.jcfg': 'general: { }',
  }
  for (const [name, text] of Object.entries(files)) await writeFile(path.join(folder, name), `${text}\n`)
  return folder
}

/** Where Debian keeps its plugins, whatever the processor. */
async function libraries() {
  for (const name of await readdir('/usr/lib')) {
    const folder = path.join('/usr/lib', name, 'janus')
    if ((await readdir(folder).catch(() => [])).includes('plugins')) return folder
  }
  throw new Error('Janus is missing: install the Debian package janus (scripts/install.sh janus)')
}

function certificate(server) {
  const folder = path.join(server.storage, 'keys/https')
  return { cert: path.join(folder, 'server.pem'), key: path.join(folder, 'server.key') }
}

async function version() {
  const { stdout } = await execute('dpkg-query', ['-W', '-f=${Version}', 'janus'])
  return stdout.split('-')[0]
}
