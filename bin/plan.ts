/**
 * `npm run plan -- FILE [--operation NAME] [--variables JSON] [--supergraph PATH]`: how the gateway would execute an
 * operation. Of the variables, those of `@skip` and `@include` matter.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { prettyFormatQueryPlan } from '@apollo/query-planner'
import { parse, validate, valueFromASTUntyped } from 'graphql'
import { correctOperation } from '../gateway/planning/operation-corrections.ts'
import { choose } from '../gateway/planning/refusals.ts'
import { loadSupergraph } from '../gateway/planning/supergraph.ts'

const usage =
  'npm run plan -- FILE [--operation NAME] [--variables JSON] [--supergraph PATH]   (FILE - : standard input)'

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      operation: { type: 'string' },
      variables: { type: 'string', default: '{}' },
      supergraph: { type: 'string', default: process.env.SUPERGRAPH || 'examples/commerce/supergraph.graphql' },
    },
  })
  const [file] = positionals
  if (file === undefined || positionals.length > 1) throw new Error(usage)
  const supergraph = loadSupergraph(readFileSync(values.supergraph, 'utf8'))
  const document = parse(readFileSync(file === '-' ? 0 : file, 'utf8'))
  const errors = validate(supergraph.schema, document)
  if (errors.length > 0) throw new Error(errors.map(({ message }) => message).join('\n'))
  const plannable = supergraph.plannable(document)
  const operation = choose(plannable, values.operation)
  const variables: Record<string, unknown> = {}
  for (const { variable, defaultValue } of operation.variableDefinitions ?? []) {
    if (defaultValue) variables[variable.name.value] = valueFromASTUntyped(defaultValue)
  }
  Object.assign(variables, JSON.parse(values.variables))
  const corrected = correctOperation(
    plannable,
    operation,
    supergraph.internalNames(),
    (variable) => variables[variable] === true,
  )
  console.log(prettyFormatQueryPlan(supergraph.plan(corrected, values.operation)))
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}
