/** Benches of the gateway beside other gateways, on the same subgraphs. */
import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Pool } from 'undici'
import { createTokens } from '../../subgraph/identity/tokens.ts'
import { withoutNginx } from '../support/nginx.ts'
import { type Comparison, median, type Ratio } from './compare.ts'
import { hop, list, SUBGRAPHS, type SubgraphUrls } from './graph.ts'
import { installPeers } from './peers.ts'
import type { StartContender } from './processes.ts'
import type { RequestBench } from './requests.ts'
import type { Servers } from './servers.ts'

interface Scale {
  readonly rounds: number
  readonly documents: number
}

/** Compares figures other than requests per second. */
type FigureBench = (start: StartContender, servers: Servers, scale: Scale) => Promise<Ratio[]>

/**
 * Starts the subgraphs and composes them. `options` are what a gateway is started with.
 * @param cacheControl of the subgraphs' answers; default: they have none
 */
async function startGraph(start: StartContender, servers: Servers, cacheControl?: string) {
  const { privateKey } = generateKeyPairSync('ed25519')
  const tokens = createTokens(JSON.stringify(privateKey.export({ format: 'jwk' })))
  const upstreams = await start('fixed-upstreams', { jwks: tokens.jwks, cacheControl })
  const subgraphs = upstreams.subgraphs as SubgraphUrls
  const [{ composeServices }, { parse }] = await Promise.all([import('@apollo/composition'), import('graphql')])
  const { supergraphSdl, errors } = composeServices(
    Object.entries(SUBGRAPHS).map(([name, sdl]) => ({
      name,
      url: subgraphs[name as keyof SubgraphUrls],
      typeDefs: parse(sdl),
    })),
  )
  if (errors) throw new AggregateError(errors, 'the subgraphs of the bench do not compose')
  const supergraph = join(servers.folder(), 'supergraph.graphql')
  writeFileSync(supergraph, supergraphSdl)
  return {
    options: { supergraph, subgraphs, jwksUrl: `${upstreams.url}/.well-known/jwks.json` },
    token: tokens.issue({ customerId: 1, generation: 0 }),
  }
}

interface Race {
  readonly documents: readonly string[]
  /** Of each document. */
  readonly answer: object
  /** Whether they are sent without a token. Default false. */
  readonly asGuests?: boolean
  /** Whether no two connections send the same document at one moment. Default: all begin with the first. */
  readonly apart?: boolean
  readonly connections: number
  readonly rivals: readonly Rival[]
}

interface Rival {
  readonly name: string
  readonly script: string
  readonly aim: number
  readonly path?: string
  readonly options?: object
}

/** Ours and its rivals, but for those that are not installed. */
async function race(
  start: StartContender,
  servers: Servers,
  { documents, answer, connections, rivals, asGuests = false, apart = false }: Race,
): Promise<Comparison> {
  const isPeer = ({ script }: Rival) => script.startsWith('peers/')
  const present = rivals.some(isPeer) && !installPeers() ? rivals.filter((rival) => !isPeer(rival)) : rivals
  const { options, token } = await startGraph(start, servers)
  const entrant = async (script: string, path: string, more: object = {}) => {
    const exchanges = documents.map((query) => ({ path, body: { query }, ...(!asGuests && { token }), answer }))
    const share = Math.floor(documents.length / connections)
    const from = (first: number) => [...exchanges.slice(first), ...exchanges.slice(0, first)]
    return {
      contender: await start(script, { ...options, ...more }),
      exchanges: apart ? Array.from({ length: connections }, (_, index) => from(index * share)) : [exchanges],
    }
  }
  return {
    ours: await entrant('gateway', '/graphql'),
    others: await Promise.all(
      present.map(async ({ name, script, aim, path = '/graphql', options }) => ({
        name,
        aim,
        entrant: await entrant(script, path, options),
      })),
    ),
    connections,
  }
}

const unshared = { script: 'gateway', options: { sharedCalls: 'off' } }

const rivals = (name: string, aims: { stock: number; hive: number; mercurius: number; bare: number }) => [
  { name: `${name} / stock Apollo`, script: 'stock-gateway', path: '/', aim: aims.stock },
  { name: `${name} / Hive`, script: 'peers/hive', aim: aims.hive },
  { name: `${name} / Hive, native planner`, script: 'peers/hive', options: { native: true }, aim: aims.hive },
  { name: `${name} / Mercurius, JIT`, script: 'peers/mercurius', aim: aims.mercurius },
  { name: `${name} / bare route`, script: 'bare-hop-and-list', path: `/${name}`, aim: aims.bare },
]

/** A list, asked for by GET: out of the cache of an nginx in front of the gateway, and of a gateway. */
async function cache(start: StartContender, servers: Servers): Promise<Comparison> {
  const { options } = await startGraph(start, servers, 'public, max-age=3600')
  const [behind, alone] = [await start('gateway', options), await start('gateway', { ...options, sharedCalls: 'off' })]
  const path = `/graphql?${new URLSearchParams({ query: list.selection })}`
  const exchanges = [[{ path, answer: list.answer }]]
  if (withoutNginx) console.error(`cache: ${withoutNginx}`)
  const cached = withoutNginx ? behind : { ...behind, url: await servers.nginx(behind.url) }
  return {
    ours: { contender: cached, exchanges },
    others: withoutNginx
      ? []
      : [{ name: "list from nginx's cache / not cached", aim: 10, entrant: { contender: alone, exchanges } }],
    connections: 32,
  }
}

export const gatewayBenches: Readonly<Record<string, RequestBench>> = {
  cache,

  /** One entity hop, from one subgraph to another. */
  'gateway-hop': (start, servers) =>
    race(start, servers, {
      documents: [hop.selection],
      answer: hop.answer,
      connections: 64,
      rivals: rivals('hop', { stock: 10, hive: 8, mercurius: 2, bare: 1 }),
    }),

  /** Lists of three levels over three subgraphs, 24 kB. */
  'gateway-list': (start, servers) =>
    race(start, servers, {
      documents: [list.selection],
      answer: list.answer,
      connections: 32,
      rivals: rivals('list', { stock: 7, hive: 4, mercurius: 2, bare: 1 }),
    }),

  /** The hop in twenty documents, in turn on each connection. */
  'gateway-documents': (start, servers) =>
    race(start, servers, {
      documents: Array.from({ length: 20 }, (_, number) => `query Hop${number} ${hop.selection}`),
      answer: hop.answer,
      connections: 64,
      rivals: [{ name: '20 documents / bare route', script: 'bare-hop-and-list', path: '/hop', aim: 1 }],
    }),

  /** The hop, asked by guests who share calls, beside the same gateway without that. */
  'gateway-guests': (start, servers) =>
    race(start, servers, {
      documents: [hop.selection],
      answer: hop.answer,
      asGuests: true,
      connections: 64,
      rivals: [{ ...unshared, name: 'guests who ask the same / not shared', aim: 1.5 }],
    }),

  /** The same where no two ask the same at one moment: what it costs to find that out. */
  'gateway-guests-apart': (start, servers) =>
    race(start, servers, {
      documents: Array.from({ length: 997 }, (_, number) => `query Hop${number} ${hop.selection}`),
      answer: hop.answer,
      asGuests: true,
      apart: true,
      connections: 16,
      rivals: [{ ...unshared, name: 'guests who ask other things / not shared', aim: 0.95 }],
    }),
}

/**
 * Our gateway, and a function that sends it the document of a number: all make the same subgraph calls.
 * It resolves to milliseconds.
 * @param more what the gateway is started with, besides
 */
export async function startAsking(start: StartContender, servers: Servers, more: object = {}) {
  const { options, token } = await startGraph(start, servers)
  const gateway = await start('gateway', { ...options, ...more })
  const pool = new Pool(gateway.url, { connections: 16 })
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${token}` }
  const ask = async (number: number) => {
    const body = JSON.stringify({ query: `{ me { id name email reviewCount } type${number}: __typename }` })
    const started = performance.now()
    const answer = await pool.request({ path: '/graphql', method: 'POST', headers, body })
    const text = await answer.body.text()
    const took = performance.now() - started
    if (!text.includes('"reviewCount":5') || !text.includes(`"type${number}":"Query"`))
      throw new Error(`document ${number}: the answer was ${text}`)
    return took
  }
  return { gateway, ask, supergraph: options.supergraph, stop: () => pool.destroy() }
}

export const gatewayFigures: Readonly<Record<string, FigureBench>> = {
  /** Ever new documents: the memory must not grow with them. Beside all of them, a fifth. */
  async 'gateway-memory'(start, servers, { documents }) {
    const { gateway, ask, stop } = await startAsking(start, servers)
    let next = 0
    const askUntil = async (end: number) => {
      const [from, started] = [next, performance.now()]
      await Promise.all(
        Array.from({ length: 16 }, async () => {
          while (next < end) await ask(next++)
        }),
      )
      return { perSecond: ((end - from) * 1000) / (performance.now() - started), ...(await gateway.memory()) }
    }
    const fifth = await askUntil(documents / 5)
    const all = await askUntil(documents)
    await stop()
    return (['heap', 'resident'] as const).map((kind) => {
      const ratio = fifth[kind] / all[kind]
      return {
        name: `${kind} memory after ${documents / 5} documents / after ${documents}`,
        ...{ ratio, lowest: ratio, highest: ratio },
        aim: 0.9,
        ours: { perSecond: fifth.perSecond, memory: fifth[kind] },
        other: { perSecond: all.perSecond, memory: all[kind] },
      }
    })
  },

  /** The first request of a document, which is parsed, validated and planned for it, beside its second. */
  async 'gateway-first'(start, servers, { rounds }) {
    const { ask, stop } = await startAsking(start, servers)
    let next = 0
    const round = async () => {
      const [first, second]: [number[], number[]] = [[], []]
      for (const end = next + 200; next < end; next++) {
        first.push(await ask(next))
        second.push(await ask(next))
      }
      return { first: median(first), second: median(second) }
    }
    await round() // warm-up
    const measured = []
    for (let count = 0; count < rounds; count++) measured.push(await round())
    await stop()
    const ratios = measured.map(({ first, second }) => second / first)
    const figures = (p50: number) => ({ perSecond: 1000 / p50, p50 })
    return [
      {
        name: "a document's second request / its first, in ms",
        ratio: median(ratios),
        lowest: Math.min(...ratios),
        highest: Math.max(...ratios),
        aim: 0.2,
        ours: figures(median(measured.map(({ first }) => first))),
        other: figures(median(measured.map(({ second }) => second))),
      },
    ]
  },
}
