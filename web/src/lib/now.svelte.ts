// The present moment, for clocks on the screen.

import { onMount } from 'svelte'

/** A value that follows the clock while the component lives. */
export function ticking(everyMs: number): { readonly now: number } {
  let now = $state(Date.now())
  onMount(() => {
    const timer = setInterval(() => (now = Date.now()), everyMs)
    return () => clearInterval(timer)
  })
  return {
    get now() {
      return now
    },
  }
}
