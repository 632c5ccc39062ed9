/** The service as operators run it: processes on an event-store server and a Redis, under load, so that parts can die. */
import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { foldCustomer } from '../../projections/fold.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { type EventStoreServer, startEventStoreServer } from '../support/eventstore-server/server.ts'
import { client, openTestLog, type Send, signUp, temporaryFolder } from '../support/graph.ts'
import { freePort } from '../support/ports.ts'
import { type Started, startProcess, untilReady } from '../support/processes.ts'
import { until } from '../support/until.ts'

const CLIENTS = 3
const PAUSE_MS = 100
/** While a part starts again: the load goes on, and leaves the processors to it. */
const CALM_MS = 400
/** While parts stand still: some writes, so that they have something to catch up on. */
const PAUSED_MS = 3_000

export interface Part {
  process(): Started
  readonly url: string
  /** SIGKILL, and the same again on the same port. */
  crash(): Promise<void>
}

export interface Service {
  /** Of a service that has one event-store server. */
  readonly server: EventStoreServer
  /** Where its processes have their data, and their environment. */
  readonly folder: string
  readonly env: Readonly<Record<string, string>>
  /** Before the first of the subgraphs. */
  readonly gateway: Part
  readonly subgraphs: readonly Part[]
  readonly projections: readonly Part[]
  /** None where it was not asked for. */
  readonly mail: Part | undefined
  /** Goes on with the load for so many milliseconds, or begins it. */
  under(milliseconds: number): Promise<void>
  /** How long each client waits after a write and its read, from now on; without an argument as at first. */
  pace(milliseconds?: number): void
  /** Under load the parts stand still, as virtual machines may, for about so many milliseconds; then they go on. */
  pausedFor(milliseconds: number, parts: readonly Part[]): Promise<void>
  /** Ends the load and checks: what was acknowledged is in the log, and the documents are the folds of the streams. */
  check(t: Test): Promise<void>
}

/** A process with the port that the variable is to name. */
export async function startPart(
  t: Test,
  folder: string,
  command: string,
  variable: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Part> {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const start = () => startProcess(t, command, folder, { ...env, [variable]: String(port) }, args)
  let started = start()
  await untilReady(started, `${url}/healthz`)
  return {
    url,
    process: () => started,
    async crash() {
      await started.end('SIGKILL')
      started = start()
      await untilReady(started, `${url}/healthz`)
    },
  }
}

/**
 * @param options.readModelUrl a Redis server or cluster
 * @param options.eventStoreUrl of a server or a cluster that is the test's
 * @param options.modes of each projection process
 */
export async function startService(
  t: Test,
  options: {
    readonly readModelUrl: string
    readonly modes: readonly ('group' | 'catch-up')[]
    /** Default: a server of its own. */
    readonly eventStoreUrl?: string
    readonly withMail?: boolean
  },
): Promise<Service> {
  const { readModelUrl, modes, withMail = false } = options
  const folder = await temporaryFolder(t)
  const server = options.eventStoreUrl === undefined ? await startEventStoreServer(t) : undefined
  const eventStoreUrl = server?.url ?? (options.eventStoreUrl as string)
  const env = {
    EVENTSTORE_URL: eventStoreUrl,
    READMODEL_URL: readModelUrl,
    TOKEN_SIGNING_KEY: generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    EMAIL_HASH_KEY: 'a key that is long enough for a test',
    LOG_LEVEL: 'warn',
  }

  let pauseMs = PAUSE_MS
  const start = async (
    command: string,
    variable: string,
    args: readonly string[] = [],
    more: Readonly<Record<string, string>> = {},
  ): Promise<Part> => {
    const part = await startPart(t, folder, command, variable, args, { ...env, ...more })
    return {
      ...part,
      async crash() {
        pauseMs = CALM_MS
        await part.crash()
        pauseMs = PAUSE_MS
      },
    }
  }

  const subgraphs = await Promise.all([1, 2].map(() => start('subgraph', 'SUBGRAPH_PORT')))
  const projections = await Promise.all(modes.map((mode) => start('projections', 'PROJECTIONS_PORT', ['--mode', mode])))
  const mail = withMail ? await start('mail', 'MAIL_PORT') : undefined
  const gateway = await start('gateway', 'GATEWAY_PORT', [], {
    SUPERGRAPH: join(import.meta.dirname, '../../schema/supergraph.graphql'),
    SUBGRAPH_URL_CUSTOMERS: `${subgraphs[0]?.url}/graphql`,
  })
  const sends = [gateway, ...subgraphs.slice(1)].map(({ url }) => client(`${url}/graphql`))
  const customers: Awaited<ReturnType<typeof signUp>>[] = []
  for (let index = 0; index < CLIENTS; index++) customers.push(await signUp(sends[index % 2] as Send))

  const acknowledged = customers.map(() => [] as string[])
  const stale: string[] = []
  let number = 0
  let checked = 0
  let reads = 0
  let loads: { readonly ending: AbortController; readonly ended: Promise<unknown> } | undefined

  /** Changes the name, again and again, at one instance and then the other, and reads it back from the other. */
  async function load(index: number, signal: AbortSignal): Promise<void> {
    const { token } = customers[index] as (typeof customers)[number]
    for (let turn = 0; !signal.aborted; turn++) {
      const name = `Name ${index}-${++number}`
      try {
        const written = await (sends[turn % 2] as Send)(
          'mutation($name: String!) { updateCustomer(input: { firstname: $name }) { customer { firstname } } }',
          { token, variables: { name } },
        )
        // Neither is an answer of HTTP's own, of a process that ends, an acknowledgement.
        if (written.data?.updateCustomer?.customer?.firstname !== name) throw new Error('not acknowledged')
        acknowledged[index]?.push(name)
        const read = await (sends[(turn + 1) % 2] as Send)('{ customer { firstname } }', { token })
        if (!read.data?.customer) throw new Error('not answered')
        reads++
        if (read.data.customer.firstname !== name) stale.push(`${name}: ${read.data.customer.firstname}`)
      } catch {
        await delay(50) // a part is away: that is what this is about
      }
      await delay(pauseMs)
    }
  }
  function begin() {
    const ending = new AbortController()
    return { ending, ended: Promise.all(customers.map((_, index) => load(index, ending.signal))) }
  }
  t.teardown(() => loads?.ending.abort())

  const pace = (milliseconds = PAUSE_MS) => {
    pauseMs = milliseconds
  }
  const under = async (milliseconds: number) => {
    loads ??= begin()
    const before = reads
    await delay(milliseconds)
    await until('the load goes on', () => reads > before)
  }

  return {
    get server() {
      if (server === undefined) throw new Error('The event store is none of its own.')
      return server
    },
    folder,
    env,
    mail,
    gateway,
    subgraphs,
    projections,
    under,
    pace,

    async pausedFor(milliseconds, parts) {
      await under(500)
      for (const part of parts) part.process().child.kill('SIGSTOP')
      await under(1_000)
      pace(PAUSED_MS)
      await delay(milliseconds - 2_000)
      pace()
      await under(1_000)
      for (const part of parts) part.process().child.kill('SIGCONT')
      await under(1_000)
    },

    async check(t) {
      loads?.ending.abort()
      await loads?.ended
      loads = undefined
      const eventStore = await openTestLog(t, folder, { EVENTSTORE_URL: eventStoreUrl })
      const readModel = await openReadModel(readModelUrl)
      t.teardown(() => readModel.close())
      t.same(stale, [], 'every read had what was acknowledged before it')
      const total = acknowledged.reduce((sum, names) => sum + names.length, 0)
      t.ok(total - checked > 2 * CLIENTS, `${total - checked} writes were acknowledged`)
      checked = total
      for (const [index, { id }] of customers.entries()) {
        const written: unknown[] = []
        for await (const event of eventStore.readStream(`customer-${id}`)) {
          if (event.type === 'CustomerDetailsChanged') written.push((event.data as { firstname: string }).firstname)
        }
        const lost = acknowledged[index]?.filter((name) => !written.includes(name))
        t.same(lost, [], `nothing of customer ${id} is lost`)
        t.equal(new Set(written).size, written.length, 'and nothing is there twice')
        const fold = await foldCustomer(eventStore, id)
        const document = await until(`customer ${id} is projected`, async () => {
          const [entry] = await readModel.get([id]).catch(() => [])
          return entry?.document?.revision === fold.revision && entry.document
        })
        t.same(document, fold, `customer ${id} is projected`)
      }
    },
  }
}
