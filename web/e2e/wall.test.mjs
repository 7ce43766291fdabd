// A wall of four cameras, each a process of its own that can be killed and halted.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Camera, Person, Server, isPicture, launch, received, sleep, until } from './harness.mjs'

const NAMES = ['望江村 · 村口', '石桥村 · 文化广场', '梅岭村 · 河堤', '云溪村 · 调解室']
const OPERATOR = '陈值班员'
const REASON = '周五零点夜查,村口岗位'
/** The wall must tell a dead camera from a live one this soon. */
const STATE_MS = 6_000
/** While one camera is dead, no other may pause longer. */
const PAUSE_MAX_MS = 2_000

test('a wall of four cameras', async (t) => {
  const server = await Server.start({ HEWEI_CAMERAS_LINGER_S: '2' })
  const browser = await launch()
  const cameras = NAMES.map((_, index) => new Camera(index))
  const wall = new Wall(server, browser, cameras)
  const step = async (name, body) => {
    let failure
    await t.test(name, () => body.call(wall).catch((error) => {
      failure = error
      throw error
    }))
    if (failure) throw new Error(`stopped at: ${name}`)
  }
  try {
    await Promise.all(cameras.map((camera) => camera.start()))
    await step('no picture without a purpose', wall.needsPurpose)
    await step('four pictures, once somebody said why', wall.shows)
    await step('the first camera is heard in G.711', wall.isHeard)
    await step('kill -9: unreachable in time, back without a reload, and the others never pause', wall.survivesKill)
    await step('kill -STOP: no picture is said in time, back after -CONT, and the others never pause', wall.survivesHalt)
    await step('closed: the cameras are let go, and the log says who watched and why', wall.closes)
    wall.operator.assertQuiet()
    assert.deepEqual(server.errors, [])
  } finally {
    await browser.close()
    for (const camera of cameras) camera.kill('SIGKILL')
    await server.stop()
  }
})

class Wall {
  constructor(server, browser, cameras) {
    this.server = server
    this.browser = browser
    this.cameras = cameras
  }

  async needsPurpose() {
    const administrator = await this.server.token('administrator')
    const ids = []
    for (const [index, camera] of this.cameras.entries()) {
      ids.push((await this.server.call('POST', 'cameras', administrator, camera.registration(NAMES[index]))).id)
    }
    this.ids = ids
    const { id } = await this.server.call('POST', 'walls', administrator, { name: '零点夜查', camera_ids: ids })
    this.token = await this.server.token('operator', { name: OPERATOR })
    await this.assertStates(['idle', 'idle', 'idle', 'idle'])

    this.operator = await Person.sitDown(this.browser, OPERATOR)
    const { page } = this.operator
    await this.operator.enter(this.server, this.token)
    await page.locator(`[data-wall="${id}"]`).getByTestId('open-wall').click()
    await this.operator.get('wall-open').click()
    await page.getByRole('alert').first().waitFor()
    assert.equal(await this.operator.get('wall-tile').count(), 0)

    // Nor by a client that skips the form.
    for (const purpose of ['', '01a20bd1-8d61-71d0-a541-de3d61f6dcec']) {
      const answer = await page.evaluate(
        ({ token, wall, purpose }) => new Promise((done) => {
          const socket = new WebSocket(`ws://${location.host}/ws`)
          const open = { kind: 'wall', wall_id: wall, purpose_id: purpose }
          socket.onopen = () => socket.send(JSON.stringify({ type: 'hello', token, open }))
          socket.onmessage = (event) => done(JSON.parse(event.data))
          socket.onclose = () => done(null)
        }),
        { token: this.token, wall: id, purpose },
      )
      assert.equal(answer?.type, 'error', JSON.stringify(answer))
      assert.equal(answer.problem.status < 500, true, JSON.stringify(answer))
    }
    await this.assertStates(['idle', 'idle', 'idle', 'idle'])
  }

  async shows() {
    const { page } = this.operator
    await this.operator.get('wall-purpose-patrol').check()
    await this.operator.get('wall-purpose-reason').fill(REASON)
    await this.operator.get('wall-open').click()
    await until('four live pictures', async () => {
      await this.assertTiles(['live', 'live', 'live', 'live'])
      const pictures = await page.locator('[data-testid=wall-tile] video').all()
      assert.equal(pictures.length, 4)
      for (const picture of pictures) assert.ok(await picture.evaluate(isPicture), 'a picture')
      const playing = (await received(this.operator)).filter(({ kind, frames }) => kind === 'video' && frames >= 30)
      assert.equal(playing.length, 4, 'decoded by the browser')
      for (const { codec } of playing) assert.equal(codec, 'video/H264')
      return true
    })
  }

  async isHeard() {
    const { page } = this.operator
    await page.keyboard.type('1')
    await page.keyboard.press('Enter')
    await page.locator(`.enlarged[data-camera="${this.ids[0]}"]`).waitFor()
    await page.keyboard.press('m')
    const heard = async () => (await received(this.operator)).find(({ from, kind }) => from === this.ids[0] && kind === 'audio')
    const before = await heard()
    await until('its tick is heard', async () => {
      const now = await heard()
      assert.ok(now && now.energy > (before?.energy ?? 0), JSON.stringify(now))
      assert.equal(now.codec, 'audio/PCMA')
      return true
    })
    await page.keyboard.press('m')
    await page.keyboard.press('Escape')
  }

  async survivesKill() {
    await this.othersNeverPause(1, async () => {
      this.cameras[1].kill('SIGKILL')
      await until('its tile says that it does not answer', async () => {
        await this.assertTiles(['live', 'unreachable', 'live', 'live'])
        return true
      }, { within: STATE_MS, every: 50 })
      await this.operator.page.locator(`[data-camera="${this.ids[1]}"]`).getByText('摄像机没有应答').waitFor()
      await this.assertStates(['live', 'unreachable', 'live', 'live'])
      await this.cameras[1].start()
      await this.untilBack(1)
    })
  }

  async survivesHalt() {
    await this.othersNeverPause(2, async () => {
      this.cameras[2].kill('SIGSTOP')
      await until('its tile says that there is no picture', async () => {
        await this.assertTiles(['live', 'live', 'no_media', 'live'])
        return true
      }, { within: STATE_MS, every: 50 })
      this.cameras[2].kill('SIGCONT')
      await this.untilBack(2)
    })
  }

  async closes() {
    await this.operator.page.mouse.move(300, 300)
    await this.operator.get('wall-close').click()
    await this.operator.get('open-wall').waitFor()
    await until('nobody watches, so nothing is pulled', async () => {
      await this.assertStates(['idle', 'idle', 'idle', 'idle'])
      return true
    })
    const rows = await this.server.call('GET', 'audit', await this.server.token('auditor'))
    const by = (action) => rows.filter((row) => row.action === action && row.actor === OPERATOR)
    const [opened] = by('purpose.open')
    assert.ok(opened.detail.includes(REASON), JSON.stringify(opened))
    for (const action of ['wall.open', 'wall.close']) {
      assert.equal(by(action).length, 1, action)
      assert.equal(by(action)[0].purpose_id, opened.purpose_id, action)
    }
  }

  /** Watches the frames of all cameras but one while `act` runs. */
  async othersNeverPause(but, act) {
    const others = this.ids.filter((_, index) => index !== but)
    await this.operator.page.evaluate(watchPauses, others)
    await act()
    // What begins at the end would else not be seen.
    await sleep(PAUSE_MAX_MS)
    const pauses = await this.operator.page.evaluate(() => window.__pauses())
    for (const { camera, longest, frames } of pauses) {
      assert.ok(frames > 30, `camera ${camera}: ${frames} frames`)
      assert.ok(longest <= PAUSE_MAX_MS, `camera ${camera} stood still for ${Math.round(longest)} ms`)
    }
    assert.equal(pauses.length, others.length)
  }

  async untilBack(index) {
    const frames = async () =>
      (await received(this.operator)).find(({ from, kind }) => from === this.ids[index] && kind === 'video')?.frames ?? 0
    await until('it is live again', async () => {
      await this.assertTiles(['live', 'live', 'live', 'live'])
      return true
    })
    const before = await frames()
    await until('and decoding', async () => (await frames()) >= before + 15)
    const tile = this.operator.page.locator(`[data-camera="${this.ids[index]}"]`)
    await until('and shown', async () => Number(await tile.getAttribute('data-age-ms')) < 1_500)
  }


  async assertTiles(states) {
    const tiles = await this.operator.get('wall-tile').evaluateAll((all) => all.map((tile) => tile.dataset.state))
    assert.deepEqual(tiles, states)
  }

  /** As the API tells. */
  async assertStates(states) {
    const cameras = await this.server.call('GET', 'cameras', this.token)
    assert.deepEqual(cameras.map((camera) => camera.status.state), states)
  }
}

/** Runs in the page: keeps the longest time between two frames of each camera, up to the moment it is asked. */
function watchPauses(cameras) {
  const watched = cameras.map((camera) => {
    const video = document.querySelector(`[data-camera="${camera}"] video`)
    const state = { camera, at: performance.now(), longest: 0, frames: 0 }
    const shown = () => {
      const now = performance.now()
      state.longest = Math.max(state.longest, now - state.at)
      state.at = now
      state.frames += 1
      video.requestVideoFrameCallback(shown)
    }
    video.requestVideoFrameCallback(shown)
    return state
  })
  window.__pauses = () => watched.map((state) => ({ ...state, longest: Math.max(state.longest, performance.now() - state.at) }))
}
