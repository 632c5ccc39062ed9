/**
 * Divides a plan that was made without `@defer` into what the first part of the answer needs, and what each deferred fragment
 * needs beyond that. It makes the calls of the whole plan; one that serves several parts is made once for each of them, but
 * with their own fields.
 */
import type { PlanNode, QueryPlan } from '@apollo/query-planner'
import { type DocumentNode, type GraphQLSchema, Kind, type SelectionSetNode } from 'graphql'
import { operationOf } from '../subgraphs/errors.ts'
import { deferredId } from './deferral.ts'
import type { DeferredBlock, DividedPlan } from './divided-plans.ts'
import { type FetchField, fieldsOf, pathOf, withFields } from './fetch-fields.ts'
import { responseName } from './operation-corrections.ts'
import { mapFetches } from './plan-nodes.ts'

/** The first part of the answer. */
const MAIN = ''

/** The ids of the fragments that ask for a field, by its path; MAIN: the first part asks for it. */
type Wanted = Map<string, Set<string>>

interface Field extends FetchField {
  /** The ids of the parts that it is fetched for. */
  readonly for: Set<string>
}

/**
 * @param schema the whole supergraph
 * @param document what the plan is for, with the ids of deferred fragments (deferral.ts)
 * @returns undefined if nothing is deferred
 */
export function divide(schema: GraphQLSchema, { node }: QueryPlan, document: DocumentNode): DividedPlan | undefined {
  if (!node || node.kind === 'Subscription') return undefined
  const wanted: Wanted = new Map()
  readWanted(operationOf(document).selectionSet, [], MAIN, wanted)
  const fields = fieldsOfPlan(schema, node)
  for (const field of fields) {
    for (const path of field.gives) for (const id of wanted.get(path) ?? []) field.for.add(id)
    // Nobody asks for it as such: it is there to find out whether something exists.
    if (field.for.size === 0 && !isGiver(field, fields)) field.for.add(MAIN)
  }
  // What is needed has been fetched before, so going once from the end to the beginning is enough.
  for (const field of fields.toReversed()) {
    for (const giver of giversOf(field, fields)) for (const id of field.for) giver.for.add(id)
  }
  return blocksBy(node, fields)
}

const share = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean => [...a].some((each) => b.has(each))

const isGiver = (field: Field, all: readonly Field[]): boolean =>
  all.some((each) => each.fetch !== field.fetch && (each.needsAll || share(each.needs, field.gives)))

/** The fields of earlier fetches that a field's fetch needs. */
function giversOf(field: Field, all: readonly Field[]): readonly Field[] {
  const earlier = all.slice(
    0,
    all.findIndex(({ fetch }) => fetch === field.fetch),
  )
  return earlier.filter(({ gives }) => field.needsAll || share(gives, field.needs))
}

/** Of several fragments that need one field the first fetches it. Outer ones come before those in them. */
const ownerOf = (field: Field): string => (field.for.has(MAIN) ? MAIN : ([...field.for].sort(byNumber)[0] as string))

const byNumber = (a: string, b: string): number => Number(a.slice(1)) - Number(b.slice(1))

function blocksBy(node: PlanNode, fields: readonly Field[]): DividedPlan | undefined {
  const ids = new Set(fields.flatMap((each) => (each.for.has(MAIN) ? [] : [...each.for])))
  if (ids.size === 0) return undefined
  const fetches = [...new Set(fields.map(({ fetch }) => fetch))]
  const idOf = ({ fetch }: Field, owner: string) => `f${fetches.indexOf(fetch)}${owner}`
  const part = (owner: string) =>
    mapFetches(node, (fetch) => {
      const own = fields.filter((each) => each.fetch === fetch && ownerOf(each) === owner)
      const [first] = own
      return first && { ...withFields(fetch, new Set(own.map(({ index }) => index))), id: idOf(first, owner) }
    })
  const blocks = [...ids].sort(byNumber).map((id): DeferredBlock => {
    const own = fields.filter((each) => ownerOf(each) === id)
    const shared = fields.filter((each) => !each.for.has(MAIN) && each.for.has(id) && ownerOf(each) !== id)
    const before = own.flatMap((each) => giversOf(each, fields))
    const depends = [...shared, ...before].filter((each) => !own.includes(each))
    return { id, depends: [...new Set(depends.map((each) => idOf(each, ownerOf(each))))], node: part(id) }
  })
  return { main: part(MAIN), blocks }
}

function readWanted({ selections }: SelectionSetNode, names: readonly string[], id: string, wanted: Wanted): void {
  const want = (path: readonly string[]) => {
    const key = pathOf(path)
    wanted.set(key, (wanted.get(key) ?? new Set()).add(id))
  }
  for (const each of selections) {
    if (each.kind === Kind.INLINE_FRAGMENT) {
      // It applies to some types, so the type must be known.
      if (each.typeCondition) want([...names, '__typename'])
      readWanted(each.selectionSet, names, deferredId(each) ?? id, wanted)
    } else if (each.kind === Kind.FIELD) {
      const path = [...names, responseName(each)]
      want(path)
      if (each.selectionSet) readWanted(each.selectionSet, path, id, wanted)
    }
  }
}

function fieldsOfPlan(schema: GraphQLSchema, node: PlanNode): readonly Field[] {
  const fields: Field[] = []
  const walk = (each: PlanNode, place: readonly (string | number)[]): void => {
    if (each.kind === 'Fetch') {
      for (const field of fieldsOf(schema, each, place)) fields.push({ ...field, for: new Set() })
    } else if (each.kind === 'Flatten') walk(each.node, [...place, ...each.path])
    else if (each.kind === 'Sequence' || each.kind === 'Parallel') for (const inner of each.nodes) walk(inner, place)
  }
  walk(node, [])
  return fields
}
