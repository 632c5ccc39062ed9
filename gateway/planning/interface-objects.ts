/** Finds the interfaces that some subgraphs declare as object types (`@interfaceObject`). operation-parts.ts says why it matters. */
import { type DocumentNode, Kind } from 'graphql'
import { directivesOf, graphOf, isTrue, selectionOf, textOf, typesOf } from './join.ts'

/** An interface that some subgraphs declare as an object type. */
export interface InterfaceObject {
  /** The fields that these subgraphs resolve, except those of the key. */
  readonly fields: ReadonlySet<string>
  /** The selection of one of its keys. */
  readonly key: string
  /** How many of its fields, nested in each other, are planned together: see {@link hopsOf}. */
  readonly hops: number
}

export type InterfaceObjects = ReadonlyMap<string, InterfaceObject>

/** @param document a supergraph */
export function interfaceObjectsOf(document: DocumentNode): InterfaceObjects {
  const found = new Map<string, InterfaceObject>()
  const types = typesOf(document)
  for (const [name, type] of types) {
    const joins = directivesOf(type, 'join__type')
    const graphs = new Set(joins.filter((each) => isTrue(each, 'isInterfaceObject', false)).map(graphOf))
    const key = joins.flatMap((each) =>
      isTrue(each, 'isInterfaceObject', false) ? [] : (textOf(each, 'key') ?? []),
    )[0]
    if (type.kind !== Kind.INTERFACE_TYPE_DEFINITION || graphs.size === 0 || key === undefined) continue
    const fields = (type.fields ?? []).filter(({ directives }) =>
      directivesOf({ directives }, 'join__field').some(
        (each) => graphs.has(graphOf(each)) && !isTrue(each, 'external', false),
      ),
    )
    const keys = new Set(selectionOf(key).selections.map((each) => (each.kind === Kind.FIELD ? each.name.value : '')))
    const kinds = [...types.values()].filter((each) => each.interfaces?.some((kind) => kind.name.value === name))
    const owners = fields.map(
      (field) => directivesOf(field, 'join__field').filter((each) => graphs.has(graphOf(each))).length,
    )
    const full = joins.length - joins.filter((each) => graphs.has(graphOf(each))).length
    const hops = hopsOf(kinds.length, Math.max(1, ...owners), Math.max(1, full))
    const names = fields.map((each) => each.name.value).filter((each) => !keys.has(each))
    found.set(name, { fields: new Set(names), key, hops })
  }
  return found
}

/**
 * How many nested fields of an interface object may be planned together. At each of them the planner has a choice for every
 * type of the interface: with n types and two subgraphs it compares 2^n plans, and (2^n)^n one field deeper. A small query
 * could use up all memory. With the limits below, planning takes a few tenths of a second at most (measured).
 * @param types how many types implement the interface
 * @param owners how many subgraphs resolve the same field of it
 * @param full how many subgraphs know these types
 */
function hopsOf(types: number, owners: number, full: number): number {
  const choices = types * Math.log2(owners * full)
  return choices <= 2 ? 2 : choices <= 6 ? 1 : 0
}

/**
 * The same interface objects, with none of their fields planned together. For operations that the planner fails on: where
 * several subgraphs know the types of an interface, it plans each field with `@requires` once more for each of them, and
 * merging the calls for three such fields ends with "adding it as parent would create a cycle". Planned apart,
 * they may take more calls.
 */
export const plannedApart = (interfaceObjects: InterfaceObjects): InterfaceObjects =>
  new Map([...interfaceObjects].map(([name, each]) => [name, { ...each, hops: 0 }]))
