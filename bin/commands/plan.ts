/** `customers plan`: how the gateway would execute an operation. */
import { readFileSync } from 'node:fs'
import { prettyFormatQueryPlan, type QueryPlan } from '@apollo/query-planner'
import { type DocumentNode, parse, validate, valueFromASTUntyped } from 'graphql'
import { type Deferral, deferralOf, deferredFragments, withoutDefer } from '../../gateway/planning/deferral.ts'
import type { DividedPlan } from '../../gateway/planning/divided-plans.ts'
import { correctOperation } from '../../gateway/planning/operation-corrections.ts'
import { choose } from '../../gateway/planning/refusals.ts'
import { loadSupergraph } from '../../gateway/planning/supergraph.ts'
import { defaultSupergraph } from '../environment.ts'

/** Of the variables, those of `@skip`, `@include` and `@defer` matter. @param file `-`: standard input */
export function plan(
  file: string,
  options: { readonly operation?: string; readonly variables: string; readonly supergraph?: string },
): void {
  try {
    const path = options.supergraph ?? (process.env.SUPERGRAPH || defaultSupergraph(false))
    const supergraph = loadSupergraph(readFileSync(path, 'utf8'), true)
    const document = parse(readFileSync(file === '-' ? 0 : file, 'utf8'))
    const errors = validate(supergraph.schema, document)
    if (errors.length > 0) throw new Error(errors.map(({ message }) => message).join('\n'))
    const plannable = supergraph.plannable(document)
    const operation = choose(plannable, options.operation)
    const variables: Record<string, unknown> = {}
    for (const { variable, defaultValue } of operation.variableDefinitions ?? []) {
      if (defaultValue) variables[variable.name.value] = valueFromASTUntyped(defaultValue)
    }
    Object.assign(variables, JSON.parse(options.variables))
    const isTrue = (variable: string) => variables[variable] === true
    const internalName = supergraph.internalNames()
    const correct = (each: DocumentNode) =>
      correctOperation(each, choose(each, options.operation), internalName, isTrue)
    const fragments = deferredFragments(plannable, operation)
    const deferral = fragments && deferralOf(fragments, isTrue, (variable) => variables[variable] !== false)
    const divided = deferral && supergraph.planDeferred(correct(deferral.document), options.operation)
    const whole = () => supergraph.plan(correct(withoutDefer(plannable)), options.operation)
    console.log(prettyFormatQueryPlan(divided ? inOnePlan(divided, deferral.labels) : whole()))
  } catch (error) {
    console.error((error as Error).message)
    process.exitCode = 1
  }
}

/** In the form in which Apollo prints plans. */
function inOnePlan({ main, blocks }: DividedPlan, labels: Deferral['labels']): QueryPlan {
  const deferred = blocks.map(({ id, depends, node }) => ({
    label: labels.get(id) ?? id,
    depends: depends.map((each) => ({ id: each })),
    queryPath: [],
    ...(node && { node }),
  }))
  return { kind: 'QueryPlan', node: { kind: 'Defer', primary: { ...(main && { node: main }) }, deferred } }
}
