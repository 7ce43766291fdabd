// Runs in the page of `netsim-janus.mjs`: somebody in a call over Janus VideoRoom, by its WebSocket protocol, with as
// few round trips as that allows. What is sent is as in our own page: `web/src/lib/rtc/{local.svelte,media,encodings}.ts`.

const asked = new URLSearchParams(location.search)
const room = Number(asked.get('room'))

const AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true }
const VIDEO = { width: { ideal: 640 }, height: { ideal: 360 }, frameRate: { ideal: 24 } }
/** Janus wants the largest first. */
const LAYERS = [
  { rid: 'h', maxBitrate: 900_000 },
  { rid: 'm', maxBitrate: 250_000, scaleResolutionDownBy: 2 },
]
/** A session without a word for a minute is ended. */
const KEEPALIVE_MS = 20_000

/** A session. Answers come by their transaction, everything else by the handle that it is for. */
class Session {
  #socket
  #id
  #waiting = new Map()
  #handlers = new Map()
  #transactions = 0

  static async open(url) {
    const session = new Session()
    const socket = (session.#socket = new WebSocket(url, 'janus-protocol'))
    socket.onmessage = ({ data }) => session.#receive(JSON.parse(data))
    await new Promise((done, failed) => {
      socket.onopen = done
      socket.onerror = () => failed(new Error(`no WebSocket to ${url}`))
    })
    session.#id = (await session.#ask({ janus: 'create' })).data.id
    setInterval(() => session.#send({ janus: 'keepalive' }), KEEPALIVE_MS)
    return session
  }

  /** A handle on VideoRoom; `told` gets what it says unasked. */
  async attach(told) {
    const { data } = await this.#ask({ janus: 'attach', plugin: 'janus.plugin.videoroom' })
    this.#handlers.set(data.id, told)
    return data.id
  }

  /** What VideoRoom answers, and its description of the connection. */
  async message(handle, body, jsep) {
    const { plugindata, jsep: theirs } = await this.#ask({ janus: 'message', handle_id: handle, body, jsep })
    const { data } = plugindata
    if (data.error) throw new Error(`${body.request}: ${data.error}`)
    return { data, jsep: theirs }
  }

  trickle(handle, candidate) {
    this.#send({ janus: 'trickle', handle_id: handle, candidate: candidate ?? { completed: true } })
  }

  #send(message) {
    const transaction = String((this.#transactions += 1))
    this.#socket.send(JSON.stringify({ transaction, session_id: this.#id, ...message }))
    return transaction
  }

  #ask(message) {
    return new Promise((done, failed) => this.#waiting.set(this.#send(message), { done, failed }))
  }

  #receive(message) {
    // What takes time is acknowledged first.
    if (message.janus === 'ack') return
    const asker = this.#waiting.get(message.transaction)
    if (asker) {
      this.#waiting.delete(message.transaction)
      if (message.janus === 'error') asker.failed(new Error(message.error.reason))
      else asker.done(message)
    } else if (message.plugindata) this.#handlers.get(message.sender)?.(message.plugindata.data, message.jsep)
  }
}

const publishing = new RTCPeerConnection({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' })
const receiving = new RTCPeerConnection({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' })
const names = new Map()
let streams = []

// What the measuring looks at, as in our own page.
window.__hewei = {
  pc: receiving,
  publishing,
  participants: () => [...names].map(([id, name]) => ({ id, name })),
  slots: () => streams.filter(({ active }) => active).map(({ feed_id: id, mid }) => ({ participant_id: id, mid })),
}

receiving.ontrack = ({ track }) => {
  const player = document.body.appendChild(document.createElement(track.kind))
  player.autoplay = true
  player.srcObject = new MediaStream([track])
}

async function offer() {
  const local = await navigator.mediaDevices.getUserMedia({ audio: AUDIO, video: VIDEO })
  const [audio, video] = [...local.getAudioTracks(), ...local.getVideoTracks()]
  publishing.addTransceiver(audio, { direction: 'sendonly' })
  const picture = publishing.addTransceiver(video, { direction: 'sendonly', sendEncodings: LAYERS })
  const { codecs } = RTCRtpSender.getCapabilities('video')
  picture.setCodecPreferences(codecs.filter(({ mimeType, sdpFmtpLine = '' }) => {
    return mimeType === 'video/rtx' || (mimeType === 'video/H264' && sdpFmtpLine.includes('packetization-mode=1'))
  }))
  await publishing.setLocalDescription()
}

/** Candidates that are found before their handle is known wait for it. */
function trickle(pc, session, handle) {
  pc.onicecandidate = async ({ candidate }) => (await session).trickle(await handle, candidate)
}

async function come() {
  const session = Session.open(asked.get('janus'))
  const attach = async (told) => (await session).attach(told)
  const publisher = attach((data) => data.publishers && void subscribe(data.publishers))
  const subscriber = attach((data, jsep) => void renew(data, jsep))
  trickle(publishing, session, publisher)
  trickle(receiving, session, subscriber)
  await Promise.all([offer(), publisher])
  const janus = await session

  // One change at a time: each is an offer of theirs and an answer of ours.
  let turn = Promise.resolve()
  let subscribed = false
  function subscribe(publishers) {
    turn = turn.then(async () => {
      if (publishers.length === 0) return
      for (const { id, display } of publishers) names.set(id, display)
      const feeds = publishers.map(({ id }) => ({ feed: id }))
      const body = subscribed ? { request: 'subscribe' } : { request: 'join', ptype: 'subscriber', room }
      subscribed = true
      const { data, jsep } = await janus.message(await subscriber, { ...body, streams: feeds })
      await answer(data, jsep)
    })
    return turn
  }
  function renew(data, jsep) {
    turn = turn.then(() => answer(data, jsep))
    return turn
  }
  async function answer(data, jsep) {
    if (data.streams) streams = data.streams
    if (!jsep) return
    await receiving.setRemoteDescription(jsep)
    await receiving.setLocalDescription()
    await janus.message(await subscriber, { request: 'start' }, receiving.localDescription.toJSON())
  }

  if (asked.has('create')) await janus.message(await publisher, { ...JSON.parse(asked.get('create')), request: 'create', room })
  const { data, jsep } = await janus.message(
    await publisher,
    { request: 'joinandconfigure', ptype: 'publisher', room, display: asked.get('name') },
    publishing.localDescription.toJSON(),
  )
  // Both at once: whoever is there need not wait until one's own picture goes out.
  await Promise.all([subscribe(data.publishers), publishing.setRemoteDescription(jsep)])
}

await come()
