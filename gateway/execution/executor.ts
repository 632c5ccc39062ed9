/** How a planned operation is executed: the seam between the server and the executors. */
import type { QueryPlan } from '@apollo/query-planner'
import type { DocumentNode, GraphQLFormattedError, OperationDefinitionNode, VariableDefinitionNode } from 'graphql'
import type { Cancellation } from '../cancellation.ts'
import { requestError } from '../errors.ts'
import type { IsDenied } from '../planning/authorization.ts'
import type { InternalName, IsTrue } from '../planning/operation-corrections.ts'
import type { RawAnswer, SubgraphUnavailable } from '../subgraphs/client.ts'

export interface PlannedOperation {
  readonly document: DocumentNode
  readonly node: OperationDefinitionNode
  /** The client's own variables: `node` has those that stand for literals, too. */
  readonly declared: readonly VariableDefinitionNode[]
  /**
   * How to fetch what it asks for, in internal names: made again each time.
   * @param isTrue decides the conditions
   * @throws RequestError where the planner refuses it
   */
  readonly plan: (isTrue: IsTrue) => QueryPlan
  /** The same as the planner gives it by itself, for Apollo's executor. */
  readonly stockPlan: () => QueryPlan
  readonly internalName: InternalName
  /** What is in the document and not in the plan: null with an error, by the type at runtime or as the document has it. */
  readonly isDenied?: IsDenied
}

/** What differs from one execution of an operation to the next. */
export interface ExecutionRequest {
  /** As the client sent them, already checked against the schema, with those that stand for literals. */
  readonly variables: Readonly<Record<string, unknown>>
  /** The same as the schema has them, with the defaults of those that were not sent. */
  readonly values: Readonly<Record<string, unknown>>
  /** For the subgraph calls: names and values in turn. */
  readonly headers: readonly string[]
  /** Of a query: when the client goes away, no further call is made and the answer is dropped. */
  readonly cancellation?: Cancellation | undefined
  /** Logs an error that is not meant for clients and returns what they see in its place. */
  mask(error: unknown): GraphQLFormattedError
  /** Called with each answer of a subgraph, before it is read. */
  received(answer: RawAnswer): void
  /** Called for each subgraph that gave no usable answer. */
  unavailable(error: SubgraphUnavailable): void
}

export interface ExecutionAnswer {
  /** The answer's body: JSON with `data`, and `errors` where there are any. */
  readonly text: string
  readonly hasErrors: boolean
  /** The first category of Magento's among its errors (`extensions.category`), in the order in which they stand there. */
  readonly category?: string | undefined
}

/** See {@link ExecutionAnswer.category}. */
export function firstCategory(errors: readonly GraphQLFormattedError[]): string | undefined {
  for (const { extensions } of errors) if (typeof extensions?.category === 'string') return extensions.category
  return undefined
}

/**
 * Executes one operation, again and again. What goes wrong is in the answer's errors.
 * @throws RequestError where the planner refuses the operation with these conditions, or ANSWER_TOO_LARGE
 */
export type Execute = (request: ExecutionRequest) => Promise<ExecutionAnswer>

/** Makes ready to execute an operation; done once for each operation of a document. */
export type Executor = (operation: PlannedOperation) => Execute

/** An answer's body. */
export function answerText(data: unknown, errors: readonly GraphQLFormattedError[]): ExecutionAnswer {
  const text = JSON.stringify(errors.length > 0 ? { data: data ?? null, errors } : { data: data ?? null })
  return { text, hasErrors: errors.length > 0, category: firstCategory(errors) }
}

/** An answer that is larger than the gateway gives. */
export const answerTooLarge = (bytes: number) =>
  requestError(`The answer has more than ${bytes} bytes (ANSWER_LIMIT_BYTES): ask for less.`, 'ANSWER_TOO_LARGE')
