/**
 * Corrects the supergraph before the planner gets it, to avoid bugs of Apollo's planner. Keys that no subgraph resolves are
 * removed. A field that `@requires` selects with arguments becomes a field of its own, so that it can't collide with other
 * uses of the same field.
 */
import { createHash } from 'node:crypto'
import type {
  FetchDataKeyRenamer,
  FetchDataRewrite,
  FetchNode,
  PlanNode,
  QueryPlan,
  QueryPlanSelectionNode,
} from '@apollo/query-planner'
import {
  type ArgumentNode,
  type ConstDirectiveNode,
  type DocumentNode,
  type FieldDefinitionNode,
  type FieldNode,
  Kind,
  type OperationDefinitionNode,
  parse,
  print,
  type SelectionNode,
  type SelectionSetNode,
  stripIgnoredCharacters,
  visit,
} from 'graphql'
import { operationOf } from '../subgraphs/errors.ts'
import { type InterfaceObjects, interfaceObjectsOf } from './interface-objects.ts'
import {
  argumentOf,
  graphOf,
  isTrue,
  mapTypes,
  namedType,
  nameNode,
  serviceNames,
  type TypeDefinition,
  typesOf,
} from './join.ts'
import { type Entries, entriesOf, withEntries } from './part-entries.ts'
import { mapFetches } from './plan-nodes.ts'
import { createWithoutProviders, type Stages, stagesOf, withProviders } from './requirement-stages.ts'

/** Replaces a field that `@requires` selects with arguments. Only the planner knows its name. */
interface StandIn {
  readonly field: string
  readonly arguments: readonly ArgumentNode[]
}

export interface PlannerSupergraph {
  /** undefined: nothing had to be corrected. */
  readonly document: DocumentNode | undefined
  /** The interfaces that some subgraphs declare as object types (`@interfaceObject`). */
  readonly interfaceObjects: InterfaceObjects
  /** The fields that are planned in stages of their own, after what they require. */
  readonly stages: Stages
  readonly entries: Entries
  /**
   * Replaces the planner's names in a plan by those that the subgraphs know.
   * @param isPart whether it is the plan of a part that begins at an object (operation-parts.ts)
   */
  readonly restore: (plan: QueryPlan, isPart: boolean) => QueryPlan
}

export const PLANNERS_MARK = '__with_'
const IS_STAND_IN = /__with_[0-9a-f]{8}$/
const IN_TEXT = /__with_[0-9a-f]{8}\b/

/** Whether a response name is one that only the planner knows. */
export const isPlannersName = (name: string | number): boolean => typeof name === 'string' && IS_STAND_IN.test(name)

const UNCHANGED: PlannerSupergraph = {
  document: undefined,
  interfaceObjects: new Map(),
  stages: new Map(),
  entries: new Map(),
  restore: (plan) => plan,
}

/**
 * @param sdl a composed supergraph
 * @param inParts whether operations are planned in parts (operation-parts.ts)
 */
export function plannerSupergraph(sdl: string, inParts = true): PlannerSupergraph {
  if (!/\bresolvable:\s*false|\brequires:|\bisInterfaceObject:/.test(sdl)) return UNCHANGED
  const whole = parse(sdl, { noLocation: true })
  const standIns = addStandIns(mapTypes(whole, withoutIdleKeys))
  const restoreNames = standIns.byName.size > 0 ? createRestore(standIns) : (plan: QueryPlan) => plan
  if (!inParts) return { ...UNCHANGED, document: standIns.document, restore: restoreNames }
  const interfaceObjects = interfaceObjectsOf(whole)
  const stages = stagesOf(standIns.document, interfaceObjects)
  const entries = entriesOf(standIns.document, interfaceObjects, stages)
  const withoutProviders = createWithoutProviders(standIns.document, stages)
  const provided = stages.size > 0 ? withProviders(withoutInaccessible(standIns.document), stages) : standIns.document
  return {
    document: entries.size > 0 ? withEntries(provided, entries) : provided,
    interfaceObjects,
    stages,
    entries,
    restore: (plan, isPart) => restoreNames(stages.size > 0 ? withoutProviders(plan, isPart) : plan),
  }
}

/** Parts may select required fields that clients do not see. */
const withoutInaccessible = (document: DocumentNode): DocumentNode =>
  visit(document, { Directive: ({ name }) => (name.value === 'inaccessible' ? null : undefined) })

/**
 * Removes the keys that are not resolvable. They only say how a subgraph refers to an entity, but the planner treats them
 * as a way to fetch it, and requests the wrong fields. Interface objects keep theirs: without a key they are no entities.
 */
function withoutIdleKeys(type: TypeDefinition): TypeDefinition {
  const joins = (type.directives ?? []).filter(({ name }) => name.value === 'join__type')
  const isIdle = (join: ConstDirectiveNode) =>
    argumentOf(join, 'key') !== undefined &&
    !isTrue(join, 'resolvable', true) &&
    !isTrue(join, 'isInterfaceObject', false)
  if (!joins.some(isIdle)) return type
  const kept = new Set(joins.filter((join) => !isIdle(join)).map(graphOf))
  const directives = (type.directives ?? []).flatMap((directive): ConstDirectiveNode[] => {
    if (directive.name.value !== 'join__type' || !isIdle(directive)) return [directive]
    if (kept.has(graphOf(directive))) return []
    kept.add(graphOf(directive))
    const rest = directive.arguments?.filter(({ name }) => name.value !== 'key' && name.value !== 'resolvable') ?? []
    return [{ ...directive, arguments: rest }]
  })
  return { ...type, directives }
}

type Requirements = ReadonlyMap<string, SelectionSetNode>
interface StandIns {
  readonly document: DocumentNode
  readonly byName: ReadonlyMap<string, StandIn>
  /** What each field requires, in the planner's names, by `subgraph Type.field`. */
  readonly requirements: Requirements
}

function addStandIns(document: DocumentNode): StandIns {
  const types = typesOf(document)
  const implementers = (name: string) =>
    [...types.values()].filter((type) => type.interfaces?.some((each) => each.name.value === name))
  const byName = new Map<string, StandIn>()
  const added = new Map<string, Map<string, FieldDefinitionNode>>()
  const usedIn = new Map<string, Set<string>>()
  const requirements = new Map<string, SelectionSetNode>()
  const services = serviceNames(document)

  function add(type: TypeDefinition, name: string, standIn: StandIn): void {
    const base = type.fields?.find((each) => each.name.value === standIn.field)
    const fields = added.get(type.name.value) ?? new Map<string, FieldDefinitionNode>()
    if (!base || fields.has(name)) return
    added.set(type.name.value, fields)
    const directives = (base.directives ?? []).filter((each) => each.name.value === 'join__field')
    fields.set(name, { kind: Kind.FIELD_DEFINITION, name: nameNode(name), type: base.type, directives })
    if (type.kind === Kind.INTERFACE_TYPE_DEFINITION) {
      for (const each of implementers(type.name.value)) add(each, name, standIn)
    }
  }

  /** A selection in the planner's names. */
  function renamed(set: SelectionSetNode, typename: string, graph: string): SelectionSetNode {
    const type = types.get(typename)
    const selections = set.selections.map((selection): SelectionNode => {
      if (selection.kind === Kind.FRAGMENT_SPREAD) return selection
      if (selection.kind === Kind.INLINE_FRAGMENT) {
        const on = selection.typeCondition?.name.value ?? typename
        return { ...selection, selectionSet: renamed(selection.selectionSet, on, graph) }
      }
      const field = type?.fields?.find((each) => each.name.value === selection.name.value)
      const inner = selection.selectionSet && field && renamed(selection.selectionSet, namedType(field.type), graph)
      const node: FieldNode = inner ? { ...selection, selectionSet: inner } : selection
      if (!type || !selection.arguments?.length) return node
      const standIn = { field: selection.name.value, arguments: selection.arguments }
      const name = nameOf(standIn)
      byName.set(name, standIn)
      usedIn.set(name, (usedIn.get(name) ?? new Set()).add(graph))
      add(type, name, standIn)
      return { ...node, name: nameNode(name), arguments: [] }
    })
    return { ...set, selections }
  }

  const rewriteRequires = (typename: string, field: FieldDefinitionNode): FieldDefinitionNode => ({
    ...field,
    directives: (field.directives ?? []).map((directive) => {
      const value = argumentOf(directive, 'requires')
      if (directive.name.value !== 'join__field' || value?.kind !== Kind.STRING) return directive
      const graph = graphOf(directive)
      const set = renamed(operationOf(parse(`{${value.value}}`, { noLocation: true })).selectionSet, typename, graph)
      requirements.set(`${services.get(graph)} ${typename}.${field.name.value}`, set)
      const text = stripIgnoredCharacters(print(set)).slice(1, -1)
      const changed = (argument: NonNullable<typeof directive.arguments>[number]) =>
        argument.value === value ? { ...argument, value: { kind: Kind.STRING, value: text } as const } : argument
      return { ...directive, arguments: directive.arguments?.map(changed) ?? [] }
    }),
  })
  const rewritten = mapTypes(document, (type) => ({
    ...type,
    fields: type.fields?.map((field) => rewriteRequires(type.name.value, field)) ?? [],
  }))
  // Where the field is external, only a subgraph that requires it keeps it: the planner would request it from the others.
  const whereUsed = (field: FieldDefinitionNode): FieldDefinitionNode => ({
    ...field,
    directives: (field.directives ?? []).filter(
      (each) => !isTrue(each, 'external', false) || usedIn.get(field.name.value)?.has(graphOf(each)),
    ),
  })
  const whole = mapTypes(rewritten, (type) => {
    const fields = [...(added.get(type.name.value)?.values() ?? [])]
    const own = fields.map((field) => whereUsed(rewriteRequires(type.name.value, field)))
    return { ...type, fields: [...(type.fields ?? []), ...own] }
  })
  return { document: whole, byName, requirements }
}

function nameOf({ field, arguments: given }: StandIn): string {
  const text = given.map((argument) => stripIgnoredCharacters(print(argument))).sort()
  return `${field}${PLANNERS_MARK}${createHash('sha256').update(text.join(',')).digest('hex').slice(0, 8)}`
}

function createRestore({ byName, requirements }: StandIns): (plan: QueryPlan) => QueryPlan {
  function restoreFetch(fetch: FetchNode): PlanNode {
    if (!IN_TEXT.test(fetch.operation) && !selectsStandIn(fetch.requires)) return fetch
    const parts = splitFetch(fetch, byName, requirements).map((part) => withRealNames(part, byName))
    const [only] = parts
    return only && parts.length === 1 ? only : { kind: 'Parallel', nodes: parts }
  }
  return (plan) => {
    const { node, ...rest } = plan
    if (!node || node.kind === 'Subscription') return plan
    const restored = mapFetches(node, restoreFetch)
    return { ...rest, ...(restored && { node: restored }) }
  }
}

const selectsStandIn = (selections: readonly QueryPlanSelectionNode[] = []): boolean =>
  selections.some((each) => (each.kind === 'Field' && isPlannersName(each.name)) || selectsStandIn(each.selections))

/** A fetch with the subgraph's names. Fields with arguments keep the planner's name as their alias. */
function withRealNames(fetch: FetchNode, byName: StandIns['byName']): FetchNode {
  const document = visit(parse(fetch.operation, { noLocation: true }), {
    Field: (node) => {
      const standIn = byName.get(node.name.value)
      if (!standIn) return undefined
      return {
        ...node,
        alias: node.alias ?? node.name,
        name: nameNode(standIn.field),
        arguments: [...standIn.arguments],
      }
    },
  })
  const renamers: FetchDataKeyRenamer[] = []
  const look = (selections: readonly QueryPlanSelectionNode[], path: readonly string[]): void => {
    for (const each of selections) {
      if (each.kind === 'InlineFragment') {
        look(each.selections, each.typeCondition === undefined ? path : [...path, `... on ${each.typeCondition}`])
        continue
      }
      const key = each.alias ?? each.name
      // Inner fields first: their paths contain the outer names from before the renaming.
      look(each.selections ?? [], [...path, key])
      const standIn = byName.get(each.name)
      if (standIn) renamers.push({ kind: 'KeyRenamer', path: [...path, key], renameKeyTo: standIn.field })
    }
  }
  look(fetch.requires ?? [], [])
  const { operationDocumentNode: _, ...rest } = fetch
  return {
    ...rest,
    operation: stripIgnoredCharacters(print(document)),
    ...(renamers.length > 0 && { inputRewrites: innerFirst([...renamers, ...(fetch.inputRewrites ?? [])]) }),
  }
}

/**
 * Orders rewrites so that none breaks the path of another: inner ones come first, and fields are renamed before the type of
 * their object changes (to `Contact`, for a subgraph with `@interfaceObject`), because the path contains the old type.
 */
function innerFirst(rewrites: readonly FetchDataRewrite[]): FetchDataRewrite[] {
  const depth = ({ path }: FetchDataRewrite) => path.filter((part) => !part.startsWith('... on ')).length
  return rewrites.toSorted((a, b) => depth(b) - depth(a))
}

/** The planner's name of each required field, by its path in the subgraph's names. */
type Needs = ReadonlyMap<string, string>

function needsOf(
  set: SelectionSetNode,
  byName: StandIns['byName'],
  path = '',
  needs = new Map<string, string>(),
): Needs {
  for (const selection of set.selections) {
    if (selection.kind === Kind.FIELD) {
      const name = selection.name.value
      const at = `${path}.${byName.get(name)?.field ?? name}`
      needs.set(at, name)
      if (selection.selectionSet) needsOf(selection.selectionSet, byName, at, needs)
    } else if (selection.kind === Kind.INLINE_FRAGMENT) needsOf(selection.selectionSet, byName, path, needs)
  }
  return needs
}

const agree = (some: Needs, others: Needs): boolean =>
  [...some].every(([path, name]) => (others.get(path) ?? name) === name)

/**
 * Splits a fetch whose fields require one field with different arguments: a representation can contain only one value for
 * it.
 */
function splitFetch(fetch: FetchNode, byName: StandIns['byName'], requirements: Requirements): FetchNode[] {
  if (!fetch.requires || !selectsStandIn(fetch.requires)) return [fetch]
  const document = parse(fetch.operation, { noLocation: true })
  const groups: { needs: Map<string, string>; fields: Set<string> }[] = []
  const visitFields = (set: SelectionSetNode, typename: string): void => {
    for (const selection of set.selections) {
      if (selection.kind === Kind.INLINE_FRAGMENT) {
        visitFields(selection.selectionSet, selection.typeCondition?.name.value ?? typename)
      } else if (selection.kind === Kind.FIELD) {
        const key = `${typename}.${selection.name.value}`
        const required = requirements.get(`${fetch.serviceName} ${key}`)
        const needs = required ? needsOf(required, byName) : new Map<string, string>()
        let group = groups.find((each) => each.fields.has(key)) ?? groups.find((each) => agree(each.needs, needs))
        if (!group) {
          group = { needs: new Map(), fields: new Set() }
          groups.push(group)
        }
        for (const [path, name] of needs) group.needs.set(path, name)
        group.fields.add(key)
      }
    }
  }
  const entities = operationOf(document).selectionSet.selections[0]
  if (entities?.kind !== Kind.FIELD || !entities.selectionSet) return [fetch]
  visitFields(entities.selectionSet, '')
  if (groups.length < 2) return [fetch]
  return groups.map(({ needs, fields }, index) => ({
    ...fetch,
    ...partOf(document, fetch, fields, index),
    requires: requiresOf(fetch.requires ?? [], needs, byName),
  }))
}

/** The operation with some of the entities' fields, and the variables that it then has. */
function partOf(document: DocumentNode, fetch: FetchNode, fields: ReadonlySet<string>, index: number) {
  const operation = operationOf(document)
  const keep = (set: SelectionSetNode, typename: string): SelectionSetNode => ({
    ...set,
    selections: set.selections.flatMap((selection): SelectionNode[] => {
      if (selection.kind !== Kind.INLINE_FRAGMENT) {
        return selection.kind === Kind.FIELD && fields.has(`${typename}.${selection.name.value}`) ? [selection] : []
      }
      const kept = keep(selection.selectionSet, selection.typeCondition?.name.value ?? typename)
      return kept.selections.length > 0 ? [{ ...selection, selectionSet: kept }] : []
    }),
  })
  const [entities] = operation.selectionSet.selections as [FieldNode]
  const selectionSet: SelectionSetNode = {
    kind: Kind.SELECTION_SET,
    selections: [{ ...entities, selectionSet: keep(entities.selectionSet as SelectionSetNode, '') }],
  }
  const used = new Set<string>()
  const rest = document.definitions.filter((each) => each !== operation)
  for (const node of [selectionSet, ...rest]) visit(node, { Variable: ({ name }) => void used.add(name.value) })
  const part: OperationDefinitionNode = {
    ...operation,
    ...(operation.name && { name: nameNode(`${operation.name.value}_${index}`) }),
    variableDefinitions: operation.variableDefinitions?.filter(({ variable }) => used.has(variable.name.value)) ?? [],
    selectionSet,
  }
  return {
    operation: stripIgnoredCharacters(print({ ...document, definitions: [part, ...rest] })),
    operationName: part.name?.value,
    variableUsages: (fetch.variableUsages ?? []).filter((name) => used.has(name)),
  }
}

/** The fields of a representation, without those that are needed with other arguments. */
function requiresOf(
  selections: readonly QueryPlanSelectionNode[],
  needs: Needs,
  byName: StandIns['byName'],
  path = '',
): QueryPlanSelectionNode[] {
  return selections.flatMap((selection): QueryPlanSelectionNode[] => {
    if (selection.kind === 'InlineFragment') {
      return [{ ...selection, selections: requiresOf(selection.selections, needs, byName, path) }]
    }
    const at = `${path}.${byName.get(selection.name)?.field ?? selection.name}`
    const needed = needs.get(at)
    if (needed === undefined ? isPlannersName(selection.name) : needed !== selection.name) return []
    if (!selection.selections) return [selection]
    const inner = requiresOf(selection.selections, needs, byName, at)
    return inner.length > 0 ? [{ ...selection, selections: inner }] : []
  })
}
