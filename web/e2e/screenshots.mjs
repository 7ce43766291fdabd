// Makes docs/screenshots: each page on a desktop and on a phone, in Chinese. `npm run screenshots`

import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { Camera, Person, ROOT, Server, execute, launch, sleep } from './harness.mjs'
import { tour } from './tour.mjs'

const FOLDER = path.join(ROOT, 'docs/screenshots')
const SCREENS = {
  desktop: { width: 1280, height: 800 },
  phone: { width: 390, height: 844 },
}
/** Soft colours in place of the shrill test picture of Chromium, another pair for each person. */
const BACKGROUNDS = [['0x8FA9BD', '0x4E6A80'], ['0xB9A58C', '0x7C6A55'], ['0x9DB39A', '0x5B7558'], ['0xB39AA6', '0x75586A']]
const COLOURS = 64

await rm(FOLDER, { recursive: true, force: true })
await mkdir(FOLDER, { recursive: true })
for (const [screen, viewport] of Object.entries(SCREENS)) await take(screen, viewport)
let bytes = 0
for (const name of await readdir(FOLDER)) bytes += (await stat(path.join(FOLDER, name))).size
console.log(`${FOLDER}: ${Math.round(bytes / 1024)} KiB`)

async function take(screen, viewport) {
  const server = await Server.start()
  const browsers = []
  const cameras = [0, 1, 2, 3].map((index) => new Camera(index))
  try {
    await Promise.all(cameras.map((camera) => camera.start()))
    const sitDown = async (name) => {
      const picture = path.join(server.folder, `${browsers.length}.y4m`)
      await draw(picture, BACKGROUNDS[browsers.length % BACKGROUNDS.length])
      const browser = await launch({ args: [`--use-file-for-fake-video-capture=${picture}`] })
      browsers.push(browser)
      return Person.sitDown(browser, name, { viewport })
    }
    const visit = async (page, person) => {
      await sleep(1_500)
      await shoot(path.join(FOLDER, `${page}-${screen}.png`), person.page)
    }
    await tour(server, { language: 'zh', sitDown, visit, cameras })
  } finally {
    for (const browser of browsers) await browser.close()
    for (const camera of cameras) camera.kill('SIGKILL')
    await server.stop()
  }
}

/** Somebody before a wall: a head and shoulders that move a little. */
async function draw(file, [light, dark]) {
  const person = (x, y) => `hypot(X-(320+8*sin(T*2)),(Y-${y})*${x})`
  const shape = `if(lt(${person(1.25, 150)},80)+lt(${person(0.8, 400)},170),70,170+20*X/W)`
  const colours = `gradients=s=640x360:r=15:c0=${light}:c1=${dark}:speed=0.01:d=4,format=yuv420p`
  const { status, stderr } = await execute('ffmpeg', [
    '-v', 'error', '-y', '-f', 'lavfi', '-i', `${colours},geq=lum='${shape}':cb='cb(X,Y)':cr='cr(X,Y)'`, file,
  ])
  if (status !== 0) throw new Error(stderr)
}

/** With few colours, which makes it small: the pages have few. */
async function shoot(file, page) {
  const whole = `${file}.whole.png`
  await page.screenshot({ path: whole, animations: 'disabled' })
  const palette = `split[a][b];[a]palettegen=max_colors=${COLOURS}:stats_mode=single[p];[b][p]paletteuse=dither=none`
  const { status, stderr } = await execute('ffmpeg', ['-v', 'error', '-y', '-i', whole, '-vf', palette, file])
  await rm(whole)
  if (status !== 0) throw new Error(stderr)
}
