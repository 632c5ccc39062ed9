/**
 * Chains of `@requires`: fields whose requirement has a requirement itself. Apollo's planner handles them badly:
 *
 * - It merges the call for the field in the middle into an earlier call to the same subgraph. That one is sent before the
 *   field's own requirement is known, so the subgraph computes the field from nothing (related:
 *   https://github.com/apollographql/federation/issues/1725).
 * - It refuses chains over interface objects: https://github.com/apollographql/federation/pull/2886
 * - It takes seconds, or gives up, for chains of several steps.
 *
 * So each field that ends a chain is planned in a stage of its own, after what it requires (operation-parts.ts). Within that stage
 * the planner finds the requirement in an artificial subgraph, the provider, which has nothing else. Calls to providers are
 * removed from the plan, because the earlier stages have already fetched what they stand for.
 */
import type { FetchNode, QueryPlan, QueryPlanSelectionNode } from '@apollo/query-planner'
import {
  type ConstDirectiveNode,
  type DocumentNode,
  type FieldDefinitionNode,
  type FieldNode,
  Kind,
  type SelectionSetNode,
} from 'graphql'
import type { InterfaceObjects } from './interface-objects.ts'
import {
  argumentOf,
  directivesOf,
  flagged,
  graphOf,
  isTrue,
  joined,
  mapTypes,
  namedType,
  nameNode,
  selectionOf,
  serviceNames,
  type TypeDefinition,
  textOf,
  typesOf,
  withGraph,
  withKeys,
} from './join.ts'
import { mapFetches } from './plan-nodes.ts'

const MARK = '__required'
const GRAPH_MARK = '__REQUIRED'

/** A field that ends a chain of `@requires` in a subgraph. */
export interface Staged {
  /** The subgraph, by its name in the supergraph's `join` directives. */
  readonly graph: string
  readonly type: string
  readonly field: string
  /** A key by which the subgraph resolves the type. */
  readonly key: string
  readonly requirement: SelectionSetNode
  /** The field that replaces the requirement for the planner: a leaf, so that there is only one way to fetch it. */
  readonly standIn: string
}

/** By `Type.field`. */
export type Stages = ReadonlyMap<string, readonly Staged[]>

type Types = ReadonlyMap<string, TypeDefinition>

const fieldOf = (types: Types, typename: string, name: string): FieldDefinitionNode | undefined =>
  types.get(typename)?.fields?.find((each) => each.name.value === name)

/** Calls `call` for each field of a selection, outer fields first. */
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

/** Whether a field has a requirement: on its own type, on an interface of it, or on a type that implements it. */
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

/** The keys by which a subgraph resolves a type. Those that most subgraphs share come first. */
function keysIn(type: TypeDefinition, graph: string): string[] {
  const joins = directivesOf(type, 'join__type').filter((each) => isTrue(each, 'resolvable', true))
  const texts = joins.flatMap((each) => textOf(each, 'key') ?? [])
  const uses = (key: string) => texts.filter((each) => each === key).length
  return joins
    .flatMap((each) => (graphOf(each) === graph ? (textOf(each, 'key') ?? []) : []))
    .toSorted((a, b) => uses(b) - uses(a))
}

/**
 * Whether a requirement passes through two interface objects, or has a type condition on one. The planner has too many ways
 * to fetch it, or takes a wrong one. In a stage of its own it is divided like any other selection (operation-parts.ts).
 */
function isEntangled(
  types: Types,
  interfaceObjects: InterfaceObjects,
  set: SelectionSetNode,
  typename: string,
  hops = 0,
): boolean {
  return set.selections.some((each) => {
    if (each.kind === Kind.INLINE_FRAGMENT) {
      const on = each.typeCondition?.name.value ?? typename
      const kinds = [on, ...(types.get(on)?.interfaces ?? []).map(({ name }) => name.value)]
      return (
        kinds.some((kind) => interfaceObjects.has(kind)) ||
        isEntangled(types, interfaceObjects, each.selectionSet, on, hops)
      )
    }
    const field = each.kind === Kind.FIELD && each.selectionSet && fieldOf(types, typename, each.name.value)
    if (each.kind !== Kind.FIELD || !each.selectionSet || !field) return false
    const inner = namedType(field.type)
    const next = hops + (interfaceObjects.has(inner) ? 1 : 0)
    return next > 1 || isEntangled(types, interfaceObjects, each.selectionSet, inner, next)
  })
}

/** @param document a supergraph whose requirements have no arguments */
export function stagesOf(document: DocumentNode, interfaceObjects: InterfaceObjects): Stages {
  const types = typesOf(document)
  const isRequiring = requiring(types)
  const stages = new Map<string, Staged[]>()
  const standIns = new Map<string, string>()
  const standInOf = (requirement: string): string => {
    const known = standIns.get(requirement) ?? `requirement_${standIns.size}${MARK}`
    standIns.set(requirement, known)
    return known
  }
  for (const type of types.values()) {
    for (const field of type.fields ?? []) {
      for (const join of directivesOf(field, 'join__field')) {
        const text = textOf(join, 'requires')
        const [key] = text === undefined ? [] : keysIn(type, graphOf(join))
        if (text === undefined || key === undefined) continue
        const requirement = selectionOf(text)
        let isChain = isEntangled(types, interfaceObjects, requirement, type.name.value)
        eachField(types, requirement, type.name.value, (typename, { name }) => {
          isChain ||= isRequiring(typename, name.value)
        })
        if (!isChain) continue
        const at = `${type.name.value}.${field.name.value}`
        const staged = {
          graph: graphOf(join),
          type: type.name.value,
          field: field.name.value,
          key,
          requirement,
          standIn: standInOf(`${graphOf(join)} ${type.name.value} ${text}`),
        }
        stages.set(at, [...(stages.get(at) ?? []), staged])
      }
    }
  }
  return stages
}

/** An artificial subgraph that provides what the staged fields of a real one require. */
interface Provider {
  readonly graph: string
  /** The stand-ins by type. */
  readonly standIns: Map<string, Set<string>>
  /** The one key of each type. With several keys the planner would use the provider to get from one key to another. */
  readonly ways: Map<string, string>
}

/** Adds the providers to a supergraph. */
export function withProviders(document: DocumentNode, stages: Stages): DocumentNode {
  const services = serviceNames(document)
  const providers = new Map<string, Provider>()
  let result = document
  for (const { graph, type, key, standIn } of [...stages.values()].flat()) {
    let provider = providers.get(graph)
    if (!provider) {
      provider = { graph: graph + GRAPH_MARK, standIns: new Map(), ways: new Map() }
      providers.set(graph, provider)
      result = withGraph(result, provider.graph, `${services.get(graph)}${MARK}`)
    }
    provider.ways.set(type, key)
    provider.standIns.set(type, (provider.standIns.get(type) ?? new Set()).add(standIn))
  }
  for (const [graph, { graph: own, standIns, ways }] of providers) {
    const keys = new Map([...ways].map(([name, key]) => [name, selectionOf(key)]))
    result = mapTypes(withKeys(result, own, keys, ways), (type) => {
      const names = standIns.get(type.name.value)
      if (!names) return type
      const fields = (type.fields ?? []).map((field) => withStandIn(type, field, graph, stages))
      const added = [...names].map((name) =>
        leaf(name, [flagged(joined('join__field', graph), 'external'), joined('join__field', own)]),
      )
      return { ...type, fields: [...fields, ...added] }
    })
  }
  // Types have the fields of their interfaces, even if no subgraph has them there.
  return mapTypes(result, (type) => {
    const inherited = (type.interfaces ?? []).flatMap(({ name }) =>
      [...providers.values()].flatMap(({ standIns }) => [...(standIns.get(name.value) ?? [])]),
    )
    return inherited.length > 0
      ? { ...type, fields: [...(type.fields ?? []), ...inherited.map((name) => leaf(name, [NOWHERE]))] }
      : type
  })
}

function withStandIn(
  type: TypeDefinition,
  field: FieldDefinitionNode,
  graph: string,
  stages: Stages,
): FieldDefinitionNode {
  const staged = stages.get(`${type.name.value}.${field.name.value}`)?.find((each) => each.graph === graph)
  if (!staged) return field
  const directives = (field.directives ?? []).map((join) => {
    const before = argumentOf(join, 'requires')
    if (before === undefined || graphOf(join) !== graph) return join
    const value = { kind: Kind.STRING, value: staged.standIn } as const
    return {
      ...join,
      arguments: join.arguments?.map((each) => (each.value === before ? { ...each, value } : each)) ?? [],
    }
  })
  return { ...field, directives }
}

const NOWHERE: ConstDirectiveNode = { kind: Kind.DIRECTIVE, name: nameNode('join__field') }

const leaf = (name: string, directives: readonly ConstDirectiveNode[]): FieldDefinitionNode => ({
  kind: Kind.FIELD_DEFINITION,
  name: nameNode(name),
  type: { kind: Kind.NAMED_TYPE, name: nameNode('Boolean') },
  directives,
})

/**
 * Removes the calls to providers from plans and restores the real requirements.
 * @param document the supergraph without providers
 * @returns a function of a plan and of whether it is that of a stage, so that earlier stages have fetched what its
 * providers stand for. It throws an Error for a plan that calls a provider but is no stage
 */
export function createWithoutProviders(
  document: DocumentNode,
  stages: Stages,
): (plan: QueryPlan, isStage: boolean) => QueryPlan {
  const types = typesOf(document)
  const requirements = new Map(
    [...stages.values()].flat().map((each) => [each.standIn, selected(types, each.requirement, each.type)]),
  )
  const restore = (selections: readonly QueryPlanSelectionNode[]): QueryPlanSelectionNode[] =>
    selections.flatMap((each): readonly QueryPlanSelectionNode[] =>
      each.kind === 'InlineFragment'
        ? [{ ...each, selections: restore(each.selections) }]
        : (requirements.get(each.name) ?? [each]),
    )
  return (plan, isStage) => {
    const { node, ...rest } = plan
    if (!node || node.kind === 'Subscription') return plan
    const mapped = mapFetches(node, (fetch): FetchNode | undefined => {
      if (!fetch.serviceName.endsWith(MARK)) {
        return fetch.requires ? { ...fetch, requires: restore(fetch.requires) } : fetch
      }
      if (isStage) return undefined
      throw new Error('The plan has a chain of @requires that was not divided into stages.')
    })
    return { ...rest, ...(mapped && { node: mapped }) }
  }
}

/**
 * A requirement in the form of a plan. Objects have their `__typename` only where the requirement depends on their type:
 * elsewhere the subgraph that they come from may not know it (`@interfaceObject`), and nothing would fetch it.
 */
function selected(types: Types, set: SelectionSetNode, typename: string): QueryPlanSelectionNode[] {
  return set.selections.flatMap((each): QueryPlanSelectionNode[] => {
    if (each.kind === Kind.FRAGMENT_SPREAD) return []
    if (each.kind === Kind.INLINE_FRAGMENT) {
      const on = each.typeCondition?.name.value ?? typename
      return [{ kind: 'InlineFragment', typeCondition: on, selections: selected(types, each.selectionSet, on) }]
    }
    const name = each.name.value
    const field = fieldOf(types, typename, name)
    if (!each.selectionSet || !field) return [{ kind: 'Field', name }]
    const selections = selected(types, each.selectionSet, namedType(field.type))
    const isConditional = selections.some(({ kind }) => kind === 'InlineFragment')
    const typed: QueryPlanSelectionNode[] = isConditional ? [{ kind: 'Field', name: '__typename' }] : []
    return [{ kind: 'Field', name, selections: [...typed, ...selections] }]
  })
}
