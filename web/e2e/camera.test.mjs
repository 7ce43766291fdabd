// One's own camera hangs: it gives no more frames, and the browser says nothing of it. The page takes it anew.

import assert from 'node:assert/strict'
import { readFile, readdir } from 'node:fs/promises'
import { test } from 'node:test'
import { Person, Server, launch, received, seesAndHears, until } from './harness.mjs'

const [MEDIATOR, LAWYER] = ['王调解员', '周律师']

test('a camera that hangs is taken anew, and the others see it again', async () => {
  const server = await Server.start()
  const browsers = []
  let stopped
  const sitDown = async (name) => {
    browsers.push(await launch())
    return Person.sitDown(browsers.at(-1), name)
  }
  try {
    const token = await server.token('mediator', { name: MEDIATOR })
    const { roomId } = await server.openRoom(token)
    const mediator = await sitDown(MEDIATOR)
    const others = await captures()
    await mediator.enter(server, token, `/room/${roomId}`)
    const [capture] = (await captures()).filter((pid) => !others.includes(pid))
    const lawyer = await sitDown(LAWYER)
    await lawyer.enter(server, await server.token('lawyer', { name: LAWYER, room: roomId }), `/room/${roomId}`)
    await Promise.all([seesAndHears(lawyer, [MEDIATOR]), seesAndHears(mediator, [LAWYER])])
    const cameraIs = () => mediator.page.evaluate(() => {
      const sender = window.__hewei.pc.getSenders().find(({ track }) => track?.kind === 'video')
      return sender?.track.readyState === 'live' ? sender.track.id : null
    })
    const before = await cameraIs()

    stopped = capture
    process.kill(stopped, 'SIGSTOP')
    await until('the page lets the camera go', async () => (await cameraIs()) !== before)
    process.kill(stopped, 'SIGCONT')
    stopped = undefined

    await until('it has the camera again', async () => ![null, before].includes(await cameraIs()))
    const frames = async () => (await received(lawyer)).find(({ kind, from }) => kind === 'video' && from === MEDIATOR)?.frames
    const shown = await frames()
    await until('the other sees it move', async () => (await frames()) > shown + 5)
    assert.deepEqual(server.errors, [])
    mediator.assertQuiet()
    lawyer.assertQuiet()
  } finally {
    if (stopped) process.kill(stopped, 'SIGCONT')
    await Promise.all(browsers.map((browser) => browser.close()))
    await server.stop()
  }
})

/** The processes that read cameras for Chromium. */
async function captures() {
  const found = []
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (command.includes('video_capture.mojom.VideoCaptureService')) found.push(Number(pid))
  }
  return found
}
