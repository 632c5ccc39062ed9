/**
 * Turns the subgraphs' data into the client's answer by the rules of the specification ("Value Completion"), with the
 * path of each error. The fast path for data without irregularities is serialise.ts.
 */
import {
  type GraphQLFormattedError,
  type GraphQLLeafType,
  type GraphQLOutputType,
  type GraphQLSchema,
  isEnumType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  isSpecifiedScalarType,
} from 'graphql'
import { numberOf } from '../exact-numbers.ts'
import { answerTooLarge } from './executor.ts'
import { type Data, isData, own } from './json-objects.ts'
import { type DeferredFragment, type Field, isTypeMissing, type Shape } from './selection-shape.ts'

type Path = (string | number)[]
/** Replaces an invalid value: the nearest nullable parent becomes null. */
const INVALID = Symbol('invalid')

export interface Completion {
  readonly data: Data | null
  readonly errors: readonly GraphQLFormattedError[]
}

export interface CompletionOptions {
  readonly schema: GraphQLSchema
  /**
   * The whole schema, including elements hidden from clients: a value that only this one has is valid, but null for
   * clients.
   */
  readonly fullSchema: GraphQLSchema
  /** The value of `__schema` or `__type`. */
  readonly introspect: (field: Field) => unknown
  /** Errors that the client gets anyway: a null that one of them explains is not reported twice. */
  readonly known: readonly GraphQLFormattedError[]
  /** The limit for all texts in the answer together, in characters. */
  readonly maxLength: number
  /** Receives the places of deferred fragments, outer ones first. */
  readonly places?: DeferredPlace[]
}

/** An object of an answer to which a deferred fragment adds fields later. */
export interface DeferredPlace {
  readonly fragment: DeferredFragment
  /** From the completed object, in the client's names. */
  readonly path: readonly (string | number)[]
  /** What the subgraphs have sent for the object so far. */
  readonly data: Data
}

/**
 * @param data what the subgraphs sent, merged; it is not changed
 * @throws RequestError ANSWER_TOO_LARGE
 */
export function complete(root: Shape, data: Data, options: CompletionOptions): Completion {
  const completer = new Completer(options)
  const completed = completer.object(data, root, undefined)
  return { data: completed, errors: completer.errorsIn(completed) }
}

/** One completion under way. */
class Completer {
  readonly #errors: GraphQLFormattedError[] = []
  /** Of errors about a missing value: the path to the nearest nullable value around it. */
  readonly #missing = new Map<GraphQLFormattedError, Path>()
  readonly #options: CompletionOptions
  readonly #path: Path = []
  /** The length of the path to the nearest nullable value, which an invalid value makes null. */
  #nullableDepth = 0
  /** How many failures there were, including those that a known error explains. */
  #failures = 0
  #length = 0

  constructor(options: CompletionOptions) {
    this.#options = options
  }

  /** Forgets the deferred fragments of an object or list that turned out to be null. */
  #forget(since: number | undefined): null {
    if (since !== undefined && this.#options.places) this.#options.places.length = since
    return null
  }

  /** @param isMissing there is no value for the place, not even null */
  #fail(message: string, isMissing = false): void {
    this.#failures++
    const around = isMissing ? this.#path.slice(0, this.#nullableDepth) : this.#path
    if (this.#options.known.some((error) => explains(error, around))) return
    const error = { message, path: [...this.#path], extensions: { code: 'INTERNAL_SERVER_ERROR' } }
    this.#errors.push(error)
    if (isMissing) this.#missing.set(error, around)
  }

  /**
   * The errors of the completion. A missing value is none if a known error made an object further out null: then the
   * call that should have sent the value may have failed for that reason.
   */
  errorsIn(completed: Data | null): readonly GraphQLFormattedError[] {
    if (this.#missing.size === 0) return this.#errors
    return this.#errors.filter((error) => {
      const above = nullAbove(completed, this.#missing.get(error) ?? [])
      return above === undefined || !this.#options.known.some((known) => explains(known, above))
    })
  }

  #describe({ parent, key, type }: Field): string {
    const last = this.#path.at(-1)
    return typeof last === 'string'
      ? `field ${parent}.${key}`
      : `array element of type ${String(elementOf(type))} at index ${last}`
  }

  /** Completes an object. @param field undefined for the root */
  object(input: Data, shape: Shape, field: Field | undefined): Data | null {
    const sent = own(input, '__typename')
    const typename = typeof sent === 'string' ? sent : shape.type.name
    const fields = shape.fieldsOf(typename)
    if (!fields || (sent !== undefined && sent !== null && typeof sent !== 'string')) {
      const isHidden =
        typeof sent === 'string' &&
        this.#options.fullSchema.getType(sent) !== undefined &&
        !this.#options.schema.getType(sent)
      if (field && !isHidden) this.#fail(`Invalid __typename found for object at ${this.#describe(field)}.`)
      return null
    }
    if (isTypeMissing(this.#options.schema, shape, typename)) {
      if (field) this.#fail(`The type of the object is not known at ${this.#describe(field)}.`)
      return null
    }
    const { places } = this.#options
    const before = places?.length
    for (const fragment of places ? shape.deferredOf(typename) : []) {
      places?.push({ fragment, path: [...this.#path], data: input })
    }
    const output: Data = Object.create(null)
    for (const each of fields) {
      this.#path.push(each.key)
      const completed = this.#fieldValue(each, input, typename)
      this.#path.pop()
      if (completed === INVALID) return this.#forget(before)
      output[each.key] = completed
    }
    return output
  }

  #fieldValue(field: Field, input: Data, typename: string): unknown {
    if (field.kind === 'introspection') return this.#options.introspect(field)
    if (field.kind === 'denied') {
      const message = `Access to the field ${field.parent}.${field.name} is denied.`
      this.#failures++
      this.#errors.push({ message, path: [...this.#path], extensions: { code: 'FORBIDDEN' } })
      return isNonNullType(field.type) ? INVALID : null
    }
    if (field.kind === 'undecided') {
      const message = 'Argument "if" of non-null type "Boolean!" must not be null.'
      const place = this.#path.length > 1 && { path: this.#path.slice(0, -1) }
      this.#failures++
      this.#errors.push({ message, ...place, extensions: { code: 'BAD_USER_INPUT' } })
      return INVALID
    }
    if (field.kind === 'field') return this.#value(own(input, field.source), field.type, field)
    const type = this.#options.schema.getType(typename)
    if (isObjectType(type)) return type.name
    this.#fail(`Cannot return null for non-nullable field ${field.parent}.${field.key}.`, true)
    return INVALID
  }

  /** An enum's value that is `@inaccessible`. */
  #isHiddenValue(input: unknown, type: GraphQLOutputType): boolean {
    const full = isEnumType(type) ? this.#options.fullSchema.getType(type.name) : undefined
    return typeof input === 'string' && isEnumType(full) && full.getValue(input) !== undefined
  }

  /** null, INVALID, or a value of the type. */
  #value(input: unknown, type: GraphQLOutputType, field: Field): unknown {
    if (isNonNullType(type)) {
      const before = this.#failures
      const completed = this.#nullable(input, type.ofType, field)
      if (completed !== null) return completed
      if (this.#failures === before)
        this.#fail(`Cannot return null for non-nullable ${this.#describe(field)}.`, input === undefined)
      return INVALID
    }
    const outer = this.#nullableDepth
    this.#nullableDepth = this.#path.length
    const completed = this.#nullable(input, type, field)
    this.#nullableDepth = outer
    return completed
  }

  #nullable(input: unknown, type: GraphQLOutputType, field: Field): unknown {
    if (input === undefined || input === null) return null
    if (isListType(type)) {
      if (!Array.isArray(input)) {
        this.#fail(`Invalid value found for ${this.#describe(field)}.`)
        return null
      }
      const before = this.#options.places?.length
      let isInvalid = false
      const list = input.map((item, index) => {
        this.#path.push(index)
        const completed = this.#value(item, type.ofType, field)
        this.#path.pop()
        isInvalid ||= completed === INVALID
        return completed
      })
      return isInvalid ? this.#forget(before) : list
    }
    if (field.shape) {
      if (isData(input)) return this.object(input, field.shape, field)
      this.#fail(`Invalid value found for ${this.#describe(field)}.`)
      return null
    }
    const completed = isLeafType(type) ? leaf(input, type) : undefined
    if (completed === undefined) {
      if (!this.#isHiddenValue(input, type)) this.#fail(`Invalid value found for ${this.#describe(field)}.`)
      return null
    }
    this.#length += typeof completed === 'string' ? completed.length : 4
    const { maxLength } = this.#options
    if (this.#length > maxLength) throw answerTooLarge(maxLength)
    return completed
  }
}

/** A leaf in the form of the answer; undefined for an invalid value. */
function leaf(sent: unknown, type: GraphQLLeafType): unknown {
  if (!isEnumType(type) && !isSpecifiedScalarType(type)) return sent
  const input = numberOf(sent)
  if (isEnumType(type)) return typeof input === 'string' && type.getValue(input) ? input : undefined
  switch (type.name) {
    case 'Boolean':
      return typeof input === 'boolean' ? input : undefined
    case 'Int':
      return Number.isSafeInteger(input) ? input : undefined
    case 'Float':
      return Number.isFinite(input) ? input : undefined
    case 'ID':
      return typeof input === 'string' ? input : Number.isSafeInteger(input) ? String(input) : undefined
    default:
      return typeof input === 'string' ? input : undefined
  }
}

/** The beginning of the path that is null in the answer, if it ends before the path does. */
function nullAbove(completed: unknown, path: Path): Path | undefined {
  let value = completed
  for (const [index, part] of path.entries()) {
    if (value === null) return path.slice(0, index)
    value = (value as Record<string | number, unknown>)[part]
  }
  return undefined
}

function elementOf(type: GraphQLOutputType): GraphQLOutputType {
  const bare = isNonNullType(type) ? type.ofType : type
  return isListType(bare) ? elementOf(bare.ofType) : bare
}

/**
 * Whether an error is about this place, a parent, or something inside it. If there is no value for the place, an error
 * of anything that becomes null with it counts too: it was requested in the same call that failed.
 */
function explains(error: GraphQLFormattedError, path: Path): boolean {
  const of = error.path ?? []
  const shared = Math.min(of.length, path.length)
  for (let index = 0; index < shared; index++) if (of[index] !== path[index]) return false
  return true
}
