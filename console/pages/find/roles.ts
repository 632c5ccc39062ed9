/** Who may look into the log. */
import type { Role } from '../../people.ts'

export const FIND_ROLES: readonly Role[] = ['auditor', 'privacy-officer']
