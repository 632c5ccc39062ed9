/** Composes subgraph schemas into a supergraph. */
import { readFileSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import { composeServices } from '@apollo/composition'
import { type GraphQLError, parse, Source } from 'graphql'
import { parse as parseYaml } from 'yaml'
import { z } from 'zod'
import { excludeTags } from './contract.ts'

const schemaSource = z.union(
  [
    z.strictObject({ file: z.string().min(1) }),
    z.strictObject({ sdl: z.string().min(1) }),
    z.strictObject({
      subgraph_url: z.url({ protocol: /^https?$/ }),
      introspection_headers: z.record(z.string(), z.string()).optional(),
    }),
  ],
  {
    error: ({ input }) =>
      typeof input === 'object' && input !== null && 'graphref' in input
        ? 'a graphref is fetched from GraphOS, which is not supported: run `rover subgraph fetch` and name its output by `file`'
        : 'one of `file` (a path), `subgraph_url` (an http or https URL) or `sdl` (the schema itself) is needed',
  },
)

const configuration = z.object({
  // rover selects its composer by this; here it is ignored, and the installed one composes.
  federation_version: z.union([z.string(), z.number()]).optional(),
  subgraphs: z
    .record(
      z.string().regex(/^[A-Za-z0-9_-]+$/, 'a subgraph is named with letters, digits, _ and -'),
      z
        .object({ routing_url: z.url({ protocol: /^https?$/ }).optional(), schema: schemaSource })
        .refine(({ routing_url, schema }) => routing_url !== undefined || 'subgraph_url' in schema, {
          path: ['routing_url'],
          message: 'the URL that the gateway sends queries to is needed; only with `subgraph_url` it can be left out',
        }),
      { error: 'the subgraphs are needed here, by name' },
    )
    .refine((subgraphs) => Object.keys(subgraphs).length > 0, 'at least one subgraph is needed'),
})

type Configuration = z.infer<typeof configuration>
type SchemaSource = Configuration['subgraphs'][string]['schema']
type Environment = Readonly<Record<string, string | undefined>>

/** The time limit for a subgraph to return its schema. */
const INTROSPECTION_MS = 10_000

/** A supergraph, or the reasons why there is none; every text is an instruction for a person. */
export type Composition =
  | { readonly supergraph: string; readonly hints: readonly string[] }
  | { readonly supergraph?: undefined; readonly errors: readonly string[] }

/**
 * Composes the subgraphs of a supergraph configuration (in rover's format). It writes nothing, and fetches only the
 * schemas of subgraphs with a `subgraph_url`.
 * @param configPath the YAML file; schema files are relative to it
 * @param env the values of `${env.NAME}`
 * @param contract `excludeTags`: what has one of these tags is left out for clients
 */
export async function composeSupergraph(
  configPath: string,
  env: Environment = process.env,
  contract: { readonly excludeTags?: readonly string[] } = {},
): Promise<Composition> {
  let config: Configuration
  try {
    config = configuration.parse(expandVariables(parseYaml(readFileSync(configPath, 'utf8')), env))
  } catch (error) {
    return { errors: explainConfig(configPath, error) }
  }

  const errors: string[] = []
  const subgraphs = await Promise.all(
    Object.entries(config.subgraphs).map(async ([name, { routing_url, schema }]) => {
      try {
        const url = routing_url ?? ('subgraph_url' in schema ? schema.subgraph_url : '')
        return { name, url, schema: await readSchema(schema, configPath) }
      } catch (error) {
        errors.push(explain(error as Error, name))
        return undefined
      }
    }),
  )
  if (errors.length > 0) return { errors }
  const composed = composeSchemas(subgraphs.filter((subgraph) => subgraph !== undefined))
  const { excludeTags: tags = [] } = contract
  if (composed.supergraph === undefined || tags.length === 0) return composed
  try {
    return { ...composed, supergraph: excludeTags(composed.supergraph, tags) }
  } catch (error) {
    return { errors: (error as Error).message.split(/\n+/) }
  }
}

/** A subgraph with its schema. */
export interface SubgraphSchema {
  readonly name: string
  readonly url: string
  /** SDL, with the name that errors give for it. */
  readonly schema: Source
}

/** Composes loaded subgraph schemas. */
export function composeSchemas(subgraphs: readonly SubgraphSchema[]): Composition {
  const errors: string[] = []
  const services = subgraphs.flatMap(({ name, url, schema }) => {
    try {
      return [{ name, url, typeDefs: parse(schema) }]
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

/** Loads a subgraph's schema from the configured source. */
async function readSchema(schema: SchemaSource, configPath: string): Promise<Source> {
  if ('sdl' in schema) return new Source(schema.sdl, configPath)
  if ('subgraph_url' in schema) {
    return new Source(await introspect(schema.subgraph_url, schema.introspection_headers ?? {}), schema.subgraph_url)
  }
  const file = isAbsolute(schema.file) ? schema.file : join(dirname(configPath), schema.file)
  return new Source(readFileSync(file, 'utf8'), file)
}

/**
 * Asks a running subgraph for its schema (`_service`, as every federated subgraph answers it).
 * @throws Error that names the URL and what was wrong with the answer, and never the headers
 */
async function introspect(url: string, headers: Readonly<Record<string, string>>): Promise<string> {
  let response: Response
  let text: string
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify({ query: '{ _service { sdl } }' }),
      signal: AbortSignal.timeout(INTROSPECTION_MS),
    })
    text = await response.text()
  } catch (error) {
    const { message, cause } = error as Error
    throw new Error(`${url} can't be asked for its schema: ${cause instanceof Error ? cause.message : message}`)
  }
  const sdl = sdlOf(text)
  if (sdl !== undefined) return sdl
  throw new Error(`${url} does not give its schema (\`_service\`): HTTP ${response.status}${reasonOf(text)}`)
}

interface ServiceAnswer {
  readonly data?: { readonly _service?: { readonly sdl?: unknown } | null } | null
  readonly errors?: readonly { readonly message?: unknown }[]
}

function readAnswer(text: string): ServiceAnswer {
  try {
    return (JSON.parse(text) as ServiceAnswer | null) ?? {}
  } catch {
    return {}
  }
}

function sdlOf(text: string): string | undefined {
  const sdl = readAnswer(text).data?._service?.sdl
  return typeof sdl === 'string' ? sdl : undefined
}

function reasonOf(text: string): string {
  const { errors } = readAnswer(text)
  const message = Array.isArray(errors) ? errors[0]?.message : undefined
  return typeof message === 'string' ? `, ${message.slice(0, 300)}` : ''
}

/** `$$`, or `${…}`. */
const EXPANSION = /\$\$|\$\{([^}]*)\}/g

/**
 * Replaces `${env.NAME}` and `${env.NAME:-default}` in every text of a YAML document, as rover does; `$$` is a dollar
 * sign.
 * @throws Error for a variable that is not set, and for another expansion
 */
function expandVariables(value: unknown, env: Environment): unknown {
  if (typeof value === 'string') return value.replace(EXPANSION, (all, inner?: string) => expand(all, inner, env))
  if (Array.isArray(value)) return value.map((each) => expandVariables(each, env))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, expandVariables(each, env)]))
}

function expand(all: string, inner: string | undefined, env: Environment): string {
  if (inner === undefined) return '$'
  const [, name, fallback] = /^env\.(\w+)(?::-(.*))?$/s.exec(inner) ?? []
  if (name === undefined) throw new Error(`${all} can't be expanded; accepted: \${env.NAME} and \${env.NAME:-default}`)
  const found = env[name] || fallback
  if (found === undefined) throw new Error(`${all}: the environment variable ${name} is not set`)
  return found
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
