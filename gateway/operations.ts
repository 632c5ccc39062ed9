/** From a request's text to an operation that can be executed: parsed, validated and planned once per document. */

import type { QueryPlan } from '@apollo/query-planner'
import {
  type DocumentNode,
  GraphQLError,
  Kind,
  NoSchemaIntrospectionCustomRule,
  type OperationDefinitionNode,
  type OperationTypeNode,
  specifiedRules,
  validate,
} from 'graphql'
import { getVariableValues } from 'graphql/execution/values.js'
import type { Claims } from './authorization.ts'
import type { Execute, PlannedOperation } from './executor.ts'
import { checkDocument, costOf, type DocumentLimits, isTooDeep, parseDocument, readCosts } from './limits.ts'
import { createLru } from './lru.ts'
import type { CountRequest } from './metrics.ts'
import { correctOperation, type InternalName } from './planning/operation-corrections.ts'
import { countSensitiveFields, mayEndToken } from './sensitive-fields.ts'
import type { LoadedSupergraph } from './supergraph.ts'

/** An operation with all that could be done before its variables are known. */
export type Operation = {
  readonly type: OperationTypeNode
  readonly node: OperationDefinitionNode
  /** With the values of its variables. */
  readonly plan: (values: Readonly<Record<string, unknown>>) => QueryPlan
  readonly execute: Execute
  /** The estimated cost with these variables: above the limit it is not executed. */
  readonly cost: ((values: Readonly<Record<string, unknown>>) => number) | undefined
  readonly count: CountRequest
  /** What the client may not have of it, in place of `plan` and `execute`; undefined where it may have all. */
  readonly restricted: ((claims: Claims) => Restricted | undefined) | undefined
  /** How many of its root fields guess at a password, send mail or make accounts, with these variables. */
  readonly sensitiveFields: (values: Readonly<Record<string, unknown>>) => number
  /** Whether it may end the token that it comes with. */
  readonly mayEndToken: boolean
}

/** An operation without what a client may not have. */
export type Restricted = Pick<Operation, 'plan' | 'execute'>

/** A request that is not executed; each error carries its code. */
export class RequestError extends Error {
  override readonly name = 'RequestError'
  readonly errors: readonly GraphQLError[]
  readonly statusCode: number

  constructor(errors: readonly GraphQLError[], statusCode = 400) {
    super(errors[0]?.message)
    this.errors = errors
    this.statusCode = statusCode
  }
}

/** A RequestError of one message and code. */
export function requestError(
  message: string,
  code: string,
  statusCode = 400,
  extensions: Readonly<Record<string, unknown>> = {},
): RequestError {
  return new RequestError([new GraphQLError(message, { extensions: { ...extensions, code } })], statusCode)
}

export type Operations = {
  /** Finds the operation that a request asks for. @throws RequestError for anything that is wrong with it */
  readonly find: (source: string, operationName: string | undefined) => Operation
  /**
   * Checks the variables against the schema.
   * @returns their values, with defaults where they were not sent
   * @throws RequestError naming those that do not fit
   */
  readonly coerceVariables: (
    operation: Operation,
    variables: Readonly<Record<string, unknown>>,
  ) => Readonly<Record<string, unknown>>
}

export type OperationsOptions = {
  readonly introspection: boolean
  /** How many documents are kept parsed and planned. */
  readonly cachedDocuments: number
  readonly limits: DocumentLimits
  /** Labels of `@override` that hold, besides those of the form percent(5), which hold for so many requests of a hundred. */
  readonly activeLabels: readonly string[]
  readonly compile: (operation: PlannedOperation) => Execute
  /** The same where `isDenied` is given: Apollo's executor knows nothing of that. */
  readonly compileRestricted: (operation: PlannedOperation) => Execute
  readonly countOf: (operationName: string, type: string) => CountRequest
}

/** Of an operation, by what of it is denied. */
const MAX_VARIANTS = 32
const NO_VALUES = Object.freeze({})
/** Of all texts together. A parsed and planned document takes some fifty times the room of its text. */
const maxCachedCharacters = 2 * 1024 * 1024

/** The operations of one supergraph, with their cache: a new supergraph starts with an empty one. */
export function createOperations(
  supergraph: LoadedSupergraph,
  { introspection, cachedDocuments, limits, activeLabels, compile, compileRestricted, countOf }: OperationsOptions,
): Operations {
  const { overrideLabels } = supergraph
  const isOverridden = (label: string): boolean => {
    const percent = /^percent\(([\d.]+)\)$/.exec(label)?.[1]
    return percent === undefined ? activeLabels.includes(label) : Math.random() * 100 < Number(percent)
  }
  const costs = readCosts(supergraph.fullSchema)
  const rules = introspection ? specifiedRules : [...specifiedRules, NoSchemaIntrospectionCustomRule]
  type CachedDocument = { readonly document: DocumentNode; readonly operations: Map<string, Operation> }
  // The text itself is the key: V8 hashes it faster than a digest could be made, and two texts can't collide.
  const documents = createLru<CachedDocument>(cachedDocuments, maxCachedCharacters)

  function read(source: string): CachedDocument {
    if (isTooDeep(source)) throw tooDeep()
    let document: DocumentNode
    try {
      document = parseDocument(source, limits)
    } catch (error) {
      throw error instanceof GraphQLError ? new RequestError([error]) : error
    }
    // Before validation, which some documents make long.
    const excesses = checkDocument(document, limits)
    if (excesses.length > 0) throw new RequestError(excesses)
    const errors = validate(supergraph.schema, document, rules)
    if (errors.length > 0) throw withCode(errors, 'GRAPHQL_VALIDATION_FAILED')
    return { document: supergraph.plannable(document), operations: new Map() }
  }

  function prepare(
    document: DocumentNode,
    operationName: string | undefined,
    overridden: ReadonlySet<string> | undefined,
  ): Operation {
    const node = choose(document, operationName)
    if (node.operation === 'subscription') {
      throw requestError('Subscriptions are not supported.', 'OPERATION_RESOLUTION_FAILURE')
    }
    const planned = planOf(document, node, supergraph.internalNames(), overridden)
    return {
      type: node.operation,
      node,
      plan: (values) => planned.plan((name) => values[name] === true),
      execute: compile(planned),
      cost: costOf(costs, supergraph.schema, document, node),
      restricted: restrict(planned, overridden),
      count: countOf(node.name?.value ?? '', node.operation),
      sensitiveFields: countSensitiveFields(document, node),
      mayEndToken: mayEndToken(document, node),
    }
  }

  /** @param fetched what of the document the plan is to fetch */
  function planOf(
    document: DocumentNode,
    node: OperationDefinitionNode,
    internalName: InternalName,
    overridden: ReadonlySet<string> | undefined,
    fetched: DocumentNode = document,
  ): PlannedOperation {
    const name = node.name?.value
    const operation = choose(fetched, name)
    return {
      document,
      node,
      internalName,
      plan: (isTrue) =>
        refusable(() => supergraph.plan(correctOperation(fetched, operation, internalName, isTrue), name, overridden)),
      stockPlan: () => refusable(() => supergraph.stockPlan(fetched, name, overridden)),
    }
  }

  function restrict(
    { document, node, internalName }: PlannedOperation,
    overridden: ReadonlySet<string> | undefined,
  ): Operation['restricted'] {
    const { authorization } = supergraph
    const rules = authorization?.rulesOf(document, node) ?? []
    if (!authorization || rules.length === 0) return undefined
    const variants = new Map<string, Restricted>()
    return (claims) => {
      const denied = new Set(rules.filter((rule) => !rule.allows(claims)))
      if (denied.size === 0) return undefined
      const key = rules.map((rule) => (denied.has(rule) ? 1 : 0)).join('')
      let variant = variants.get(key)
      if (!variant) {
        const isDenied = authorization.isDenied(denied)
        const planned = planOf(document, node, internalName, overridden, authorization.without(document, isDenied))
        variant = {
          plan: (values) => planned.plan((name) => values[name] === true),
          execute: compileRestricted({ ...planned, isDenied }),
        }
        if (variants.size >= MAX_VARIANTS) variants.clear()
        variants.set(key, variant)
      }
      return variant
    }
  }

  function find(source: string, operationName: string | undefined): Operation {
    let cached = documents.get(source)
    if (!cached) {
      cached = read(source)
      documents.set(source, cached)
    }
    const overridden = overrideLabels.length > 0 ? new Set(overrideLabels.filter(isOverridden)) : undefined
    const key = overridden ? `${operationName ?? ''} ${[...overridden].join(' ')}` : (operationName ?? '')
    let operation = cached.operations.get(key)
    if (!operation) {
      operation = prepare(cached.document, operationName, overridden)
      cached.operations.set(key, operation)
    }
    return operation
  }

  return {
    find: (source, operationName) => {
      try {
        return find(source, operationName)
      } catch (error) {
        // graphql-js reads, validates and plans by recursion: what is too deep for the stack ends as a RangeError.
        if (error instanceof RangeError) throw tooDeep()
        throw error
      }
    },

    coerceVariables: ({ node }, variables) => {
      if (!node.variableDefinitions?.length) return NO_VALUES
      const { coerced, errors } = getVariableValues(supergraph.schema, node.variableDefinitions, variables, {
        maxErrors: 20,
      })
      if (errors) throw withCode(errors, 'BAD_USER_INPUT')
      return coerced
    },
  }
}

/** Plans. @throws RequestError for what would take the planner too long; anything else is a fault of ours */
function refusable(plan: () => QueryPlan): QueryPlan {
  try {
    return plan()
  } catch (error) {
    if (error instanceof GraphQLError) throw withCode([error], 'GRAPHQL_VALIDATION_FAILED')
    if (error instanceof RangeError) throw tooDeep()
    throw error
  }
}

const tooDeep = () => requestError('The document is nested too deeply.', 'OPERATION_TOO_COMPLEX')

/** The operation that a name means. @throws RequestError where there is none, or none is named of several */
export function choose(document: DocumentNode, name: string | undefined): OperationDefinitionNode {
  const all = document.definitions.filter((definition) => definition.kind === Kind.OPERATION_DEFINITION)
  const wanted = name === undefined ? all : all.filter((definition) => definition.name?.value === name)
  const [first] = wanted
  if (first && wanted.length === 1) return first
  throw requestError(
    name !== undefined
      ? `Unknown operation named "${name}".`
      : all.length > 1
        ? 'Must provide operation name if query contains multiple operations.'
        : 'Must provide an operation.',
    'OPERATION_RESOLUTION_FAILURE',
  )
}

function withCode(errors: readonly GraphQLError[], code: string): RequestError {
  return new RequestError(
    errors.map(
      (error) =>
        new GraphQLError(error.message, {
          nodes: error.nodes ?? null,
          source: error.source ?? null,
          positions: error.positions ?? null,
          extensions: { ...error.extensions, code },
        }),
    ),
  )
}
