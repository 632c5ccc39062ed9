/** The official client at the test event store, for the tests of that server. */
import {
  jsonEvent,
  KurrentDBClient,
  type PersistentSubscriptionToAll,
  type PersistentSubscriptionToStream,
} from '@kurrent/kurrentdb-client'
import type { Test } from 'tap'
import { openEventStoreServer, type ServerOptions } from './eventstore-server/server.ts'

export async function start(t: Test, options: ServerOptions = {}) {
  const server = await openEventStoreServer(options)
  t.teardown(server.stop)
  const client = connect(t, server.url)
  return { server, client }
}

export function connect(t: Test, url: string): KurrentDBClient {
  const client = KurrentDBClient.connectionString([url] as unknown as TemplateStringsArray)
  t.teardown(() => client.dispose())
  return client
}

export const some = (count: number, first = 0, type = 'Counted') =>
  Array.from({ length: count }, (_, index) => jsonEvent({ type, data: { number: first + index } }))

export interface Counted {
  readonly event?: { readonly data: unknown }
}
export const numberOf = (event: Counted['event']) => (event?.data as { readonly number: number } | undefined)?.number

export async function numbers(read: AsyncIterable<Counted>): Promise<(number | undefined)[]> {
  const found: (number | undefined)[] = []
  for await (const { event } of read) found.push(numberOf(event))
  return found
}

/** tap compares an error's name, which the client's errors don't have. */
export async function refused<E extends Error>(
  t: Test,
  work: Promise<unknown>,
  kind: abstract new (...values: never[]) => E,
): Promise<E> {
  const error: unknown = await work.catch((error) => error)
  t.type(error, kind)
  return error as E
}

export const answers = (client: KurrentDBClient) =>
  client.getStreamMetadata('x').then(
    () => true,
    () => false,
  )

export type Joined = PersistentSubscriptionToAll | PersistentSubscriptionToStream

/** Takes what comes, to be answered by the test. */
export function collect(subscription: Joined) {
  const taken: { number: number | undefined; retryCount: number; stream: string; answer: never }[] = []
  subscription.on('data', (resolved) => {
    const { event, retryCount } = resolved
    taken.push({ number: numberOf(event), retryCount, stream: event?.streamId ?? '', answer: resolved as never })
  })
  return taken
}

/** To be begun before the failure. */
export const failed = <E extends Error>(t: Test, subscription: Joined, kind: abstract new (...values: never[]) => E) =>
  refused(t, new Promise((_, reject) => subscription.once('error', reject)), kind)

export const confirmed = (subscription: Joined) =>
  new Promise((resolve, reject) => subscription.once('confirmation', resolve).once('error', reject))
