// One seat and several pages: a second one takes the seat over and the first is told, and a page that lost its socket goes
// on with the same media.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Person, Server, launch, received, seesAndHears, sleep, until } from './harness.mjs'

const [MEDIATOR, PARTY, LAWYER] = ['王调解员', '赵大山', '李律师']

let server
let browser
let token
before(async () => {
  server = await Server.start()
  browser = await launch()
  token = await server.token('mediator', { name: MEDIATOR })
})
after(async () => {
  await browser?.close()
  await server?.stop()
})

/** A room with its mediator in it. */
async function opened(number) {
  const { roomId } = await server.openRoom(token, { number })
  const mediator = await Person.sitDown(browser, MEDIATOR)
  await mediator.enter(server, token, `/room/${roomId}`)
  return { mediator, roomId }
}

/** Who the mediator's list holds, and how. */
function listed(mediator, name) {
  return mediator.page.evaluate(
    (name) => window.__hewei.participants().filter((one) => one.name === name).map(({ id, lobby, connected }) => ({ id, lobby, connected })),
    name,
  )
}

async function oneSeat(mediator, name) {
  return until(`one seat of ${name}, connected`, async () => {
    const seats = await listed(mediator, name)
    assert.equal(seats.length, 1)
    assert.deepEqual([seats[0].lobby, seats[0].connected], [false, true])
    return seats[0].id
  })
}

async function isReplaced(person) {
  await person.page.locator('[data-testid=room-ended][data-reason=replaced]').waitFor()
  assert.ok((await person.get('room-ended').innerText()).includes('另一台设备'))
}

/** `first` has the seat, `second` is the same person elsewhere and opens it by `open`. */
async function takeover({ mediator, name, first, second, open }) {
  const seat = await oneSeat(mediator, name)
  await open()
  await isReplaced(first)
  await Promise.all([seesAndHears(mediator, [name]), seesAndHears(second, [MEDIATOR])])
  assert.equal(await oneSeat(mediator, name), seat, 'the same seat')
  // The first one leaves it at that, even when its network comes and goes.
  await first.page.evaluate(() => {
    window.dispatchEvent(new Event('online'))
    document.dispatchEvent(new Event('visibilitychange'))
  })
  await sleep(2_500)
  await isReplaced(first)
  assert.equal(await second.get('room-ended').count(), 0)
  // Until its person wants the seat back.
  await first.get('take-back').click()
  await isReplaced(second)
  await Promise.all([seesAndHears(mediator, [name]), seesAndHears(first, [MEDIATOR])])
  assert.equal(await oneSeat(mediator, name), seat, 'the same seat again')
}

test('another tab with the same invitation takes the seat over', async () => {
  const { mediator, roomId } = await opened('2026-M-0001')
  const link = await server.invite(token, roomId, PARTY)
  const first = await Person.sitDown(browser, PARTY)
  await first.join(link)
  await mediator.get('admit-button').click()
  await seesAndHears(first, [MEDIATOR])
  const second = new Person(PARTY, first.context)
  await second.openTab()
  await takeover({ mediator, name: PARTY, first, second, open: () => second.join(link) })
  for (const person of [mediator, first, second]) person.assertQuiet()
  await mediator.context.close()
  await first.context.close()
})

test('another device with the same link takes the seat over', async () => {
  const { mediator, roomId } = await opened('2026-M-0002')
  const link = await server.token('lawyer', { name: LAWYER, room: roomId })
  const [first, second] = [await Person.sitDown(browser, LAWYER), await Person.sitDown(browser, LAWYER)]
  await first.enter(server, link, `/room/${roomId}`)
  await seesAndHears(first, [MEDIATOR])
  await takeover({ mediator, name: LAWYER, first, second, open: () => second.enter(server, link, `/room/${roomId}`) })
  for (const person of [mediator, first, second]) person.assertQuiet()
  for (const person of [mediator, first, second]) await person.context.close()
})

test('a page that comes back by itself does not take the seat from another device', async () => {
  const { mediator, roomId } = await opened('2026-M-0003')
  const link = await server.token('lawyer', { name: LAWYER, room: roomId })
  const [first, second] = [await Person.sitDown(browser, LAWYER), await Person.sitDown(browser, LAWYER)]
  await first.enter(server, link, `/room/${roomId}`)
  await oneSeat(mediator, LAWYER)
  // Without a network it hears of nothing.
  await first.context.setOffline(true)
  await first.page.evaluate(() => window.__hewei.ws.close(4001))
  await first.get('reconnecting').waitFor()
  await second.enter(server, link, `/room/${roomId}`)
  await seesAndHears(second, [MEDIATOR])
  await first.context.setOffline(false)
  await isReplaced(first)
  await seesAndHears(second, [MEDIATOR])
  await oneSeat(mediator, LAWYER)
  assert.equal(await second.get('room-ended').count(), 0)
  for (const person of [mediator, first, second]) await person.context.close()
})

test('a page that loses its socket goes on with the same media, and nobody sees it go', async () => {
  const { mediator, roomId } = await opened('2026-M-0004')
  const link = await server.token('lawyer', { name: LAWYER, room: roomId })
  const lawyer = await Person.sitDown(browser, LAWYER)
  await lawyer.enter(server, link, `/room/${roomId}`)
  await Promise.all([seesAndHears(mediator, [LAWYER]), seesAndHears(lawyer, [MEDIATOR])])
  const seat = await oneSeat(mediator, LAWYER)
  await mediator.page.evaluate((name) => {
    window.__seen = new Set()
    setInterval(() => {
      for (const one of window.__hewei.participants()) if (one.name === name) window.__seen.add(`${one.id} ${one.connected}`)
    }, 20)
  }, LAWYER)
  const mids = (await received(mediator)).map(({ mid }) => mid)
  for (let n = 0; n < 3; n += 1) {
    await lawyer.page.evaluate(() => {
      window.__before = { pc: window.__hewei.pc, ws: window.__hewei.ws }
      window.__hewei.ws.close(4001)
    })
    await until('there is another socket', () => lawyer.page.evaluate(
      () => window.__hewei.ws !== null && window.__hewei.ws !== window.__before.ws && window.__hewei.ws.readyState === 1,
    ))
    await lawyer.get('reconnecting').waitFor({ state: 'detached' })
    assert.ok(await lawyer.page.evaluate(() => window.__hewei.pc === window.__before.pc), 'the same media connection')
    await Promise.all([seesAndHears(mediator, [LAWYER]), seesAndHears(lawyer, [MEDIATOR])])
  }
  assert.deepEqual(await mediator.page.evaluate(() => [...window.__seen]), [`${seat} true`])
  assert.deepEqual((await received(mediator)).map(({ mid }) => mid), mids, 'in the same slots')
  // The new socket is as good as the old one.
  await lawyer.get('mute-audio').click()
  await mediator.page.locator(`[data-testid=room-tile][data-name="${LAWYER}"]`).getByText('已静音').waitFor()
  for (const person of [mediator, lawyer]) person.assertQuiet()
  assert.deepEqual(server.errors, [])
  for (const person of [mediator, lawyer]) await person.context.close()
})
