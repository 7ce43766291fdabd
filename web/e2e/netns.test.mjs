// A phone in another network opens the server's own https address, with and without a firewall between. Runs within
// `scripts/netns.sh`.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { get } from 'node:https'
import path from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { ABROAD, Person, Server, cipher, ends, launch, seesAndHears, spki, until } from './harness.mjs'

const { NETNS_NEAR: near, NETNS_FAR: far, NETNS_NEAR6: near6 } = process.env
const MEDIATOR = '王调解员'
const PARTY = '赵大山'

/** The server with two people: the mediator on its own machine, the party in the other network, at the server's https
 * address on the host `at`. `before` is run when the server listens. */
async function call(before, during, { at = near, ...settings } = {}) {
  assert.ok(near && far, 'run this by: scripts/netns.sh npm --prefix web run e2e:netns')
  const listen = `127.0.0.1:0,${at}:0`
  const server = await Server.start({ HEWEI_HTTP_LISTEN: listen, HEWEI_MEDIA_BIND: '0.0.0.0', ...settings })
  const browsers = []
  const open = async (options) => {
    const browser = await launch(options)
    browsers.push(browser)
    return browser
  }
  try {
    const address = server.urls[1]
    assert.ok(address.startsWith(`https://${at}:`), address)
    await before({ server, address, open })

    // The CA is not installed. In Chromium a flag that trusts the one key does for it.
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
    await during({ server, mediator, party })

    await mediator.get('end-session').click()
    await mediator.get('end-confirm').click()
    await party.get('room-ended').waitFor()
    mediator.assertQuiet()
    party.assertQuiet()
    assert.deepEqual(server.errors, [])
  } finally {
    await nft('flush ruleset')
    for (const browser of browsers) await browser.close()
    await server.stop()
  }
}

test('a call from another network, over the server\'s own certificate', async () => {
  await call(
    async ({ server, address, open }) => {
      // Whoever did not install the CA is warned, as it must be.
      const unknowing = await Person.sitDown(await open(ABROAD), 'somebody')
      await assert.rejects(unknowing.page.goto(address), /ERR_CERT_AUTHORITY_INVALID/)
      // Whoever did finds the address in the certificate.
      assert.equal(await status(`${address}/livez`, await readFile(path.join(server.storage, 'keys/https/ca.pem'))), 200)
    },
    async ({ party }) => {
      assert.deepEqual(await ends(party), { local: far, remote: near, protocol: 'udp', relayed: null })
    },
  )
})

test('a firewall that lets no UDP through: the call goes over TCP, at the number of the media port', async () => {
  await call(
    () => firewall('meta l4proto udp drop'),
    async ({ server, mediator, party }) => {
      assert.deepEqual(await ends(party), { local: far, remote: near, protocol: 'tcp', relayed: null })
      const before = await server.metrics()
      assert.ok(before.hewei_media_tcp_taken_total >= 1)
      // It holds: more of both comes, both ways.
      await Promise.all([seesAndHears(mediator, [PARTY]), seesAndHears(party, [MEDIATOR])])
      assert.deepEqual(await ends(party), { local: far, remote: near, protocol: 'tcp', relayed: null })
      assert.equal((await server.metrics()).hewei_media_peers_connected_total, before.hewei_media_peers_connected_total)
    },
  )
})

test('a call over IPv6', async () => {
  await call(
    () => firewall('meta nfproto ipv4 drop'),
    async ({ party }) => {
      const { remote, protocol, relayed } = await ends(party)
      assert.deepEqual({ remote, protocol, relayed }, { remote: near6, protocol: 'udp', relayed: null })
    },
    { at: `[${near6}]`, HEWEI_MEDIA_BIND: '::' },
  )
})

test('a firewall that lets nothing but HTTPS through: the call goes over TURN within TLS', async () => {
  await callByRelay('tls', ({ address }) => firewall('meta l4proto udp drop', `tcp dport != ${new URL(address).port} drop`))
})

test('a firewall that lets out what HTTP/3 needs and nothing else: the call goes over TURN, by UDP', async () => {
  await callByRelay('udp', ({ address }) => {
    const { port } = new URL(address)
    return firewall(`udp dport != ${port} drop`, `tcp dport != ${port} drop`)
  })
})

/** A call that goes through the relay, which is reached by `protocol`. */
async function callByRelay(protocol, behind) {
  await call(
    behind,
    async ({ server, mediator, party }) => {
      const over = async () => {
        const { remote, relayed } = await ends(party)
        assert.deepEqual({ remote, relayed }, { remote: near, relayed: protocol })
        return true
      }
      // Where there are two ways, a browser may begin with the one and go on by the better.
      await until(`the relay is reached by ${protocol}`, over)
      const before = await server.metrics()
      assert.ok(before.hewei_turn_relays >= 1)
      await Promise.all([seesAndHears(mediator, [PARTY]), seesAndHears(party, [MEDIATOR])])
      await over()
      const after = await server.metrics()
      for (const way of ['received', 'sent']) {
        const rose = after[`hewei_turn_${way}_bytes_total`] - before[`hewei_turn_${way}_bytes_total`]
        assert.ok(rose > 10_000, `${way} ${rose} bytes through the relay`)
      }
      assert.equal(after.hewei_media_peers_connected_total, before.hewei_media_peers_connected_total)
    },
  )
}

/** Drops what comes from the other network and matches one of these. */
async function firewall(...rules) {
  await nft('add table inet firewall', 'add chain inet firewall in { type filter hook input priority 0; }')
  await nft(...rules.map((rule) => `add rule inet firewall in iifname near ${rule}`))
}

async function nft(...lines) {
  await promisify(execFile)('nft', [lines.join('; ')])
}

/** The answer's status, where this CA alone is trusted. */
function status(url, ca) {
  return new Promise((done, failed) => {
    get(url, { ca }, (response) => done(response.resume().statusCode)).on('error', failed)
  })
}
