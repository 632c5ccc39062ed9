/** Makes an operation that is answered wrongly as small as it gets. */
import {
  type ASTNode,
  type DefinitionNode,
  type DocumentNode,
  type GraphQLSchema,
  Kind,
  parse,
  print,
  validate,
  visit,
} from 'graphql'
import type { Asked } from './operations.ts'

type Change = (document: DocumentNode) => DocumentNode

/** All documents that are one step smaller. */
function* smaller(document: DocumentNode): Generator<DocumentNode> {
  const nodes: ASTNode[] = []
  visit(document, { enter: (node) => void nodes.push(node) })
  const replace =
    (target: ASTNode, by: unknown): Change =>
    (from) =>
      visit(from, { enter: (node) => (node === target ? by : undefined) })
  for (const node of nodes) {
    const isSelection =
      node.kind === Kind.FIELD || node.kind === Kind.INLINE_FRAGMENT || node.kind === Kind.FRAGMENT_SPREAD
    if (isSelection || node.kind === Kind.DIRECTIVE || node.kind === Kind.ARGUMENT) yield replace(node, null)(document)
    if (node.kind === Kind.FIELD && node.alias) yield replace(node, { ...node, alias: undefined })(document)
    if (node.kind === Kind.FIELD && node.selectionSet && node.selectionSet.selections.length > 0) {
      yield replace(node.selectionSet, { kind: Kind.SELECTION_SET, selections: [TYPENAME] })(document)
    }
    if (node.kind === Kind.SELECTION_SET) {
      for (const inner of node.selections) {
        if (inner.kind !== Kind.INLINE_FRAGMENT) continue
        const selections = node.selections.flatMap((each) => (each === inner ? inner.selectionSet.selections : [each]))
        yield replace(node, { ...node, selections })(document)
      }
    }
    if (node.kind === Kind.FRAGMENT_SPREAD) {
      const fragment = document.definitions.find(
        (each) => each.kind === Kind.FRAGMENT_DEFINITION && each.name.value === node.name.value,
      )
      if (fragment?.kind !== Kind.FRAGMENT_DEFINITION) continue
      const { typeCondition, selectionSet } = fragment
      yield replace(node, { kind: Kind.INLINE_FRAGMENT, typeCondition, directives: node.directives, selectionSet })(
        document,
      )
    }
  }
}

const TYPENAME = { kind: Kind.FIELD, name: { kind: Kind.NAME, value: '__typename' } }

/** Without fragments and variables that nothing uses. */
function tidy(document: DocumentNode): DocumentNode {
  const text = print(document)
  return {
    ...document,
    definitions: document.definitions.flatMap((each): DefinitionNode[] => {
      if (each.kind === Kind.FRAGMENT_DEFINITION) return text.includes(`...${each.name.value}`) ? [each] : []
      if (each.kind !== Kind.OPERATION_DEFINITION) return [each]
      const used = (name: string) =>
        new RegExp(`: \\$${name}\\b|\\(\\$${name}\\b`).test(text.replace(/^\w+ [^(]*\([^)]*\)/, ''))
      return [
        {
          ...each,
          variableDefinitions: each.variableDefinitions?.filter(({ variable }) => used(variable.name.value)) ?? [],
        },
      ]
    }),
  }
}

/** @param fails whether an operation is still answered wrongly */
export async function shrink(
  schema: GraphQLSchema,
  asked: Asked,
  fails: (asked: Asked) => Promise<boolean>,
): Promise<Asked> {
  let best = asked
  for (let steps = 0; steps < 200; steps++) {
    let found: Asked | undefined
    for (const document of smaller(parse(best.query, { noLocation: true }))) {
      let query: string
      try {
        const tidied = tidy(document)
        query = print(tidied)
        if (query.length >= print(parse(best.query)).length || validate(schema, parse(query)).length > 0) continue
      } catch {
        continue
      }
      const candidate = { query, variables: best.variables }
      if (await fails(candidate)) {
        found = candidate
        break
      }
    }
    if (!found) return best
    best = found
  }
  return best
}
