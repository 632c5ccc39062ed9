/** What the projection tests share. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import type { Test } from 'tap'
import type { EventStore, RecordedEvent } from '../../eventstore/port.ts'
import { openSqliteEventStore } from '../../eventstore/sqlite/event-store.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { openSqliteReadModel } from '../../projections/sqlite/read-model.ts'
import { encoded, type History, history } from '../support/histories.ts'

/** A temporary folder that goes with the test. */
export async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'projections-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Where the stores lie in a test's folder. */
export const paths = (folder: string) => ({
  events: join(folder, 'events.db'),
  readModel: join(folder, 'readmodel.db'),
})

/** Both embedded stores in a folder, closed with the test. */
export async function openStores(
  t: Test,
  folder?: string,
): Promise<{ readonly folder: string; readonly eventStore: EventStore; readonly readModel: ReadModel }> {
  const place = folder ?? (await temporaryFolder(t))
  const eventStore = openSqliteEventStore({ path: paths(place).events })
  const readModel = openSqliteReadModel({ path: paths(place).readModel })
  t.teardown(async () => {
    await readModel.close()
    await eventStore.close()
  })
  return { folder: place, eventStore, readModel }
}

/** Histories of the customers 1 to `customers`, the same ones for the same seed. Each has so many events at least. */
export function someHistories(customers: number, seed = 1, least = 4): readonly History[] {
  const ids = Array.from({ length: customers }, (_, index) => index + 1)
  const all = fc.tuple(...ids.map((id) => history(id).filter(({ events }) => events.length >= least)))
  return fc.sample(all, { numRuns: 1, seed })[0] ?? []
}

/** Appends histories interleaved, as they would come from many customers at once. */
export async function appendHistories(eventStore: EventStore, histories: readonly History[]): Promise<void> {
  const streams = histories.map((history) => ({ name: `customer-${history.id}`, events: encoded(history) }))
  const longest = Math.max(...streams.map(({ events }) => events.length))
  const appends: Promise<unknown>[] = []
  for (let revision = 0; revision < longest; revision++) {
    for (const { name, events } of streams) {
      const event = events[revision]
      const expected = revision === 0 ? 'no_stream' : revision - 1
      if (event) appends.push(eventStore.append(name, [event], { expected }))
    }
  }
  await Promise.all(appends)
}

export async function collect(events: AsyncIterable<RecordedEvent>): Promise<RecordedEvent[]> {
  const collected: RecordedEvent[] = []
  for await (const event of events) collected.push(event)
  return collected
}

/** Starts a script of this folder; it is killed with the test. Its output goes where the test's does, stdout to the caller. */
export function startScript(t: Test, script: string, ...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [join(import.meta.dirname, script), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const closed = once(child, 'close')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await closed
  })
  return child
}

/** How a process ended: its exit code, or the signal that killed it; with what it printed. */
export async function ending(child: ChildProcess): Promise<{ end: number | string; output: string }> {
  let output = ''
  child.stdout?.on('data', (chunk) => {
    output += chunk
  })
  const [code, signal] = await once(child, 'close')
  return { end: signal ?? code, output }
}
