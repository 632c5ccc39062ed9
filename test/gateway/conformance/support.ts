/** Small supergraphs: each query runs over HTTP through our gateway, by both executors, and is held to the answer it should have. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { composeServices } from '@apollo/composition'
import { buildSubgraphSchema } from '@apollo/subgraph'
import { execute, type GraphQLSchema, parse } from 'graphql'
import type { Test } from 'tap'
import type { GatewayOptions } from '../../../gateway/server.ts'
import type { Transport } from '../../../gateway/subgraphs/client.ts'
import { post, startGateway } from '../support.ts'

// biome-ignore lint/suspicious/noExplicitAny: resolvers take whatever the schema has
type Resolvers = Record<string, Record<string, any>>

interface Subgraph {
  readonly sdl: string
  readonly resolvers: Resolvers
}

export interface Case {
  readonly query: string
  readonly variables?: object
  readonly data: unknown
  /** The paths of the errors; a text for one whose message matters, too. Default: there are none. */
  readonly errors?: readonly (readonly [path: string | undefined, message?: RegExp])[]
  /** Where stock Apollo answers otherwise, and why ours is right. */
  readonly notStock?: string
  readonly headers?: Record<string, string>
}

export interface Suite {
  readonly name: string
  readonly subgraphs: Readonly<Record<string, Subgraph>>
  readonly cases: readonly Case[]
  readonly options?: Partial<GatewayOptions>
}

const DIRECTIVES = [
  ...['@key', '@requires', '@provides', '@external', '@shareable', '@override', '@tag', '@extends', '@inaccessible'],
  ...['@interfaceObject', '@composeDirective', '@authenticated', '@requiresScopes', '@policy', '@context'],
  ...['@fromContext', '@cost', '@listSize'],
]
const LINK = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ${JSON.stringify(DIRECTIVES)})\n`

/** A value of a union or interface. */
export const typed = (__typename: string, fields: object) => ({ __typename, ...fields })

/** Cases that stock execution fails at least in part, for one reason. */
export const cases = (notStock: string, ...all: Omit<Case, 'notStock'>[]): Case[] =>
  all.map((each) => ({ ...each, notStock }))

interface Call {
  readonly service: string
  readonly query: string
  readonly variables: Record<string, unknown>
}

/** A subgraph by graphql-js in this process. */
function transportOf(name: string, schema: GraphQLSchema, calls: Call[]): Transport {
  return async (body) => {
    const { query, variables = {} } = JSON.parse(body) as { query: string; variables?: Record<string, unknown> }
    calls.push({ service: name, query, variables })
    const answer = await execute({ schema, document: parse(query), variableValues: variables })
    return { status: 200, text: JSON.stringify(answer), headers: {} }
  }
}

type Graph = Pick<Suite, 'subgraphs' | 'options'>

/** Composes subgraphs. A text with `@link` is taken as it is. @returns what starts our gateway over them */
function composed(t: Test, { subgraphs, options }: Graph) {
  const calls: Call[] = []
  const transports: Record<string, Transport> = {}
  const services = Object.entries(subgraphs).map(([name, { sdl, resolvers }]) => {
    const typeDefs = parse(sdl.includes('@link') || sdl.includes('extend type') ? sdl : LINK + sdl)
    transports[name] = transportOf(name, buildSubgraphSchema([{ typeDefs, resolvers: resolvers as never }]), calls)
    return { name, url: `http://${name}.example/graphql`, typeDefs }
  })
  const { supergraphSdl, errors } = composeServices(services)
  if (!supergraphSdl) throw new AggregateError(errors ?? [], errors?.map(({ message }) => message).join('\n'))
  const supergraph = join(t.testdir({}), 'supergraph.graphql')
  writeFileSync(supergraph, supergraphSdl)
  const start = (executor: 'compiled' | 'apollo') => startGateway(t, { supergraph, transports, executor, ...options })
  return { start, calls, supergraph }
}

/** Our gateway over the subgraphs, once for each executor. */
export async function startBoth(t: Test, graph: Graph) {
  const { start, calls, supergraph } = composed(t, graph)
  const [compiled, apollo] = await Promise.all([start('compiled'), start('apollo')])
  return { compiled, apollo, calls, supergraph }
}

/** Our gateway over the subgraphs, on its own executor. */
export const startCompiled = (t: Test, graph: Graph) => composed(t, graph).start('compiled')

interface ToldError {
  readonly path?: readonly (string | number)[]
  readonly message: string
}

const pathOf = ({ path }: ToldError) => path?.join('.')
const sorted = (errors: readonly ToldError[] = []) =>
  errors
    .map((error) => ({ path: pathOf(error), message: error.message }))
    .sort((a, b) => order(a).localeCompare(order(b)))
const order = (error: object) => JSON.stringify(error)

/** Runs a suite's cases by both executors, twice each: what is kept from the first run must serve the later ones. */
export async function run(t: Test, suite: Suite): Promise<void> {
  const { start } = composed(t, suite)
  const compiled = await start('compiled')
  const apollo = suite.cases.some(({ notStock }) => notStock === undefined) ? await start('apollo') : undefined
  for (const { query, variables, data, errors = [], notStock, headers = {} } of suite.cases) {
    const what = `${suite.name}: ${query.replace(/\s+/g, ' ').trim()}`
    for (let round = 0; round < 2; round++) {
      const ours = (await post(compiled.url, { query, variables }, headers)).body
      t.strictSame(ours.data ?? null, data, what)
      t.strictSame(
        sorted(ours.errors)
          .map(({ path }) => String(path))
          .sort(),
        errors.map(([path]) => String(path)).sort(),
        `${what}: where the errors are ${JSON.stringify(ours.errors ?? [])}`,
      )
      for (const [path, message] of errors) {
        if (message)
          t.ok(
            sorted(ours.errors).some((each) => each.path === path && message.test(each.message)),
            `${what}: ${message} among ${JSON.stringify(ours.errors)}`,
          )
      }
      if (notStock !== undefined || !apollo) continue
      const stock = (await post(apollo.url, { query, variables }, headers)).body
      t.strictSame(stock.data ?? null, ours.data ?? null, `${what}: as Apollo's executor`)
      t.strictSame(sorted(stock.errors), sorted(ours.errors), `${what}: errors as Apollo's executor`)
    }
  }
}
