// A phone in another network opens the server's own https address. Runs within `scripts/netns.sh`.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { get } from 'node:https'
import path from 'node:path'
import { test } from 'node:test'
import { ABROAD, Person, Server, cipher, ends, launch, seesAndHears, spki } from './harness.mjs'

const { NETNS_NEAR: near, NETNS_FAR: far } = process.env
const MEDIATOR = '王调解员'
const PARTY = '赵大山'

test('a call from another network, over the server\'s own certificate', async () => {
  assert.ok(near && far, 'run this by: scripts/netns.sh npm --prefix web run e2e:netns')
  const server = await Server.start({ HEWEI_HTTP_LISTEN: `127.0.0.1:0,${near}:0`, HEWEI_MEDIA_BIND: '0.0.0.0' })
  const browsers = []
  const open = async (options) => {
    const browser = await launch(options)
    browsers.push(browser)
    return browser
  }
  try {
    const address = server.urls[1]
    assert.match(address, new RegExp(`^https://${near}:`))

    // Whoever did not install the CA is warned, as it must be.
    const unknowing = await Person.sitDown(await open(ABROAD), 'somebody')
    await assert.rejects(unknowing.page.goto(address), /ERR_CERT_AUTHORITY_INVALID/)

    // Whoever did finds the address in the certificate. In Chromium a flag that trusts the one key does for it.
    assert.equal(await status(`${address}/livez`, await readFile(path.join(server.storage, 'keys/https/ca.pem'))), 200)
    const args = [`--ignore-certificate-errors-spki-list=${await spki(server)}`]
    const token = await server.token('mediator', { name: MEDIATOR })
    const { roomId } = await server.openRoom(token)
    const link = (await server.invite(token, roomId, PARTY)).replace(server.url, address)
    const mediator = await Person.sitDown(await open(), MEDIATOR)
    await mediator.enter(server, token, `/room/${roomId}`)
    const party = await Person.sitDown(await open({ ...ABROAD, args }), PARTY)
    await party.page.goto(link)
    assert.equal(await party.page.evaluate(() => window.isSecureContext), true)
    for (const kind of ['audio', 'video']) {
      await party.page.locator(`[data-testid=device-${kind}][data-state=on]`).waitFor()
    }
    await party.get('join-consent-yes').check()
    await party.get('join-button').click()
    await mediator.get('admit-button').click()
    await Promise.all([seesAndHears(mediator, [PARTY]), seesAndHears(party, [MEDIATOR])])
    assert.match(await cipher(party), /AEAD_AES_128_GCM$/)
    assert.deepEqual(await ends(party), { local: far, remote: near, protocol: 'udp' })

    await mediator.get('end-session').click()
    await mediator.get('end-confirm').click()
    await party.get('room-ended').waitFor()
    mediator.assertQuiet()
    party.assertQuiet()
    assert.deepEqual(server.errors, [])
  } finally {
    for (const browser of browsers) await browser.close()
    await server.stop()
  }
})

/** The answer's status, where this CA alone is trusted. */
function status(url, ca) {
  return new Promise((done, failed) => {
    get(url, { ca }, (response) => done(response.resume().statusCode)).on('error', failed)
  })
}
