/** The root fields of an operation. */
import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  Kind,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql'

/** Calls `call` for each root field: for every alias, and again for every spread of a fragment. */
export function eachRootField(
  document: DocumentNode,
  { selectionSet }: OperationDefinitionNode,
  call: (field: FieldNode) => void,
): void {
  visit(selectionSet)

  function visit({ selections }: SelectionSetNode): void {
    for (const selection of selections) {
      if (selection.kind === Kind.INLINE_FRAGMENT) visit(selection.selectionSet)
      else if (selection.kind === Kind.FRAGMENT_SPREAD) {
        const name = selection.name.value
        const fragment = document.definitions.find(
          (each): each is FragmentDefinitionNode => each.kind === Kind.FRAGMENT_DEFINITION && each.name.value === name,
        )
        if (fragment) visit(fragment.selectionSet)
      } else call(selection)
    }
  }
}
