/** Composes subgraph schemas into a supergraph, offline. */
import { readFileSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import { composeServices } from '@apollo/composition'
import { type GraphQLError, parse, Source } from 'graphql'
import { parse as parseYaml } from 'yaml'
import { z } from 'zod'

const configuration = z.object({
  // rover picks its composer by this; here the installed one composes, whatever stands there.
  federation_version: z.union([z.string(), z.number()]).optional(),
  subgraphs: z
    .record(
      z.string().regex(/^[A-Za-z0-9_-]+$/, 'a subgraph is named with letters, digits, _ and -'),
      z.object({ routing_url: z.url(), schema: z.object({ file: z.string().min(1) }) }),
    )
    .refine((subgraphs) => Object.keys(subgraphs).length > 0, 'at least one subgraph is needed'),
})

/** A supergraph, or the reasons why there is none; every text is meant for a person to act on. */
export type Composition =
  | { readonly supergraph: string; readonly hints: readonly string[] }
  | { readonly supergraph?: undefined; readonly errors: readonly string[] }

/**
 * Composes the subgraphs that a supergraph configuration (rover's format) names. Nothing is fetched and nothing written.
 * @param configPath the YAML file; schema files are relative to it
 */
export function composeSupergraph(configPath: string): Composition {
  let config: z.infer<typeof configuration>
  try {
    config = configuration.parse(parseYaml(readFileSync(configPath, 'utf8')))
  } catch (error) {
    return { errors: explainConfig(configPath, error) }
  }

  const errors: string[] = []
  const services = Object.entries(config.subgraphs).flatMap(([name, { routing_url, schema }]) => {
    const file = isAbsolute(schema.file) ? schema.file : join(dirname(configPath), schema.file)
    try {
      return [{ name, url: routing_url, typeDefs: parse(new Source(readFileSync(file, 'utf8'), file)) }]
    } catch (error) {
      errors.push(explain(error as Error, name))
      return []
    }
  })
  if (errors.length > 0) return { errors }

  const result = composeServices(services)
  if (result.errors) return { errors: result.errors.map((error) => explain(error)) }
  return {
    supergraph: `${result.supergraphSdl.trim()}\n`,
    hints: result.hints.map(({ definition, message, nodes }) =>
      [`${definition.level.name} ${definition.code}: ${message}`, ...places(nodes)].join('\n'),
    ),
  }
}

function explainConfig(path: string, error: unknown): string[] {
  if (!(error instanceof z.ZodError)) return [`${path}: ${(error as Error).message}`]
  return error.issues.map((issue) => `${path}: ${issue.path.join('.') || 'the file'}: ${issue.message}`)
}

/** One line with the code and the message (which names the subgraph), then the places in the schema files. */
function explain(error: Error | GraphQLError, subgraph?: string): string {
  const graphql = error as Partial<GraphQLError>
  const code = graphql.extensions?.code ?? (graphql.locations ? 'INVALID_GRAPHQL' : undefined)
  const head = [code ? `${code}: ` : '', subgraph ? `[${subgraph}] ` : '', error.message].join('')
  const at = graphql.nodes?.length
    ? places(graphql.nodes)
    : (graphql.locations ?? []).map(({ line, column }) => `  at ${graphql.source?.name ?? ''}:${line}:${column}`)
  return [head, ...new Set(at)].join('\n')
}

type Node = NonNullable<GraphQLError['nodes']>[number]

function places(nodes: readonly Node[] = []): string[] {
  return nodes.flatMap(({ loc }) =>
    loc ? [`  at ${loc.source.name}:${loc.startToken.line}:${loc.startToken.column}`] : [],
  )
}
