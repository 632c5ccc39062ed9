/** Who uses the console, and what they may do. */

export const ROLES = ['auditor', 'privacy-officer', 'operator'] as const
export type Role = (typeof ROLES)[number]

export const ROLE_NAMES: Readonly<Record<Role, string>> = {
  auditor: 'Auditor',
  'privacy-officer': 'Privacy officer',
  operator: 'Operator',
}

/** The roles that may see personal data, with a reason. */
const MAY_REVEAL: ReadonlySet<Role> = new Set(['auditor', 'privacy-officer'])

export interface Person {
  /** As the log names the person: `operator:<name>`. */
  readonly name: string
  readonly roles: readonly Role[]
  /** The person's e-mail address, where the identity provider says it: nobody approves a request about themselves. */
  readonly email?: string | undefined
}

/** Whom the log names for what the person does; on the command line it is the user of the machine. */
export const actorOf = ({ name }: Pick<Person, 'name'>): string => `operator:${name}`

export const hasRole = ({ roles }: Person, wanted: readonly Role[]): boolean =>
  roles.some((role) => wanted.includes(role))

export const mayReveal = ({ roles }: Person): boolean => roles.some((role) => MAY_REVEAL.has(role))

/** The longest accepted name. */
const NAME_LENGTH = 100

/** A name that can stand in the log. @returns undefined for anything else */
export function acceptedName(given: unknown): string | undefined {
  if (typeof given !== 'string') return undefined
  const name = given.trim()
  return name === '' || name.length > NAME_LENGTH || /[\p{C}\u2028\u2029]/u.test(name) ? undefined : name
}

/**
 * The roles that an identity provider's values stand for. Values that stand for none are ignored.
 * @param given a list, or a text with commas or blanks between the values
 * @param values which value stands for which role
 */
export function rolesOf(given: unknown, values: ReadonlyMap<string, Role>): readonly Role[] {
  const list = typeof given === 'string' ? given.split(/[\s,]+/) : Array.isArray(given) ? given : []
  return ROLES.filter((role) => list.some((value) => typeof value === 'string' && values.get(value) === role))
}
