/** Who may verify the log and get proofs: everybody. They say nothing about a person, and an alert calls operators first. */
import { ROLES, type Role } from '../../people.ts'

export const PROOF_ROLES: readonly Role[] = ROLES
