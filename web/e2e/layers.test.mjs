// One person's picture is sent in layers, and each of the others gets the one that its tile can use.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Person, Server, launch, seesAndHears, until } from './harness.mjs'

const [MEDIATOR, A, B] = ['王调解员', '赵大山', '钱有福']
const LARGE = { width: 1280, height: 900 }
/** A tile of less than 225 pixels is filled by a picture of 180 lines. */
const SMALL = { width: 480, height: 420 }

for (const codec of ['H264', 'VP8']) {
  test(`a small tile gets a small picture, with ${codec}`, async () => {
    const server = await Server.start()
    const browser = await launch()
    try {
      const token = await server.token('mediator', { name: MEDIATOR })
      const { roomId } = await server.openRoom(token)
      const people = []
      for (const [name, viewport] of [[MEDIATOR, LARGE], [A, LARGE], [B, SMALL]]) {
        people.push(await Person.sitDown(browser, name, { viewport }))
      }
      const [mediator, large, small] = people
      await mediator.page.goto(`${server.url}/enter?codec=${codec}#${token}`)
      await mediator.page.locator(`[data-room="${roomId}"]`).getByTestId('enter-room').click()
      await mediator.atTheDoor({ record: false })
      for (const party of [large, small]) {
        const link = await server.invite(token, roomId, party.name)
        await party.join(link.replace('#', `?codec=${codec}#`), { record: false })
        await party.get('lobby-wait').waitFor()
        await mediator.get('admit-button').click()
      }
      await seesAndHears(large, [MEDIATOR, B])
      await seesAndHears(small, [MEDIATOR, A])

      const layers = await sentLayers(mediator)
      assert.deepEqual(layers.map(({ rid }) => rid), ['f', 'h'], 'two layers of 640×360')
      await lines('the large tile has the whole picture', large, MEDIATOR, 360)
      await lines('the small tile has the small one', small, MEDIATOR, 180)

      await small.page.setViewportSize(LARGE)
      await lines('it grows, and so does its picture', small, MEDIATOR, 360)

      await large.page.setViewportSize(SMALL)
      await small.page.setViewportSize(SMALL)
      await lines('it shrinks', large, MEDIATOR, 180)
      await until('the large layer that nobody takes is not sent any more', async () => {
        const full = (await sentLayers(mediator)).find(({ rid }) => rid === 'f')
        return full?.active === false
      })
      await large.page.setViewportSize(LARGE)
      await lines('it grows again', large, MEDIATOR, 360)
      assert.equal((await sentLayers(mediator)).find(({ rid }) => rid === 'f')?.active, true)
      await seesAndHears(large, [MEDIATOR, B])
      await seesAndHears(small, [MEDIATOR, A])
      for (const person of people) person.assertQuiet()
      assert.deepEqual(server.errors, [])
    } finally {
      await browser.close()
      await server.stop()
    }
  })
}

/** Waits until what `person` decodes of `name` has so many lines. */
function lines(what, person, name, height) {
  return until(what, async () => {
    const found = await person.page.evaluate(async (owner) => {
      const probe = window.__hewei
      const id = probe.participants().find((item) => item.name === owner)?.id
      const mid = probe.slots().find((slot) => slot.kind === 'video' && slot.participant_id === id)?.mid
      const report = [...(await probe.pc.getStats()).values()]
      return report.find((item) => item.type === 'inbound-rtp' && item.kind === 'video' && item.mid === mid)?.frameHeight
    }, name)
    assert.equal(found, height, what)
    return true
  })
}

/** What `person` sends of its own picture, by the names of the layers. */
async function sentLayers(person) {
  const layers = await person.page.evaluate(async () => {
    const report = [...(await window.__hewei.pc.getStats()).values()]
    return report
      .filter((item) => item.type === 'outbound-rtp' && item.kind === 'video')
      .map(({ rid, active, frameHeight, framesSent }) => ({ rid, active, frameHeight, framesSent }))
  })
  return layers.sort((a, b) => String(a.rid).localeCompare(String(b.rid)))
}
