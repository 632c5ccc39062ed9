/**
 * Plans of operations with deferred fragments: a main plan, and a block of fetches for each fragment that arrives later.
 *
 * Apollo's planner makes such plans, and then fetches deferred fields of an entity by themselves, even from the same subgraph.
 * It fails for some fragments, above all with `@requires` in them, and knows nothing of operations that are planned in parts
 * (operation-parts.ts). Those get the plan that they have without `@defer`: {@link divide} finds out which of its fetches
 * are for deferred fields alone.
 */
import type { FetchNode, PlanNode, QueryPlan, QueryPlanSelectionNode } from '@apollo/query-planner'
import {
  type DocumentNode,
  type FragmentDefinitionNode,
  type GraphQLSchema,
  isInterfaceType,
  Kind,
  parse,
  type SelectionSetNode,
} from 'graphql'
import { operationOf } from '../subgraphs/errors.ts'
import { deferredId } from './deferral.ts'
import { responseName } from './operation-corrections.ts'
import { ENTRIES_SERVICE } from './part-entries.ts'
import { fetchesOf, mapFetches } from './plan-nodes.ts'

/** What a deferred fragment needs beyond the plan around it. */
export interface DeferredBlock {
  /** The fragment's id in the document. */
  readonly id: string
  /** The ids of the fetches that must have been made before. */
  readonly depends: readonly string[]
  /** undefined: `depends` is all that it needs. */
  readonly node: PlanNode | undefined
}

export interface DividedPlan {
  /** What the first part of the answer needs; undefined: nothing. */
  readonly main: PlanNode | undefined
  /** One for each fragment that arrives later. */
  readonly blocks: readonly DeferredBlock[]
}

/** Reads a plan of Apollo's for a document with `@defer`. @returns undefined if it defers nothing */
export function readDivided(plan: QueryPlan): DividedPlan | undefined {
  const { main, blocks } = blocksOf(plan.node)
  const own = blocks.filter(({ node }) => node !== undefined)
  return own.length > 0 ? { main, blocks: own } : undefined
}

function blocksOf(node: QueryPlan['node']): DividedPlan {
  if (!node || node.kind === 'Subscription') return { main: undefined, blocks: [] }
  const real = (each: PlanNode | undefined) => each && mapFetches(each, (fetch) => (isIdle(fetch) ? undefined : fetch))
  if (node.kind !== 'Defer') return { main: real(node), blocks: [] }
  const blocks = node.deferred.flatMap(({ label = '', depends, node: inner }): DeferredBlock[] => {
    const { main, blocks } = blocksOf(inner)
    return [{ id: label, depends: depends.map(({ id }) => id), node: main }, ...blocks]
  })
  return { main: real(node.primary.node), blocks }
}

/** The planner asks any subgraph for `__typename` of the root, if it is all that is deferred there. We know it. */
function isIdle({ serviceName, requires, operation }: FetchNode): boolean {
  return (
    serviceName === ENTRIES_SERVICE || (!requires && /^(query\b[^{]*)?\{\s*__typename\s*\}$/.test(operation.trim()))
  )
}

/** A fetch of the whole plan. */
interface Fetch {
  readonly node: FetchNode
  /** The fields that it gives, by their paths in the data. */
  readonly gives: ReadonlySet<string>
  /** The fields that it needs to be made. */
  readonly needs: ReadonlySet<string>
  /** Whether it may need anything that was fetched before. */
  readonly needsAll: boolean
  /** The ids of the fragments that it is needed for; MAIN: the first part. */
  readonly for: Set<string>
}

const MAIN = ''
const pathOf = (names: readonly string[]): string => names.join('/')

/**
 * Divides a plan by what its fetches are for. A fetch for the first part and a fragment belongs to the first part.
 * @param schema the whole supergraph
 * @param document what the plan is for, with the ids of deferred fragments
 * @returns undefined if nothing is deferred
 */
export function divide(schema: GraphQLSchema, { node }: QueryPlan, document: DocumentNode): DividedPlan | undefined {
  if (!node || node.kind === 'Subscription') return undefined
  const wanted = new Map<string, Set<string>>()
  readWanted(operationOf(document).selectionSet, [], MAIN, wanted)
  const fetches = readFetches(schema, node)
  for (const fetch of fetches) {
    for (const path of fetch.gives) for (const id of wanted.get(path) ?? []) fetch.for.add(id)
    // Nobody asks for it as such: it is there for what follows, or to find out whether something exists.
    if (fetch.for.size === 0 && !isGiver(fetch, fetches)) fetch.for.add(MAIN)
  }
  // Later ones need earlier ones, so once from the end to the beginning is enough.
  for (const [index, fetch] of fetches.entries().toArray().reverse()) {
    for (const giver of giversOf(fetch, fetches.slice(0, index))) for (const id of fetch.for) giver.for.add(id)
  }
  return blocksBy(node, fetches)
}

const share = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean => [...a].some((each) => b.has(each))

const isGiver = (fetch: Fetch, all: readonly Fetch[]): boolean =>
  all.some((each) => each !== fetch && (each.needsAll || share(each.needs, fetch.gives)))

const giversOf = ({ needs, needsAll }: Fetch, earlier: readonly Fetch[]): readonly Fetch[] =>
  earlier.filter(({ gives }) => needsAll || share(needs, gives))

function blocksBy(node: PlanNode, fetches: readonly Fetch[]): DividedPlan | undefined {
  const ids = new Set(fetches.flatMap((each) => (each.for.has(MAIN) ? [] : [...each.for])))
  if (ids.size === 0) return undefined
  /** Of several fragments that need one fetch the first makes it. Outer ones come before those in them. */
  const ownerOf = (fetch: Fetch) => (fetch.for.has(MAIN) ? MAIN : ([...fetch.for].sort(byNumber)[0] as string))
  const nodes = new Map(
    fetches.map((fetch, index) => [fetch.node, { fetch, node: { ...fetch.node, id: `f${index}` } }]),
  )
  const part = (owner: string) =>
    mapFetches(node, (each) => {
      const known = nodes.get(each)
      return known && ownerOf(known.fetch) === owner ? known.node : undefined
    })
  const blocks = [...ids].sort(byNumber).map((id): DeferredBlock => {
    const own = fetches.filter((each) => ownerOf(each) === id)
    const shared = fetches.filter((each) => !each.for.has(MAIN) && each.for.has(id) && ownerOf(each) !== id)
    const before = own.flatMap((each) => giversOf(each, fetches.slice(0, fetches.indexOf(each))))
    const depends = new Set([...shared, ...before].filter((each) => !own.includes(each)))
    return { id, depends: [...depends].map((each) => nodes.get(each.node)?.node.id ?? ''), node: part(id) }
  })
  return { main: part(MAIN), blocks }
}

const byNumber = (a: string, b: string): number => Number(a.slice(1)) - Number(b.slice(1))

/** Which fragments ask for the fields of a document, by their paths. */
function readWanted(
  { selections }: SelectionSetNode,
  names: readonly string[],
  id: string,
  wanted: Map<string, Set<string>>,
): void {
  for (const each of selections) {
    if (each.kind === Kind.FRAGMENT_SPREAD) continue
    if (each.kind === Kind.INLINE_FRAGMENT) {
      readWanted(each.selectionSet, names, deferredId(each) ?? id, wanted)
      // A fragment for some types can't be told from others until the type is known.
      if (each.typeCondition) want(wanted, [...names, '__typename'], id)
      continue
    }
    const path = [...names, responseName(each)]
    want(wanted, path, id)
    if (each.selectionSet) readWanted(each.selectionSet, path, id, wanted)
  }
}

function want(wanted: Map<string, Set<string>>, names: readonly string[], id: string): void {
  const path = pathOf(names)
  wanted.set(path, (wanted.get(path) ?? new Set()).add(id))
}

function readFetches(schema: GraphQLSchema, node: PlanNode): readonly Fetch[] {
  const places = new Map<FetchNode, readonly (string | number)[]>()
  const walk = (each: PlanNode, path: readonly (string | number)[]): void => {
    if (each.kind === 'Fetch') places.set(each, path)
    else if (each.kind === 'Flatten') walk(each.node, [...path, ...each.path])
    else if (each.kind === 'Sequence' || each.kind === 'Parallel') for (const inner of each.nodes) walk(inner, path)
  }
  walk(node, [])
  return fetchesOf(node).map((fetch) => readFetch(schema, fetch, places.get(fetch) ?? []))
}

function readFetch(schema: GraphQLSchema, node: FetchNode, place: readonly (string | number)[]): Fetch {
  const needs = new Set<string>()
  const names: string[] = []
  for (const part of place) {
    const [name = '', types] = String(part).split('|')
    if (name !== '' && name !== '@') names.push(name)
    if (name !== '' && name !== '@') needs.add(pathOf(names))
    if (types !== undefined) needs.add(pathOf([...names, '__typename']))
  }
  if (node.requires) readRequired(node.requires, names, needs)
  const document = parse(node.operation, { noLocation: true })
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const each of document.definitions)
    if (each.kind === Kind.FRAGMENT_DEFINITION) fragments.set(each.name.value, each)
  const renamed = new Map<string, string>()
  for (const each of node.outputRewrites ?? []) {
    if (each.kind === 'KeyRenamer') renamed.set(String(each.path.at(-1)), each.renameKeyTo)
  }
  const gives = new Set<string>()
  const read = ({ selections }: SelectionSetNode, at: readonly string[]): void => {
    for (const each of selections) {
      if (each.kind === Kind.FIELD) {
        const key = responseName(each)
        const path = [...at, renamed.get(key) ?? key]
        // The type comes with the object, except where only its interface is known until then.
        if (key !== '__typename' || (at === names && tellsTypes(schema, node))) gives.add(pathOf(path))
        if (each.selectionSet) read(each.selectionSet, path)
      } else if (each.kind === Kind.INLINE_FRAGMENT) read(each.selectionSet, at)
      else read((fragments.get(each.name.value) as FragmentDefinitionNode).selectionSet, at)
    }
  }
  const { selectionSet } = operationOf(document)
  if (!node.requires) read(selectionSet, names)
  else
    for (const each of selectionSet.selections)
      if (each.kind === Kind.FIELD && each.selectionSet) read(each.selectionSet, names)
  return { node, gives, needs, needsAll: (node.contextRewrites?.length ?? 0) > 0, for: new Set() }
}

/** Whether a fetch asks for objects of an interface, and so for their types. */
const tellsTypes = (schema: GraphQLSchema, { requires = [] }: FetchNode): boolean =>
  requires.some((each) => each.kind === 'InlineFragment' && isInterfaceType(schema.getType(each.typeCondition ?? '')))

function readRequired(
  selections: readonly QueryPlanSelectionNode[],
  names: readonly string[],
  needs: Set<string>,
): void {
  for (const each of selections) {
    if (each.kind === 'InlineFragment') readRequired(each.selections, names, needs)
    else {
      const path = [...names, each.alias ?? each.name]
      needs.add(pathOf(path))
      if (each.selections) readRequired(each.selections, path, needs)
    }
  }
}
