// The roles of those who have accounts, in the order they are offered.

import type { RoleName } from './api/types'

export const STAFF_ROLES: RoleName[] = ['mediator', 'lawyer', 'leader', 'operator', 'auditor', 'administrator']
