/** Random operations over random supergraphs, each answered by the gateway and by the one server that holds everything. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { composeServices } from '@apollo/composition'
import { Supergraph } from '@apollo/federation-internals'
import { type GraphQLSchema, parse, print } from 'graphql'
import { buildGateway } from '../../../gateway/server.ts'
import { type Answer, createOracle, type Oracle } from './compare.ts'
import { type Asked, createOperation } from './operations.ts'
import { createRandom } from './random.ts'
import { shrink } from './shrink.ts'
import { type Call, sdlOf, serviceOf, transportOf } from './subgraphs.ts'
import { createWorld, type World } from './world.ts'

const HIGH = 1_000_000
const LIMITS = {
  depth: 50,
  fields: HIGH,
  aliases: HIGH,
  rootFields: HIGH,
  tokens: HIGH,
  directives: HIGH,
  cost: HIGH ** 2,
}

export interface Finding {
  readonly seed: number
  readonly asked: Asked
  readonly difference: string
  readonly calls: readonly Call[]
  readonly world: World
}

/** A gateway over a random world. */
interface Graph {
  readonly world: World
  readonly oracle: Oracle
  readonly schema: GraphQLSchema
  readonly ask: (asked: Asked) => Promise<Answer>
  readonly callsOf: (asked: Asked) => Promise<readonly Call[]>
  readonly close: () => Promise<void>
}

/** @returns undefined where the world's subgraphs do not compose */
async function startGraph(seed: number): Promise<Graph | undefined> {
  const world = createWorld(seed)
  const services = world.subgraphs.map((name) => serviceOf(world, name))
  const { supergraphSdl } = composeServices(services)
  if (!supergraphSdl) return undefined
  const folder = mkdtempSync(join(tmpdir(), 'oracle-'))
  const supergraph = join(folder, 'supergraph.graphql')
  writeFileSync(supergraph, supergraphSdl)
  let calls: Call[] | undefined
  const transports = Object.fromEntries(services.map((each) => [each.name, transportOf(world, each, () => calls)]))
  const app = await buildGateway({ supergraph, transports, limits: LIMITS, logger: false })
  rmSync(folder, { recursive: true })
  const schema = Supergraph.build(supergraphSdl).apiSchema().toGraphQLJSSchema()
  const ask = async (asked: Asked): Promise<Answer> => {
    const response = await app.inject({ method: 'POST', url: '/graphql', payload: asked })
    return response.json()
  }
  return {
    world,
    schema,
    oracle: createOracle(world, schema),
    ask,
    callsOf: async (asked) => {
      calls = []
      await ask(asked)
      const made = calls
      calls = undefined
      return made
    },
    close: () => app.close(),
  }
}

/**
 * Asks random operations of one random world.
 * @returns how many were asked, and what was answered wrongly, made as small as it gets
 */
export async function explore(
  seed: number,
  operations: number,
  findings = 1,
): Promise<{ readonly asked: number; readonly found: readonly Finding[] }> {
  const graph = await startGraph(seed)
  if (!graph) return { asked: 0, found: [] }
  const random = createRandom(seed ^ 0x5eed)
  const found: Finding[] = []
  let count = 0
  try {
    for (let index = 0; index < operations && found.length < findings; index++) {
      const asked = createOperation(graph.schema, random)
      if (!asked) continue
      count++
      const differs = async (each: Asked) => graph.oracle.difference(each, await graph.ask(each))
      if ((await differs(asked)) === undefined) continue
      const smaller = await shrink(graph.schema, asked, async (each) => (await differs(each)) !== undefined)
      const difference = (await differs(smaller)) ?? 'none the second time'
      found.push({ seed, asked: smaller, difference, calls: await graph.callsOf(smaller), world: graph.world })
    }
  } finally {
    await graph.close()
  }
  return { asked: count, found }
}

/** A finding for people. */
export function describeFinding({ seed, asked, difference, calls, world }: Finding, withSchemas = false): string {
  const made = calls.map(({ service, query, variables, answer }) =>
    [`  ${service}: ${query}`, `    ${JSON.stringify(variables)}`, `    ${JSON.stringify(answer)}`].join('\n'),
  )
  return [
    `seed ${seed}: ${print(parse(asked.query)).replace(/\s+/g, ' ')}`,
    `variables: ${JSON.stringify(asked.variables)}`,
    difference,
    ...made,
    ...(withSchemas ? world.subgraphs.map((name) => `${name}: ${sdlOf(world, name)}`) : []),
  ].join('\n')
}
