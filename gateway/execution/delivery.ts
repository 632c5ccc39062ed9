/** One answer under way whose deferred parts follow as they arrive. */
import type { GraphQLFormattedError, GraphQLSchema } from 'graphql'
import { RequestError } from '../errors.ts'
import { isLongerThan } from '../subgraphs/client.ts'
import { join, objectAt, reaches } from './answer-parts.ts'
import { withClientPaths } from './client-paths.ts'
import type { DeferredPlan, DeferredStep } from './compiled-plan.ts'
import {
  answerText,
  answerTooLarge,
  type ExecutionRequest,
  firstCategory,
  type IncrementalAnswer,
  type LaterPart,
} from './executor.ts'
import type { Execution } from './fetch.ts'
import {
  type ArrivedPart,
  type IncrementalFormat,
  initialPayload,
  laterPayload,
  type PendingPart,
} from './incremental-formats.ts'
import type { Data } from './json-objects.ts'
import { type Field, type Shape, unreachableFields } from './selection-shape.ts'
import { complete, type DeferredPlace } from './value-completion.ts'

/** An operation with deferred fragments, compiled for its conditions. */
export interface DeferredVariant {
  readonly plan: DeferredPlan
  /** Of the first part. It leads to those of the others. */
  readonly shape: Shape
  /** Of the whole answer, to which the paths of errors refer. */
  readonly whole: Shape
  /** The client's labels by the ids of the fragments. */
  readonly labels: ReadonlyMap<string, string | undefined>
  readonly rootName: string | undefined
}

export interface DeliveryOptions {
  readonly schema: GraphQLSchema
  readonly fullSchema: GraphQLSchema
  readonly introspect: (field: Field) => unknown
  readonly format: IncrementalFormat
  /** The limit for all parts together. */
  readonly maxAnswerBytes: number
}

/** The fetches of one deferred fragment. */
interface Block {
  readonly id: string
  readonly execution: Execution
  isDone: boolean
  /** Resolves once it is done. */
  done: Promise<void>
}

/** By the ids of fetches: resolve once they have been made. */
type Arrivals = ReadonlyMap<string, Pick<PromiseWithResolvers<void>, 'promise' | 'resolve'>>

/** A deferred fragment at one object. */
interface Pending extends PendingPart {
  readonly place: DeferredPlace
  readonly block: Block
}

type Path = readonly (string | number)[]

const startsWith = (path: Path, start: Path): boolean => start.every((part, index) => path[index] === part)

/** An error with its path from an object; nothing if it is about another place. */
function seenFrom(place: Path, error: GraphQLFormattedError): readonly GraphQLFormattedError[] {
  const { path = [] } = error
  if (startsWith(path, place)) return [{ ...error, path: path.slice(place.length) }]
  return startsWith(place, path) ? [{ ...error, path: [] }] : []
}

export class Delivery {
  readonly #variant: DeferredVariant
  readonly #options: DeliveryOptions
  readonly #execution: Execution
  readonly #blocks = new Map<string, Block>()
  #pending: Pending[] = []
  #ids = 0
  /** The parts so far, joined. */
  #answer: Data | null = null
  /** Errors of parts that are still to come. */
  #withheld: GraphQLFormattedError[] = []
  readonly #told = new Map<string, GraphQLFormattedError>()
  /** How many bytes of the limit are left. */
  #left: number

  constructor(variant: DeferredVariant, request: ExecutionRequest, options: DeliveryOptions) {
    const { fetches, mayRepeat } = variant.plan
    const arrivals = new Map([...fetches].map(([id, count]) => [id, { count, ...Promise.withResolvers<void>() }]))
    const arrived = (id: string): void => {
      const arrival = arrivals.get(id)
      if (arrival && --arrival.count === 0) arrival.resolve()
    }
    this.#variant = variant
    this.#options = options
    this.#left = options.maxAnswerBytes
    this.#execution = { request, errors: [], data: {}, flights: mayRepeat ? new Map() : undefined, arrived }
    for (const step of variant.plan.deferred) this.#begin(step, arrivals)
  }

  /** @throws RequestError ANSWER_TOO_LARGE for the first part; Cancelled */
  async begin(): Promise<IncrementalAnswer> {
    const { request } = this.#execution
    await this.#variant.plan.primary?.(this.#execution)
    const room = request.room?.()
    if (room) await room
    const first = this.#first()
    request.made?.(first.text)
    return first
  }

  #first(): IncrementalAnswer {
    const { plan, shape, rootName } = this.#variant
    const { format } = this.#options
    const unreachable = plan.primary ? [] : unreachableFields(shape, rootName)
    if (unreachable.length > 0) return answerText(null, unreachable)
    const { data } = this.#execution
    // A subgraph's root type may have another name.
    if (data.__typename !== undefined) data.__typename = rootName
    const found = this.#inClientsNames(this.#execution.errors)
    const places: DeferredPlace[] = []
    const completed = complete(shape, data, { ...this.#completion(found), places })
    this.#answer = completed.data
    this.#expect(places)
    this.#withheld = found.filter((error) => !reaches(this.#answer, error.path ?? []) && this.#isExpected(error))
    const errors = [...found.filter((error) => !this.#withheld.includes(error)), ...completed.errors]
    for (const error of errors) this.#note(error)
    if (this.#pending.length === 0) return answerText(completed.data, errors)
    const text = initialPayload(format, completed.data, errors, this.#pending)
    this.#left -= Buffer.byteLength(text)
    return { text, hasErrors: errors.length > 0, errors, category: firstCategory(errors), rest: this.#rest() }
  }

  async *#rest(): AsyncGenerator<LaterPart, void> {
    const { cancellation } = this.#execution.request
    while (this.#pending.length > 0) {
      await Promise.race(new Set(this.#pending.map(({ block }) => block.done)))
      if (cancellation?.isCancelled) return
      const ready = this.#pending.filter(({ block }) => block.isDone)
      this.#pending = this.#pending.filter(({ block }) => !block.isDone)
      yield this.#deliver(ready)
    }
  }

  /** Makes the fetches of a deferred fragment once those that it depends on have been made. */
  #begin({ id, depends, run, makes }: DeferredStep, arrivals: Arrivals): void {
    const execution: Execution = { ...this.#execution, errors: [] }
    const block: Block = { id, execution, isDone: false, done: Promise.resolve() }
    const execute = async () => {
      try {
        await Promise.all(depends.map((each) => arrivals.get(each)?.promise))
        await run?.(execution)
      } catch (error) {
        execution.errors.push(execution.request.mask(error))
        // Fragments would wait for ever for the fetches that are not made any more, and the request would never end.
        for (const each of makes) arrivals.get(each)?.resolve()
      }
      block.isDone = true
    }
    block.done = execute()
    this.#blocks.set(id, block)
  }

  #completion(known: readonly GraphQLFormattedError[]) {
    const { schema, fullSchema, introspect } = this.#options
    return { schema, fullSchema, introspect, known, maxLength: this.#left }
  }

  #inClientsNames(errors: readonly GraphQLFormattedError[]): readonly GraphQLFormattedError[] {
    if (errors.length === 0) return errors
    return withClientPaths(errors, this.#options.schema, this.#variant.whole, this.#execution.data)
  }

  /** @returns the parts that begin at these places */
  #expect(places: readonly DeferredPlace[]): readonly Pending[] {
    const expected = places.flatMap((place): Pending[] => {
      const { id } = place.fragment
      const block = this.#blocks.get(id)
      if (!block) return []
      return [{ id: String(this.#ids++), path: place.path, label: this.#variant.labels.get(id), place, block }]
    })
    this.#pending.push(...expected)
    return expected
  }

  /** Whether an error may belong to a part that is to come. */
  #isExpected({ path = [] }: GraphQLFormattedError): boolean {
    return this.#pending.some((each) => startsWith(path, each.path))
  }

  /** @returns whether the client has not been told the error before */
  #note(error: GraphQLFormattedError): boolean {
    const key = JSON.stringify([error.path, error.message])
    if (this.#told.has(key)) return false
    this.#told.set(key, error)
    return true
  }

  /** @param ready parts whose fetches have been made. All parts of one fragment are ready at once */
  #deliver(ready: readonly Pending[]): LaterPart {
    try {
      const part = this.#payload(ready)
      if (isLongerThan(part.text, this.#left)) throw answerTooLarge(this.#options.maxAnswerBytes)
      this.#left -= Buffer.byteLength(part.text)
      return part
    } catch (error) {
      return this.#fail(ready, error)
    }
  }

  #payload(ready: readonly Pending[]): LaterPart {
    const blocks = new Set(ready.map(({ block }) => block))
    const found = [...blocks].flatMap(({ execution }) => this.#inClientsNames(execution.errors))
    const known = [...this.#withheld, ...found]
    const expected: Pending[] = []
    const parts = ready.map((each) => {
      const places: DeferredPlace[] = []
      const part = this.#complete(each, known, places)
      if (part.data) expected.push(...this.#expect(places))
      return part
    })
    const placed = new Set<GraphQLFormattedError>()
    for (const { path, data, errors } of parts) {
      for (const error of known) {
        const at = error.path ?? []
        if (!startsWith(at, path) || (data && !reaches(data, at.slice(path.length)))) continue
        placed.add(error)
        errors.push(error)
      }
    }
    // Errors of a whole fetch belong to no single part: the first one has them.
    const rest = known.filter((error) => !placed.has(error))
    this.#withheld = rest.filter((error) => this.#isExpected(error))
    parts[0]?.errors.push(...rest.filter((error) => !this.#withheld.includes(error)))
    const arrived = parts.map((part): ArrivedPart => ({ ...part, errors: this.#errorsOf(part, known) }))
    const text = laterPayload(this.#options.format, arrived, expected, this.#pending.length > 0)
    return { text, errors: arrived.flatMap(({ errors }) => errors) }
  }

  /** Completes a part and joins it with the answer. */
  #complete(pending: Pending, known: readonly GraphQLFormattedError[], places: DeferredPlace[]) {
    const { id, path, label, place } = pending
    const inside: DeferredPlace[] = []
    const options = { ...this.#completion(known.flatMap((error) => seenFrom(path, error))), places: inside }
    const { data, errors } = complete(place.fragment.shape, place.data, options)
    const target = objectAt(this.#answer, path)
    const added = data && target && join(target, data)
    places.push(...inside.map((each) => ({ ...each, path: [...path, ...each.path] })))
    const told = errors.map((error) => ({ ...error, path: [...path, ...(error.path ?? [])] }))
    return { id, path, label, data: added ? data : null, added: added ?? [], errors: told as GraphQLFormattedError[] }
  }

  /** The errors to tell with a part. One that is null has at least the error that made it so. */
  #errorsOf(
    { path, data, errors }: Pick<ArrivedPart, 'path' | 'data' | 'errors'>,
    known: readonly GraphQLFormattedError[],
  ): readonly GraphQLFormattedError[] {
    const fresh = errors.filter((error) => this.#note(error))
    if (data || fresh.length > 0) return fresh
    const explains = ({ path: at = [] }: GraphQLFormattedError) => startsWith(at, path) || startsWith(path, at)
    return [...errors, ...known, ...this.#told.values()].filter(explains).slice(0, 1)
  }

  /** Ends the answer: nothing that is still to come can be sent. */
  #fail(ready: readonly Pending[], error: unknown): LaterPart {
    // A part may have what the others have left of the limit; a client knows the whole one.
    const { errors: refused } =
      error instanceof RequestError ? answerTooLarge(this.#options.maxAnswerBytes) : { errors: undefined }
    const errors = refused?.map((each) => each.toJSON()) ?? [this.#execution.request.mask(error)]
    const arrived = [...ready, ...this.#pending].map(({ id, path, label }) => {
      return { id, path, label, data: null, added: [], errors }
    })
    this.#pending = []
    return { text: laterPayload(this.#options.format, arrived, [], false), errors }
  }
}
