/**
 * `@authenticated`, `@requiresScopes` and `@policy`, which the planner ignores. Fields that a client is not authorised
 * for are removed from its document before planning, so that no subgraph is asked for them, and are null with an error
 * in the answer.
 */
import type { Supergraph } from '@apollo/federation-internals'
import {
  type DocumentNode,
  type GraphQLNamedType,
  type GraphQLSchema,
  getDirectiveValues,
  getNamedType,
  isInterfaceType,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  type SelectionNode,
  type SelectionSetNode,
} from 'graphql'

/** The claims of a verified token; undefined for a guest. */
export type Claims = Readonly<Record<string, unknown>> | undefined

/** One requirement; equal ones are one object. */
interface Rule {
  readonly allows: (claims: Claims) => boolean
}

/** Whether a client is denied a field of a type. */
export type IsDenied = (typename: string, field: string) => boolean

export interface Authorization {
  /** The rules that apply to an operation; usually none. */
  readonly rulesOf: (document: DocumentNode, operation: OperationDefinitionNode) => readonly Rule[]
  readonly isDenied: (denied: ReadonlySet<Rule>) => IsDenied
  /** The document without denied fields. */
  readonly without: (document: DocumentNode, isDenied: IsDenied) => DocumentNode
}

interface Application {
  readonly scopes?: readonly string[][]
  readonly policies?: readonly string[][]
}

const DIRECTIVES = [
  ['authenticated', 'authenticated'],
  ['requiresScopes', 'scopes'],
  ['policy', 'policies'],
] as const

/** The values that a claim lists: an array, or a text separated by blanks. */
function listed(claims: Claims, name: string): ReadonlySet<unknown> {
  const value = claims?.[name]
  return new Set(typeof value === 'string' ? value.split(' ') : Array.isArray(value) ? value : [])
}

/** Whether at least one list is satisfied completely. */
const satisfies = (has: ReadonlySet<unknown>, lists: readonly (readonly string[])[]) =>
  lists.some((list) => list.every((each) => has.has(each)))

function makeRule({ scopes, policies }: Application): Rule {
  if (scopes) return { allows: (claims) => claims !== undefined && satisfies(listed(claims, 'scope'), scopes) }
  if (policies) return { allows: (claims) => claims !== undefined && satisfies(listed(claims, 'policies'), policies) }
  return { allows: (claims) => claims !== undefined }
}

/**
 * @param schema what clients see
 * @param fullSchema with the directives
 * @param supergraph has the names of the directives
 * @returns undefined if nothing is protected
 */
export function createAuthorization(
  schema: GraphQLSchema,
  fullSchema: GraphQLSchema,
  supergraph: Supergraph,
): Authorization | undefined {
  const rulesOfField = createRules(fullSchema, supergraph)
  if (!rulesOfField) return undefined
  const pruned = createPruning(schema)
  return {
    rulesOf: (document, operation) => {
      const all = new Set<Rule>()
      const others = (each: DocumentNode['definitions'][number]) =>
        each.kind === Kind.OPERATION_DEFINITION && each !== operation
      const part = { ...document, definitions: document.definitions.filter((each) => !others(each)) }
      pruned(part, (typename, field) => {
        for (const rule of rulesOfField(typename, field)) all.add(rule)
        const type = schema.getType(typename)
        // At runtime it is one of its implementations, which may be stricter.
        const kinds = isInterfaceType(type) ? schema.getImplementations(type).objects : []
        for (const kind of kinds) for (const rule of rulesOfField(kind.name, field)) all.add(rule)
        return true
      })
      return [...all]
    },
    isDenied: (denied) => (typename, field) => {
      for (const rule of rulesOfField(typename, field)) if (denied.has(rule)) return field !== '__typename'
      return false
    },
    without: (document, isDenied) => pruned(document, (typename, field) => !isDenied(typename, field)),
  }
}

/** @returns the rules that a field of a type comes under; undefined if nothing is protected */
function createRules(
  fullSchema: GraphQLSchema,
  supergraph: Supergraph,
): ((typename: string, field: string) => ReadonlySet<Rule>) | undefined {
  const directives = DIRECTIVES.flatMap(([name, argument]) => {
    const feature = supergraph.schema.coreFeatures?.getByIdentity(`https://specs.apollo.dev/${name}`)
    const directive = feature && fullSchema.getDirective(feature.directiveNameInSchema(name))
    return directive ? [{ directive, argument }] : []
  })
  if (directives.length === 0) return undefined
  const rules = new Map<string, Rule>()

  /** A directive's rules on a type or field. */
  function applied(node: Parameters<typeof getDirectiveValues>[1] | null | undefined): Rule[] {
    return directives.flatMap(({ directive, argument }) => {
      const values = node && getDirectiveValues(directive, node)
      if (!values) return []
      const key = JSON.stringify([argument, values])
      const rule = rules.get(key) ?? makeRule(values as Application)
      rules.set(key, rule)
      return [rule]
    })
  }

  const ofType = (type: GraphQLNamedType | undefined): Rule[] => applied(type?.astNode)

  function find(typename: string, name: string): ReadonlySet<Rule> {
    const type = fullSchema.getType(typename)
    if (!isObjectType(type) && !isInterfaceType(type)) return new Set()
    const field = type.getFields()[name]
    // A rule on an interface applies to all of its implementations.
    const kinds = isInterfaceType(type) ? fullSchema.getImplementations(type).objects : []
    const result = field ? fullSchema.getType(getNamedType(field.type).name) : undefined
    return new Set([
      ...ofType(type),
      ...applied(field?.astNode),
      ...ofType(result),
      ...kinds.flatMap((kind) => applied(kind.getFields()[name]?.astNode)),
    ])
  }
  const found = new Map<string, ReadonlySet<Rule>>()
  function rulesOfField(typename: string, name: string): ReadonlySet<Rule> {
    const key = `${typename}.${name}`
    const known = found.get(key) ?? find(typename, name)
    found.set(key, known)
    return known
  }

  return rulesOfField
}

/**
 * Walks documents with their types. @returns what makes a copy of a document with the fields that `keep` returns true
 * for
 */
function createPruning(schema: GraphQLSchema): (document: DocumentNode, keep: IsDenied) => DocumentNode {
  /** Walks a selection with its types; `keep` says which fields stay. */
  function prune(set: SelectionSetNode, typename: string, keep: IsDenied): SelectionSetNode {
    const type = schema.getType(typename)
    const selections = set.selections.flatMap((selection): SelectionNode[] => {
      if (selection.kind === Kind.FRAGMENT_SPREAD) return [selection]
      if (selection.kind === Kind.INLINE_FRAGMENT) {
        const on = selection.typeCondition?.name.value ?? typename
        return [{ ...selection, selectionSet: prune(selection.selectionSet, on, keep) }]
      }
      const { name, selectionSet } = selection
      if (!keep(typename, name.value)) return []
      const field = type && 'getFields' in type ? type.getFields()[name.value] : undefined
      if (!selectionSet || !field) return [selection]
      return [{ ...selection, selectionSet: prune(selectionSet, getNamedType(field.type).name, keep) }]
    })
    // It must still be known whether the object exists.
    return { ...set, selections: selections.length > 0 ? selections : [TYPENAME] }
  }

  function pruned(document: DocumentNode, keep: IsDenied): DocumentNode {
    const definitions = document.definitions.map((definition) => {
      if (definition.kind === Kind.OPERATION_DEFINITION) {
        const root = schema.getRootType(definition.operation)?.name ?? ''
        return { ...definition, selectionSet: prune(definition.selectionSet, root, keep) }
      }
      if (definition.kind !== Kind.FRAGMENT_DEFINITION) return definition
      const on = definition.typeCondition.name.value
      return { ...definition, selectionSet: prune(definition.selectionSet, on, keep) }
    })
    return { ...document, definitions }
  }

  return pruned
}

const TYPENAME: SelectionNode = { kind: Kind.FIELD, name: { kind: Kind.NAME, value: '__typename' } }
