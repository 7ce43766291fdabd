// When this device may have come to another network: a phone that leaves the house, a cable that is pulled out.

/** What Chromium tells of the network, where it does; `type` only on phones. */
interface NetworkInformation extends EventTarget {
  readonly type?: string
}

/** Calls `changed` when the network is another one, or there again. The function returned ends it. */
export function onNetworkChange(changed: () => void): () => void {
  const connection = (navigator as { connection?: NetworkInformation }).connection
  let type = connection?.type
  // It also tells of each new guess of speed.
  const told = (): void => {
    if (connection?.type === type) return
    type = connection?.type
    if (type !== 'none') changed()
  }
  window.addEventListener('online', changed)
  connection?.addEventListener('change', told)
  return () => {
    window.removeEventListener('online', changed)
    connection?.removeEventListener('change', told)
  }
}
