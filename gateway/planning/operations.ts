/** From a request's text to an operation that can be executed: parsed, validated and planned once per document. */

import type { QueryPlan } from '@apollo/query-planner'
import {
  type DocumentNode,
  GraphQLError,
  Kind,
  NoSchemaIntrospectionCustomRule,
  type OperationDefinitionNode,
  type OperationTypeNode,
  parse,
  print,
  separateOperations,
  specifiedRules,
  type VariableDefinitionNode,
  validate,
} from 'graphql'
import { getVariableValues } from 'graphql/execution/values.js'
import { LRUCache } from 'lru-cache'
import { ignoresToken } from '../../schema/token-faults.ts'
import { type RefusalCode, RequestError, requestError } from '../errors.ts'
import type { Execute, PlannedOperation } from '../execution/executor.ts'
import type { CountRequest } from '../metrics.ts'
import type { Claims } from './authorization.ts'
import { checkDocument, costOf, type DocumentLimits, isTooDeep, parseDocument, readCosts } from './document-limits.ts'
import { type Renamed, renameVariables, withFreeVariables } from './free-variables.ts'
import { type WithoutLiterals, withoutLiterals } from './literals.ts'
import { correctOperation } from './operation-corrections.ts'
import { countSensitiveFields, mayEndToken } from './sensitive-fields.ts'
import type { LoadedSupergraph } from './supergraph.ts'
import { settleVariables } from './variables.ts'

/** An operation with all that could be done before its variables are known. */
export type Operation = {
  readonly type: OperationTypeNode
  readonly node: OperationDefinitionNode
  /** The client's own: `node` has those that stand for literals, too. */
  readonly declared: readonly VariableDefinitionNode[]
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
  /** Whether it is carried out as a guest's where it comes with a token that does not count. */
  readonly ignoresToken: boolean
}

/** An operation without what a client may not have. */
export type Restricted = Pick<Operation, 'plan' | 'execute'>

type Values = Readonly<Record<string, unknown>>

/** An operation, and what a document has in the places of its literals. */
export type FoundOperation = Pick<WithoutLiterals, 'literals' | 'defaults'> & {
  readonly operation: Operation
  /** Variables that have other names here than in the client's document. */
  readonly renamed: Renamed | undefined
}

export type Operations = {
  /** Whether {@link Operations.find} takes no time for it, as a rule. */
  readonly isKnown: (source: string, operationName: string | undefined) => boolean
  /** Finds the operation that a request asks for. @throws RequestError for anything that is wrong with it */
  readonly find: (source: string, operationName: string | undefined) => FoundOperation
  /**
   * Checks the variables against the schema.
   * @param hasRawNumbers whether there may be RawNumbers in them
   * @returns `variables` as they go to the subgraphs, literals included; `values` as the schema has them
   * @throws RequestError naming those that do not fit
   */
  readonly coerceVariables: (
    found: FoundOperation,
    variables: Values,
    hasRawNumbers: boolean,
  ) => { readonly variables: Values; readonly values: Values }
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
const MAX_CACHED_CHARACTERS = 1024 * 1024
/** Of one text. A longer one is read anew each time. */
const MAX_CACHED_DOCUMENT = 128 * 1024
/** What an entry takes beside its text, in characters. */
const ENTRY = 500
/** Of one document, by its operations' names and by the labels that hold. */
const MAX_OPERATIONS = 32
/** Of a message: some quote what the client sent. */
const MAX_MESSAGE = 500

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
  /** Suggestions would tell the schema name by name. */
  const messages = { maxErrors: 20, hideSuggestions: !introspection }
  const cacheOf = <Value extends object>() =>
    new LRUCache<string, Value>({
      max: cachedDocuments,
      maxSize: MAX_CACHED_CHARACTERS,
      maxEntrySize: MAX_CACHED_DOCUMENT,
      sizeCalculation: (_, key) => key.length + ENTRY,
    })
  // The text itself is the key: V8 hashes it faster than a digest could be made, and two texts can't collide.
  const documents = cacheOf<Map<string, FoundOperation>>()
  /** By the text without its literals, of all documents that differ in these alone. */
  const planned = cacheOf<Operation>()

  /** A valid document. */
  function read(source: string): DocumentNode {
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
    const errors = validate(supergraph.schema, document, rules, messages)
    if (errors.length > 0) throw withCode(errors, 'GRAPHQL_VALIDATION_FAILED')
    return supergraph.plannable(document)
  }

  /**
   * @param document without literals, and not one that shares nodes with the client's: they hold on to its whole text. Neither
   * may anything else that is kept, closures included
   * @param taken the names of the variables that stand for literals
   */
  function prepare(
    document: DocumentNode,
    taken: ReadonlySet<string>,
    operationName: string | undefined,
    overridden: ReadonlySet<string> | undefined,
  ): Operation {
    const node = choose(document, operationName)
    const declared = (node.variableDefinitions ?? []).filter(({ variable }) => !taken.has(variable.name.value))
    const planned = planOf({ document, node, declared, internalName: supergraph.internalNames() }, overridden)
    return {
      type: node.operation,
      node,
      declared,
      plan: (values) => planned.plan((name) => values[name] === true),
      execute: compile(planned),
      cost: costOf(costs, supergraph.schema, document, node),
      restricted: restrict(planned, overridden),
      count: countOf(node.name?.value ?? '', node.operation),
      sensitiveFields: countSensitiveFields(document, node),
      mayEndToken: mayEndToken(document, node),
      ignoresToken: ignoresToken(document, node),
    }
  }

  /** @param fetched what of the document the plan is to fetch */
  function planOf(
    operation: Pick<PlannedOperation, 'document' | 'node' | 'declared' | 'internalName'>,
    overridden: ReadonlySet<string> | undefined,
    fetched: DocumentNode = operation.document,
  ): PlannedOperation {
    const name = operation.node.name?.value
    const wanted = choose(fetched, name)
    const { internalName } = operation
    return {
      ...operation,
      plan: (isTrue) =>
        refusable(() => supergraph.plan(correctOperation(fetched, wanted, internalName, isTrue), name, overridden)),
      stockPlan: () => refusable(() => supergraph.stockPlan(fetched, name, overridden)),
    }
  }

  function restrict(
    { document, node, declared, internalName }: PlannedOperation,
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
        const own = { document, node, declared, internalName }
        const planned = planOf(own, overridden, authorization.without(document, isDenied))
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

  function labelsOf(): ReadonlySet<string> | undefined {
    return overrideLabels.length > 0 ? new Set(overrideLabels.filter(isOverridden)) : undefined
  }

  function find(source: string, operationName: string | undefined): FoundOperation {
    const overridden = labelsOf()
    const key = overridden ? `${operationName ?? ''} ${[...overridden].join(' ')}` : (operationName ?? '')
    let known = documents.get(source)
    const before = known?.get(key)
    if (before) return before
    const whole = read(source)
    const node = choose(whole, operationName)
    if (node.operation === 'subscription') {
      throw requestError('Subscriptions are not supported.', 'OPERATION_RESOLUTION_FAILURE')
    }
    const alone = separateOperations(whole)[node.name?.value ?? ''] ?? whole
    const { document, renamed } = withFreeVariables(alone)
    const without = withoutLiterals(supergraph.schema, document)
    const text = `${print(without.document)}${overridden ? ` # ${[...overridden].join(' ')}` : ''}`
    let operation = planned.get(text)
    if (!operation) {
      // Read anew: the nodes of the client's document hold on to its whole text.
      const taken = new Set(Object.keys(without.literals ?? {}))
      operation = prepare(parse(text, { noLocation: true }), taken, operationName, overridden)
      planned.set(text, operation)
    }
    const { literals, defaults } = without
    const found = { operation, literals, defaults, renamed }
    if (!known || known.size === MAX_OPERATIONS) known = new Map()
    known.set(key, found)
    documents.set(source, known)
    return found
  }

  return {
    isKnown: (source, operationName) => {
      const known = documents.get(source)
      // With labels that hold by chance it is not known yet which of its operations it will be.
      return known !== undefined && (overrideLabels.length > 0 || known.has(operationName ?? ''))
    },

    find: (source, operationName) => {
      try {
        return find(source, operationName)
      } catch (error) {
        // graphql-js reads, validates and plans by recursion: what is too deep for the stack ends as a RangeError.
        if (error instanceof RangeError) throw tooDeep()
        throw error
      }
    },

    coerceVariables: ({ operation: { declared }, literals, defaults, renamed }, sent, hasRawNumbers) => {
      if (declared.length === 0) return { variables: literals ?? NO_VALUES, values: literals ?? NO_VALUES }
      const own = renamed ? renameVariables(sent, renamed) : sent
      const whole = defaults ? { ...defaults, ...own } : own
      const settled = hasRawNumbers || defaults ? settleVariables(supergraph.schema, declared, whole) : whole
      const { coerced, errors } = getVariableValues(supergraph.schema, declared, settled, messages)
      if (errors)
        throw withCode(renamed ? errors.map((each) => inClientsNames(each, renamed)) : errors, 'BAD_USER_INPUT')
      if (!literals) return { variables: settled, values: coerced }
      return { variables: { ...settled, ...literals }, values: { ...coerced, ...literals } }
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

function inClientsNames(error: GraphQLError, renamed: Renamed): GraphQLError {
  let { message } = error
  for (const [name, own] of renamed) message = message.replaceAll(`$${name}`, `$${own}`)
  return new GraphQLError(message, { nodes: error.nodes ?? null, extensions: error.extensions })
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
      ? `Unknown operation named "${shortened(name)}".`
      : all.length > 1
        ? 'Must provide operation name if query contains multiple operations.'
        : 'Must provide an operation.',
    'OPERATION_RESOLUTION_FAILURE',
  )
}

const shortened = (message: string) => (message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…` : message)

function withCode(errors: readonly GraphQLError[], code: RefusalCode): RequestError {
  return new RequestError(
    errors.map(
      (error) =>
        new GraphQLError(shortened(error.message), {
          nodes: error.nodes ?? null,
          source: error.source ?? null,
          positions: error.positions ?? null,
          extensions: { ...error.extensions, code },
        }),
    ),
  )
}
