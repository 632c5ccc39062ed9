/** From a request's text to an operation that can be executed: parsed, validated and planned once per document. */

import { createHash } from 'node:crypto'
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
import type { DocumentLimits } from '../accepted-values.ts'
import { RequestError, requestError } from '../errors.ts'
import type { Execute, ExecuteIncrementally } from '../execution/executor.ts'
import type { CountRequest } from '../metrics.ts'
import type { AnswerTraits } from './answer-traits.ts'
import type { Claims } from './authorization.ts'
import { DEFER_RULES } from './deferral-rules.ts'
import { checkDocument, isTooDeep, parseDocument, readCosts } from './document-limits.ts'
import { type Renamed, renameVariables, withFreeVariables } from './free-variables.ts'
import { type WithoutLiterals, withoutLiterals } from './literals.ts'
import { createPreparation, type PreparationOptions } from './preparation.ts'
import { choose, inClientsNames, tooDeep, withCode } from './refusals.ts'
import type { LoadedSupergraph } from './supergraph.ts'
import { settleVariables } from './variables.ts'

/** An operation, prepared as far as possible without its variables. */
export interface Operation extends AnswerTraits {
  readonly type: OperationTypeNode
  readonly node: OperationDefinitionNode
  /** The client's own variables; `node` also has those that replace literals. */
  readonly declared: readonly VariableDefinitionNode[]
  /** SHA-256 of the document as it is planned, in hexadecimal: without literals, whitespace and comments. */
  readonly hash: string
  /** What it selects: see {@link selectedFields}. */
  readonly fields: () => readonly string[]
  /** With the values of its variables. */
  readonly plan: (values: Readonly<Record<string, unknown>>) => QueryPlan
  readonly execute: Execute
  /** The same where the client takes deferred fragments in parts of their own; undefined: it has none. */
  readonly deferred: ExecuteIncrementally | undefined
  /** The estimated cost with these variables; above the limit, the operation is not executed. */
  readonly cost: ((values: Readonly<Record<string, unknown>>) => number) | undefined
  readonly count: CountRequest
  /** Replaces `plan`, `execute` and `deferred` if the client is denied some of its fields; otherwise undefined. */
  readonly restricted: ((claims: Claims) => Restricted | undefined) | undefined
  /** How many of its root fields check a password, send mail or create accounts, with these variables. */
  readonly sensitiveFields: (values: Readonly<Record<string, unknown>>) => number
  /** Whether it may revoke the caller's token. */
  readonly mayEndToken: boolean
  /** Whether it is executed as a guest's if its token is invalid. */
  readonly ignoresToken: boolean
}

/** An operation without the fields that a client is denied. */
export type Restricted = Pick<Operation, 'plan' | 'execute' | 'deferred'>

type Values = Readonly<Record<string, unknown>>

/** An operation, and the literals of a document. */
export type FoundOperation = Pick<WithoutLiterals, 'literals' | 'defaults'> & {
  readonly operation: Operation
  /** Variables that were renamed. */
  readonly renamed: Renamed | undefined
}

export interface Operations {
  /** Whether {@link Operations.find} usually finds it in its cache. */
  readonly isKnown: (source: string, operationName: string | undefined) => boolean
  /** Finds the operation of a request. @throws RequestError for any fault of the request */
  readonly find: (source: string, operationName: string | undefined) => FoundOperation
  /** The documents in use, the last one first, with an operation's name where a request names it. */
  readonly recent: (count: number) => readonly { readonly source: string; readonly operationName: string | undefined }[]
  /**
   * Checks the variables against the schema.
   * @param hasRawNumbers whether there may be RawNumbers in them
   * @returns `variables` in the form for subgraphs, including literals; `values` after coercion
   * @throws RequestError naming the invalid ones
   */
  readonly coerceVariables: (
    found: FoundOperation,
    variables: Values,
    hasRawNumbers: boolean,
  ) => { readonly variables: Values; readonly values: Values }
}

export interface OperationsOptions extends PreparationOptions {
  readonly introspection: boolean
  /** How many parsed and planned documents are cached. */
  readonly cachedDocuments: number
  readonly limits: DocumentLimits
  /** Active labels of `@override`, besides those of the form percent(5), which apply to that percentage of requests. */
  readonly activeLabels: readonly string[]
}

const NO_VALUES = Object.freeze({})
/** The limit for all texts together. A parsed and planned document takes about fifty times the memory of its text. */
const MAX_CACHED_CHARACTERS = 1024 * 1024
/** The limit for one text. A longer one is parsed and planned each time. */
const MAX_CACHED_DOCUMENT = 128 * 1024
/** The overhead of an entry, in characters. */
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
  /** Keyed by the text without literals, for all documents that differ only in literals. */
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
    if (node.operation === 'subscription' && !supergraph.schema.getSubscriptionType()) {
      throw requestError('This graph has no subscriptions.', 'OPERATION_RESOLUTION_FAILURE')
    }
    const alone = separateOperations(whole)[node.name?.value ?? ''] ?? whole
    const { document, renamed } = withFreeVariables(alone)
    const without = withoutLiterals(supergraph.schema, document)
    const printed = print(without.document)
    const text = `${printed}${overridden ? ` # ${[...overridden].join(' ')}` : ''}`
    let operation = planned.get(text)
    if (!operation) {
      // Parsed again, because the nodes of the client's document would retain its whole text.
      const taken = new Set(Object.keys(without.literals ?? {}))
      const hash = createHash('sha256').update(printed).digest('hex')
      operation = prepare(parse(text, { noLocation: true }), hash, taken, operationName, overridden)
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
      // With percentage labels it is not known yet which variant is needed.
      return known !== undefined && (overrideLabels.length > 0 || known.has(operationName ?? ''))
    },

    find: (source, operationName) => {
      try {
        return find(source, operationName)
      } catch (error) {
        // graphql-js parses, validates and plans recursively: a document that is too deep for the stack causes a
        // RangeError.
        if (error instanceof RangeError) throw tooDeep()
        throw error
      }
    },

    recent: (count) => {
      // With labels a document is known by them, too, and they may be others in the next supergraph.
      if (overrideLabels.length > 0) return []
      const documentsInUse = [...documents.entries()].slice(0, count)
      return documentsInUse.flatMap(([source, known]) =>
        [...known.keys()].map((name) => ({ source, operationName: name === '' ? undefined : name })),
      )
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

/** One suggestion is always made: `Did you mean "customer { ... }"?`. */
const withoutSuggestion = ({ message, nodes }: GraphQLError): GraphQLError =>
  new GraphQLError(message.replace(/ Did you mean "\w+ \{ \.\.\. \}"\?$/, ''), { nodes: nodes ?? null })

/** Parses documents. @returns a function that throws RequestError for an invalid document, or one over the limits */
function createReader(supergraph: LoadedSupergraph, options: OperationsOptions): (source: string) => DocumentNode {
  const { introspection, limits } = options
  const messages = messageOptions(options)
  const rules = [...specifiedRules, ...DEFER_RULES, ...(introspection ? [] : [NoSchemaIntrospectionCustomRule])]
  return (source) => {
    if (isTooDeep(source)) throw tooDeep()
    let document: DocumentNode
    try {
      document = parseDocument(source, limits)
    } catch (error) {
      throw error instanceof GraphQLError ? new RequestError([error]) : error
    }
    // Before validation, which takes long for some documents.
    const excesses = checkDocument(document, limits)
    if (excesses.length > 0) throw new RequestError(excesses)
    const errors = validate(supergraph.schema, document, rules, messages)
    if (errors.length > 0) {
      throw withCode(introspection ? errors : errors.map(withoutSuggestion), 'GRAPHQL_VALIDATION_FAILED')
    }
    return supergraph.plannable(document)
  }
}
