/** From a request's text to an operation that can be executed: parsed, validated and planned once per document. */

import type { QueryPlan } from '@apollo/query-planner'
import {
  type DocumentNode,
  GraphQLError,
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
import { RequestError, requestError } from '../errors.ts'
import type { Execute } from '../execution/executor.ts'
import type { CountRequest } from '../metrics.ts'
import type { Claims } from './authorization.ts'
import { checkDocument, type DocumentLimits, isTooDeep, parseDocument, readCosts } from './document-limits.ts'
import { type Renamed, renameVariables, withFreeVariables } from './free-variables.ts'
import { type WithoutLiterals, withoutLiterals } from './literals.ts'
import { createPreparation, type PreparationOptions } from './preparation.ts'
import { choose, inClientsNames, tooDeep, withCode } from './refusals.ts'
import type { LoadedSupergraph } from './supergraph.ts'
import { settleVariables } from './variables.ts'

/** An operation with all that could be done before its variables are known. */
export interface Operation {
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

export interface Operations {
  /** Whether {@link Operations.find} finds it in its cache, as a rule. */
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

export interface OperationsOptions extends PreparationOptions {
  readonly introspection: boolean
  /** How many documents are kept parsed and planned. */
  readonly cachedDocuments: number
  readonly limits: DocumentLimits
  /** Labels of `@override` that hold, besides those of the form percent(5), which hold for so many requests of a hundred. */
  readonly activeLabels: readonly string[]
}

const NO_VALUES = Object.freeze({})
/** Of all texts together. A parsed and planned document takes some fifty times the room of its text. */
const MAX_CACHED_CHARACTERS = 1024 * 1024
/** Of one text. A longer one is parsed and planned each time. */
const MAX_CACHED_DOCUMENT = 128 * 1024
/** What an entry takes beside its text, in characters. */
const ENTRY = 500
/** Of one document, by its operations' names and by the labels that hold. */
const MAX_OPERATIONS = 32

/** The operations of one supergraph, with their cache: a new supergraph starts with an empty one. */
export function createOperations(supergraph: LoadedSupergraph, options: OperationsOptions): Operations {
  const { cachedDocuments, activeLabels } = options
  const { overrideLabels } = supergraph
  const isOverridden = (label: string): boolean => {
    const percent = /^percent\(([\d.]+)\)$/.exec(label)?.[1]
    return percent === undefined ? activeLabels.includes(label) : Math.random() * 100 < Number(percent)
  }
  const messages = messageOptions(options)
  const read = createReader(supergraph, options)
  const prepare = createPreparation(supergraph, readCosts(supergraph.fullSchema), options)
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
      // Parsed again: the nodes of the client's document would keep its whole text in memory.
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

/** Suggestions of names would reveal the schema name by name. */
const messageOptions = ({ introspection }: OperationsOptions) => ({ maxErrors: 20, hideSuggestions: !introspection })

/** Reads documents. @returns what throws RequestError for one that is not valid, or larger than the limits */
function createReader(supergraph: LoadedSupergraph, options: OperationsOptions): (source: string) => DocumentNode {
  const { introspection, limits } = options
  const messages = messageOptions(options)
  const rules = introspection ? specifiedRules : [...specifiedRules, NoSchemaIntrospectionCustomRule]
  return (source) => {
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
}
