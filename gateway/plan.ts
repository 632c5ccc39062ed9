/** `npm run plan -- FILE [--operation NAME] [--supergraph PATH]`: how the gateway would execute an operation. */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { prettyFormatQueryPlan } from '@apollo/query-planner'
import { parse, validate } from 'graphql'
import { loadSupergraph } from './supergraph.ts'

const usage = 'npm run plan -- FILE [--operation NAME] [--supergraph PATH]   (FILE - : standard input)'

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      operation: { type: 'string' },
      supergraph: { type: 'string', default: process.env.SUPERGRAPH || 'gateway/sample/supergraph.graphql' },
    },
  })
  const [file] = positionals
  if (file === undefined || positionals.length > 1) throw new Error(usage)
  const supergraph = loadSupergraph(readFileSync(values.supergraph, 'utf8'))
  const document = parse(readFileSync(file === '-' ? 0 : file, 'utf8'))
  const errors = validate(supergraph.schema, document)
  if (errors.length > 0) throw new Error(errors.map(({ message }) => message).join('\n'))
  console.log(prettyFormatQueryPlan(supergraph.plan(supergraph.plannable(document), values.operation)))
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}
