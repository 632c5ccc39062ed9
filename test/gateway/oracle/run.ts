/** Random operations over random supergraphs, each answered by the gateway and by the one server that holds everything. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { composeServices } from '@apollo/composition'
import { Supergraph } from '@apollo/federation-internals'
import { type GraphQLSchema, parse, print, validate } from 'graphql'
import { buildGateway } from '../../../gateway/server.ts'
import { ACCEPTS, type Format, readParts } from '../incremental.ts'
import { type Answer, createOracle, type Oracle } from './compare.ts'
import { differenceWithFailures, joined, withDefer, withoutDefer } from './deferred.ts'
import type { Asked } from './operations.ts'
import { createRandom } from './random.ts'
import { type Call, definitionOf, transportOf } from './services.ts'
import { shrink } from './shrink.ts'
import { type GeneratorName, generators, type Universe } from './universes.ts'

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
  readonly generator: GeneratorName
  readonly seed: number
  readonly asked: Asked
  readonly difference: string
  readonly calls: readonly Call[]
  readonly universe: Universe
}

/** A gateway over a random world. */
interface Graph {
  readonly universe: Universe
  readonly oracle: Oracle
  readonly schema: GraphQLSchema
  readonly ask: (asked: Asked) => Promise<Answer>
  /** Asks for an answer in parts. @returns what is wrong with them together */
  readonly partsDiffer: (asked: Asked, format: Format) => Promise<string | undefined>
  readonly callsOf: (asked: Asked) => Promise<readonly Call[]>
  readonly close: () => Promise<void>
}

/** @returns undefined where the subgraphs do not compose */
async function startGraph(universe: Universe): Promise<Graph | undefined> {
  const { services } = universe
  const { supergraphSdl } = composeServices(services.map(definitionOf))
  if (!supergraphSdl) return undefined
  const folder = mkdtempSync(join(tmpdir(), 'oracle-'))
  const supergraph = join(folder, 'supergraph.graphql')
  writeFileSync(supergraph, supergraphSdl)
  let calls: Call[] | undefined
  const transports = Object.fromEntries(services.map((each) => [each.name, transportOf(each, () => calls)]))
  const app = await buildGateway({ supergraph, transports, limits: LIMITS, logger: false })
  rmSync(folder, { recursive: true })
  const schema = Supergraph.build(supergraphSdl).apiSchema().toGraphQLJSSchema({ includeDefer: true })
  const ask = async (asked: Asked): Promise<Answer> => {
    const response = await app.inject({ method: 'POST', url: '/graphql', payload: asked })
    return response.json()
  }
  const oracle = createOracle(universe, schema)
  return {
    universe,
    schema,
    oracle,
    ask,
    async partsDiffer(asked, format) {
      const headers = { accept: ACCEPTS[format] }
      const response = await app.inject({ method: 'POST', url: '/graphql', headers, payload: asked })
      const payloads = readParts(String(response.headers['content-type']), response.body)
      const [whole] = payloads
      // Which an operation can have once it is made smaller.
      if (whole?.errors?.[0]?.message.match(/^The labels of @defer|^@defer cannot be used at the root/))
        return undefined
      const plain = { ...asked, query: print(withoutDefer(parse(asked.query))) }
      if (payloads.length === 1 && whole) return oracle.difference(plain, whole as Answer)
      const theirs = await oracle.answer(plain)
      const ours = joined(payloads, format, theirs.data)
      if (ours.faults.length > 0)
        return `${ours.faults.join('\n')}\n${payloads.map((each) => JSON.stringify(each)).join('\n')}`
      const found =
        ours.failed.length > 0
          ? differenceWithFailures(ours, theirs.data, (await oracle.lenientAnswer(plain)).data)
          : await oracle.difference(plain, ours.errors.length > 0 ? ours : { data: ours.data })
      return found && `${found}\n${payloads.map((each) => JSON.stringify(each)).join('\n')}`
    },
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
  generator: GeneratorName,
  seed: number,
  operations: number,
  findings = 1,
  defers = false,
): Promise<{ readonly asked: number; readonly found: readonly Finding[] }> {
  const graph = await startGraph(generators[generator](seed))
  if (!graph) return { asked: 0, found: [] }
  const random = createRandom(seed ^ 0x5eed)
  const format = random.pick(['2022', 'v0.2'] as const)
  const differs = defers
    ? (each: Asked) => graph.partsDiffer(each, format)
    : async (each: Asked) => graph.oracle.difference(each, await graph.ask(each))
  const found: Finding[] = []
  let count = 0
  try {
    for (let index = 0; index < operations && found.length < findings; index++) {
      const created = graph.universe.createOperation(graph.schema, random)
      if (!created) continue
      const asked = defers ? withDefer(created, random) : created
      if (defers && validate(graph.schema, parse(asked.query)).length > 0) continue
      count++
      if ((await differs(asked)) === undefined) continue
      const smaller = await shrink(graph.schema, asked, async (each) => (await differs(each)) !== undefined)
      const difference = (await differs(smaller)) ?? 'none the second time'
      const calls = await graph.callsOf(smaller)
      found.push({ generator, seed, asked: smaller, difference, calls, universe: graph.universe })
    }
  } finally {
    await graph.close()
  }
  return { asked: count, found }
}

/** A finding for people. */
export function describeFinding(
  { generator, seed, asked, difference, calls, universe }: Finding,
  withSchemas = false,
): string {
  const made = calls.map(({ service, query, variables, answer }) =>
    [`  ${service}: ${query}`, `    ${JSON.stringify(variables)}`, `    ${JSON.stringify(answer)}`].join('\n'),
  )
  return [
    `--generator ${generator} --seed ${seed}: ${print(parse(asked.query)).replace(/\s+/g, ' ')}`,
    `variables: ${JSON.stringify(asked.variables)}`,
    difference,
    ...made,
    ...(withSchemas ? universe.services.map(({ name, sdl }) => `${name}: ${sdl}`) : []),
  ].join('\n')
}
