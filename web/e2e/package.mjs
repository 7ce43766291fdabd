// What a stranger does with a case package: verify it, decode what is in it, change it.

import assert from 'node:assert/strict'
import { open, readFile } from 'node:fs/promises'
import path from 'node:path'
import { execute } from './harness.mjs'

/**
 * Both verifiers, with script and CA from outside the package: their statuses, and what they said.
 * @param {import('./harness.mjs').Server} server
 * @param {string} script a copy of `verify.sh` from before
 */
export async function verify(server, script, folder) {
  const results = await Promise.all([
    execute('sh', [script, server.recorderCa, folder]),
    server.hewei('verify', folder, '--ca', server.recorderCa),
  ])
  const [byScript, byBinary] = results.map(({ status, stdout, stderr }) => ({ status, text: stdout + stderr }))
  return { byScript, byBinary }
}

/** One changed byte in `file` of the package must be found by both, by the file's name; then it is put back. */
export async function assertFlipIsFound(server, script, folder, file) {
  const whole = path.join(folder, file)
  const place = Math.floor((await readFile(whole)).length / 2)
  await flip(whole, place)
  try {
    const found = await verify(server, script, folder)
    for (const [who, { status, text }] of Object.entries(found)) {
      assert.equal(status, 1, `${who} on a flipped byte ${place} of ${file}: ${text}`)
      assert.ok(text.split('\n').some((line) => line.includes(file)), `${who} does not name ${file}: ${text}`)
    }
  } finally {
    await flip(whole, place)
  }
}

async function flip(file, place) {
  const handle = await open(file, 'r+')
  try {
    const byte = Buffer.alloc(1)
    await handle.read(byte, 0, 1, place)
    byte[0] ^= 0x01
    await handle.write(byte, 0, 1, place)
  } finally {
    await handle.close()
  }
}

/**
 * Decodes a file to its end; any message is a failure.
 *
 * `-enc_time_base -1` keeps the file's own ticks up to the sink. Without it ffmpeg counts in ticks of the frame rate
 * that it guessed, two frames of a camera's uneven rate may fall into one tick, and the sink then complains of time
 * stamps that the file does not have. All frames are still decoded, and none is dropped or doubled.
 */
export async function assertDecodes(file) {
  const { status, stderr } = await execute('ffmpeg', [
    '-v', 'error', '-xerror', '-i', file, '-enc_time_base', '-1', '-f', 'null', '-',
  ])
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' }, file)
}

/** From the first packet's time to the end of the last one, in milliseconds, by the packets themselves. */
export async function lasts(file) {
  const { status, stdout, stderr } = await execute('ffprobe', [
    '-v', 'error', '-show_entries', 'packet=pts_time,duration_time', '-of', 'csv=p=0', file,
  ])
  assert.equal(status, 0, stderr)
  let from = Infinity
  let to = 0
  for (const line of stdout.trim().split('\n')) {
    const [at, length] = line.split(',').map(Number)
    from = Math.min(from, at)
    to = Math.max(to, at + (length || 0))
  }
  return (to - from) * 1_000
}
