// What browser tests look at. It gives nothing that one's own developer tools would not.

import type { Participant, Slot } from '../api/types'

export interface Probe {
  readonly pc: RTCPeerConnection | null
  readonly ws: WebSocket | null
  slots(): readonly Slot[]
  participants(): readonly Participant[]
}

declare global {
  interface Window {
    __hewei?: Probe
  }
}

export function expose(probe: Probe): void {
  window.__hewei = probe
}
