/** `customers plan`: how the gateway would execute an operation. */
import { readFileSync } from 'node:fs'
import { prettyFormatQueryPlan } from '@apollo/query-planner'
import { parse, validate, valueFromASTUntyped } from 'graphql'
import { correctOperation } from '../../gateway/planning/operation-corrections.ts'
import { choose } from '../../gateway/planning/refusals.ts'
import { loadSupergraph } from '../../gateway/planning/supergraph.ts'

/** Of the variables, those of `@skip` and `@include` matter. @param file `-`: standard input */
export function plan(
  file: string,
  options: { readonly operation?: string; readonly variables: string; readonly supergraph?: string },
): void {
  try {
    const path = options.supergraph ?? (process.env.SUPERGRAPH || 'examples/commerce/supergraph.graphql')
    const supergraph = loadSupergraph(readFileSync(path, 'utf8'))
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
    const corrected = correctOperation(
      plannable,
      operation,
      supergraph.internalNames(),
      (variable) => variables[variable] === true,
    )
    console.log(prettyFormatQueryPlan(supergraph.plan(corrected, options.operation)))
  } catch (error) {
    console.error((error as Error).message)
    process.exitCode = 1
  }
}
