/** Interfaces that some subgraphs take for objects (`@interfaceObject`). What the planner makes of them: see parts.ts. */
import { type DocumentNode, Kind } from 'graphql'
import { directivesOf, graphOf, isTrue, selectionOf, textOf, typesOf } from './join.ts'

/** An interface that some subgraphs take for an object. */
interface Objectified {
  /** The fields that these subgraphs have, without those of the key, which others have, too. */
  readonly fields: ReadonlySet<string>
  /** The selection of one of its keys. */
  readonly key: string
  /** Of its fields within each other, how many are planned together: see {@link hopsOf}. */
  readonly hops: number
}

export type Objectifieds = ReadonlyMap<string, Objectified>

/** @param document a supergraph */
export function objectifiedInterfaces(document: DocumentNode): Objectifieds {
  const found = new Map<string, Objectified>()
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
 * The planner has a choice for each type of the interface, in each such field that another one leads to: of n types it makes
 * 2^n plans for two subgraphs, and (2^n)^n for the next field. A small query took all memory. Measured: these take up to
 * some tenths of a second.
 * @param types kinds of the interface
 * @param owners subgraphs that have the same field of it
 * @param full subgraphs that know its kinds
 */
function hopsOf(types: number, owners: number, full: number): number {
  const choices = types * Math.log2(owners * full)
  return choices <= 2 ? 2 : choices <= 6 ? 1 : 0
}
