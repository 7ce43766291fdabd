// All pages in the states that people meet them in, one after the other: for what must hold on each of them, and for
// their pictures.

import { seesAndHears } from './harness.mjs'

const PASSWORD = 'orchard ditch lantern 7'
/** What people type in, in each language. */
const WORDS = {
  zh: {
    mediator: '王调解员', a: '赵大山', b: '钱有福', lawyer: '李律师', leader: '张主任', operator: '陈值班员',
    auditor: '周审计', administrator: '管理员', region: '云岭区', number: '(2026)云调字第 001 号',
    title: '承包地青苗补偿纠纷', name: '一号调解室', wall: '零点夜查 · 第一组', reason: '周五零点夜查,村口岗位',
    cameras: ['望江村 · 村口', '石桥村 · 文化广场', '梅岭村 · 河堤', '云溪村 · 调解室'],
  },
  en: {
    mediator: 'Wang', a: 'Zhao', b: 'Qian', lawyer: 'Li', leader: 'Zhang', operator: 'Chen', auditor: 'Zhou',
    administrator: 'Sun', region: 'Yunling', number: '2026-M-0001', title: 'Crop compensation',
    name: 'Mediation room 1', wall: 'Midnight patrol 1', reason: 'Friday midnight patrol, village posts',
    cameras: ['Wangjiang gate', 'Shiqiao square', 'Meiling dyke', 'Yunxi mediation room'],
  },
}

/**
 * Goes through all pages.
 * @param {import('./harness.mjs').Server} server
 * @param {object} how
 * @param {'zh' | 'en'} how.language
 * @param {(name: string) => Promise<import('./harness.mjs').Person>} how.sitDown
 * @param {(page: string, person: import('./harness.mjs').Person) => Promise<void>} how.visit
 * @param {import('./harness.mjs').Camera[]} [how.cameras] running ones, for the wall
 */
export async function tour(server, { language, sitDown, visit, cameras = [] }) {
  const words = WORDS[language]
  const token = (role) => server.token(role, { name: words[role] })
  const administration = await token('administrator')
  await server.call('POST', 'regions', administration, { name: words.region })
  const registered = []
  for (const [index, name] of words.cameras.entries()) {
    const camera = cameras[index]?.registration(name) ?? { number: index + 1, name, url: 'rtsp://127.0.0.1:9/cam' }
    registered.push((await server.call('POST', 'cameras', administration, camera)).id)
  }
  const wall = await server.call('POST', 'walls', administration, { name: words.wall, camera_ids: registered })
  const mediation = await token('mediator')
  const { caseId, roomId } = await server.openRoom(mediation, words)
  const links = {
    a: await server.invite(mediation, roomId, words.a),
    b: await server.invite(mediation, roomId, words.b),
  }

  const stranger = await sitDown('stranger')
  await stranger.page.goto(server.url)
  await stranger.get('sign-in').waitFor()
  await visit('sign-in', stranger)

  const administrator = await sitDown(words.administrator)
  const { stdout } = await server.hewei('setup-link')
  await administrator.page.goto(server.url + /\/setup#\S+/.exec(stdout)[0])
  await administrator.get('setup-name').fill(words.administrator)
  await administrator.get('setup-username').fill('sun')
  await administrator.get('setup-password').fill(PASSWORD)
  await visit('setup', administrator)
  await administrator.get('setup-button').click()
  await administrator.get('account-new').click()
  await administrator.get('account-name').fill(words.mediator)
  await administrator.get('account-username').fill('wang')
  await administrator.get('account-add').click()
  await administrator.get('setup-link').waitFor()
  await visit('account-made', administrator)
  await administrator.page.reload()
  await administrator.page.locator('[data-testid=account-row][data-username=wang]').getByTestId('account-open').click()
  await administrator.get('account-reset').waitFor()
  await visit('home-administrator', administrator)
  await administrator.page.goto(`${server.url}/account`)
  await administrator.get('session').waitFor()
  await visit('account', administrator)

  const a = await sitDown(words.a)
  await a.page.goto(links.a)
  await a.page.locator('[data-testid=device-video][data-state=on]').waitFor()
  await visit('join', a)
  await a.get('join-consent-yes').check()
  await a.get('join-button').click()
  await a.get('lobby-wait').waitFor()
  await visit('lobby', a)

  await stranger.page.goto(links.a)
  await stranger.get('join-consent-no').check()
  await stranger.get('join-button').click()
  await stranger.get('join-refused').waitFor()
  await visit('join-refused', stranger)

  const mediator = await sitDown(words.mediator)
  await mediator.enter(server, mediation)
  await mediator.get('enter-room').waitFor()
  await visit('home-mediator', mediator)
  await mediator.get('invite').click()
  await mediator.get('invitation').first().waitFor()
  await visit('invitations', mediator)
  await mediator.get('enter-room').click()
  await mediator.get('door').waitFor()
  await visit('door', mediator)
  await mediator.atTheDoor()
  await mediator.get('admit-button').click()
  await Promise.all([seesAndHears(mediator, [words.a]), seesAndHears(a, [words.mediator])])
  const b = await sitDown(words.b)
  await b.join(links.b)
  await mediator.get('admit-button').waitFor()
  await visit('room-waiting', mediator)
  await mediator.get('people').click()
  await visit('room-people', mediator)
  await mediator.get('people').click()
  await mediator.get('admit-button').click()
  const lawyer = await sitDown(words.lawyer)
  await lawyer.enter(server, await token('lawyer'), `/room/${roomId}`)
  const everybody = [mediator, a, b, lawyer]
  for (const one of everybody) {
    await seesAndHears(one, everybody.filter((other) => other !== one).map(({ name }) => name))
  }
  await visit('room', mediator)
  await visit('room-party', a)

  await mediator.get('end-session').click()
  await visit('room-ending', mediator)
  await mediator.get('end-confirm').click()
  await a.get('room-ended').waitFor()
  await visit('room-ended-party', a)
  await mediator.get('to-case').waitFor()
  await visit('room-ended', mediator)
  await mediator.get('to-case').click()
  await mediator.page.locator('[data-testid=verify-result][data-verdict=intact]').waitFor()
  await mediator.get('download-package').waitFor()
  await visit('case', mediator)
  await mediator.get('track-row').nth(1).getByTestId('track-play').click()
  await visit('case-playing', mediator)

  for (const role of ['lawyer', 'leader', 'operator', 'auditor']) {
    const person = role === 'lawyer' ? lawyer : await sitDown(words[role])
    await person.enter(server, await token(role))
    await person.page.locator('h1').waitFor()
    await person.page.waitForLoadState('networkidle')
    await visit(`home-${role}`, person)
    if (role === 'auditor') {
      await person.page.goto(`${server.url}/case/${caseId}`)
      await person.get('case-recording').waitFor()
      await visit('case-auditor', person)
    }
    if (role !== 'operator') continue
    await person.get('open-wall').click()
    await person.get('wall-open').waitFor()
    await visit('wall-purpose', person)
    await person.get('wall-purpose-patrol').check()
    await person.get('wall-purpose-reason').fill(words.reason)
    await person.get('wall-open').click()
    const state = cameras.length > 0 ? 'live' : 'unreachable'
    for (const id of registered) {
      await person.page.locator(`[data-testid=wall-tile][data-camera="${id}"][data-state=${state}]`).waitFor()
    }
    await visit('wall', person)
  }
}
