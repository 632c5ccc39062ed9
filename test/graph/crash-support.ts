/** A command whose process is killed after each of its writes, and whose stores go away after each. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type EventStore, EventStoreUnavailable } from '../../eventstore/port.ts'
import { registerStream } from '../../projections/fence/register.ts'
import type { PartialStore } from '../../schema/store.ts'
import { type GraphQLAnswer, type Send, startSubgraph, temporaryFolder } from '../support/graph.ts'

export const email = 'ann@example.com'

/** So few that none is late for its deadline on a busy machine. */
const OUTAGES_AT_ONCE = 4

interface Request {
  readonly query: string
  readonly variables?: object
  readonly token?: string | undefined
}

/**
 * Prepares data once; then runs the command, copies the data after each write that it makes, before anybody is told of it,
 * and lets `check` do on each copy what a customer would do next. A copy holds what SIGKILL would leave at that moment:
 * the files as the system has them, with an open write-ahead log.
 */
export async function killEverywhere(
  t: Test,
  options: {
    readonly prepare: (send: Send, eventStore: EventStore, folder: string) => Promise<Request>
    readonly check: (t: Test, send: Send, request: Request, eventStore: EventStore) => Promise<void>
    readonly atLeast: number
    /** The error that the command is to answer with when nothing kills it; default: none. */
    readonly answers?: string
    /** Settings that differ from the defaults. */
    readonly store?: PartialStore
    /** Also for outages of the stores after each write, through which the process lives: what it may answer then. */
    readonly outages?: (t: Test, answer: GraphQLAnswer) => void | Promise<void>
  },
) {
  const { store = {} } = options
  const folder = await temporaryFolder(t)
  const prepared = await temporaryFolder(t)
  let request: Request | undefined
  let before = ''
  await t.test('prepare', async (t) => {
    const { send, eventStore } = await startSubgraph(t, { folder, store })
    request = await options.prepare(send, eventStore, folder)
    before = await trustedIn(eventStore)
  })
  const command = request as unknown as Request
  execFileSync('cp', ['-R', `${folder}/.`, prepared])

  const copies = await temporaryFolder(t)
  const left: string[] = []
  /** Copies at once, in a process of its own: to close a file of SQLite here would release the locks on it. */
  function copied<A extends unknown[], R>(write: (...args: A) => Promise<R>) {
    return async (...args: A): Promise<R> => {
      const result = await write(...args)
      if (args[0] === 'readModelFence') return result // beside the command, at its own times
      const copy = join(copies, String(left.length + 1))
      execFileSync('cp', ['-R', folder, copy])
      left.push(copy)
      return result
    }
  }
  const copying = (store: EventStore): EventStore => ({
    ...store,
    append: copied(store.append),
    setStreamMetadata: copied(store.setStreamMetadata),
    deleteStream: copied(store.deleteStream),
  })
  await t.test('the command', async (t) => {
    const wrapped = { wrapEventStore: copying, wrapKeyStore: copying }
    const { send } = await startSubgraph(t, { folder, store, projection: false, ...wrapped })
    const answer = await send(command.query, command)
    t.equal(answer.errors?.[0].message, options.answers, 'left alone, it answers')
  })
  const writes = left.length
  t.ok(writes >= options.atLeast, `it makes ${writes} writes`)
  for (const [index, folder] of left.entries()) {
    await t.test(`killed after write ${index + 1} of ${writes}`, async (t) => {
      const { send, eventStore } = await startSubgraph(t, { folder, store })
      await options.check(t, send, command, eventStore)
    })
  }
  const { outages } = options
  if (!outages) return
  /** @param write after which the stores are away */
  async function runOutage(t: Test, write: number): Promise<void> {
    const folder = join(copies, `outage-${write}`)
    execFileSync('cp', ['-R', prepared, folder])
    const outage = startOutage(write)
    const { send, eventStore } = await startSubgraph(t, {
      folder,
      store,
      wrapEventStore: outage.wrap,
      wrapKeyStore: outage.wrap,
    })
    // A copied read model is another one: until it is trusted instead, a write needs the event store once more.
    await trustedIn(eventStore, before)
    await outages?.(t, await send(command.query, command))
    outage.end()
    await options.check(t, send, command, eventStore)
  }
  // Several at once: most of the time a command waits for a store, until its deadline.
  await t.test('the stores are away, and come back', { jobs: OUTAGES_AT_ONCE }, async (t) => {
    const runs = Array.from({ length: writes }, (_, index) =>
      t.test(`after write ${index + 1} of ${writes}`, { buffered: true }, (t) => runOutage(t, index + 1)),
    )
    await Promise.all(runs)
  })
}

/** The read model that the instances believe, once it is another one than `before`; where it stays away, as without any customer, nothing. */
async function trustedIn(eventStore: EventStore, before?: string): Promise<string> {
  for (let round = 0; round < 100; round++) {
    const [trusted] = (await registerStream(eventStore).load()).trusted
    if (trusted !== undefined && trusted !== before) return trusted
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return ''
}

/** Stores that fail together, for reads and writes, once so many writes have been made. */
function startOutage(after: number) {
  let writes = 0
  let isOver = false
  const isAway = () => !isOver && writes >= after
  const away = () => new EventStoreUnavailable('away')
  const failing =
    <A extends unknown[], R>(work: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      if (isAway()) throw away()
      const result = await work(...args)
      // The lease's register is written beside the command, and at its own times.
      if (args[0] !== 'readModelFence') writes++
      return result
    }
  return {
    wrap: (store: EventStore): EventStore => ({
      ...store,
      append: failing(store.append),
      setStreamMetadata: failing(store.setStreamMetadata),
      deleteStream: failing(store.deleteStream),
      async *readStream(stream, options) {
        if (isAway()) throw away()
        yield* store.readStream(stream, options)
      },
    }),
    end() {
      isOver = true
    },
  }
}
