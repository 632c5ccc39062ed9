/** The interface between the server and the executors of planned operations. */
import type { QueryPlan } from '@apollo/query-planner'
import type { DocumentNode, GraphQLFormattedError, OperationDefinitionNode, VariableDefinitionNode } from 'graphql'
import type { Cancellation } from '../cancellation.ts'
import { requestError } from '../errors.ts'
import type { IsDenied } from '../planning/authorization.ts'
import type { DeferredFragments } from '../planning/deferral.ts'
import type { DividedPlan } from '../planning/divided-plans.ts'
import type { InternalName, IsTrue } from '../planning/operation-corrections.ts'
import type { RawAnswer, SubgraphHooks, SubgraphUnavailable } from '../subgraphs/client.ts'
import type { IncrementalFormat } from './incremental-formats.ts'

export interface PlannedOperation {
  readonly document: DocumentNode
  readonly node: OperationDefinitionNode
  /** The client's own variables; `node` also has those that replace literals. */
  readonly declared: readonly VariableDefinitionNode[]
  /**
   * Creates the plan, with internal names; it is created again on each call.
   * @param isTrue evaluates the conditions
   * @throws RequestError if the planner refuses it
   */
  readonly plan: (isTrue: IsTrue) => QueryPlan
  /**
   * Plans the operation with its deferred fragments (deferral.ts); undefined if all of them come from the fetches of what is
   * around them.
   * @throws RequestError if the planner refuses it
   */
  readonly planDeferred: (deferred: DocumentNode, isTrue: IsTrue) => DividedPlan | undefined
  /** The uncorrected plan, for Apollo's executor. */
  readonly stockPlan: () => QueryPlan
  readonly internalName: InternalName
  /**
   * Fields of the document that are not in the plan: they become null with an error, by the runtime type or as in the
   * document.
   */
  readonly isDenied?: IsDenied
}

/** The parts of an execution that differ from one request to the next. */
export interface ExecutionRequest {
  /** As the client sent them, already validated against the schema, with those that replace literals. */
  readonly variables: Readonly<Record<string, unknown>>
  /** The same after coercion, with defaults for those that were not sent. */
  readonly values: Readonly<Record<string, unknown>>
  /** For the subgraph calls: names and values in turn. */
  readonly headers: readonly string[]
  /** Further headers, for some subgraphs. */
  readonly identity?: SubgraphIdentity | undefined
  /** Set for queries: when the client goes away, no further call is made and the answer is dropped. */
  readonly cancellation?: Cancellation | undefined
  /** Of the plugins, for the subgraph calls. */
  readonly hooks?: SubgraphHooks | undefined
  /** For a subscription: the event that is answered. */
  readonly event?: RawAnswer | undefined
  /** Logs an internal error and returns the masked one for clients. */
  mask(error: unknown): GraphQLFormattedError
  /** Called with each answer of a subgraph, before it is read. */
  received(answer: RawAnswer, service: string): void
  /** Called for each subgraph that gave no usable answer. */
  unavailable(error: SubgraphUnavailable): void
  /** Called when an answer can be made: waits until the client has room for it. undefined: no wait. @throws Cancelled */
  room?(): Promise<void> | undefined
  /** Called with an answer as soon as it is made, in the same turn. */
  made?(text: string): void
}

/** Headers that only these subgraphs get: names and values in turn. */
export interface SubgraphIdentity {
  readonly subgraphs: ReadonlySet<string>
  readonly headers: readonly string[]
}

/** The headers of a call to this subgraph. */
export const headersFor = ({ headers, identity }: ExecutionRequest, service: string): readonly string[] =>
  identity?.subgraphs.has(service) ? [...headers, ...identity.headers] : headers

export interface ExecutionAnswer {
  /** The answer's body: JSON with `data`, and `errors` if there are any. */
  readonly text: string
  readonly hasErrors: boolean
  /** The errors in the text; absent if there are none. */
  readonly errors?: readonly GraphQLFormattedError[]
  /** The first of Magento's categories among its errors (`extensions.category`). */
  readonly category?: string | undefined
}

/** See {@link ExecutionAnswer.category}. */
export function firstCategory(errors: readonly GraphQLFormattedError[]): string | undefined {
  for (const { extensions } of errors) if (typeof extensions?.category === 'string') return extensions.category
  return undefined
}

/**
 * Executes one operation, any number of times. Failures are in the errors of the answer.
 * @throws RequestError if the planner refuses the operation with these conditions, or ANSWER_TOO_LARGE
 */
export interface Execute {
  (request: ExecutionRequest): Promise<ExecutionAnswer>
  /** Of a subscription: where its events come from. They are then executed one by one. */
  readonly source?: (request: Pick<ExecutionRequest, 'variables' | 'values'>) => EventSource | undefined
}

/** A subgraph's stream of events. */
export interface EventSource {
  readonly service: string
  /** What the subgraph is sent: JSON with `query`, and optional `variables` and `operationName`. */
  readonly body: string
  /** The response name of the field. */
  readonly field: string
}

/** Prepares the execution of an operation; called once for each operation of a document. */
export type Executor = (operation: PlannedOperation) => Execute

/** A later part of an answer. */
export interface LaterPart {
  /** JSON in the format that was asked for. */
  readonly text: string
  /** Those in the text. */
  readonly errors: readonly GraphQLFormattedError[]
}

export interface IncrementalAnswer extends ExecutionAnswer {
  /** What follows, as it arrives; undefined: the answer is whole. It never throws. */
  readonly rest?: AsyncIterable<LaterPart>
}

/** Executes an operation with deferred fragments. Errors: see {@link Execute}. */
export type ExecuteIncrementally = (request: ExecutionRequest, format: IncrementalFormat) => Promise<IncrementalAnswer>

/**
 * Prepares the execution of an operation with deferred fragments.
 * @param planned without `@defer`
 * @param fragments the operation with `@defer`
 * @param whole executes the operation without deferring anything
 */
export type IncrementalExecutor = (
  planned: PlannedOperation,
  fragments: DeferredFragments,
  whole: Execute,
) => ExecuteIncrementally

/** An answer's body. */
export function answerText(data: unknown, errors: readonly GraphQLFormattedError[]): ExecutionAnswer {
  const text = JSON.stringify(errors.length > 0 ? { data: data ?? null, errors } : { data: data ?? null })
  return { text, hasErrors: errors.length > 0, errors, category: firstCategory(errors) }
}

/** The error for an answer that is larger than the limit. */
export const answerTooLarge = (bytes: number) =>
  requestError(`The answer has more than ${bytes} bytes (ANSWER_LIMIT_BYTES): ask for less.`, 'ANSWER_TOO_LARGE')
