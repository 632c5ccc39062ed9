/**
 * `@defer` in documents. A deferred fragment may be spread in several places, and each of them arrives by itself. So for a
 * deferred execution all fragments are written out in place, and each deferred one gets a label of its own, by which the
 * plan and the answer know it.
 */
import {
  type DirectiveNode,
  type DocumentNode,
  type FragmentDefinitionNode,
  type InlineFragmentNode,
  Kind,
  type OperationDefinitionNode,
  OperationTypeNode,
  type SelectionNode,
  type SelectionSetNode,
  visit,
} from 'graphql'
import { isIncluded } from './operation-corrections.ts'

/** The most fragments of an operation that are deferred; more are answered with what is around them. Each may cost calls. */
const MAX_DEFERRED = 32

/** Whether `@defer` applies, by the name of the variable in its `if`. */
export type IsDeferred = (variable: string) => boolean

/** An operation with its deferred fragments. */
export interface Deferral {
  /** The operation alone, without named fragments. Its deferred fragments have `@defer(label:)` with an id of ours. */
  readonly document: DocumentNode
  /** The client's labels by these ids; undefined where it gave none. */
  readonly labels: ReadonlyMap<string, string | undefined>
}

const isDefer = ({ name }: DirectiveNode): boolean => name.value === 'defer'

const argumentOf = (directive: DirectiveNode, argument: string) =>
  directive.arguments?.find(({ name }) => name.value === argument)?.value

/** The id of a deferred fragment in {@link Deferral.document}; undefined for any other selection. */
export function deferredId({ directives }: SelectionNode): string | undefined {
  const label = directives && argumentOf(directives.find(isDefer) ?? NO_DIRECTIVE, 'label')
  return label?.kind === Kind.STRING ? label.value : undefined
}

const NO_DIRECTIVE: DirectiveNode = { kind: Kind.DIRECTIVE, name: { kind: Kind.NAME, value: '' } }

/** A valid document without `@defer`: its answer comes in one piece. The same document if it has none. */
export function withoutDefer(document: DocumentNode): DocumentNode {
  return visit(document, { Directive: (node) => (isDefer(node) ? null : undefined) })
}

/** An operation that has fragments to defer. */
export interface DeferredFragments {
  /** With `@defer`. */
  readonly document: DocumentNode
  readonly operation: OperationDefinitionNode
  /** The variables in the `if` of its `@defer`. */
  readonly variables: readonly string[]
}

/** @returns undefined if nothing in the operation can be deferred, whatever its variables */
export function deferredFragments(
  document: DocumentNode,
  operation: OperationDefinitionNode,
): DeferredFragments | undefined {
  // The root fields of a mutation are executed in sequence, so its answer comes in one piece.
  if (operation.operation !== OperationTypeNode.QUERY) return undefined
  const names = new Set<string>()
  let isDeferred = false
  visit(document, {
    Directive: (node) => {
      if (!isDefer(node)) return
      const condition = argumentOf(node, 'if')
      if (condition?.kind === Kind.BOOLEAN && !condition.value) return
      isDeferred = true
      if (condition?.kind === Kind.VARIABLE) names.add(condition.name.value)
    },
  })
  return isDeferred ? { document, operation, variables: [...names] } : undefined
}

/**
 * @param isTrue evaluates `@skip` and `@include`
 * @returns undefined if nothing is deferred under these conditions
 */
export function deferralOf(
  { document, operation }: DeferredFragments,
  isTrue: (variable: string) => boolean,
  isDeferred: IsDeferred,
): Deferral | undefined {
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const each of document.definitions) {
    if (each.kind === Kind.FRAGMENT_DEFINITION) fragments.set(each.name.value, each)
  }
  const labels = new Map<string, string | undefined>()

  function directivesOf(directives: readonly DirectiveNode[] = []): readonly DirectiveNode[] {
    const defer = directives.find(isDefer)
    if (!defer) return directives
    const others = directives.filter((each) => each !== defer)
    const condition = argumentOf(defer, 'if')
    const applies = condition?.kind === Kind.VARIABLE ? isDeferred(condition.name.value) : !isFalse(condition)
    if (!applies || labels.size >= MAX_DEFERRED || !isIncluded(directives, isTrue)) return others
    const id = `d${labels.size}`
    const label = argumentOf(defer, 'label')
    labels.set(id, label?.kind === Kind.STRING ? label.value : undefined)
    return [...others, deferDirective(id)]
  }

  function written(set: SelectionSetNode): SelectionSetNode {
    const selections = set.selections.map((each): SelectionNode => {
      if (each.kind === Kind.FIELD) {
        return each.selectionSet ? { ...each, selectionSet: written(each.selectionSet) } : each
      }
      const directives = directivesOf(each.directives)
      const { typeCondition, selectionSet } =
        each.kind === Kind.INLINE_FRAGMENT ? each : (fragments.get(each.name.value) as FragmentDefinitionNode)
      const inline: InlineFragmentNode = { kind: Kind.INLINE_FRAGMENT, directives, selectionSet: written(selectionSet) }
      return typeCondition ? { ...inline, typeCondition } : inline
    })
    return { ...set, selections }
  }

  const whole = { ...operation, selectionSet: written(operation.selectionSet) }
  return labels.size > 0 ? { document: { kind: Kind.DOCUMENT, definitions: [whole] }, labels } : undefined
}

const isFalse = (value: ReturnType<typeof argumentOf>): boolean => value?.kind === Kind.BOOLEAN && !value.value

const deferDirective = (label: string): DirectiveNode => ({
  kind: Kind.DIRECTIVE,
  name: { kind: Kind.NAME, value: 'defer' },
  arguments: [
    { kind: Kind.ARGUMENT, name: { kind: Kind.NAME, value: 'label' }, value: { kind: Kind.STRING, value: label } },
  ],
})
