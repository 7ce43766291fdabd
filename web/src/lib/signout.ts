// Signing out: the server ends the sign-in, this browser forgets it. A link without an account is only forgotten.

import { api } from './api/client'
import { identity } from './identity.svelte'
import { router } from './router.svelte'
import { session } from './session.svelte'

export async function signOut(): Promise<void> {
  if (session.current?.account) {
    try {
      await api.signOut()
    } catch {
      // Without the server this browser can only forget; the sign-in ends by itself when it is not used.
    }
    session.signedOut(false)
  } else session.clear()
  identity.value = null
  router.go('/')
}
