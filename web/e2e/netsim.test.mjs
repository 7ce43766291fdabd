// A call holds over a bad line and comes through an outage. The short form of `make netsim`: that the line is bad is
// asserted, how good the call was is not, since this machine may be busy. Runs within
// `NETNS_LINK=none scripts/netns.sh`.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ends, seesAndHears, sleep, until } from './harness.mjs'
import { MEDIATOR, PARTY, Stage, measure } from './netsim.mjs'

const { NETNS_NEAR: near, NETNS_FAR: far } = process.env
const DELAY_MS = 150
/** The line's clock and the browser's need not agree to the millisecond. */
const ROUNDING_MS = 2
/** The far side's address after it changed. */
const NEW_ADDRESS = '10.77.0.3'
/** What Chromium itself says of what was under way. */
const NETWORK_CHANGED = /ERR_NETWORK_CHANGED|WebSocket connection to/

test('a call over a line that loses, delays and is narrow, through an outage, and by another address', async () => {
  const stage = await Stage.begin({ seed: 1 })
  let call
  try {
    const { line, server } = stage
    call = await stage.call(`loss=5% delay=${DELAY_MS}ms rate=1000kbit`)
    const { mediator, party } = call
    await line.report()
    const [seen] = await Promise.all([
      measure(party, MEDIATOR, 5),
      seesAndHears(mediator, [PARTY]),
      seesAndHears(party, [MEDIATOR]),
    ])
    assert.deepEqual(await ends(party), { local: far, remote: near, protocol: 'udp', relayed: null })
    assert.ok(seen.roundTripMs >= 2 * DELAY_MS - ROUNDING_MS, `there and back in ${seen.roundTripMs} ms`)
    const report = await line.report()
    for (const direction of [report.down, report.up]) {
      assert.ok(direction.delivered > 0 && direction.lost > 0, JSON.stringify(report))
      assert.equal(direction.overflow, 0, JSON.stringify(report))
    }

    await line.interrupt(3)
    await sleep(3_000)
    await Promise.all([seesAndHears(mediator, [PARTY]), seesAndHears(party, [MEDIATOR])])
    const after = await line.report()
    assert.ok(after.down.outage > 0 && after.up.outage > 0, JSON.stringify(after))

    // Another network: the seat stays, and the media connection with it.
    await line.set('')
    const seats = () => mediator.page.evaluate(
      (name) => window.__hewei.participants().filter((one) => one.name === name).map(({ id, lobby }) => `${id} ${lobby}`),
      PARTY,
    )
    const before = await seats()
    await party.page.evaluate(() => (window.__before = window.__hewei.pc))
    await line.moveFarTo(NEW_ADDRESS)
    await until('media go by the new address', async () => {
      assert.deepEqual(await ends(party), { local: NEW_ADDRESS, remote: near, protocol: 'udp', relayed: null })
      return true
    })
    await Promise.all([seesAndHears(mediator, [PARTY]), seesAndHears(party, [MEDIATOR])])
    assert.deepEqual(await seats(), before)
    assert.ok(await party.page.evaluate(() => window.__hewei.pc === window.__before), 'the same media connection')
    mediator.assertQuiet()
    party.assertQuiet(NETWORK_CHANGED)
    assert.deepEqual(server.errors, [])
  } finally {
    await call?.end()
    await stage.end()
  }
})
