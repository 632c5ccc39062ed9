/**
 * Chains of `@requires`: fields that require what requires something itself. Apollo's planner
 * - merges the call for what is in the middle into an earlier one to the same subgraph, made before its own requirement is
 *   known, so that the subgraph computes from nothing (related: https://github.com/apollographql/federation/issues/1725),
 * - refuses chains over interface objects: https://github.com/apollographql/federation/pull/2886,
 * - takes seconds, or gives up, where a chain has some steps.
 *
 * So each field that ends a chain is planned apart, in a stage of its own, after what it requires: see parts.ts. In its stage
 * the planner takes what the field requires from a subgraph that has nothing else: the calls to that one are left out of the
 * plan, as what they would bring has come in the stages before.
 */
import type { FetchNode, QueryPlan, QueryPlanSelectionNode } from '@apollo/query-planner'
import {
  type ConstDirectiveNode,
  type DefinitionNode,
  type DocumentNode,
  type FieldDefinitionNode,
  type FieldNode,
  Kind,
  print,
  type SelectionNode,
  type SelectionSetNode,
  stripIgnoredCharacters,
} from 'graphql'
import {
  argumentOf,
  directivesOf,
  graphOf,
  isTrue,
  joined,
  namedType,
  nameNode,
  selectionOf,
  serviceNames,
  type TypeDefinition,
  textOf,
  typesOf,
  withExplicitFields,
  withGraph,
} from './join.ts'
import { mapFetches } from './plan-nodes.ts'

const MARK = '__required'
const GRAPH_MARK = '__REQUIRED'

/** A field in a subgraph where it requires what requires something itself. */
export interface Staged {
  /** The subgraph, as the supergraph calls it. */
  readonly graph: string
  readonly type: string
  readonly field: string
  /** A key of the type that the subgraph resolves. */
  readonly key: SelectionSetNode
  readonly requirement: SelectionSetNode
}

/** By `Type.field`. */
export type Stages = ReadonlyMap<string, readonly Staged[]>

type Types = ReadonlyMap<string, TypeDefinition>

const fieldOf = (types: Types, typename: string, name: string): FieldDefinitionNode | undefined =>
  types.get(typename)?.fields?.find((each) => each.name.value === name)

/** Calls back for each field of a selection, from outside to inside. */
function eachField(
  types: Types,
  set: SelectionSetNode,
  typename: string,
  call: (typename: string, field: FieldNode) => void,
): void {
  for (const each of set.selections) {
    if (each.kind === Kind.INLINE_FRAGMENT) {
      eachField(types, each.selectionSet, each.typeCondition?.name.value ?? typename, call)
    } else if (each.kind === Kind.FIELD && each.name.value !== '__typename') {
      call(typename, each)
      const field = each.selectionSet && fieldOf(types, typename, each.name.value)
      if (field && each.selectionSet) eachField(types, each.selectionSet, namedType(field.type), call)
    }
  }
}

/** Whether a field requires something, by its own type, by an interface that is taken for an object, or by a kind of it. */
function requiring(types: Types): (typename: string, name: string) => boolean {
  const itself = (type: TypeDefinition | undefined, name: string) =>
    (type?.fields ?? []).some(
      (each) =>
        each.name.value === name &&
        directivesOf(each, 'join__field').some((join) => textOf(join, 'requires') !== undefined),
    )
  const known = new Map<string, boolean>()
  return (typename, name) => {
    const key = `${typename}.${name}`
    let requires = known.get(key)
    if (requires === undefined) {
      const type = types.get(typename)
      const kinds = [...types.values()].filter(
        (each) =>
          each.interfaces?.some((kind) => kind.name.value === typename) ||
          type?.interfaces?.some((kind) => kind.name.value === each.name.value),
      )
      requires = [type, ...kinds].some((each) => itself(each, name))
      known.set(key, requires)
    }
    return requires
  }
}

/** The keys of a type that a subgraph resolves: those first that others have, too. */
function keysIn(type: TypeDefinition, graph: string): string[] {
  const joins = directivesOf(type, 'join__type').filter((each) => isTrue(each, 'resolvable', true))
  const texts = joins.flatMap((each) => textOf(each, 'key') ?? [])
  const uses = (key: string) => texts.filter((each) => each === key).length
  return joins
    .flatMap((each) => (graphOf(each) === graph ? (textOf(each, 'key') ?? []) : []))
    .toSorted((a, b) => uses(b) - uses(a))
}

/** @param document a supergraph whose requirements have no arguments */
export function stagesOf(document: DocumentNode): Stages {
  const types = typesOf(document)
  const isRequiring = requiring(types)
  const stages = new Map<string, Staged[]>()
  for (const type of types.values()) {
    for (const field of type.fields ?? []) {
      for (const join of directivesOf(field, 'join__field')) {
        const text = textOf(join, 'requires')
        const [key] = text === undefined ? [] : keysIn(type, graphOf(join))
        if (text === undefined || key === undefined) continue
        const requirement = selectionOf(text)
        let isChain = false
        eachField(types, requirement, type.name.value, (typename, { name }) => {
          isChain ||= isRequiring(typename, name.value)
        })
        if (!isChain) continue
        const at = `${type.name.value}.${field.name.value}`
        const staged = {
          graph: graphOf(join),
          type: type.name.value,
          field: field.name.value,
          key: selectionOf(key),
          requirement,
        }
        stages.set(at, [...(stages.get(at) ?? []), staged])
      }
    }
  }
  return stages
}

/** What a provider has, by types: stand-ins of required fields, and fields of keys under their own names. */
interface Provider {
  readonly graph: string
  readonly standIns: Map<string, Set<string>>
  readonly keyFields: Map<string, Set<string>>
  /** The only way into a type: with several, the planner would use them to get from key to key. */
  readonly ways: Map<string, string>
}

/** The supergraph with subgraphs that provide what staged fields require, and nothing else. */
export function withProviders(document: DocumentNode, stages: Stages): DocumentNode {
  const types = typesOf(document)
  const services = serviceNames(document)
  const providers = new Map<string, Provider>()
  let result = document
  for (const staged of [...stages.values()].flat()) {
    const { graph } = staged
    let provider = providers.get(graph)
    if (!provider) {
      provider = { graph: graph + GRAPH_MARK, standIns: new Map(), keyFields: new Map(), ways: new Map() }
      providers.set(graph, provider)
      result = withGraph(result, provider.graph, `${services.get(graph)}${MARK}`)
    }
    collect(document, types, provider, staged)
  }
  const requirements = new Set([...stages.values()].flat().map(({ graph, type, field }) => `${graph} ${type}.${field}`))
  const inherited = (type: TypeDefinition): string[] =>
    (type.interfaces ?? []).flatMap(({ name }) =>
      [...providers.values()].flatMap(({ standIns }) => [...(standIns.get(name.value) ?? [])]),
    )
  const definitions = result.definitions.map((each): DefinitionNode => {
    if (each.kind === Kind.OBJECT_TYPE_DEFINITION || each.kind === Kind.INTERFACE_TYPE_DEFINITION) {
      return withInherited(providedType(each, providers, requirements), inherited(each))
    }
    const isOther =
      each.kind === Kind.UNION_TYPE_DEFINITION ||
      each.kind === Kind.SCALAR_TYPE_DEFINITION ||
      each.kind === Kind.ENUM_TYPE_DEFINITION
    if (!isOther) return each
    const added = [...providers].flatMap(([graph, { graph: own, standIns }]) =>
      standIns.has(each.name.value) ? (each.directives ?? []).flatMap((join) => inGraph(join, graph, own)) : [],
    )
    const directives = [...(each.directives ?? []), ...added]
    if (each.kind !== Kind.ENUM_TYPE_DEFINITION) return { ...each, directives }
    const values = each.values?.map((value) => ({
      ...value,
      directives: [
        ...(value.directives ?? []),
        ...[...providers].flatMap(([graph, { graph: own, standIns }]) =>
          standIns.has(each.name.value) ? (value.directives ?? []).flatMap((join) => inGraph(join, graph, own)) : [],
        ),
      ],
    }))
    return { ...each, directives, ...(values && { values }) }
  })
  return { ...result, definitions }
}

/** A directive about one graph, for another one. */
const inGraph = (join: ConstDirectiveNode, from: string, to: string): ConstDirectiveNode[] =>
  graphOf(join) === from
    ? [
        {
          ...join,
          arguments:
            join.arguments?.map((each) =>
              each.name.value === 'graph' ? { ...each, value: { kind: Kind.ENUM, value: to } } : each,
            ) ?? [],
        },
      ]
    : []

function collect(document: DocumentNode, types: Types, provider: Provider, staged: Staged): void {
  const { graph, type, key, requirement } = staged
  const { standIns, keyFields, ways } = provider
  const unions = new Map(
    document.definitions.flatMap((each) =>
      each.kind === Kind.UNION_TYPE_DEFINITION ? [[each.name.value, each] as const] : [],
    ),
  )
  const add = (to: Map<string, Set<string>>, typename: string, name?: string): void => {
    const names = to.get(typename) ?? new Set()
    to.set(typename, names)
    if (name !== undefined) names.add(name)
  }

  /** The type itself, with the kinds that the subgraph knows of it. */
  function mention(typename: string): void {
    if (standIns.has(typename)) return
    add(standIns, typename)
    const definition = types.get(typename)
    const members = directivesOf(unions.get(typename) ?? {}, 'join__unionMember')
    for (const each of members) if (graphOf(each) === graph) mention(textOf(each, 'member') ?? '')
    if (definition?.kind === Kind.INTERFACE_TYPE_DEFINITION) for (const kind of kindsOf(typename)) mention(kind)
    const objectified = directivesOf(definition ?? {}, 'join__type').some(
      (each) => graphOf(each) === graph && isTrue(each, 'isInterfaceObject', false),
    )
    if (definition && objectified) addWay(definition)
  }
  const kindsOf = (typename: string): string[] =>
    [...types.values()].flatMap((each) =>
      directivesOf(each, 'join__implements').some(
        (join) => graphOf(join) === graph && textOf(join, 'interface') === typename,
      )
        ? [each.name.value]
        : [],
    )
  function addWay(definition: TypeDefinition, way = keysIn(definition, graph)[0]): void {
    const { value } = definition.name
    if (way === undefined || ways.has(value)) return
    ways.set(value, way)
    eachField(types, selectionOf(way), value, (typename, { name }) => {
      mention(typename)
      add(keyFields, typename, name.value)
      const field = fieldOf(types, typename, name.value)
      if (field) mention(namedType(field.type))
    })
  }

  const definition = types.get(type)
  mention(type)
  if (definition) addWay(definition, stripIgnoredCharacters(print(key)).slice(1, -1))
  eachField(types, requirement, type, (typename, { name }) => {
    for (const each of [typename, ...kindsOf(typename)]) {
      mention(each)
      add(standIns, each, name.value)
    }
    const field = fieldOf(types, typename, name.value)
    if (field) mention(namedType(field.type))
  })
}

/** A type with what of it is in the providers. @param requirements the staged fields, as `GRAPH Type.field` */
function providedType(
  type: TypeDefinition,
  providers: ReadonlyMap<string, Provider>,
  requirements: ReadonlySet<string>,
): TypeDefinition {
  const typename = type.name.value
  const used = [...providers].filter(([, { standIns }]) => standIns.has(typename))
  if (used.length === 0) return type
  const explicit = withExplicitFields(type)
  const added = new Map<string, FieldDefinitionNode>()
  const fields = (explicit.fields ?? []).map((field): FieldDefinitionNode => {
    const name = field.name.value
    const joins: ConstDirectiveNode[] = []
    for (const [graph, { graph: own, standIns, keyFields }] of used) {
      if (keyFields.get(typename)?.has(name)) joins.push(joined('join__field', own))
      if (!standIns.get(typename)?.has(name)) continue
      const before = added.get(name)
      const typed = directivesOf(field, 'join__field').filter((each) => graphOf(each) === graph)
      const given = typed.flatMap((each) => textOf(each, 'type') ?? [])[0]
      const texts: Record<string, string> = given === undefined ? {} : { type: given }
      added.set(name, {
        kind: Kind.FIELD_DEFINITION,
        name: nameNode(name + MARK),
        type: field.type,
        directives: [
          ...(before?.directives ?? []),
          external(joined('join__field', graph, texts)),
          joined('join__field', own, texts),
        ],
      })
    }
    const own = (field.directives ?? []).map((join) => {
      const text = textOf(join, 'requires')
      if (text === undefined || !requirements.has(`${graphOf(join)} ${typename}.${name}`)) return join
      return withRequires(join, stripIgnoredCharacters(print(marked(selectionOf(text)))).slice(1, -1))
    })
    return { ...field, directives: [...own, ...joins] }
  })
  const directives = used.flatMap(([graph, { graph: own, standIns, ways }]) => {
    const mine = (type.directives ?? []).flatMap((join) => inGraph(join, graph, own))
    const way = ways.get(typename)
    const joins = mine.filter(({ name }) => name.value === 'join__type')
    const join = joins.find((each) => textOf(each, 'key') === way) ?? joins[0]
    const implemented = mine.filter(
      (each) => each.name.value === 'join__implements' && standIns.has(textOf(each, 'interface') ?? ''),
    )
    return [...(join ? [way === undefined ? withoutKey(join) : join] : []), ...implemented]
  })
  const empty = used.filter(
    ([, { standIns, keyFields }]) => !standIns.get(typename)?.size && !keyFields.get(typename)?.size,
  )
  return {
    ...explicit,
    directives: [...(type.directives ?? []), ...directives],
    fields: [
      ...fields,
      ...added.values(),
      ...(empty.length > 0 ? [placeholder(empty.map(([, { graph }]) => graph))] : []),
    ],
  }
}

/** A kind of an interface has its fields, whether or not a subgraph has them there. */
function withInherited(type: TypeDefinition, names: readonly string[]): TypeDefinition {
  const fields = type.fields ?? []
  const missing = [...new Set(names)].flatMap((name) => {
    const field = fields.find((each) => each.name.value === name)
    const has = fields.some((each) => each.name.value === name + MARK)
    return field && !has ? [{ ...field, name: nameNode(name + MARK), arguments: [], directives: [NOWHERE] }] : []
  })
  return missing.length > 0 ? { ...type, fields: [...fields, ...missing] } : type
}

const NOWHERE: ConstDirectiveNode = { kind: Kind.DIRECTIVE, name: nameNode('join__field') }

/** A type must have a field. */
const placeholder = (graphs: readonly string[]): FieldDefinitionNode => ({
  kind: Kind.FIELD_DEFINITION,
  name: nameNode(`gateway${MARK}`),
  type: { kind: Kind.NAMED_TYPE, name: nameNode('Boolean') },
  directives: graphs.map((graph) => joined('join__field', graph)),
})

const external = (join: ConstDirectiveNode): ConstDirectiveNode => ({
  ...join,
  arguments: [
    ...(join.arguments ?? []),
    { kind: Kind.ARGUMENT, name: nameNode('external'), value: { kind: Kind.BOOLEAN, value: true } },
  ],
})

const withoutKey = (join: ConstDirectiveNode): ConstDirectiveNode => ({
  ...join,
  arguments: join.arguments?.filter(({ name }) => name.value !== 'key') ?? [],
})

function withRequires(join: ConstDirectiveNode, text: string): ConstDirectiveNode {
  const before = argumentOf(join, 'requires')
  return {
    ...join,
    arguments:
      join.arguments?.map((each) =>
        each.value === before ? { ...each, value: { kind: Kind.STRING, value: text } as const } : each,
      ) ?? [],
  }
}

/** A requirement by its stand-ins. */
const marked = (set: SelectionSetNode): SelectionSetNode => ({
  ...set,
  selections: set.selections.map((each): SelectionNode => {
    if (each.kind === Kind.FRAGMENT_SPREAD) return each
    if (each.kind === Kind.INLINE_FRAGMENT) return { ...each, selectionSet: marked(each.selectionSet) }
    if (each.name.value === '__typename') return each
    const inner = each.selectionSet && { selectionSet: marked(each.selectionSet) }
    return { ...each, name: nameNode(each.name.value + MARK), ...inner }
  }),
})

/**
 * A plan without calls to providers, and with requirements in their own names.
 * @param isStage whether stages before have fetched what the providers would give
 * @throws Error where they have not
 */
export function withoutProviders(plan: QueryPlan, isStage: boolean): QueryPlan {
  const { node, ...rest } = plan
  if (!node || node.kind === 'Subscription') return plan
  const mapped = mapFetches(node, (fetch): FetchNode | undefined => {
    if (!fetch.serviceName.endsWith(MARK)) {
      return fetch.requires ? { ...fetch, requires: unmarked(fetch.requires) } : fetch
    }
    if (isStage) return undefined
    throw new Error('A chain of @requires that can not be planned.')
  })
  return { ...rest, ...(mapped && { node: mapped }) }
}

const unmarked = (selections: readonly QueryPlanSelectionNode[]): QueryPlanSelectionNode[] =>
  selections.map((each): QueryPlanSelectionNode => {
    const inner = each.selections && { selections: unmarked(each.selections) }
    if (each.kind === 'InlineFragment') return { ...each, ...inner }
    return { ...each, name: each.name.endsWith(MARK) ? each.name.slice(0, -MARK.length) : each.name, ...inner }
  })
