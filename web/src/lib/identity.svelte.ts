// Who the server says the bearer of the token is.

import { api } from './api/client'
import { Load } from './load.svelte'

export const identity = new Load(() => api.me())
