// What each page shows to whom, in both languages, on a small phone and without a mouse.

import assert from 'node:assert/strict'
import { get } from 'node:http'
import { after, before, test } from 'node:test'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { Person, Server, launch, received, seesAndHears, sleep, until } from './harness.mjs'
import { tour } from './tour.mjs'

/** The largest reserve there is, 1 TB: more than is free where tests run, or the test below says so. */
const RESERVE_MB = 1e6
const PHONE = { width: 360, height: 740 }

/** @type {Server} */ let server
let browser

before(async () => {
  browser = await launch()
})
after(() => browser.close())

/** A test with a server of its own and people who are gone after it. */
function withServer(name, body, settings, how) {
  test(name, async () => {
    server = await Server.start(settings, how)
    const people = []
    const sitDown = async (who, options) => {
      const person = await Person.sitDown(browser, who, options)
      people.push(person)
      return person
    }
    try {
      await body(sitDown)
      assert.deepEqual(server.errors, [])
    } finally {
      for (const person of people) await person.context.close()
      await server.stop()
    }
  })
}

for (const [language, locale] of [['zh', 'zh-CN'], ['en', 'en-US']]) {
  withServer(`every page fits a phone of 360 px, in ${locale}, within a strict content security policy`, async (sitDown) => {
    const seen = []
    const people = new Set()
    await tour(server, {
      language,
      sitDown: (name) => sitDown(name, { locale, viewport: PHONE }),
      visit: async (page, person) => {
        seen.push(page)
        people.add(person)
        await assertFits(page, person)
        const text = await person.page.locator('body').innerText()
        assert.doesNotMatch(await plainText(person), /\b[a-z]+\.[a-z]+_[a-z_]+\b/, `${page} shows the name of a text`)
        assert.equal(await person.page.evaluate(() => document.documentElement.lang), language === 'zh' ? 'zh-CN' : 'en')
        const chinese = text.replaceAll('中文', '').match(/[\u4e00-\u9fff].*/)?.[0]
        if (language === 'zh') assert.ok(chinese, `${page} has no Chinese`)
        else assert.equal(chinese, undefined, `${page} has Chinese in it`)
      },
    })
    assert.ok(seen.length >= 20, seen.join(' '))
    for (const person of people) person.assertQuiet(REFUSED)
  })
}

/** Chromium's own line for an answer of 4xx that the page asked for and explains in words. */
const REFUSED = /^Failed to load resource: the server responded with a status of 4\d\d/

withServer('the content security policy allows nothing inline and nothing of others', async () => {
  const policy = (await fetch(server.url)).headers.get('content-security-policy')
  assert.match(policy, /default-src 'self'/)
  assert.doesNotMatch(policy, /unsafe|\*|https?:/)
})

/** Bytes over the network until a party may join: at 300 kbit/s they take some two seconds. */
const FIRST_PAGE_BYTES_MAX = 80_000

withServer('what a party opens first is small, compressed, and holds no page of the staff', async (sitDown) => {
  const token = await server.token('mediator')
  const { roomId } = await server.openRoom(token)
  const party = await sitDown('赵大山')
  const responses = []
  party.page.on('response', (response) => responses.push(response))
  await party.page.goto(await server.invite(token, roomId, '赵大山'))
  await party.get('join-button').waitFor()
  const files = responses.filter((response) => /\.(js|css)$|\/join$/.test(new URL(response.url()).pathname))
  const names = files.map((file) => new URL(file.url()).pathname)
  assert.ok(files.length >= 3, `a page, a script, a style at least: ${names}`)
  assert.ok(!names.some((name) => /\/(Account|Case|Demo|Home|Setup|SignIn|Wall|en)-/.test(name)), `${names}`)
  let bytes = 0
  for (const file of files) {
    assert.match(file.headers()['content-encoding'], /^(br|gzip)$/, file.url())
    bytes += (await file.request().sizes()).responseBodySize
  }
  assert.ok(bytes > 10_000 && bytes < FIRST_PAGE_BYTES_MAX, `${bytes} bytes`)
  party.assertQuiet()
})

withServer('each file is the same in each form, and is not sent again to whom has it', async () => {
  const page = await fetched('/join', {})
  const files = [...page.body.toString().matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, file]) => file)
  assert.ok(files.length >= 3, page.body.toString())
  for (const file of ['/join', ...files]) {
    const plain = await fetched(file, { 'accept-encoding': 'identity' })
    const tags = new Set([plain.headers.etag])
    assert.deepEqual([plain.status, plain.headers['content-encoding'], plain.headers.vary], [200, undefined, 'accept-encoding'])
    for (const [takes, decompress] of [['br', brotliDecompressSync], ['gzip', gunzipSync]]) {
      const small = await fetched(file, { 'accept-encoding': takes })
      assert.deepEqual([small.status, small.headers['content-encoding']], [200, takes], file)
      assert.ok(small.body.length < plain.body.length && decompress(small.body).equals(plain.body), file)
      assert.equal(small.headers['content-type'], plain.headers['content-type'])
      tags.add(small.headers.etag)
      const again = await fetched(file, { 'accept-encoding': takes, 'if-none-match': small.headers.etag })
      assert.deepEqual([again.status, again.body.length], [304, 0], file)
    }
    assert.equal(tags.size, 3, 'a tag for each form')
  }
  assert.equal((await fetched(`${files[0]}.br`, {})).status, 404)
})

/** An answer as it comes, which `fetch` would decompress. */
function fetched(file, headers) {
  return new Promise((done, fail) => {
    get(server.url + file, { headers }, (response) => {
      const parts = []
      response.on('data', (part) => parts.push(part))
      response.on('error', fail)
      response.on('end', () => done({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) }))
    }).on('error', fail)
  })
}

withServer('who waits in the lobby gets no sound and no picture, also by a forged offer', async (sitDown) => {
  const token = await server.token('mediator', { name: '王调解员' })
  const { roomId } = await server.openRoom(token)
  const mediator = await sitDown('王调解员')
  await mediator.enter(server, token, `/room/${roomId}`)
  const party = await sitDown('赵大山')
  await party.join(await server.invite(token, roomId, '赵大山'))
  await party.get('lobby-wait').waitFor()
  await mediator.get('admit-button').waitFor()
  assert.equal(await party.page.evaluate(() => window.__hewei.pc), null)
  assert.equal(await party.get('room-tile').count(), 0)

  const answer = await party.page.evaluate(async () => {
    const pc = new RTCPeerConnection()
    pc.addTransceiver('video', { direction: 'recvonly' })
    await pc.setLocalDescription()
    const { ws } = window.__hewei
    const heard = new Promise((done) => {
      ws.addEventListener('message', ({ data }) => {
        const message = JSON.parse(data)
        if (message.type === 'answer' || message.type === 'error') done(message)
      })
    })
    ws.send(JSON.stringify({ type: 'offer', offer_id: 1, sdp: pc.localDescription.sdp }))
    return heard
  })
  assert.equal(answer.type, 'error')
  assert.match(answer.problem.type, /in_lobby$/)
  await sleep(500)
  assert.equal(await mediator.get('room-tile').count(), 1, 'nor does the mediator get theirs')

  await mediator.get('admit-button').click()
  await Promise.all([seesAndHears(party, ['王调解员']), seesAndHears(mediator, ['赵大山'])])
  mediator.assertQuiet()
  party.assertQuiet()
})

withServer('staff are asked at the door, once, and nobody is recorded who did not agree', async (sitDown) => {
  const token = await server.token('mediator', { name: '王调解员' })
  const { roomId } = await server.openRoom(token)
  const mediator = await sitDown('王调解员')
  await mediator.enter(server, token)
  await mediator.page.goto(`${server.url}/room/${roomId}`)
  await mediator.get('door-record-no').waitFor()
  assert.equal(await mediator.page.evaluate(() => window.__hewei?.ws ?? null), null, 'nothing is opened before')
  const record = () => mediator.page.evaluate(() => window.__hewei?.participants()[0]?.record)
  await mediator.atTheDoor({ record: false })
  await until('the server knows of the refusal', async () => (await record()) === false)

  await mediator.page.reload()
  await until('it holds after a reload, unasked', async () => (await record()) === false)
  await mediator.get('people').click()
  await mediator.get('consent-toggle').check()
  await until('the server knows of the consent', async () => (await record()) === true)
  await mediator.page.reload()
  await until('the consent holds', async () => (await record()) === true)
  await mediator.get('people').click()
  await mediator.get('consent-toggle').uncheck()
  await until('the server knows of the withdrawal', async () => (await record()) === false)
  await mediator.page.reload()
  await until('a withdrawn consent does not come back', async () => (await record()) === false)
  mediator.assertQuiet()

  // Another person at the same tab has not said anything yet.
  await mediator.page.goto(`${server.url}/enter#${await server.token('lawyer', { name: '李律师', room: roomId })}`)
  await mediator.get('door').waitFor()

  // Who has no seat is refused, and not asked first.
  const operator = await sitDown('陈值班员')
  await operator.enter(server, await server.token('operator'))
  await operator.page.goto(`${server.url}/room/${roomId}`)
  await operator.get('room-refused').waitFor()
  assert.equal(await operator.get('door').count(), 0)
})

withServer('an invitation works once, and says so the next time', async (sitDown) => {
  const token = await server.token('mediator')
  const { roomId } = await server.openRoom(token)
  const link = await server.invite(token, roomId, '赵大山')
  const first = await sitDown('first')
  await first.join(link)
  await first.get('lobby-wait').waitFor()
  for (const [used, words] of [
    [link, '这个邀请链接已经用过了。请向调解员要一个新链接。'],
    [`${server.url}/join#AAAAAAAAAAAAAAAAAAAAAA`, '这个邀请不存在或已过期。请检查链接是否完整，或向调解员要一个新链接。'],
  ]) {
    const second = await sitDown('second')
    await second.join(used)
    await second.get('join-refused').getByText(words).waitFor()
    second.assertQuiet(REFUSED)
  }
  const third = await sitDown('third')
  await third.page.goto(`${server.url}/join`)
  await third.page.getByText('这个链接不完整').waitFor()
})

withServer('without a token every page says how to get in, and asks only whether this is a demo', async (sitDown) => {
  const token = await server.token('mediator')
  const { caseId, roomId } = await server.openRoom(token)
  const stranger = await sitDown('stranger')
  const asked = []
  stranger.page.on('request', (request) => asked.push(new URL(request.url()).pathname))
  for (const page of ['/', `/room/${roomId}`, '/wall/01a20bd1-8d61-71d0-a541-de3d61f6dcec', `/case/${caseId}`]) {
    await stranger.page.goto(server.url + page)
    await stranger.get('sign-in').waitFor()
    await stranger.get('for-parties').waitFor()
  }
  assert.deepEqual([...new Set(asked.filter((path) => path.startsWith('/api/')))], ['/api/v1/demo'])
  await stranger.page.goto(`${server.url}/demo`)
  await stranger.get('demo-none').waitFor()
  stranger.assertQuiet(REFUSED)

  const forger = await sitDown('forger')
  await forger.page.goto(`${server.url}/enter#${token.slice(0, -2)}xx`)
  await forger.get('expired').waitFor()
  await forger.get('sign-in').waitFor()
  forger.assertQuiet(REFUSED)
})

withServer('an auditor verifies and reads the log, and gets no media anywhere', async (sitDown) => {
  const token = await server.token('mediator', { name: '王调解员' })
  const { caseId, roomId } = await server.openRoom(token)
  const mediator = await sitDown('王调解员')
  await mediator.enter(server, token, `/room/${roomId}`)
  await mediator.get('rec-state').waitFor()
  await until('two seconds of picture went out', () =>
    mediator.page.evaluate(async () => {
      for (const item of (await window.__hewei.pc.getStats()).values()) {
        if (item.type === 'outbound-rtp' && item.kind === 'video' && item.framesSent > 30) return true
      }
      return false
    }))
  await mediator.get('end-session').click()
  await mediator.get('end-confirm').click()
  await mediator.get('to-case').click()
  await mediator.page.locator('[data-testid=case-recording][data-state=sealed]').waitFor()

  const auditor = await sitDown('周审计')
  await auditor.enter(server, await server.token('auditor', { name: '周审计' }))
  await auditor.page.locator('[data-testid=audit-row][data-action="recording.verify"]').first().waitFor()
  await auditor.get('verify').click()
  await auditor.page.locator('[data-testid=verify-result][data-verdict=intact]').waitFor()
  for (const id of ['enter-room', 'open-wall', 'track-play', 'download-package', 'invite']) {
    assert.equal(await auditor.get(id).count(), 0, id)
  }
  assert.equal(await auditor.page.locator('video, audio').count(), 0)

  await auditor.page.goto(`${server.url}/room/${roomId}`)
  await auditor.get('room-refused').waitFor()
  await auditor.page.goto(`${server.url}/case/${caseId}`)
  await auditor.get('case-recording').waitFor()
  await sleep(500)
  for (const id of ['track-play', 'download-package', 'problem']) assert.equal(await auditor.get(id).count(), 0, id)
  auditor.assertQuiet(REFUSED)

  const recordingId = (await server.call('GET', 'recordings', token))[0].id
  const refused = await fetch(`${server.url}/api/v1/recordings/${recordingId}/tracks`, {
    headers: { authorization: `Bearer ${await server.token('auditor')}` },
  })
  assert.equal(refused.status, 403)
})

withServer('the main action of each page is reached and done by the keyboard alone', async (sitDown) => {
  const administration = await server.token('administrator')
  await server.call('POST', 'cameras', administration, { number: 1, name: '村口', url: 'rtsp://127.0.0.1:9/cam' })
  const [{ id }] = await server.call('GET', 'cameras', administration)
  await server.call('POST', 'walls', administration, { name: '零点夜查', camera_ids: [id] })
  const token = await server.token('mediator', { name: '王调解员' })
  const { roomId } = await server.openRoom(token)

  const party = await sitDown('赵大山')
  await party.page.goto(await server.invite(token, roomId, '赵大山'))
  await tabTo(party, 'join-consent-yes')
  await party.page.keyboard.press('Space')
  await tabTo(party, 'join-button')
  await party.page.keyboard.press('Enter')
  await party.get('lobby-wait').waitFor()

  const mediator = await sitDown('王调解员')
  await mediator.enter(server, token)
  await mediator.get('enter-room').waitFor()
  await tabTo(mediator, 'enter-room')
  await mediator.page.keyboard.press('Enter')
  await mediator.get('door').waitFor()
  await tabTo(mediator, 'door-record-yes')
  await mediator.page.keyboard.press('Enter')
  await mediator.get('admit-button').waitFor()
  await tabTo(mediator, 'admit-button')
  await mediator.page.keyboard.press('Enter')
  await party.get('mute-audio').waitFor()
  await until('both are in', async () => (await received(mediator)).length === 2)
  await tabTo(mediator, 'end-session')
  await mediator.page.keyboard.press('Enter')
  await tabTo(mediator, 'end-confirm')
  await mediator.page.keyboard.press('Enter')
  await mediator.get('to-case').waitFor()
  await tabTo(mediator, 'to-case')
  await mediator.page.keyboard.press('Enter')
  await mediator.get('download-package').waitFor()
  await tabTo(mediator, 'download-package')

  const operator = await sitDown('陈值班员')
  await operator.enter(server, await server.token('operator'))
  await operator.get('open-wall').waitFor()
  await tabTo(operator, 'open-wall')
  await operator.page.keyboard.press('Enter')
  await operator.get('wall-purpose-reason').waitFor()
  await tabTo(operator, 'wall-purpose-patrol')
  await operator.page.keyboard.press('Space')
  await tabTo(operator, 'wall-purpose-reason')
  await operator.page.keyboard.type('周五零点夜查')
  await operator.page.keyboard.press('Enter')
  await operator.get('wall-tile').waitFor()
})

withServer('a mediator is led to invite first, then to whoever waits', async (sitDown) => {
  const token = await server.token('mediator', { name: '王调解员' })
  const { roomId } = await server.openRoom(token)
  const mediator = await sitDown('王调解员')
  await mediator.enter(server, token)
  const isMain = (id) => mediator.get(id).evaluate((element) => element.classList.contains('primary'))
  await mediator.get('invite').waitFor()
  assert.deepEqual([await isMain('invite'), await isMain('enter-room')], [true, false])
  await mediator.get('invite').click()
  await mediator.get('invitation-name').fill('赵大山')
  await mediator.get('invitation-make').click()
  const link = await mediator.get('invitation-link').inputValue()
  await until('entering is the main button', async () => (await isMain('enter-room')) && !(await isMain('invite')))
  assert.equal(await mediator.get('room-waiting').count(), 0)

  const party = await sitDown('赵大山')
  await party.join(link)
  await party.get('lobby-wait').waitFor()
  await mediator.get('room-waiting').getByText('1 人在等候').waitFor()
  mediator.assertQuiet()
  party.assertQuiet()
})

withServer('no room for recordings is said to those who can do something about it', async (sitDown) => {
  const { disk } = await server.call('GET', 'health', await server.token('administrator'))
  assert.ok(disk.free_bytes < RESERVE_MB * 1e6, 'this disk is too large for the test')
  for (const [role, told] of [['mediator', true], ['administrator', true], ['operator', false]]) {
    const person = await sitDown(role)
    await person.enter(server, await server.token(role))
    await person.page.locator('h2').first().waitFor()
    if (told) {
      await person.page.locator('[data-testid=health][data-space=urgent]').waitFor()
      await person.get('health-space').getByText('现在不能开始录制').waitFor()
    } else assert.equal(await person.get('health').count(), 0)
    person.assertQuiet()
  }
}, { HEWEI_RECORDING_RESERVE_MB: String(RESERVE_MB) })

withServer('a sitting that was interrupted shows its parts, and when it stopped', async (sitDown) => {
  const token = await server.token('mediator', { name: '王调解员' })
  const { roomId } = await server.openRoom(token)
  const mediator = await sitDown('王调解员')
  await mediator.enter(server, token, `/room/${roomId}`)
  const sends = () => until('a second of picture went out', () =>
    mediator.page.evaluate(async () => {
      if (window.__hewei.pc?.connectionState !== 'connected') return false
      for (const item of (await window.__hewei.pc.getStats()).values()) {
        if (item.type === 'outbound-rtp' && item.kind === 'video' && item.framesSent > 30) return true
      }
      return false
    }))
  await mediator.page.locator('[data-testid=rec-state][data-recording=true]').waitFor()
  await sends()
  await mediator.page.evaluate(() => (window.__hewei.pc.old = true))
  await server.kill()
  await server.again()
  await until('a connection of the new server', () => mediator.page.evaluate(() => !!window.__hewei.pc && !window.__hewei.pc.old))
  await mediator.page.locator('[data-testid=rec-state][data-recording=true]').waitFor()
  await sends()
  await mediator.get('end-session').click()
  await mediator.get('end-confirm').click()
  await mediator.get('to-case').click()
  const parts = mediator.get('sitting').getByTestId('case-recording')
  await until('two sealed parts', async () => {
    const states = await parts.evaluateAll((all) => all.map((one) => one.dataset.state))
    assert.deepEqual(states, ['sealed', 'sealed'])
    return true
  })
  await mediator.get('sitting').getByText('中断后分为 2 段').waitFor()
  await parts.first().getByTestId('recording-detail').getByText('中断').waitFor()
  await parts.first().getByTestId('verify').click()
  await parts.first().locator('[data-testid=verify-result][data-verdict=intact]').waitFor()
  await parts.first().getByTestId('interruption').getByText('此后的内容不在这一段里').waitFor()
  assert.equal(await parts.nth(1).getByTestId('interruption').count(), 0)
})

withServer('a demo shows whom one may be, each in a window of its own', async (sitDown) => {
  // It listens before the demo is in it.
  await until('the demo is there', async () => (await fetch(`${server.url}/api/v1/demo`)).ok)
  const visitor = await sitDown('visitor', { viewport: PHONE })
  await visitor.page.goto(server.url)
  await visitor.get('demo').waitFor()
  assert.equal(new URL(visitor.page.url()).pathname, '/demo')
  const roles = await visitor.get('demo-link').evaluateAll((all) => all.map((one) => one.dataset.role))
  const staff = ['mediator', 'lawyer', 'leader', 'operator', 'auditor', 'administrator']
  assert.deepEqual([...roles].sort(), [...staff, 'party', 'party'].sort())
  await assertFits('demo', visitor)
  for (const id of ['demo-start', 'demo-wall']) {
    const [opened] = await Promise.all([visitor.context.waitForEvent('page'), visitor.get(id).click()])
    await opened.getByTestId(id === 'demo-start' ? 'enter-room' : 'open-wall').waitFor()
  }
  // Two windows, two people: neither took the other's place.
  await visitor.page.bringToFront()
  assert.equal(new URL(visitor.page.url()).pathname, '/demo')
  visitor.assertQuiet()
}, {}, { command: 'demo' })

/** What a page says, but for the technical lines: those name actions, as the audit log does. */
function plainText(person) {
  return person.page.evaluate(() => {
    const body = document.body.cloneNode(true)
    for (const line of body.querySelectorAll('.technical')) line.remove()
    return body.textContent
  })
}

/** Nothing reaches past the sides of the screen. */
async function assertFits(page, person) {
  const { scroll, width, outside } = await person.page.evaluate(() => {
    const width = document.documentElement.clientWidth
    const controls = [...document.querySelectorAll('a, button, input, select, summary, h1, h2, h3, p, label')]
    const outside = controls
      .filter((element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }))
      .map((element) => ({ element, box: element.getBoundingClientRect() }))
      .filter(({ box }) => box.width > 1 && box.height > 1 && (box.left < -0.5 || box.right > width + 0.5))
      .map(({ element, box }) => `${element.outerHTML.slice(0, 120)} ${Math.round(box.left)}..${Math.round(box.right)}`)
    return { scroll: document.documentElement.scrollWidth, width, outside }
  })
  assert.ok(scroll <= width, `${page} is ${scroll} px wide on a screen of ${width}`)
  assert.deepEqual(outside, [], `${page} has parts past the sides`)
}

/** Presses Tab until the part is focused, and shows that it is. */
async function tabTo(person, id) {
  const wanted = person.get(id).first()
  for (let presses = 0; presses < 60; presses += 1) {
    await person.page.keyboard.press('Tab')
    if (await wanted.evaluate((element) => element === document.activeElement)) {
      assert.ok(await wanted.evaluate((element) => element.matches(':focus-visible')))
      return
    }
  }
  assert.fail(`${id} is not reached by Tab`)
}
