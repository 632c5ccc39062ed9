/** Who may verify the log and get proofs: auditors, and operators, whom an alert about faults calls first. */
import type { Role } from '../../people.ts'

export const PROOF_ROLES: readonly Role[] = ['auditor', 'operator']
