/** A history: two instances, a projection, Redis and clients, while one fault follows the other. See docs/read-your-writes.md. */
import { generateKeyPairSync } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { type Part, startPart } from '../faults/service.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'
import { openTestLog, temporaryFolder } from '../support/graph.ts'
import { startRedis, startRedisCluster, startRedisSentinel } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { startClients } from './clients.ts'
import {
  clusterFaults,
  type Faults,
  fileFaults,
  networkFaults,
  processFaults,
  sentinelFaults,
  serverFaults,
} from './faults.ts'
import { startProxy } from './proxy.ts'
import { createRandom, type Random } from './random.ts'

export const KINDS = ['server', 'sentinel', 'cluster'] as const
export type Kind = (typeof KINDS)[number]

const CUSTOMERS = 6
const FAULT_MS = { least: 300, most: 3_000 }
const REST_MS = { least: 200, most: 1_500 }
/** How long faults go on where clients are not served, because the machine is busy with others. */
const MOST_MS = 60_000

interface Stores {
  /** What each process is given. */
  readonly urls: { readonly subgraphs: readonly [string, string]; readonly projection: string }
  readonly faults: Faults
}

async function startStores(t: Test, kind: Kind, random: Random): Promise<Stores> {
  if (kind === 'server') {
    const main = await startRedis(t, { persistent: true })
    const standby = await startRedis(t)
    const proxies = await Promise.all([1, 2, 3].map(() => startProxy(t, main.port)))
    const [one, two, three] = proxies.map(({ port }) => `redis://127.0.0.1:${port}`) as [string, string, string]
    let isMain = true
    const network = networkFaults(random, proxies, [main, standby])
    const split = network['two masters'] as (hold: () => Promise<void>) => Promise<void>
    const faults = {
      ...serverFaults(() => (isMain ? main : standby)),
      ...network,
      async 'two masters'(hold: () => Promise<void>) {
        await split(hold)
        isMain = !isMain
      },
      ...Object.fromEntries(
        Object.entries(fileFaults(main)).map(([name, fault]) => [
          name,
          async (hold: () => Promise<void>) => (isMain ? fault(hold) : undefined),
        ]),
      ),
    }
    return { urls: { subgraphs: [one, two], projection: three }, faults }
  }
  if (kind === 'sentinel') {
    const redis = await startRedisSentinel(t)
    const { url } = redis
    return {
      urls: { subgraphs: [url, url], projection: url },
      faults: { ...serverFaults(redis.master), ...sentinelFaults(redis) },
    }
  }
  const cluster = await startRedisCluster(t, { replicas: true })
  const { url } = cluster
  return { urls: { subgraphs: [url, url], projection: url }, faults: clusterFaults(cluster, random) }
}

/** Whether the instance uses documents. */
async function isBelieving({ url }: Part): Promise<boolean> {
  const metrics = await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(5_000) })
    .then((response) => response.text())
    .catch(() => '')
  return /^read_model_fenced 0$/m.test(metrics) && /^read_model_writable 1$/m.test(metrics)
}

/**
 * @param options.seconds how long faults follow each other
 * @param options.seed makes the same choices again; what the processes do in the meantime is their own
 * @param options.only names of faults, or parts of them; default: all
 */
export async function runHistory(
  t: Test,
  options: { readonly kind: Kind; readonly seconds: number; readonly seed: number; readonly only?: string | undefined },
): Promise<void> {
  const { kind, seconds, seed, only = '' } = options
  t.comment(`history on a ${kind}: seed ${seed}, ${seconds} s`)
  const random = createRandom(seed)
  const folder = await temporaryFolder(t)
  const server = await startEventStoreServer(t)
  const stores = await startStores(t, kind, random)
  const env = {
    EVENTSTORE_URL: server.url,
    TOKEN_SIGNING_KEY: generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    EMAIL_HASH_KEY: 'a key that is long enough for a test',
    LOG_LEVEL: 'warn',
  }
  const start = (command: string, variable: string, READMODEL_URL: string) =>
    startPart(t, folder, command, variable, [], { ...env, READMODEL_URL })
  const { urls } = stores
  const subgraphs = await Promise.all(urls.subgraphs.map((url) => start('subgraph', 'SUBGRAPH_PORT', url)))
  const projection = await start('projections', 'PROJECTIONS_PORT', urls.projection)
  const eventStore = await openTestLog(t, folder, { EVENTSTORE_URL: server.url })

  const instances = subgraphs.map(({ url }, index) => ({ name: `instance ${'AB'[index]}`, url }))
  const clients = startClients(t, instances, createRandom(seed + 1), CUSTOMERS)
  const all = { ...stores.faults, ...processFaults(random, subgraphs, projection, server) }
  const names = Object.keys(all).filter((name) => name.includes(only))
  if (names.length === 0) throw new Error(`No fault has "${only}" in its name: ${Object.keys(all).join(', ')}.`)
  const happened: Record<string, number> = {}
  const began = performance.now()
  await delay(2_000)
  const isServed = () => clients.counts.reads > 20 && clients.counts.writes > 5
  for (;;) {
    const passedMs = performance.now() - began
    if (passedMs > seconds * 1_000 && (isServed() || passedMs > MOST_MS)) break
    // Now and then two at a time.
    const chosen = new Set([random.pick(names), ...(random.chance(0.2) ? [random.pick(names)] : [])])
    await Promise.all(
      [...chosen].map(async (name) => {
        happened[name] = (happened[name] ?? 0) + 1
        const fault = all[name] as Faults[string]
        const from = performance.now()
        await fault(() => delay(random.between(FAULT_MS.least, FAULT_MS.most)))
        if (process.env.HISTORY_VERBOSE) t.comment(`${from.toFixed(0)}-${performance.now().toFixed(0)} ms: ${name}`)
      }),
    )
    await delay(random.between(REST_MS.least, REST_MS.most))
  }
  for (const [index, part] of subgraphs.entries()) {
    await until(`instance ${'AB'[index]} uses the documents again`, () => isBelieving(part))
  }
  const { faults, counts } = await clients.end(eventStore)
  t.comment(JSON.stringify({ ...counts, happened }))
  t.same(faults.slice(0, 20), [], `${faults.length} answers that could not be (seed ${seed})`)
  t.ok(isServed(), 'clients were served')
  if (process.env.HISTORY_VERBOSE) for (const part of [...subgraphs, projection]) t.comment(part.process().output())
}
