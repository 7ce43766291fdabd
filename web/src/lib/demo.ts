// Whether this server runs as a demo. Asked by those who are not signed in, and by the demo's page.

import { api, Failure } from './api/client'
import type { Demo } from './api/types'

/** The demo, or `null` where there is none: a normal server does not know the address. */
export async function findDemo(): Promise<Demo | null> {
  try {
    return await api.demo()
  } catch (error) {
    if (error instanceof Failure && error.problem.status === 404) return null
    throw error
  }
}
