/**
 * How long an answer may be stored, and by whom: the strictest of what its subgraphs say in `Cache-Control` (RFC 9111,
 * RFC 5861).
 */
import type { Returned } from '../subgraphs/client.ts'

/** What one `Cache-Control` header says; times in seconds. */
interface Control {
  /** For the client's own cache. */
  readonly maxAge: number
  /** For caches that clients share. */
  readonly sharedMaxAge: number
  readonly isPrivate: boolean
  readonly mustRevalidate: boolean
  readonly staleWhileRevalidate: number
  readonly staleIfError: number
}

const NOT_STORED: Control = {
  maxAge: 0,
  sharedMaxAge: 0,
  isPrivate: true,
  mustRevalidate: false,
  staleWhileRevalidate: 0,
  staleIfError: 0,
}

/** The longest time that caches must understand: 2^31 - 1 seconds (RFC 9111, section 1.2.2). */
const MAX_SECONDS = 2_147_483_647
/** How many parsed headers are kept: a subgraph sends few different ones. */
const KNOWN = 100
const known = new Map<string, Control>()

function controlOf(header: string): Control {
  let control = known.get(header)
  if (!control) {
    control = parse(header)
    if (known.size >= KNOWN) known.clear()
    known.set(header, control)
  }
  return control
}

/** A name, and a value that may be quoted. */
const DIRECTIVE = /([\w!#$%&'*+.^`|~-]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,;"]*))?/g

/** Anything that is not understood counts as the strictest reading. */
function parse(header: string): Control {
  /** Of several with one name the least counts. */
  const times = new Map<string, number>()
  const names = new Set<string>()
  for (const [, directive = '', value = ''] of header.matchAll(DIRECTIVE)) {
    const name = directive.toLowerCase()
    names.add(name)
    const digits = /^"?(\d+)"?$/.exec(value)?.[1]
    const time = digits === undefined ? 0 : Math.min(Number(digits), MAX_SECONDS)
    times.set(name, Math.min(time, times.get(name) ?? MAX_SECONDS))
  }
  if (names.has('no-store') || names.has('no-cache')) return NOT_STORED
  const maxAge = times.get('max-age') ?? 0
  const sharedMaxAge = times.get('s-maxage') ?? maxAge
  return {
    maxAge,
    sharedMaxAge,
    isPrivate: names.has('private'),
    mustRevalidate: names.has('must-revalidate') || names.has('proxy-revalidate'),
    staleWhileRevalidate: times.get('stale-while-revalidate') ?? 0,
    staleIfError: times.get('stale-if-error') ?? 0,
  }
}

/** Headers by which a subgraph can't vary an answer that is stored: they differ from one request to the next. */
const OF_ONE_REQUEST: ReadonlySet<string> = new Set(['*', 'traceparent', 'x-correlation-id', 'x-forwarded-for'])

const NONE: ReadonlySet<string> = new Set()

/** The policy of one answer, out of the answers that it is made from. It starts without any: then nothing is stored. */
export class CachePolicy {
  #services: Set<string> | undefined
  #varyingBy: Set<string> | undefined
  #maxAge = MAX_SECONDS
  #sharedMaxAge = MAX_SECONDS
  #isPrivate = false
  #mustRevalidate = false
  #staleWhileRevalidate = MAX_SECONDS
  #staleIfError = MAX_SECONDS
  #isStored = true

  /** Counts an answer in. Without a `Cache-Control` header, or with a status other than 200, nothing is stored. */
  add(service: string, status: number, headers: Returned): void {
    if (!this.#isStored) return
    const header = text(headers['cache-control'])
    if (header === undefined || status !== 200) {
      this.#isStored = false
      return
    }
    this.#services ??= new Set()
    this.#services.add(service)
    const control = controlOf(header)
    const age = ageOf(headers.age)
    this.#maxAge = Math.min(this.#maxAge, control.maxAge - age)
    this.#sharedMaxAge = Math.min(this.#sharedMaxAge, control.sharedMaxAge - age)
    this.#isPrivate ||= control.isPrivate
    this.#mustRevalidate ||= control.mustRevalidate
    this.#staleWhileRevalidate = Math.min(this.#staleWhileRevalidate, control.staleWhileRevalidate)
    this.#staleIfError = Math.min(this.#staleIfError, control.staleIfError)
    if (this.#maxAge <= 0 && (this.#isPrivate || this.#sharedMaxAge <= 0)) this.#isStored = false
    if (headers.vary !== undefined) this.#vary(text(headers.vary) ?? '')
  }

  #vary(header: string): void {
    this.#varyingBy ??= new Set()
    for (const part of header.toLowerCase().split(',')) {
      const name = part.trim()
      this.#varyingBy.add(name)
      if (OF_ONE_REQUEST.has(name)) this.#isStored = false
    }
  }

  /** The subgraphs that answered. */
  get services(): ReadonlySet<string> {
    return this.#services ?? NONE
  }

  /** The request headers that the subgraphs' answers depend on, in lower case. */
  get varyingBy(): ReadonlySet<string> {
    return this.#varyingBy ?? NONE
  }

  /** The answer's `Cache-Control`; undefined if it may not be stored. */
  get control(): string | undefined {
    if (!this.#isStored || this.#services === undefined) return undefined
    const maxAge = Math.max(this.#maxAge, 0)
    // What no shared cache may keep is as good as private.
    const isPrivate = this.#isPrivate || this.#sharedMaxAge <= 0
    let result = `${isPrivate ? 'private' : 'public'}, max-age=${maxAge}`
    if (!isPrivate && this.#sharedMaxAge !== maxAge) result += `, s-maxage=${this.#sharedMaxAge}`
    if (this.#mustRevalidate) return `${result}, must-revalidate`
    if (this.#staleWhileRevalidate > 0) result += `, stale-while-revalidate=${this.#staleWhileRevalidate}`
    if (this.#staleIfError > 0) result += `, stale-if-error=${this.#staleIfError}`
    return result
  }
}

/** Several headers of one name are one list. */
const text = (header: string | string[] | undefined): string | undefined =>
  Array.isArray(header) ? header.join(',') : header

/** How long an answer has been in a cache, in seconds; more than any lifetime if the header is no number. */
function ageOf(header: string | string[] | undefined): number {
  if (header === undefined) return 0
  return typeof header === 'string' && /^\d+$/.test(header) ? Number(header) : MAX_SECONDS
}
