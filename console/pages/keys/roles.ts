/** Who sees what of keys and access. */
import type { Role } from '../../people.ts'

export const KEYS_ROLES: readonly Role[] = ['operator']
/** Those who look themselves are looked at by each other. */
export const LOOKS_ROLES: readonly Role[] = ['auditor', 'privacy-officer']
