/** The whole environment of the service: all variables of all processes, and names that look like a misspelled one. */
import { join } from 'node:path'
import { CONSOLE_VARIABLES } from '../console/configuration.ts'
import { GATEWAY_VARIABLES } from '../gateway/configuration.ts'
import { SHARED_VARIABLES, type Variable } from '../runtime/configuration.ts'
import { ConfigurationError } from '../runtime/errors.ts'
import { lazily } from '../runtime/lazily.ts'

type Environment = Readonly<Record<string, string | undefined>>

export const VARIABLES: Readonly<Record<string, Variable>> = {
  ...SHARED_VARIABLES,
  ...GATEWAY_VARIABLES,
  ...CONSOLE_VARIABLES,
}

/** The defaults of `start`: it logs less, so that a newcomer sees the lines that it prints. */
export const START_DEFAULTS = { LOG_LEVEL: 'warn' } as const

/** The supergraph of `start`, wherever it is started. */
export const defaultSupergraph = (isProduction: boolean): string =>
  join(import.meta.dirname, '..', isProduction ? 'schema/supergraph.graphql' : 'examples/commerce/supergraph.graphql')

/** `SUBGRAPH_URL_<NAME>` */
export const SUBGRAPH_URL = /^SUBGRAPH_URL_./

/** How many letters of a name may differ, by its length, for it to count as a misspelled variable. */
const MOST_WRONG = [
  { length: 8, edits: 2 },
  { length: 5, edits: 1 },
] as const

/**
 * Variables that are set and are probably misspelled ones of ours, so they would be ignored. If the correct name is set
 * too, the variable belongs to another program.
 * @returns a line for each that says what is wrong
 */
export function* strangeNames(env: Environment): Generator<{ readonly name: string; readonly problem: string }> {
  for (const [name, value] of Object.entries(env)) {
    if (!value || !/^[A-Z][A-Z0-9_]*$/.test(name) || Object.hasOwn(VARIABLES, name) || SUBGRAPH_URL.test(name)) continue
    const inFile = name.endsWith('_FILE') ? VARIABLES[name.slice(0, -'_FILE'.length)] : undefined
    if (inFile?.secret) continue
    const problem = inFile
      ? `only secrets are read from files; set ${name.slice(0, -'_FILE'.length)} itself.`
      : nearest(name, env)
    if (problem !== undefined) yield { name, problem: `${name} is not a variable of this service: ${problem}` }
  }
}

/** @throws ConfigurationError for the first of {@link strangeNames} */
export function checkNames(env: Environment): void {
  for (const { problem } of strangeNames(env)) throw new ConfigurationError(problem)
}

const bareOf = (name: string): string => name.replaceAll('_', '')

/** Every name that may be meant, with the variable that it sets. Made once: each process compares its whole environment. */
const MEANT = lazily(() =>
  Object.entries(VARIABLES).flatMap(([known, { secret }]) =>
    (secret ? [known, `${known}_FILE`] : [known]).map((meant) => ({ known, meant, bare: bareOf(meant) })),
  ),
)

function nearest(name: string, env: Environment): string | undefined {
  const bare = bareOf(name)
  for (const { known, meant, ...each } of MEANT()) {
    if ((bare === each.bare || isNear(name, meant)) && !env[known] && !env[`${known}_FILE`])
      return `did you mean ${meant}?`
  }
  return undefined
}

function isNear(name: string, known: string): boolean {
  const { edits = 0 } = MOST_WRONG.find(({ length }) => known.length >= length) ?? {}
  return Math.abs(name.length - known.length) <= edits && differsByAtMost(edits, name, known)
}

/**
 * Whether so many letters have to be inserted, removed or replaced at most (the Levenshtein distance). Each row of the
 * distances between beginnings has one that is no greater than the result, so most pairs end after a few letters.
 */
function differsByAtMost(edits: number, a: string, b: string): boolean {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    if (Math.min(...next) > edits) return false
    row = next
  }
  return (row[b.length] ?? 0) <= edits
}
