/**
 * Rewrites operations before planning to avoid bugs of Apollo's planner. This prevents two kinds of wrong plans:
 *
 * - Conditions. The planner puts `@skip` and `@include` on the field that another subgraph requires, but builds its
 *   representations as if the field were always there. So the conditions are evaluated first: the planner sees an
 *   operation without any, once for each combination of their values.
 *   https://github.com/apollographql/federation/issues/3317, https://github.com/apollographql/router/issues/9849
 * - Response names. The planner fetches keys and required fields under their own names, beside what the client asks for
 *   under any name: an alias such as `id: code` or `price: cheap` then ends up in a representation, and one name that
 *   stands for two fields in two fragments is fetched as one of them. So each field gets an internal response name that
 *   depends on the client's name, the field and its arguments. The client's names come back when the answer is written.
 *   https://github.com/apollographql/federation/issues/3036, https://github.com/apollographql/federation/issues/2770,
 *   https://github.com/apollographql/router/issues/6217
 */
import {
  type ArgumentNode,
  type DefinitionNode,
  type DirectiveNode,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLSchema,
  getNullableType,
  isInterfaceType,
  isLeafType,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  print,
  type SelectionNode,
  type SelectionSetNode,
} from 'graphql'
import { sortValueNode } from 'graphql/utilities/sortValueNode.js'

/** The internal name of a field in subgraph calls and in the data, until the answer is written. */
export type InternalName = (field: FieldNode) => string

/** Whether a condition's variable is true. */
export type IsTrue = (variable: string) => boolean

/** The client's name of a field in its answer. */
export const responseName = ({ alias, name }: FieldNode): string => (alias ?? name).value

/** The names of a supergraph's fields. */
export interface FieldNames {
  readonly all: ReadonlySet<string>
  /** Those that keys and requirements ask for. */
  readonly required: ReadonlySet<string>
  /** Those of keys that have one type, a scalar or enum, wherever they occur. */
  readonly keys: ReadonlySet<string>
}

/**
 * Makes the internal names of one document. A field that the client asks for without arguments under its own name keeps
 * that name, which is the one that the planner uses for keys and requirements: both have the same value. So does a key's
 * field under another name: the planner has it at hand, and would otherwise fetch it again from a subgraph that may not
 * find the entity. Any other gets a name that no field of the schema has. So does an object of which a key or requirement
 * has a part: what the client asks for in it may fail and make the whole null.
 */
export function createInternalNames({ all, required, keys }: FieldNames): InternalName {
  const names = new Map<string, string>()
  const known = new WeakMap<FieldNode, string>()
  let last = 0

  function make(field: FieldNode): string {
    const own = field.name.value
    const key = responseName(field)
    if (own === '__typename') return own
    // The gateway answers introspection, not a subgraph.
    const isShared = field.selectionSet !== undefined && required.has(own)
    if (own.startsWith('__') || (key === own && !field.arguments?.length && !isShared)) return key
    if (keys.has(own) && !field.arguments?.length) return own
    const text = JSON.stringify([key, own, argumentsText(field.arguments)])
    let name = names.get(text)
    if (name === undefined) {
      do name = `${own}__${++last}`
      while (all.has(name))
      names.set(text, name)
    }
    return name
  }

  return (field) => {
    let name = known.get(field)
    if (name === undefined) {
      name = make(field)
      known.set(field, name)
    }
    return name
  }
}

/** Equal for what "Field Selection Merging" takes for the same arguments: whatever the order of what is in them. */
const argumentsText = (given: readonly ArgumentNode[] = []): string[] =>
  given.map(({ name, value }) => `${name.value}:${print(sortValueNode(value))}`).sort()

/**
 * @param schema the whole supergraph
 * @param required the names of the fields that keys and requirements ask for
 * @param keys those of keys alone
 */
export function fieldNames(
  schema: GraphQLSchema,
  required: ReadonlySet<string>,
  keys: ReadonlySet<string>,
): FieldNames {
  const typesOf = new Map<string, Set<string>>()
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) && !isInterfaceType(type)) continue
    for (const field of Object.values(type.getFields())) {
      const types = typesOf.get(field.name) ?? new Set()
      typesOf.set(field.name, types.add(isLeafType(getNullableType(field.type)) ? String(field.type) : ''))
    }
  }
  const isUniform = (name: string) => typesOf.get(name)?.size === 1 && !typesOf.get(name)?.has('')
  return { all: new Set(typesOf.keys()), required, keys: new Set([...keys].filter(isUniform)) }
}

/**
 * One operation of a document with evaluated conditions and internal names, with the fragments that it then uses.
 * @param document valid for the schema
 */
export function correctOperation(
  document: DocumentNode,
  operation: OperationDefinitionNode,
  internalName: InternalName,
  isTrue: IsTrue,
): DocumentNode {
  const fragments = new Map(document.definitions.filter(isFragment).map((each) => [each.name.value, each]))
  const used = new Map<string, FragmentDefinitionNode>()

  function correctFragment(name: string): void {
    const fragment = fragments.get(name)
    if (!fragment || used.has(name)) return
    used.set(name, fragment)
    used.set(name, { ...fragment, selectionSet: correctSet(fragment.selectionSet) })
  }

  function correctSet({ selections }: SelectionSetNode): SelectionSetNode {
    const corrected = selections.flatMap((selection): SelectionNode[] => {
      if (!isIncluded(selection.directives, isTrue)) return []
      const directives = (selection.directives ?? []).filter((each) => !isCondition(each))
      if (selection.kind === Kind.FRAGMENT_SPREAD) {
        correctFragment(selection.name.value)
        return [{ ...selection, directives }]
      }
      if (selection.kind === Kind.INLINE_FRAGMENT) {
        return [{ ...selection, directives, selectionSet: correctSet(selection.selectionSet) }]
      }
      const { alias: _, ...field } = selection
      const name = internalName(selection)
      return [
        {
          ...field,
          ...(name !== field.name.value && { alias: { kind: Kind.NAME, value: name } }),
          directives,
          ...(field.selectionSet && { selectionSet: correctSet(field.selectionSet) }),
        },
      ]
    })
    // It must still be known whether the object exists.
    return { kind: Kind.SELECTION_SET, selections: corrected.length > 0 ? corrected : [TYPENAME] }
  }

  const corrected = { ...operation, selectionSet: correctSet(operation.selectionSet) }
  return { kind: Kind.DOCUMENT, definitions: [corrected, ...used.values()] }
}

/** How the planner refuses an operation in which types that exclude each other are nested by way of abstract types. */
export const isImpossibleFragment = (error: unknown): boolean =>
  error instanceof Error && error.message.startsWith('Cannot add fragment of condition')

const TYPENAME: FieldNode = { kind: Kind.FIELD, name: { kind: Kind.NAME, value: '__typename' } }

const isFragment = (each: DefinitionNode): each is FragmentDefinitionNode => each.kind === Kind.FRAGMENT_DEFINITION

const isCondition = ({ name }: DirectiveNode): boolean => name.value === 'skip' || name.value === 'include'

function conditionOf(directive: DirectiveNode) {
  if (!isCondition(directive)) return undefined
  return directive.arguments?.find((argument) => argument.name.value === 'if')?.value
}

/** Whether `@skip` and `@include` leave a selection in. */
export function isIncluded(directives: readonly DirectiveNode[] | undefined, isTrue: IsTrue): boolean {
  for (const directive of directives ?? []) {
    const value = conditionOf(directive)
    if (value === undefined) continue
    const holds =
      value.kind === Kind.VARIABLE ? isTrue(value.name.value) : value.kind === Kind.BOOLEAN && value.value === true
    if (holds === (directive.name.value === 'skip')) return false
  }
  return true
}

/** Whether a condition's variable is null. Only one with a default may be. */
export type IsNull = (variable: string) => boolean

/** Whether `@skip` and `@include` can't be evaluated because their variable is null. `@skip` is checked first. */
export function isUndecided(directives: readonly DirectiveNode[] | undefined, isTrue: IsTrue, isNull: IsNull): boolean {
  for (const name of ['skip', 'include']) {
    const directive = directives?.find((each) => each.name.value === name)
    if (!directive) continue
    const value = conditionOf(directive)
    if (value?.kind === Kind.VARIABLE && isNull(value.name.value)) return true
    if (!isIncluded([directive], isTrue)) return false
  }
  return false
}

/** The variables on which `@skip` and `@include` in an operation and its fragments depend. */
export function conditionVariables(document: DocumentNode, operation: OperationDefinitionNode): readonly string[] {
  const names = new Set<string>()
  const fragments = new Map(document.definitions.filter(isFragment).map((each) => [each.name.value, each]))
  const look = (set: SelectionSetNode | undefined): void => {
    for (const selection of set?.selections ?? []) {
      for (const directive of selection.directives ?? []) {
        const value = conditionOf(directive)
        if (value?.kind === Kind.VARIABLE) names.add(value.name.value)
      }
      if (selection.kind !== Kind.FRAGMENT_SPREAD) look(selection.selectionSet)
      else {
        const fragment = fragments.get(selection.name.value)
        fragments.delete(selection.name.value)
        look(fragment?.selectionSet)
      }
    }
  }
  look(operation.selectionSet)
  return [...names]
}
