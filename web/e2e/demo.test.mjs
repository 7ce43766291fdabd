// What someone alone finds in the demo: two robot parties knock, speak, are recorded, and the package verifies.

import assert from 'node:assert/strict'
import { cp, mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import { Person, Server, launch, received, seesAndHears, sleep, until } from './harness.mjs'
import { assertDecodes, lasts, verify } from './package.mjs'

const ROBOTS = ['机器人甲(赵大山)', '机器人乙(钱有福)']
/** Robots are drawn once, by a process that may share its core with a compiler. */
const DRAWN_WITHIN_MS = 240_000
/** Somebody may reload the page, so robots wait a while before they believe that everybody has left. */
const LEFT_WITHIN_MS = 120_000
const RECORDED_MS = 6_000

test('someone alone sees a call, a recording and a package', async (t) => {
  const server = await Server.start({}, { command: 'demo' })
  const browser = await launch()
  const mediator = await Person.sitDown(browser, '王调解员')
  const began = Date.now()
  const demo = async () => {
    const answer = await fetch(`${server.url}/api/v1/demo`)
    return answer.ok ? answer.json() : null
  }
  try {
    const ready = await until('the robots are drawn', async () => {
      const told = await demo()
      assert.notEqual(told?.robots.state, 'absent', told?.robots.problem)
      return told?.robots.state === 'waiting' && told
    }, { within: DRAWN_WITHIN_MS })
    t.diagnostic(`the robots were drawn ${Date.now() - began} ms after the server was ready`)
    assert.deepEqual(ready.robots.names, ROBOTS)
    const link = ready.links.find(({ role }) => role === 'mediator')
    const seated = Date.now()

    await mediator.page.goto(server.url + link.path)
    await mediator.get('enter-room').click()
    await mediator.atTheDoor()
    await letIn(mediator)
    await seesAndHears(mediator, ROBOTS)
    t.diagnostic(`both robots seen and heard ${Date.now() - seated} ms after the link was opened`)
    const codecs = (await received(mediator)).map(({ codec }) => codec).sort()
    assert.deepEqual(codecs, ['audio/opus', 'audio/opus', 'video/H264', 'video/H264'])
    assert.equal((await demo()).robots.state, 'here')
    await sleep(RECORDED_MS)
    if (process.env.E2E_SHOTS) await mediator.page.screenshot({ path: `${process.env.E2E_SHOTS}/demo-room.png` })

    await mediator.get('end-session').click()
    await mediator.get('end-confirm').click()
    await mediator.get('room-ended').waitFor()
    const recording = await mediator.get('room-ended').getAttribute('data-recording')
    await mediator.get('to-case').click()
    const card = mediator.page.locator(`[data-testid=case-recording][data-recording="${recording}"]`)
    await card.locator('[data-testid=verify-result][data-verdict=intact]').waitFor()
    t.diagnostic(`the package was verified on the page ${Date.now() - seated} ms after the link was opened`)
    if (process.env.E2E_SHOTS) await mediator.page.screenshot({ path: `${process.env.E2E_SHOTS}/demo-case.png` })

    const kept = path.join(server.storage, 'recordings', recording)
    const script = path.join(server.folder, 'verify.sh')
    await cp(path.join(kept, 'verify.sh'), script)
    const { byScript, byBinary } = await verify(server, script, kept)
    assert.equal(byScript.status, 0, byScript.text)
    assert.equal(byBinary.status, 0, byBinary.text)
    await assertTracksDecode(server, recording, link.path.split('#')[1])

    await t.test('the robots knock again when somebody enters anew, and leave with the last', async () => {
      await mediator.page.goto(`${server.url}/room/${ready.room_id}`)
      await letIn(mediator)
      await seesAndHears(mediator, ROBOTS)
      await mediator.get('leave').click()
      await until('the robots have left', async () => (await demo()).robots.state === 'waiting', {
        within: LEFT_WITHIN_MS,
      })
    })
    assert.deepEqual(server.errors, [])
  } finally {
    await browser.close()
    await server.stop()
  }
})

/** Lets in whoever waits, as they come, until both robots play. */
async function letIn(mediator) {
  await until('both robots are in', async () => {
    const admit = mediator.get('admit-button')
    // The one who waited may be in already, and the button gone.
    if (await admit.count()) await admit.first().click({ timeout: 2_000 }).catch(() => undefined)
    const playing = (await received(mediator)).map(({ from }) => from)
    return ROBOTS.every((name) => playing.includes(name))
  })
}

/** Sound and picture of each robot, whole. */
async function assertTracksDecode(server, recording, token) {
  const { tracks, ticket } = await server.call('GET', `recordings/${recording}/tracks`, token)
  const folder = path.join(server.folder, 'tracks')
  await mkdir(folder)
  for (const name of ROBOTS) {
    for (const kind of ['audio', 'video']) {
      const own = tracks.filter((track) => track.person === name && track.kind === kind)
      assert.equal(own.length, 1, `${kind} of ${name}: ${JSON.stringify(tracks)}`)
      const answer = await fetch(`${server.url}/api/v1/recordings/${recording}/tracks/${own[0].id}?ticket=${ticket}`)
      assert.ok(answer.ok)
      const file = path.join(folder, own[0].id)
      await writeFile(file, Buffer.from(await answer.arrayBuffer()))
      await assertDecodes(file)
      const length = await lasts(file)
      assert.ok(length > RECORDED_MS * 0.9, `${kind} of ${name} lasts ${length} ms`)
    }
  }
}
