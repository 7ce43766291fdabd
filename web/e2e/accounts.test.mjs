// Staff with accounts: set-up, sign-in, sign-outs, tokens that are renewed, and what an administrator does.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Person, Server, launch, seesAndHears, until } from './harness.mjs'

const PASSWORD = '青苗 补偿 调解 和为贵 2026'
const OTHER = 'orchard ditch lantern 7'
/** Chromium's own line for an answer of 4xx that the page asked for and explains in words. */
const REFUSED = /^Failed to load resource: the server responded with a status of 4\d\d/

/** @type {Server} */ let server
let browser

before(async () => {
  browser = await launch()
})
after(() => browser.close())

/** A test with a server of its own and people who are gone after it. */
function withServer(name, body) {
  test(name, async () => {
    server = await Server.start()
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

/** The link that a fresh server prints. */
async function setupLink() {
  const { status, stdout, stderr } = await server.hewei('setup-link')
  assert.equal(status, 0, stderr)
  return server.url + /\/setup#\S+/.exec(stdout)[0]
}

/** Uses the first link up, and is the administrator afterwards. */
async function setUpFirst(person) {
  await person.page.goto(await setupLink())
  await person.page.locator('[data-testid=setup][data-kind=first]').waitFor()
  await person.get('setup-name').fill('孙管理员')
  await person.get('setup-username').fill('sun')
  await person.get('setup-password').fill(PASSWORD)
  await person.get('setup-button').click()
  await person.get('health-line').waitFor()
}

/** Makes an account on the administrator's page; gives the link for its owner. */
async function addAccount(administrator, { name, username, role }) {
  await administrator.get('account-new').or(administrator.page.getByRole('button', { name: '再添加一个' })).click()
  await administrator.get('account-name').fill(name)
  await administrator.get('account-username').fill(username)
  await administrator.get('account-new-role').selectOption(role)
  await administrator.get('account-add').click()
  return administrator.get('setup-link').inputValue()
}

async function choosePassword(person, link, password) {
  await person.page.goto(link)
  await person.get('setup-password').fill(password)
  await person.get('setup-button').click()
  await person.get('account-menu').waitFor()
}

async function signIn(person, username, password) {
  await person.get('sign-in-username').fill(username)
  await person.get('sign-in-password').fill(password)
  await person.get('sign-in-button').click()
}

const row = (administrator, username) =>
  administrator.page.locator(`[data-testid=account-row][data-username="${username}"]`)

withServer('the first administrator is set up by a link, once; a sign-in needs the right password', async (sitDown) => {
  const administrator = await sitDown('孙管理员')
  const link = await setupLink()
  await administrator.page.goto(link)
  await administrator.page.locator('[data-testid=setup][data-kind=first]').waitFor()
  await administrator.get('setup-name').fill('孙管理员')
  await administrator.get('setup-username').fill('sun')
  await administrator.get('setup-password').fill('short')
  assert.ok(await administrator.get('setup-button').isDisabled())
  assert.equal(await administrator.get('setup-password-strength').innerText(), '还差 5 个字符')
  await administrator.get('setup-password').fill(PASSWORD)
  assert.equal(await administrator.get('setup-password-strength').innerText(), '很好')
  assert.equal(await administrator.get('setup-password').getAttribute('autocomplete'), 'new-password')
  await administrator.page.getByRole('button', { name: '显示' }).click()
  assert.equal(await administrator.get('setup-password').getAttribute('type'), 'text')
  await administrator.get('setup-button').click()
  await administrator.get('health-line').waitFor()
  assert.equal(new URL(administrator.page.url()).hash, '', 'the code is out of the address')

  // No script can read the cookie, and a new tab comes in by it.
  assert.equal(await administrator.page.evaluate(() => document.cookie), '')
  await administrator.openTab()
  await administrator.page.goto(server.url)
  await administrator.get('health-line').waitFor()

  const late = await sitDown('late')
  await late.page.goto(link)
  await late.get('setup-refused').waitFor()

  await administrator.get('account-menu').locator('summary').click()
  await administrator.get('sign-out').click()
  await administrator.get('sign-in').waitFor()
  await administrator.page.reload()
  await administrator.get('sign-in').waitFor()
  await signIn(administrator, 'sun', 'not the password')
  await administrator.get('problem').getByText('用户名或密码不对').waitFor()
  assert.equal(await administrator.get('sign-in-password').inputValue(), '')
  await signIn(administrator, ' SUN ', PASSWORD)
  await administrator.get('health-line').waitFor()
  administrator.assertQuiet(REFUSED)
  late.assertQuiet(REFUSED)
})

withServer('an administrator makes an account, changes its role, resets and disables it', async (sitDown) => {
  const administrator = await sitDown('孙管理员')
  await setUpFirst(administrator)
  const link = await addAccount(administrator, { name: '王调解员', username: 'wang', role: 'mediator' })
  const mediator = await sitDown('王调解员')
  await mediator.page.goto(link)
  await mediator.page.locator('[data-testid=setup][data-kind=invited]').waitFor()
  assert.equal(await mediator.get('setup-username').inputValue(), 'wang')
  await choosePassword(mediator, link, OTHER)
  await mediator.get('case-create').waitFor()

  // Another role ends what was opened with the old one, at the page's next question.
  await administrator.page.reload()
  await row(administrator, 'wang').getByTestId('account-open').click()
  await row(administrator, 'wang').getByTestId('account-role').selectOption('operator')
  await row(administrator, 'wang').getByTestId('account-role-save').click()
  await mediator.get('expired').waitFor()
  await signIn(mediator, 'wang', OTHER)
  await mediator.page.locator('#walls').waitFor()

  await row(administrator, 'wang').getByTestId('account-reset').click()
  await row(administrator, 'wang').getByTestId('account-reset').click()
  const reset = await row(administrator, 'wang').getByTestId('setup-link').inputValue()
  await mediator.get('expired').waitFor()
  await signIn(mediator, 'wang', OTHER)
  await mediator.get('problem').waitFor()
  await choosePassword(mediator, reset, PASSWORD)

  await row(administrator, 'wang').getByTestId('account-disable').click()
  await row(administrator, 'wang').getByTestId('account-disable').click()
  await administrator.page.locator('[data-username=wang][data-disabled=true]').waitFor()
  await mediator.get('expired').waitFor()
  await signIn(mediator, 'wang', PASSWORD)
  await mediator.get('problem').waitFor()

  // The last administrator stays one, whatever is pressed.
  await row(administrator, 'sun').getByTestId('account-open').click()
  await row(administrator, 'sun').getByTestId('account-disable').click()
  await row(administrator, 'sun').getByTestId('account-disable').click()
  await row(administrator, 'sun').getByTestId('problem').waitFor()
  assert.equal(await row(administrator, 'sun').getAttribute('data-disabled'), 'false')
  administrator.assertQuiet(REFUSED)
  mediator.assertQuiet(REFUSED)
})

withServer('one sees where one is signed in, ends the others, and changes the password', async (sitDown) => {
  const office = await sitDown('孙管理员')
  await setUpFirst(office)
  const home = await sitDown('孙管理员')
  await home.page.goto(server.url)
  await signIn(home, 'sun', PASSWORD)
  await home.get('account-menu').locator('summary').click()
  await home.get('account').click()
  const sessions = home.get('session')
  await until('two sign-ins', async () => (await sessions.count()) === 2)
  assert.equal(await home.page.locator('[data-testid=session][data-current=true]').count(), 1)
  await home.get('session-end').click()
  await until('one sign-in', async () => (await sessions.count()) === 1)
  await office.page.reload()
  await office.get('sign-in').waitFor()
  await signIn(office, 'sun', PASSWORD)
  await office.get('health-line').waitFor()

  await home.get('password-old').fill('not the password')
  await home.get('password-new').fill(OTHER)
  await home.get('password-change').click()
  await home.get('problem').waitFor()
  await home.get('password-old').fill(PASSWORD)
  await home.get('password-change').click()
  await home.get('password-changed').waitFor()
  await until('the others are out', async () => (await sessions.count()) === 1)
  await office.page.reload()
  await office.get('sign-in').waitFor()
  await signIn(office, 'sun', OTHER)
  await office.get('health-line').waitFor()
  home.assertQuiet(REFUSED)
  office.assertQuiet(REFUSED)
})

withServer('a token is renewed by the cookie, and a call does not notice', async (sitDown) => {
  const administrator = await sitDown('孙管理员')
  await setUpFirst(administrator)
  const link = await addAccount(administrator, { name: '王调解员', username: 'wang', role: 'mediator' })
  const mediator = await sitDown('王调解员')
  await choosePassword(mediator, link, OTHER)
  await mediator.get('case-number').fill('2026-调-0001')
  await mediator.get('case-title').fill('青苗补偿纠纷')
  await mediator.get('case-create').click()
  await mediator.get('room-name').fill('一号调解室')
  await mediator.get('room-create').click()

  // A token that the server does not know, as after 15 minutes of sleep: once, by the cookie, without a word.
  await mediator.page.evaluate(() => {
    const session = JSON.parse(sessionStorage.getItem('hewei.session'))
    sessionStorage.setItem('hewei.session', JSON.stringify({ ...session, token: `${session.token.slice(0, -4)}AAAA` }))
  })
  await mediator.page.reload()
  await mediator.get('enter-room').waitFor()
  assert.equal(await mediator.get('sign-in').count(), 0)

  await mediator.get('invite').click()
  await mediator.get('invitation-name').fill('赵大山')
  await mediator.get('invitation-make').click()
  const invitation = await mediator.get('invitation-link').inputValue()
  // From here on every token seems to end in two minutes, so that the page renews it at its next look.
  const renewed = []
  await mediator.page.route('**/api/v1/session/token', async (route) => {
    const response = await route.fetch()
    const grant = await response.json()
    renewed.push(grant.token)
    await route.fulfill({ response, json: { ...grant, expires_at: new Date(Date.now() + 120_000).toISOString() } })
  })
  await mediator.page.evaluate(() => {
    const session = JSON.parse(sessionStorage.getItem('hewei.session'))
    sessionStorage.setItem('hewei.session', JSON.stringify({ ...session, until: Date.now() + 120_000 }))
  })
  await mediator.page.reload()
  await mediator.get('enter-room').click()
  await mediator.atTheDoor()
  const party = await sitDown('赵大山')
  await party.join(invitation)
  await mediator.get('admit-button').click()
  await Promise.all([seesAndHears(mediator, ['赵大山']), seesAndHears(party, ['王调解员'])])
  const before = renewed.length
  await mediator.page.evaluate(() => (window.__hewei.pc.noticed = false))
  await until('two more renewals', () => renewed.length >= before + 2, { within: 90_000 })
  assert.equal(await mediator.page.evaluate(() => window.__hewei.pc.noticed), false, 'the connection is the same')
  await seesAndHears(mediator, ['赵大山'])
  mediator.assertQuiet(REFUSED)
})

withServer('an invitation is taken back: who came in by it is out, and says why', async (sitDown) => {
  const token = await server.token('mediator', { name: '王调解员' })
  const { roomId } = await server.openRoom(token)
  const mediator = await sitDown('王调解员')
  await mediator.enter(server, token)
  const party = await sitDown('赵大山')
  await party.join(await server.invite(token, roomId, '赵大山'))
  await party.get('lobby-wait').waitFor()
  const unused = await server.invite(token, roomId, '钱有福')
  await mediator.get('room-waiting').waitFor()
  await mediator.get('invite').click()
  const of = (name) => mediator.page.locator(`[data-testid=invitation][data-name="${name}"]`)
  assert.equal(await of('赵大山').getAttribute('data-state'), 'used')
  for (const name of ['赵大山', '钱有福']) {
    await of(name).getByTestId('invitation-revoke').click()
    await of(name).getByTestId('invitation-revoke').click()
    await mediator.page.locator(`[data-testid=invitation][data-name="${name}"][data-state=revoked]`).waitFor()
  }
  await party.page.locator('[data-testid=room-ended][data-reason=access_ended]').waitFor()
  const late = await sitDown('钱有福')
  await late.join(unused)
  await late.get('join-refused').waitFor()
  mediator.assertQuiet(REFUSED)
})

withServer('links without an account are listed, and one of them is taken back', async (sitDown) => {
  const administrator = await sitDown('孙管理员')
  await setUpFirst(administrator)
  const operator = await sitDown('陈值班员')
  await operator.enter(server, await server.token('operator', { name: '陈值班员' }))
  await operator.page.locator('#walls').waitFor()
  await administrator.page.reload()
  const link = administrator.page.locator('[data-testid=link][data-name="陈值班员"]')
  await link.getByTestId('link-end').click()
  await link.getByTestId('link-end').click()
  await until('it is gone', async () => (await link.count()) === 0)
  await operator.page.reload()
  await operator.get('expired').waitFor()
  operator.assertQuiet(REFUSED)
})
