/**
 * Renames client variables that have a name which the planner, or the merging of calls, uses for its own variables: in
 * the subgraph's operation the two would collide. So does `__proto__`, which is no member like others to JavaScript.
 */
import { type DocumentNode, Kind, type VariableDefinitionNode, visit } from 'graphql'

const RESERVED = /^(representations(_\d+)?|contextualArgument_.*|__proto__)$/

/** The client's names of variables by their new names. */
export type Renamed = ReadonlyMap<string, string>

/**
 * @param document valid, with one operation
 * @returns the document with other names for such variables, and these names; `renamed` is undefined if there are
 * none
 */
export function withFreeVariables(document: DocumentNode): { document: DocumentNode; renamed: Renamed | undefined } {
  const declared = document.definitions.flatMap((each): readonly VariableDefinitionNode[] =>
    each.kind === Kind.OPERATION_DEFINITION ? (each.variableDefinitions ?? []) : [],
  )
  const names = declared.map(({ variable }) => variable.name.value)
  if (!names.some((name) => RESERVED.test(name))) return { document, renamed: undefined }
  const free = new Map<string, string>()
  for (const name of names) {
    if (!RESERVED.test(name)) continue
    let other = `client_${name}`
    while (names.includes(other)) other = `${other}_`
    free.set(name, other)
  }
  const changed = visit(document, {
    Variable: (node) => {
      const name = free.get(node.name.value)
      return name === undefined ? undefined : { ...node, name: { kind: Kind.NAME, value: name } }
    },
  })
  return { document: changed, renamed: new Map([...free].map(([own, other]) => [other, own])) }
}

/** The client's variables under their new names. */
export function renameVariables(
  sent: Readonly<Record<string, unknown>>,
  renamed: Renamed,
): Readonly<Record<string, unknown>> {
  const values = { ...sent }
  for (const [name, own] of renamed) {
    delete values[name]
    if (Object.hasOwn(sent, own)) values[name] = sent[own]
  }
  return values
}
