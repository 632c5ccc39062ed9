/**
 * Names of variables that the planner, or the merging of calls, gives to variables of its own. A client's variable of such a
 * name would be one with it in the subgraph's operation: so it gets another name before anything else is done.
 */
import { type DocumentNode, Kind, type VariableDefinitionNode, visit } from 'graphql'

const RESERVED = /^(representations(_\d+)?|contextualArgument_.*)$/

/** The client's names of variables by those that they have here. */
export type Renamed = ReadonlyMap<string, string>

/**
 * @param document valid, with one operation
 * @returns the document with other names for such variables, and these names; `renamed` is undefined where there are none
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

/** The client's variables under the names that they have here. */
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
