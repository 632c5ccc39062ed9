/** Settings by subgraph (SUBGRAPH_SETTINGS): a YAML file with `all`, and with `subgraphs` by name. */
import { readFileSync } from 'node:fs'
import { type Document, isMap, isScalar, LineCounter, parseDocument } from 'yaml'
import { z } from 'zod'
import { ConfigurationError } from '../../runtime/errors.ts'
import { isReservedHeader } from './headers.ts'

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000 }
const MAX_TIMEOUT_MS = 600_000
const MAX_RETRIES = 10
const MAX_CONNECTIONS = 10_000

const TIMEOUT = 'a time from 1ms to 10m, such as 500ms, 10s or 1m'
const wholeNumber = (from: number, to: number) => {
  const error = `a whole number, ${from} to ${to}`
  return z.int(error).min(from, error).max(to, error)
}

const timeout = z
  .string(TIMEOUT)
  .regex(/^\d{1,9}(ms|s|m)$/, TIMEOUT)
  .transform((text) => Number.parseInt(text, 10) * (UNITS[text.replace(/^\d+/, '')] ?? 0))
  .refine((milliseconds) => milliseconds >= 1 && milliseconds <= MAX_TIMEOUT_MS, TIMEOUT)

const headerName = z
  .string('header names')
  .regex(/^[\w!#$%&'*+.^`|~-]+$/, 'a header name')
  .transform((name) => name.toLowerCase())
  .refine((name) => !isReservedHeader(name), 'a header that the gateway does not set itself')

const settings = z.strictObject(
  {
    timeout: timeout.optional(),
    retries: wholeNumber(0, MAX_RETRIES).optional(),
    connections: wholeNumber(1, MAX_CONNECTIONS).optional(),
    headers: z.array(headerName, 'a list of header names').optional(),
  },
  { error: (issue) => (issue.code === 'invalid_type' ? 'settings of a subgraph' : undefined) },
)

const file = z.strictObject(
  {
    all: settings.nullish(),
    subgraphs: z.record(z.string(), settings.nullable(), 'settings by subgraph').nullish(),
  },
  { error: (issue) => (issue.code === 'invalid_type' ? '`all` and `subgraphs`' : undefined) },
)

/** The settings of a subgraph, as far as the file gives them. */
type Settings = z.output<typeof settings>

/** What a file says. */
export interface SubgraphSettings {
  readonly all: Settings
  readonly subgraphs: ReadonlyMap<string, Settings>
}

/**
 * Reads a file of settings.
 * @param known the names of the supergraph's subgraphs; undefined: any
 * @throws ConfigurationError naming the file, the line, what is wrong there and what is accepted
 */
export function loadSubgraphSettings(path: string, known: readonly string[] | undefined): SubgraphSettings {
  const lines = new LineCounter()
  const document = parseDocument(readText(path), { lineCounter: lines, prettyErrors: false })
  const fail = (offset: number | undefined, what: string): never => {
    const line = offset === undefined ? '' : `:${lines.linePos(offset).line}`
    throw new ConfigurationError(`SUBGRAPH_SETTINGS: ${path}${line}: ${what}.`)
  }
  const [broken] = [...document.errors, ...document.warnings]
  if (broken) return fail(broken.pos[0], broken.message.split('\n')[0] ?? 'it is not YAML')
  const result = file.safeParse(contentOf(document, fail) ?? {})
  if (!result.success) {
    const [issue] = result.error.issues
    const keys = issue?.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : []
    const at = [...(issue?.path ?? []), ...keys]
    const accepted = issue?.path.length === 0 ? ['all', 'subgraphs'] : Object.keys(settings.shape)
    const what =
      keys.length > 0
        ? `there is no such setting; accepted: ${accepted.join(', ')}`
        : `its value can't be used; accepted: ${issue?.message}`
    return fail(offsetOf(document, at), `${at.join('.') || 'the file'}: ${what}`)
  }
  const subgraphs = new Map(Object.entries(result.data.subgraphs ?? {}).map(([name, each]) => [name, each ?? {}]))
  const strange = known && [...subgraphs.keys()].find((name) => !known.includes(name))
  if (strange !== undefined) {
    const accepted = known?.join(', ')
    fail(
      offsetOf(document, ['subgraphs', strange]),
      `${strange}: the supergraph has no such subgraph; accepted: ${accepted}`,
    )
  }
  return { all: result.data.all ?? {}, subgraphs }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new ConfigurationError(`SUBGRAPH_SETTINGS: ${JSON.stringify(path)} can't be read (${code}).`)
  }
}

/** Aliases that refer to too much, or to nothing, are found only here. */
function contentOf(document: Document, fail: (offset: undefined, what: string) => never): unknown {
  try {
    return document.toJS()
  } catch (error) {
    return fail(undefined, (error as Error).message.split('\n')[0] ?? '')
  }
}

/** Where the key or the item is in the text that a path leads to, or the nearest part that is there. */
function offsetOf(document: Document, path: readonly PropertyKey[]): number | undefined {
  let offset: number | undefined
  for (let depth = 1; depth <= path.length; depth++) {
    const [key, parent] = [
      path[depth - 1],
      depth === 1 ? document.contents : document.getIn(path.slice(0, depth - 1), true),
    ]
    const pair = isMap(parent)
      ? parent.items.find(({ key: each }) => isScalar(each) && String(each.value) === key)
      : undefined
    const node = pair ? pair.key : document.getIn(path.slice(0, depth), true)
    offset = (node as { range?: readonly number[] } | undefined)?.range?.[0] ?? offset
  }
  return offset
}

/** What holds for subgraphs without settings of their own. */
export interface SubgraphDefaults {
  readonly timeoutMs: number
  readonly retries: number
  readonly connections: number
  /** The client's headers that are passed on. */
  readonly headers: readonly string[]
}

/** What holds for each subgraph. */
export interface EffectiveSettings {
  /** The client's headers that any subgraph gets. */
  readonly forwarded: readonly string[]
  of(name: string): SubgraphDefaults
  /** The headers among `forwarded` that this subgraph does not get; undefined: it gets all of them. */
  droppedFor(name: string): ReadonlySet<string> | undefined
}

const lower = (names: readonly string[]) => names.map((name) => name.toLowerCase())

/**
 * The client's headers that go down to at least one subgraph, in lower case.
 * @param defaults those of subgraphs without a setting
 */
export function forwardedHeaders(given: SubgraphSettings | undefined, defaults: readonly string[]): readonly string[] {
  const others = given?.all.headers ?? defaults
  const own = [...(given?.subgraphs.values() ?? [])].flatMap(({ headers = [] }) => headers)
  // A traceparent goes to every subgraph, whether it is listed or not.
  return [...new Set(lower([...others, ...own]))].filter((name) => name !== 'traceparent')
}

/** A subgraph's own settings are before those of `all`, and these before the defaults. */
export function effectiveSettings(given: SubgraphSettings | undefined, defaults: SubgraphDefaults): EffectiveSettings {
  const of = (name: string): SubgraphDefaults => {
    const own: Settings = { ...given?.all, ...given?.subgraphs.get(name) }
    return {
      timeoutMs: own.timeout ?? defaults.timeoutMs,
      retries: own.retries ?? defaults.retries,
      connections: own.connections ?? defaults.connections,
      headers: own.headers ?? defaults.headers,
    }
  }
  const forwarded = forwardedHeaders(given, defaults.headers)
  return {
    forwarded,
    of,
    droppedFor(name) {
      const allowed = new Set(lower(of(name).headers))
      const dropped = forwarded.filter((each) => !allowed.has(each))
      return dropped.length > 0 ? new Set(dropped) : undefined
    },
  }
}
