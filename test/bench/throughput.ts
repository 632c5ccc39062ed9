/** Benches of work on many events: jobs side by side, each in a process of its own, in turn. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { openRedisReadModel } from '../../projections/redis/read-model.ts'
import { startProjection } from '../../projections/worker/worker.ts'
import { KEYS } from '../support/keys.ts'
import { median, type Ratio } from './compare.ts'
import type { JobResult } from './jobs/job.ts'
import { EVENTS_EACH, fillCustomer, fillLog } from './log.ts'
import type { Servers } from './servers.ts'
import { openStores, type StoreOptions } from './stores.ts'

interface Scale {
  readonly rounds: number
  /** Events of the logs; of the rebuild's log. */
  readonly events: number
  readonly rebuildEvents: number
  /** Of one round of the lag. */
  readonly seconds: number
}

type ThroughputBench = (servers: Servers, scale: Scale) => Promise<Ratio[]>

/** Runs `jobs/<name>.ts`. @throws Error where it ends without a result */
async function run(name: string, options: object): Promise<JobResult> {
  const child = fork(join(import.meta.dirname, 'jobs', `${name}.ts`), [JSON.stringify(options)], {
    // As the service's processes are started: see package.json and bin/customers.js.
    execArgv:
      name === 'rebuild' ? ['--max-semi-space-size=16', '--max-old-space-size=256'] : ['--max-semi-space-size=32'],
  })
  const ended = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`job ${name} ended: ${signal ?? code}`)
  })
  ended.catch(() => {})
  const [result] = await Promise.race([once(child, 'message'), ended])
  await once(child, 'exit')
  return result as JobResult
}

interface Rival {
  readonly name: string
  readonly job: string
  readonly aim: number
  /** What it is given beside the options that all are. */
  readonly options?: object
}

/** Ours and the others in turn, round by round. */
async function compareJobs(ours: string, rivals: readonly Rival[], options: object, rounds: number): Promise<Ratio[]> {
  const jobs = [{ job: ours, options: {} }, ...rivals]
  const results = jobs.map((each) => ({ ...each, rounds: [] as JobResult[] }))
  for (let round = 0; round < rounds; round++) {
    for (const { job, options: own, rounds } of round % 2 === 0 ? results : results.toReversed()) {
      rounds.push(await run(job, { ...options, ...own }))
    }
  }
  const [first, ...rest] = results.map(({ rounds }) => rounds) as [JobResult[], ...JobResult[][]]
  return rivals.map(({ name, aim }, index) => {
    const other = rest[index] as JobResult[]
    const ratios = first.map((result, round) => perSecond(result) / perSecond(other[round] as JobResult))
    return { name, aim, ...summary(ratios), ours: figures(first), other: figures(other) }
  })
}

const perSecond = ({ count, seconds }: JobResult) => count / seconds
const summary = (ratios: readonly number[]) => ({
  ratio: median(ratios),
  lowest: Math.min(...ratios),
  highest: Math.max(...ratios),
})
const figures = (results: readonly JobResult[]) => ({
  perSecond: median(results.map(perSecond)),
  memory: Math.max(...results.map(({ peakMemory }) => peakMemory)),
})

/** Writes a log of customers' events; with `customer`, all of that one. */
async function fill(stores: StoreOptions, count: number, customer?: number): Promise<void> {
  const { eventStore, readModel } = await openStores(stores)
  await readModel.close()
  await (customer === undefined ? fillLog(eventStore, count) : fillCustomer(eventStore, customer, count))
  await eventStore.close()
}

/** A log of customers' events in SQLite. */
async function aLog(servers: Servers, count: number): Promise<StoreOptions> {
  const stores = { folder: servers.folder() }
  await fill(stores, count)
  return stores
}

/** Fills the read model in Redis from the log. */
async function projectAll(stores: StoreOptions & { readonly readModelUrl: string }): Promise<void> {
  const { eventStore, readModel: opened } = await openStores(stores)
  await opened.close()
  const readModel = openRedisReadModel(stores.readModelUrl, { settleMs: 0 })
  const projection = startProjection({ eventStore, readModel })
  await projection.caughtUp()
  await projection.stop()
  await readModel.close()
  await eventStore.close()
}

/** Waits until the projection has filled the read model. */
async function untilProjected(stores: StoreOptions): Promise<void> {
  const { eventStore, readModel } = await openStores(stores)
  while (!(await readModel.getCheckpoint())?.complete) await delay(50)
  await readModel.close()
  await eventStore.close()
}

export const throughputBenches: Readonly<Record<string, ThroughputBench>> = {
  /** From the embedded log into Redis. */
  async projection(servers, { rounds, events }) {
    const stores = { ...(await aLog(servers, events)), readModelUrl: await servers.redis(), count: events }
    const rivals = [
      // As a projection writes that has caught up, and as one that fills a read model.
      {
        name: 'projection / parsing and a write in each batch',
        job: 'project-bare',
        aim: 0.8,
        options: { batch: 500 },
      },
      { name: 'projection / parsing and the same writes', job: 'project-bare', aim: 0.8, options: { batch: 10_000 } },
      { name: 'projection / GET and SET for each event', job: 'project-one-by-one', aim: 15 },
    ]
    return compareJobs('project', rivals, stores, rounds)
  },

  /** What the hash chain costs: the same appends without it. */
  async proof(servers, { rounds, events }) {
    const options = { folder: servers.folder(), count: events / 10, isBare: true, isChained: true }
    const bare = { name: 'chained append / append', job: 'append', aim: 0.95, options: { isChained: false } }
    return compareJobs('append', [bare], options, rounds)
  },

  /** What encryption and the hash chain cost together. */
  async encryption(servers, { rounds, events }) {
    const folder = servers.folder()
    const stores = { folder, readModelUrl: await servers.redis(), count: events }
    await fill(stores, events)
    const clear = { folder: join(folder, 'clear'), isBare: true }
    await fill({ ...stores, ...clear }, events)
    const append = { name: 'encrypted, chained append / append', job: 'append', aim: 0.9, options: clear }
    const project = { name: 'projection, encrypted log / log in clear', job: 'project', aim: 0.9, options: clear }
    return [
      ...(await compareJobs('append', [append], { folder, count: events / 10 }, rounds)),
      ...(await compareJobs('project', [project], stores, rounds)),
    ]
  },

  /** The memory that the keys take of a process that has them all. */
  async keys(servers, { rounds, events }) {
    const options = { folder: servers.folder(), count: Math.min(64 * Math.floor(events / 10), 1_280_000) }
    await run('fill-keys', options)
    const results: JobResult[] = []
    for (let round = 0; round < rounds; round++) results.push(await run('keys', options))
    const wanted = (120 * options.count) / 1_280_000
    const name = 'keys of 1,280,000 customers, 120 MiB / their memory'
    const memory = Math.max(...results.map(({ memory = Number.NaN }) => memory))
    const ratios = results.map((result) => wanted / (result.memory ?? Number.NaN))
    const ours = { ...figures(results), memory }
    return [{ name, aim: 1, ...summary(ratios), ours, other: { ...ours, memory: wanted } }]
  },

  /** Moving in from Magento: a customer and an address for every two rows. */
  async import(servers, { rounds, events }) {
    const rows = Math.max(200, Math.floor(events / 10))
    const rivals = [{ name: 'import / appending the same events', job: 'import-bare', aim: 0.6 }]
    return compareJobs('import', rivals, { folder: servers.folder(), rows }, rounds)
  },

  /** The log of a server, through our adapter and through the official client. */
  async 'read-all'(servers, { rounds, events }) {
    const stores = { folder: servers.folder(), eventStoreUrl: await servers.eventStore(), isBare: true }
    await fill(stores, events)
    await run('read-all-client', stores) // the server encodes each event once, for its first reader
    return compareJobs(
      'read-all',
      [{ name: "$all / official client's readAll", job: 'read-all-client', aim: 2 }],
      stores,
      rounds,
    )
  },

  /** What an auditor asks: for one event in the whole log, and for the history of a customer with very many. */
  async audit(servers, { rounds, events }) {
    const count = events
    const log = { ...(await aLog(servers, count)), args: ['find', '--actor', 'operator:*', '--json'], count }
    const found = await compareJobs(
      'audit',
      [{ name: 'find / a bare read of the same log', job: 'read-bare', aim: 0.7 }],
      log,
      rounds,
    )
    const busy = { folder: servers.folder(), customer: 1, count: Math.min(count, 10_000) }
    await fill(busy, busy.count, busy.customer)
    const results: JobResult[] = []
    for (let round = 0; round < rounds; round++) results.push(await run('audit', { ...busy, args: ['history', '1'] }))
    const wanted = 10_000
    const ratios = results.map((result) => perSecond(result) / wanted)
    const name = 'history / 10,000 events in 1 s'
    return [...found, { name, aim: 1, ...summary(ratios), ours: figures(results), other: { perSecond: wanted } }]
  },

  /** The whole of `npm run rebuild`, beside a tenth of the log: the memory must not grow with it. */
  async rebuild(servers, { rebuildEvents }) {
    const measure = async (count: number) => {
      const stores = { ...(await aLog(servers, count)), readModelUrl: await servers.redis(), count }
      await projectAll(stores)
      return run('rebuild', stores)
    }
    const tenth = await measure(rebuildEvents / 10)
    const whole = await measure(rebuildEvents)
    const [ours, other] = [figures([whole]), figures([tenth])]
    const wanted = 1_000_000 / 12
    return [
      {
        name: 'rebuild / 1,000,000 events in 12 s',
        aim: 1,
        ...summary([ours.perSecond / wanted]),
        ours,
        other: { perSecond: wanted },
      },
      {
        name: 'rebuild, 300 MiB / its memory',
        aim: 1,
        ...summary([300 / ours.memory]),
        ours,
        other: { ...other, memory: 300 },
      },
      {
        name: 'rebuild, memory with a tenth / with all',
        aim: 0.8,
        ...summary([other.memory / ours.memory]),
        ours,
        other,
      },
    ]
  },

  /** Redis and the KurrentDB test server, the projection as operators run it, 500 writes a second. */
  async lag(servers, { rounds, events, seconds }) {
    const stores = {
      folder: servers.folder(),
      eventStoreUrl: await servers.eventStore(),
      readModelUrl: await servers.redis(),
    }
    const customers = Math.min(500, Math.ceil(events / EVENTS_EACH))
    await fill(stores, EVENTS_EACH * customers)
    const projection = fork(join(import.meta.dirname, '../../bin/customers.js'), ['projections'], {
      env: {
        ...process.env,
        EVENTSTORE_URL: stores.eventStoreUrl,
        READMODEL_URL: stores.readModelUrl,
        PROJECTIONS_PORT: '0',
        LOG_LEVEL: 'error',
        ...KEYS,
      },
    })
    await untilProjected(stores)
    const results: JobResult[] = []
    for (let round = 0; round < rounds; round++) results.push(await run('lag', { ...stores, customers, seconds }))
    projection.kill('SIGKILL')
    const p99s = results.map(({ p99 = Number.NaN }) => p99)
    const ours = {
      perSecond: median(results.map(perSecond)),
      p50: median(results.map(({ p50 = 0 }) => p50)),
      p99: median(p99s),
    }
    return [
      {
        name: 'lag, 25 ms / its p99',
        aim: 1,
        ...summary(p99s.map((p99) => 25 / p99)),
        ours,
        other: { perSecond: 500, p99: 25 },
      },
    ]
  },
}
