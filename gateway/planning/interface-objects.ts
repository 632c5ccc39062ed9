/** Interfaces that some subgraphs take for objects (`@interfaceObject`). What the planner makes of them: see parts.ts. */
import { type DocumentNode, Kind } from 'graphql'
import { directivesOf, graphOf, isTrue, selectionOf, textOf, typesOf } from './join.ts'

/** An interface that some subgraphs take for an object. */
interface Objectified {
  /** The fields that these subgraphs have, without those of the key, which others have, too. */
  readonly fields: ReadonlySet<string>
  /** The selection of one of its keys. */
  readonly key: string
}

export type Objectifieds = ReadonlyMap<string, Objectified>

/** @param document a supergraph */
export function objectifiedInterfaces(document: DocumentNode): Objectifieds {
  const found = new Map<string, Objectified>()
  for (const [name, type] of typesOf(document)) {
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
    const names = fields.map((each) => each.name.value).filter((each) => !keys.has(each))
    found.set(name, { fields: new Set(names), key })
  }
  return found
}
