/**
 * What every event-store adapter does, one subtest per case of the contract; the number leads the name. Streams have names
 * of their own in each run and nothing is assumed of the rest of the log, so it also runs against a server in use.
 *
 * Left to the tests of each adapter, because port.ts can't say them: 7 and 23 (ways of the gRPC client), 29 (the server's
 * call is cancelled), 31 (links are not resolved), 43 (the server ends the stream), 52-56 (persistent subscriptions),
 * 57-60 (connections). Of 21 only the repetition is said here, of 32 and 34 only what an append can produce.
 */
import type { Test } from 'tap'
import type { Position } from '../../eventstore/port.ts'
import { appendCases } from './event-store/appends.ts'
import { readCases } from './event-store/reads.ts'
import { streamCases } from './event-store/streams.ts'
import { subscriptionCases } from './event-store/subscriptions.ts'
import { type Contract, someEvents } from './event-store/support.ts'

export * from './event-store/support.ts'

const CASES = {
  appends: appendCases,
  reads: readCases,
  subscriptions: subscriptionCases,
  streams: streamCases,
}
type Kind = keyof typeof CASES

/** @param only the kinds of cases; default: all */
export async function eventStoreContract(
  t: Test,
  {
    open,
    flood = 1_000,
    only = Object.keys(CASES) as Kind[],
  }: Pick<Contract, 'open'> & Partial<Pick<Contract, 'flood'>> & { readonly only?: readonly Kind[] },
): Promise<void> {
  const store = await open()
  const run = `contract${crypto.randomUUID().replaceAll('-', '').slice(0, 12)}`
  let names = 0
  /** None begins with another one: streams are also followed by prefix. */
  const fresh = () => `${run}-${++names}-`
  const append = (stream: string, count: number, first = 0) =>
    store.append(stream, someEvents(count, first), { expected: 'any' })
  /** The end of the log, more or less: the position of an event of ours. */
  const marker = async () => (await append(fresh(), 1)).position as Position
  const wrong = (stream: string, expected: unknown, actual: unknown) => ({
    name: 'WrongExpectedRevision',
    stream,
    expected,
    actual,
  })

  const contract: Contract = { store, open, flood, run, fresh, append, marker, wrong }

  for (const kind of only) await CASES[kind](t, contract)
  await store.close()
}
