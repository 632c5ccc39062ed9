/** Reads and changes the `join` directives of a supergraph, which say what is in which subgraph. */
import {
  type ConstArgumentNode,
  type ConstDirectiveNode,
  type ConstValueNode,
  type DocumentNode,
  type EnumTypeDefinitionNode,
  type FieldDefinitionNode,
  type InterfaceTypeDefinitionNode,
  Kind,
  type NameNode,
  type ObjectTypeDefinitionNode,
  parse,
  type SelectionSetNode,
  type TypeNode,
} from 'graphql'
import { operationOf } from '../subgraphs/errors.ts'

export type TypeDefinition = ObjectTypeDefinitionNode | InterfaceTypeDefinitionNode

export const nameNode = (value: string): NameNode => ({ kind: Kind.NAME, value })

const isType = (node: { readonly kind: string }): node is TypeDefinition =>
  node.kind === Kind.OBJECT_TYPE_DEFINITION || node.kind === Kind.INTERFACE_TYPE_DEFINITION

/** The object types and interfaces by their names. */
export function typesOf({ definitions }: DocumentNode): Map<string, TypeDefinition> {
  return new Map(definitions.filter(isType).map((type) => [type.name.value, type]))
}

export function mapTypes(document: DocumentNode, change: (type: TypeDefinition) => TypeDefinition): DocumentNode {
  return { ...document, definitions: document.definitions.map((each) => (isType(each) ? change(each) : each)) }
}

export const argumentOf = (directive: ConstDirectiveNode, name: string): ConstValueNode | undefined =>
  directive.arguments?.find((argument) => argument.name.value === name)?.value

/** The graph that a directive names (a value of the enum `join__Graph`); empty if there is none. */
export function graphOf(directive: ConstDirectiveNode): string {
  const value = argumentOf(directive, 'graph')
  return value?.kind === Kind.ENUM ? value.value : ''
}

export function textOf(directive: ConstDirectiveNode, name: string): string | undefined {
  const value = argumentOf(directive, name)
  return value?.kind === Kind.STRING ? value.value : undefined
}

export function isTrue(directive: ConstDirectiveNode, name: string, unless: boolean): boolean {
  const value = argumentOf(directive, name)
  return value?.kind === Kind.BOOLEAN ? value.value : unless
}

/** The directives of a definition with this name. */
export const directivesOf = (
  { directives }: { readonly directives?: readonly ConstDirectiveNode[] | undefined },
  name: string,
): ConstDirectiveNode[] => (directives ?? []).filter((each) => each.name.value === name)

export function namedType(type: TypeNode): string {
  return type.kind === Kind.NAMED_TYPE ? type.name.value : namedType(type.type)
}

/** Creates a directive for a graph. */
export function joined(name: string, graph: string, texts: Readonly<Record<string, string>> = {}): ConstDirectiveNode {
  const given = Object.entries(texts).map(
    ([key, value]): ConstArgumentNode => ({
      kind: Kind.ARGUMENT,
      name: nameNode(key),
      value: { kind: Kind.STRING, value },
    }),
  )
  const of: ConstArgumentNode = {
    kind: Kind.ARGUMENT,
    name: nameNode('graph'),
    value: { kind: Kind.ENUM, value: graph },
  }
  return { kind: Kind.DIRECTIVE, name: nameNode(name), arguments: [of, ...given] }
}

/** Gives each field of a type its `join__field`s. A field without any is in all graphs of the type. */
export function withExplicitFields(type: TypeDefinition): TypeDefinition {
  const graphs = [...new Set(directivesOf(type, 'join__type').map(graphOf))]
  const fields = (type.fields ?? []).map((field): FieldDefinitionNode => {
    if (directivesOf(field, 'join__field').length > 0) return field
    const all = graphs.map((graph) => joined('join__field', graph))
    return { ...field, directives: [...(field.directives ?? []), ...all] }
  })
  return { ...type, fields }
}

const isGraphs = (each: DocumentNode['definitions'][number]): each is EnumTypeDefinitionNode =>
  each.kind === Kind.ENUM_TYPE_DEFINITION && each.name.value === 'join__Graph'

/** The names of the subgraphs, by their values in the enum `join__Graph`. */
export function serviceNames({ definitions }: DocumentNode): Map<string, string> {
  const values = definitions.find(isGraphs)?.values ?? []
  return new Map(
    values.map(({ name, directives }) => [
      name.value,
      (directives?.[0] && textOf(directives[0], 'name')) ?? name.value,
    ]),
  )
}

/** Adds an empty subgraph to a supergraph. */
export function withGraph(document: DocumentNode, graph: string, service: string): DocumentNode {
  const directive: ConstDirectiveNode = {
    kind: Kind.DIRECTIVE,
    name: nameNode('join__graph'),
    arguments: [
      { kind: Kind.ARGUMENT, name: nameNode('name'), value: { kind: Kind.STRING, value: service } },
      { kind: Kind.ARGUMENT, name: nameNode('url'), value: { kind: Kind.STRING, value: '' } },
    ],
  }
  const definitions = document.definitions.map((each) =>
    isGraphs(each)
      ? {
          ...each,
          values: [
            ...(each.values ?? []),
            { kind: Kind.ENUM_VALUE_DEFINITION, name: nameNode(graph), directives: [directive] } as const,
          ],
        }
      : each,
  )
  return { ...document, definitions }
}

/**
 * Adds types to a graph, with nothing but their keys.
 * @param keys the selection of the keys, by type
 * @param ways the keys by which the graph resolves the types
 */
export function withKeys(
  document: DocumentNode,
  graph: string,
  keys: ReadonlyMap<string, SelectionSetNode>,
  ways: ReadonlyMap<string, string> = new Map(),
): DocumentNode {
  const types = typesOf(document)
  const wanted = new Map<string, Set<string>>()
  const want = (typename: string, { selections }: SelectionSetNode): void => {
    const names = wanted.get(typename) ?? new Set()
    wanted.set(typename, names)
    for (const each of selections) {
      if (each.kind !== Kind.FIELD) continue
      names.add(each.name.value)
      const field = types.get(typename)?.fields?.find(({ name }) => name.value === each.name.value)
      if (field) want(namedType(field.type), each.selectionSet ?? { kind: Kind.SELECTION_SET, selections: [] })
    }
  }
  for (const [typename, key] of keys) want(typename, key)
  const here = joined('join__type', graph)
  const changed = mapTypes(document, (type) => {
    const names = wanted.get(type.name.value)
    if (!names) return type
    const { fields = [], directives = [], ...rest } = withExplicitFields(type)
    const way = ways.get(type.name.value)
    const join = way === undefined ? here : joined('join__type', graph, { key: way })
    const isObject = way !== undefined && type.kind === Kind.INTERFACE_TYPE_DEFINITION
    return {
      ...rest,
      directives: [...directives, isObject ? flagged(join, 'isInterfaceObject') : join],
      fields: fields.map((field) =>
        names.has(field.name.value)
          ? { ...field, directives: [...(field.directives ?? []), joined('join__field', graph)] }
          : field,
      ),
    }
  })
  const definitions = changed.definitions.map((each) => {
    const isLeaf = each.kind === Kind.SCALAR_TYPE_DEFINITION || each.kind === Kind.ENUM_TYPE_DEFINITION
    if (!isLeaf || !wanted.has(each.name.value)) return each
    const directives = [...(each.directives ?? []), here]
    if (each.kind === Kind.SCALAR_TYPE_DEFINITION) return { ...each, directives }
    const values = each.values?.map((value) => ({
      ...value,
      directives: [...(value.directives ?? []), joined('join__enumValue', graph)],
    }))
    return { ...each, directives, ...(values && { values }) }
  })
  return { ...changed, definitions }
}

/** Adds an argument with the value `true` to a directive. */
export const flagged = (join: ConstDirectiveNode, name: string): ConstDirectiveNode => ({
  ...join,
  arguments: [
    ...(join.arguments ?? []),
    { kind: Kind.ARGUMENT, name: nameNode(name), value: { kind: Kind.BOOLEAN, value: true } },
  ],
})

/** The names of the fields that keys and `@requires` select at the top level. */
export function requiredNames(sdl: string): ReadonlySet<string> {
  return topNames(sdl, (type) => [
    ...keysOf(type),
    ...(type.fields ?? []).flatMap((field) =>
      directivesOf(field, 'join__field').map((each) => textOf(each, 'requires')),
    ),
  ])
}

/** The names of the fields that keys select at the top level. */
export const keyNames = (sdl: string): ReadonlySet<string> => topNames(sdl, keysOf)

const keysOf = (type: TypeDefinition) => directivesOf(type, 'join__type').map((each) => textOf(each, 'key'))

function topNames(
  sdl: string,
  textsOf: (type: TypeDefinition) => readonly (string | undefined)[],
): ReadonlySet<string> {
  const names = new Set<string>()
  const look = ({ selections }: SelectionSetNode): void => {
    for (const each of selections) {
      if (each.kind === Kind.FIELD) names.add(each.name.value)
      else if (each.kind === Kind.INLINE_FRAGMENT) look(each.selectionSet)
    }
  }
  for (const type of typesOf(parse(sdl, { noLocation: true })).values()) {
    for (const text of textsOf(type)) if (text !== undefined) look(selectionOf(text))
  }
  return names
}

/** Parses the selection of a key or of `@requires`. */
export function selectionOf(text: string): SelectionSetNode {
  return operationOf(parse(`{${text}}`, { noLocation: true })).selectionSet
}

/** `Type.field` of the fields that are being moved to another subgraph (`@override(label:)`). */
export function movingFields(sdl: string): ReadonlySet<string> {
  const names = new Set<string>()
  if (!/\boverrideLabel:/.test(sdl)) return names
  for (const type of typesOf(parse(sdl, { noLocation: true })).values()) {
    for (const field of type.fields ?? []) {
      const moves = directivesOf(field, 'join__field').some((each) => textOf(each, 'overrideLabel') !== undefined)
      if (moves) names.add(`${type.name.value}.${field.name.value}`)
    }
  }
  return names
}
