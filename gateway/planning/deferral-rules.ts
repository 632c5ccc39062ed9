/**
 * The rules for `@defer` that graphql-js 16 does not have, from the specification's draft ("Incremental Delivery"):
 * labels are static and unique, and nothing is deferred at the root of a mutation or in a subscription.
 */
import {
  type ASTVisitor,
  type DirectiveNode,
  GraphQLError,
  Kind,
  type SelectionNode,
  type ValidationContext,
} from 'graphql'

const isDefer = ({ name }: DirectiveNode): boolean => name.value === 'defer'

/** "Defer And Stream Directive Labels Are Unique": otherwise a client could not tell the parts apart. */
function DeferLabelsRule(context: ValidationContext): ASTVisitor {
  const known = new Map<string, DirectiveNode>()
  return {
    Directive(node) {
      if (!isDefer(node)) return
      const label = node.arguments?.find(({ name }) => name.value === 'label')?.value
      if (!label || label.kind === Kind.NULL) return
      // A value of another type is refused by its type.
      if (label.kind === Kind.VARIABLE) {
        context.reportError(new GraphQLError('The label of @defer must be a text in the document.', { nodes: [node] }))
      } else if (label.kind === Kind.STRING) {
        const before = known.get(label.value)
        known.set(label.value, node)
        if (!before) return
        const message = `The labels of @defer must be unique: "${label.value}" is there twice.`
        context.reportError(new GraphQLError(message, { nodes: [before, node] }))
      }
    },
  }
}

/** "Defer And Stream Directives Are Used On Valid Root Field". */
function DeferOnRootRule(context: ValidationContext): ASTVisitor {
  const schema = context.getSchema()
  return {
    Directive(node) {
      if (!isDefer(node)) return
      const parent = context.getParentType()
      if (!parent) return
      const kind = parent === schema.getMutationType() ? 'mutation' : 'subscription'
      if (parent !== schema.getMutationType() && parent !== schema.getSubscriptionType()) return
      context.reportError(new GraphQLError(`@defer cannot be used at the root of a ${kind}.`, { nodes: [node] }))
    },
  }
}

/** "Defer And Stream Directives Are Used On Valid Operations": a subscription has it only with an `if` that may be false. */
function DeferInSubscriptionRule(context: ValidationContext): ASTVisitor {
  return {
    OperationDefinition(operation) {
      if (operation.operation !== 'subscription') return
      const fragments = context.getRecursivelyReferencedFragments(operation)
      const sets = [operation, ...fragments].map(({ selectionSet }) => selectionSet)
      for (const set of sets) report(context, set.selections)
    },
  }
}

function report(context: ValidationContext, selections: readonly SelectionNode[]): void {
  for (const each of selections) {
    const defer = each.directives?.find(isDefer)
    const condition = defer?.arguments?.find(({ name }) => name.value === 'if')?.value
    const mayBeFalse = condition?.kind === Kind.VARIABLE || (condition?.kind === Kind.BOOLEAN && !condition.value)
    if (defer && !mayBeFalse) {
      context.reportError(new GraphQLError('@defer cannot be used in a subscription.', { nodes: [defer] }))
    }
    if (each.kind !== Kind.FRAGMENT_SPREAD && each.selectionSet) report(context, each.selectionSet.selections)
  }
}

export const DEFER_RULES = [DeferLabelsRule, DeferOnRootRule, DeferInSubscriptionRule]
