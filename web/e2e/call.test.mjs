// A mediation from the first link to the sealed package, with H.264 and with VP8.

import assert from 'node:assert/strict'
import { cp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import {
  ROOT, Person, Server, cipher, execute, launch, received, seesAndHears, sleep, until,
} from './harness.mjs'
import { assertDecodes, assertFlipIsFound, lasts, verify } from './package.mjs'

const [MEDIATOR, A, B, LAWYER] = ['王调解员', '赵大山', '钱有福', '李律师']
/** A track lasts as long as it was live, give or take this. */
const LENGTH_TOLERANCE_MS = 500
const PLAYBACK_RATE = 4

for (const codec of ['H264', 'VP8']) {
  test(`a call with ${codec} and its package`, async (t) => {
    const server = await Server.start()
    const browser = await launch()
    const call = new Call(server, browser, codec)
    /** Runs a part of the story; the parts after one that failed cannot hold. */
    const step = async (name, body) => {
      let failure
      await t.test(name, () => body.call(call).catch((error) => {
        failure = error
        throw error
      }))
      if (failure) throw new Error(`stopped at: ${name}`)
    }
    try {
      await step('mediator and two parties see and hear each other, under AES-GCM', call.threeMeet)
      await step('a lawyer who comes late sees and hears all', call.lawyerComes)
      await step('microphone and camera off: the others see it, and nothing of that kind is forwarded', call.mutes)
      await step('a party closes the tab, and is back on the same link', call.leavesAndReturns)
      await step('the mediator ends the session, for everybody', call.ends)
      await step('the package passes both verifiers', call.packageVerifies)
      await step('each track decodes to its end and lasts as long as it was live', call.tracksDecode)
      await step('each track plays on the case page', call.tracksPlay)
      await step('one flipped byte is found by both verifiers, which name the file', call.flipsAreFound)
      for (const person of call.people) person.assertQuiet()
      assert.deepEqual(server.errors, [])
    } catch (error) {
      await call.leaveTraces()
      throw error
    } finally {
      await browser.close()
      await server.stop()
    }
  })
}

class Call {
  people = []
  /** When each track was live: between which moments it began and ended. */
  live = []

  constructor(server, browser, codec) {
    this.server = server
    this.browser = browser
    this.codec = codec
  }

  async threeMeet() {
    this.token = await this.server.token('mediator', { name: MEDIATOR })
    const { caseId, roomId } = await this.server.openRoom(this.token)
    this.caseId = caseId
    this.roomId = roomId
    this.links = {
      [A]: await this.server.invite(this.token, roomId, A),
      [B]: await this.server.invite(this.token, roomId, B),
    }
    const mediator = await this.sitDown(MEDIATOR)
    await mediator.page.goto(`${this.server.url}/enter?codec=${this.codec}#${this.token}`)
    await mediator.page.locator(`[data-room="${roomId}"]`).getByTestId('enter-room').click()
    await mediator.atTheDoor()
    await mediator.page.locator('[data-testid=rec-state][data-recording=true]').waitFor()

    for (const name of [A, B]) {
      const party = await this.sitDown(name)
      await party.join(this.links[name].replace('#', `?codec=${this.codec}#`))
      await party.get('lobby-wait').waitFor()
      await mediator.get('admit-button').click()
      await party.page.locator('[data-testid=rec-state][data-recording=true]').waitFor()
    }
    await this.allMeet([MEDIATOR, A, B])
    for (const person of this.people) {
      // RFC 7714's name; some versions of Chromium put "SRTP_" before it.
      assert.match(await cipher(person), /^(SRTP_)?AEAD_AES_128_GCM$/, person.name)
      for (const item of await received(person)) {
        assert.equal(item.codec, item.kind === 'audio' ? 'audio/opus' : `video/${this.codec}`, person.name)
      }
    }
  }

  async lawyerComes() {
    const lawyer = await this.sitDown(LAWYER)
    const token = await this.server.token('lawyer', { name: LAWYER, room: this.roomId })
    await lawyer.page.goto(`${this.server.url}/enter?codec=${this.codec}#${token}`)
    await lawyer.atTheDoor()
    await this.allMeet([MEDIATOR, A, B, LAWYER])
  }

  async mutes() {
    const [party, other] = [this.person(A), this.person(B)]
    const zhao = other.page.locator(`[data-testid=room-tile][data-name="${A}"]`)
    for (const [kind, word] of [['audio', '已静音'], ['video', '未开摄像头']]) {
      const { mid } = (await received(other)).find((item) => item.from === A && item.kind === kind)
      await party.get(`mute-${kind}`).click()
      await zhao.getByText(word).waitFor()
      if (kind === 'video') {
        // The camera was let go, so that its light is out.
        const sent = await party.page.evaluate(() => window.__hewei.pc.getSenders().map((sender) => sender.track?.kind))
        assert.ok(!sent.includes('video'), `still held: ${sent}`)
      }
      await until(`nothing of ${A}'s ${kind} is forwarded`, async () => {
        const before = await packetsByMid(other)
        await sleep(1_500)
        const after = await packetsByMid(other)
        assert.equal(after.get(mid), before.get(mid))
        // The rest of the call flows on: seven others came in, or six where the other kind is the same person's.
        const flowing = [...after].filter(([each, packets]) => packets > (before.get(each) ?? 0))
        assert.ok(flowing.length >= 5, `only ${flowing.length} of the other tracks flow`)
        return true
      })
      await party.get(`mute-${kind}`).click()
      await zhao.getByText(word).waitFor({ state: 'detached' })
      await seesAndHears(other, [MEDIATOR, A, LAWYER])
    }
  }

  async leavesAndReturns() {
    const party = this.person(A)
    await this.ending([A], () => party.page.close())
    await seesAndHears(this.person(B), [MEDIATOR, LAWYER])
    await party.openTab()
    // The new tab asks about recording again, and needs no new link.
    await party.join(this.links[A].replace('#', `?codec=${this.codec}#`))
    await this.allMeet([MEDIATOR, A, B, LAWYER])
  }

  async ends() {
    const mediator = this.person(MEDIATOR)
    await mediator.get('end-session').click()
    await this.ending([MEDIATOR, A, B, LAWYER], async () => {
      await mediator.get('end-confirm').click()
      await mediator.get('room-ended').waitFor()
    })
    for (const person of this.people) {
      await person.get('room-ended').waitFor()
      assert.equal(await person.get('room-ended').getAttribute('data-reason'), 'session_ended', person.name)
    }
    this.recordingId = await mediator.get('room-ended').getAttribute('data-recording')
    assert.ok(this.recordingId)
    assert.equal(await this.person(A).get('room-ended').getAttribute('data-recording'), null, 'not for a party')
  }

  async packageVerifies() {
    const mediator = this.person(MEDIATOR)
    await mediator.get('to-case').click()
    const card = mediator.page.locator(`[data-testid=case-recording][data-recording="${this.recordingId}"]`)
    await mediator.page.locator(`[data-recording="${this.recordingId}"][data-state=sealed]`).waitFor()
    await card.locator('[data-testid=verify-result][data-verdict=intact]').waitFor()

    const download = mediator.page.waitForEvent('download')
    await card.getByTestId('download-package').click()
    const archive = path.join(this.server.folder, 'package.tar')
    await (await download).saveAs(archive)
    const folder = path.join(this.server.folder, 'package')
    await mkdir(folder)
    assert.equal((await execute('tar', ['-xf', archive, '-C', folder, '--strip-components=1'])).status, 0)
    this.folder = folder
    const kept = path.join(this.server.storage, 'recordings', this.recordingId)
    assert.deepEqual(await execute('diff', ['-r', kept, folder]), { status: 0, stdout: '', stderr: '' })

    // As VERIFY.md tells, with what lies in the package alone; and with script and CA from outside.
    const alone = await execute('sh', ['verify.sh'], { cwd: folder })
    assert.equal(alone.status, 0, alone.stdout + alone.stderr)
    this.script = path.join(this.server.folder, 'verify.sh')
    await cp(path.join(folder, 'verify.sh'), this.script)
    const { byScript, byBinary } = await verify(this.server, this.script, folder)
    assert.equal(byScript.status, 0, byScript.text)
    assert.equal(byBinary.status, 0, byBinary.text)
    const receipt = (await card.getByTestId('receipt').textContent()).trim()
    assert.ok(byScript.text.includes(receipt) && byBinary.text.includes(receipt), receipt)
  }

  async tracksDecode() {
    const { tracks, ticket } = await this.server.call('GET', `recordings/${this.recordingId}/tracks`, this.token)
    assert.equal(tracks.length, this.live.length, 'one track for each that was live')
    const wanted = [...this.live]
    for (const track of tracks) {
      // Tracks come in the order they began, and so do those of one person here.
      const place = wanted.findIndex(({ name, kind }) => name === track.person && kind === track.kind)
      assert.ok(place >= 0, `${track.kind} of ${track.person} was not live`)
      const [{ began, ended }] = wanted.splice(place, 1)
      assert.equal(track.codec, track.kind === 'audio' ? 'opus' : this.codec.toLowerCase())

      const address = `${this.server.url}/api/v1/recordings/${this.recordingId}/tracks/${track.id}?ticket=${ticket}`
      const response = await fetch(address)
      assert.equal(response.status, 200)
      assert.equal(response.headers.get('content-type'), track.content_type)
      const bytes = Buffer.from(await response.arrayBuffer())
      assert.equal(bytes.length, track.bytes)
      const file = path.join(this.server.folder, `${track.id}.${track.content_type.split('/')[1]}`)
      await writeFile(file, bytes)
      await assertDecodes(file)

      const what = `${track.kind} of ${track.person}`
      for (const [source, length] of [['packets', await lasts(file)], ['server', track.duration_ms]]) {
        const [least, most] = [ended.after - began.before, ended.before - began.after]
        assert.ok(
          length >= least - LENGTH_TOLERANCE_MS && length <= most + LENGTH_TOLERANCE_MS,
          `${what}: ${Math.round(length)} ms by the ${source}, live for ${least} to ${most} ms`,
        )
      }
    }
    await this.epochsDecode()
  }

  /** What lies on the disk, as VERIFY.md tells to play it: each epoch's head and segments, one after the other. */
  async epochsDecode() {
    const joint = await execute('find', [this.folder, '-name', 'init.*'])
    const heads = joint.stdout.trim().split('\n')
    assert.ok(heads.length >= this.live.length)
    for (const head of heads) {
      const folder = path.dirname(head)
      const segments = (await readdir(folder)).filter((name) => /^\d{6}\./.test(name)).sort()
      assert.ok(segments.length > 0, `${folder} has no segments`)
      const parts = [head, ...segments.map((name) => path.join(folder, name))]
      const whole = path.join(this.server.folder, `epoch${path.extname(head)}`)
      await writeFile(whole, Buffer.concat(await Promise.all(parts.map((part) => readFile(part)))))
      await assertDecodes(whole)
    }
  }

  async tracksPlay() {
    const { page } = this.person(MEDIATOR)
    const rows = page.getByTestId('track-row')
    assert.equal(await rows.count(), this.live.length)
    for (let index = 0; index < this.live.length; index += 1) {
      const row = rows.nth(index)
      await row.getByTestId('track-play').click()
      const player = row.locator('video, audio')
      await player.evaluate((element, rate) => (element.playbackRate = rate), PLAYBACK_RATE)
    }
    await until('each track plays to its end', async () => {
      const states = await page.locator('[data-testid=track-row] :is(video, audio)').evaluateAll((players) =>
        players.map((player) => ({
          error: player.error?.message ?? null,
          ended: player.ended,
          left: player.duration - player.currentTime,
          seen: player.tagName === 'AUDIO' || player.getVideoPlaybackQuality().totalVideoFrames > 0,
        })),
      )
      for (const state of states) if (state.error !== null) throw new Error(state.error)
      assert.equal(states.length, this.live.length)
      for (const state of states) assert.ok(state.ended && state.left < 0.2 && state.seen, JSON.stringify(states))
      return true
    }, { within: 120_000, every: 500 })
  }

  async flipsAreFound() {
    const folder = path.join(this.server.folder, 'changed')
    await cp(this.folder, folder, { recursive: true })
    const { stdout } = await execute('find', ['data', '-type', 'f'], { cwd: folder })
    const files = stdout.trim().split('\n').sort()
    const first = (pattern) => files.find((file) => pattern.test(file)) ?? assert.fail(`no file like ${pattern}`)
    const media = [first(this.codec === 'VP8' ? /\/000000\.webm$/ : /\/000000\.m4s$/), first(/\/init\./), first(/\/play\./)]
    const rest = [
      first(/\.m3u8$/),
      'data/journal/journal.jsonl',
      'data/docs/consent.jsonl',
      'data/seals/head-000001.txt',
      'data/seals/head-000001.p7s',
      'data/seals/ca.pem',
      'data/seals/recorder.pem',
      'manifest-sha256.txt',
      'manifest-sm3.txt',
      'tagmanifest-sha256.txt',
      'bag-info.txt',
      'bagit.txt',
      'VERIFY.md',
      'verify.sh',
    ]
    // What is not media is the same with every codec.
    const chosen = this.codec === 'VP8' ? media : [...media, ...rest]
    for (const file of chosen) await assertFlipIsFound(this.server, this.script, folder, file)
    const { byScript, byBinary } = await verify(this.server, this.script, folder)
    assert.deepEqual([byScript.status, byBinary.status], [0, 0], `all was put back: ${byScript.text}${byBinary.text}`)
  }

  async sitDown(name) {
    const person = await Person.sitDown(this.browser, name)
    this.people.push(person)
    return person
  }

  person(name) {
    return this.people.find((person) => person.name === name)
  }

  /** Everybody sees and hears everybody else. */
  async allMeet(names) {
    await Promise.all(names.map((name) => seesAndHears(this.person(name), names.filter((other) => other !== name))))
  }

  /** Does what ends these people's tracks, and keeps by the test's own clock how long they were live. */
  async ending(names, act) {
    const begun = []
    for (const name of names) {
      const sent = await this.person(name).page.evaluate(() => window.__sent)
      for (const kind of ['audio', 'video']) begun.push({ name, kind, began: sent[kind] })
    }
    const after = Date.now()
    await act()
    const before = Date.now()
    this.live.push(...begun.map((track) => ({ ...track, ended: { after, before } })))
  }

  /** For whoever looks for the cause of a failure: what each page shows, and the server's folder. */
  async leaveTraces() {
    const folder = path.join(ROOT, 'target/e2e')
    await rm(path.join(folder, this.codec), { recursive: true, force: true })
    await cp(this.server.folder, path.join(folder, this.codec), { recursive: true })
    for (const [index, person] of this.people.entries()) {
      await person.page.screenshot({ path: path.join(folder, this.codec, `person-${index}.png`) }).catch(() => undefined)
      if (person.complaints.length > 0) console.error(person.name, person.complaints)
    }
    for (const line of this.server.errors) console.error(line)
  }
}

async function packetsByMid(person) {
  const entries = await person.page.evaluate(async () => {
    const packets = {}
    for (const item of (await window.__hewei.pc.getStats()).values()) {
      if (item.type === 'inbound-rtp') packets[item.mid] = (packets[item.mid] ?? 0) + item.packetsReceived
    }
    return Object.entries(packets)
  })
  return new Map(entries)
}
