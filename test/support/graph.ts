/** The whole service in this process, on embedded stores in a folder of its own, and clients for it. */
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import type { Test } from 'tap'
import { openLog } from '../../eventstore/open-event-store.ts'
import type { EventStore } from '../../eventstore/port.ts'
import type { GatewayOptions } from '../../gateway/server.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { type PartialStore, store } from '../../schema/store.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { KEYS } from './keys.ts'
import { until } from './until.ts'

export interface GraphQLAnswer {
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: an answer has the shape that the test's query asks for
  readonly data: any
  // biome-ignore lint/suspicious/noExplicitAny: see above
  readonly errors?: any[]
}

/** Sends one operation; `token` goes into the Authorization header. */
export type Send = (
  query: string,
  options?: {
    readonly variables?: object
    readonly token?: string | undefined
    readonly headers?: Record<string, string>
  },
) => Promise<GraphQLAnswer>

/** A client of the GraphQL endpoint at `url`. */
export function client(url: string): Send {
  return async (query, { variables, token, headers } = {}) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }), ...headers },
      body: JSON.stringify({ query, variables }),
    })
    return { status: response.status, ...((await response.json()) as { data: unknown; errors?: unknown[] }) }
  }
}

/** A client that speaks to a Fastify instance without a socket. */
export function injector(app: FastifyInstance): Send {
  return async (query, { variables, token, headers } = {}) => {
    const response = await app.inject({
      method: 'POST',
      url: '/graphql',
      headers: { ...(token && { authorization: `Bearer ${token}` }), ...headers },
      payload: { query, variables },
    })
    return { status: response.statusCode, ...response.json() }
  }
}

/** A temporary folder that goes with the test. */
export async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'customers-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** The log of the processes with that folder, as they read and write it; closed with the test. */
export async function openTestLog(t: Test, folder: string, env: Record<string, string> = {}): Promise<EventStore> {
  const { eventStore } = await openLog(loadConfiguration({ ...environment(folder), ...env }))
  t.teardown(() => eventStore.close())
  return eventStore
}

/** The environment of a process whose data lies in the folder, on free ports. */
export function environment(folder: string): Record<string, string> {
  return {
    EVENTSTORE_URL: `sqlite:${join(folder, 'events.db')}`,
    READMODEL_URL: `sqlite:${join(folder, 'readmodel.db')}`,
    DATA_DIR: folder,
    ...KEYS,
    // Tests share the processors.
    MAX_EVENT_LOOP_DELAY_MS: '0',
    GATEWAY_PORT: '0',
    SUBGRAPH_PORT: '0',
    PROJECTIONS_PORT: '0',
    SAMPLES_PORT: '0',
    MAIL_PORT: '0',
    CONSOLE_PORT: '0',
  }
}

export interface SubgraphFixture {
  readonly app: FastifyInstance
  readonly send: Send
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  /** Closes it, and its stores, before the test ends. */
  stop(): Promise<void>
}

/**
 * One instance of the subgraph over the folder, in this process. Several may share a folder. The subgraph is loaded here:
 * tests of processes need none of their own.
 */
export async function startSubgraph(
  t: Test,
  options: {
    readonly folder?: string
    /** What differs from {@link environment}. */
    readonly env?: Record<string, string>
    /** Whether a projection runs beside it; default true. */
    readonly projection?: boolean
    readonly now?: () => Date
    readonly secret?: string
    readonly introspection?: boolean
    /** Settings that differ from the defaults. */
    readonly store?: PartialStore
    /** Fastify's logger option of the subgraph. */
    readonly logger?: FastifyServerOptions['logger']
    readonly wrapEventStore?: (store: EventStore) => EventStore
    readonly wrapKeyStore?: (store: EventStore) => EventStore
    readonly wrapReadModel?: (readModel: ReadModel) => ReadModel
  } = {},
): Promise<SubgraphFixture> {
  const [{ buildSubgraph }, { startProjection }] = await Promise.all([
    import('../../subgraph/server.ts'),
    import('../../projections/worker/worker.ts'),
  ])
  const folder = options.folder ?? (await temporaryFolder(t))
  const configuration = loadConfiguration({ ...environment(folder), ...options.env })
  const {
    wrapEventStore = (store) => store,
    wrapKeyStore = (store) => store,
    wrapReadModel = (model) => model,
    now,
  } = options
  const { eventStore } = await openLog(configuration, {}, (store, holds) =>
    holds === 'events' ? wrapEventStore(store) : wrapKeyStore(store),
  )
  const readModel = wrapReadModel(await openReadModel(configuration.READMODEL_URL))
  const app = await buildSubgraph({
    eventStore,
    readModel,
    keys: loadKeys(configuration),
    store: store(options.store),
    captchaSecret: configuration.CAPTCHA_SECRET,
    ...(now && { now }),
    ...(options.logger && { logger: options.logger }),
    secret: options.secret,
    ...(options.introspection !== undefined && { introspection: options.introspection }),
  })
  const projection = options.projection === false ? undefined : startProjection({ eventStore, readModel, log: app.log })
  let stopped: Promise<void> | undefined
  const stop = () => {
    stopped ??= (async () => {
      await app.close()
      await projection?.stop()
      await readModel.close()
      await eventStore.close()
    })()
    return stopped
  }
  t.teardown(stop)
  return { app, send: injector(app), eventStore, readModel, stop }
}

/** The three subgraphs behind the gateway, over HTTP. What only this needs is loaded by it: most tests need the subgraph alone. */
export async function startGraph(t: Test, options: Parameters<typeof startSubgraph>[1] = {}) {
  const [{ buildSamples }, { buildGateway }] = await Promise.all([
    import('../../examples/commerce/server.ts'),
    import('../../gateway/server.ts'),
  ])
  const subgraph = await startSubgraph(t, options)
  const subgraphUrl = await subgraph.app.listen({ port: 0, host: '127.0.0.1' })
  const samples = await buildSamples({ keys: { jwksUrl: `${subgraphUrl}/.well-known/jwks.json` } })
  const samplesUrl = await samples.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => samples.close())
  const subgraphUrls = {
    customers: `${subgraphUrl}/graphql`,
    catalog: `${samplesUrl}/catalog/graphql`,
    orders: `${samplesUrl}/orders/graphql`,
  }
  /** A gateway in front of them. @returns its URL */
  async function startGateway(more: Partial<GatewayOptions> = {}): Promise<string> {
    const supergraph = join(import.meta.dirname, '../../examples/commerce/supergraph.graphql')
    const gateway = await buildGateway({ supergraph, subgraphUrls, ...more })
    t.teardown(() => gateway.close())
    return gateway.listen({ port: 0, host: '127.0.0.1' })
  }
  const url = await startGateway()
  return { ...subgraph, subgraph: subgraph.send, subgraphUrl, startGateway, url, send: client(`${url}/graphql`) }
}

export const PASSWORD = 'Str0ng-pass'

let customers = 0

/** An address that no customer has had. */
export function freshEmail(): string {
  return `customer${++customers}-${process.pid}@example.com`
}

const REGISTER = 'mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id } } }'
const SIGN_IN =
  'mutation($email: String!, $password: String!) { generateCustomerToken(email: $email, password: $password) { token } }'

/** Repeats a mutation, as a client does, while it is refused because it took too long: that may happen on a busy machine. */
export const answered = (ask: () => Promise<GraphQLAnswer>) =>
  until('the mutation is answered', async () => {
    const answer = await ask()
    return answer.errors?.[0]?.extensions?.code !== 'SERVICE_UNAVAILABLE' && answer
  })

/** Registers a customer and signs it in. */
export async function signUp(send: Send, email = freshEmail()) {
  const input = { firstname: 'Ann', lastname: 'Lee', email, password: PASSWORD }
  const headers = { 'idempotency-key': randomUUID() }
  const created = await answered(() => send(REGISTER, { variables: { input }, headers }))
  if (!created.data?.createCustomer) throw new Error(`not registered: ${JSON.stringify(created.errors)}`)
  const signedIn = await answered(() => send(SIGN_IN, { variables: { email, password: PASSWORD } }))
  const token: string = signedIn.data?.generateCustomerToken?.token
  return { email, id: created.data.createCustomer.customer.id as number, token }
}

export async function signIn(send: Send, email: string, password = PASSWORD): Promise<string> {
  const answer = await send(SIGN_IN, { variables: { email, password } })
  return answer.data?.generateCustomerToken?.token
}

/** Input of a valid address. */
export const TEXAN = {
  firstname: 'Ann',
  lastname: 'Lee',
  street: ['1 Main St'],
  city: 'Austin',
  telephone: '555-0100',
  postcode: '78701',
  country_id: 'US',
  region: { region_id: 57 },
}

export const CREATE_ADDRESS =
  'mutation($input: CustomerAddressInput!) { createCustomerAddress(input: $input) { id default_billing default_shipping } }'
