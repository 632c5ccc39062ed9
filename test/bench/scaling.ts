/**
 * `npm run bench -- scaling`: one, two and four projections that share a persistent subscription, on the event-store server
 * of the tests and a Redis. Prints how fast they work through a backlog together, each process's share of it, and the CPU time.
 *
 * Options: `--events` for each number of processes, `--processes 1,2,4`.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { EventStore, PersistentSubscriptions } from '../../eventstore/port.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { EVENTS_EACH, fillLog } from './log.ts'
import type { Servers } from './servers.ts'
import { openStores, type StoreOptions } from './stores.ts'

const GROUP = 'bench'
/** How long a process that joined may take to compare the documents with the log, in milliseconds. */
const SETTLE_MS = 5_000
/** Documents that are looked at together. */
const PAGE = 1_000

interface Member {
  readonly applied: number
  /** Seconds. */
  readonly cpu: number
}

interface Run {
  readonly processes: number
  readonly events: number
  readonly seconds: number
  readonly members: readonly Member[]
}

/** @throws Error for an invalid list of numbers */
export function processesOf(given: string): number[] {
  const numbers = given.split(',').map(Number)
  if (numbers.every((number) => Number.isSafeInteger(number) && number > 0)) return numbers
  throw new Error(`--processes: ${JSON.stringify(given)} can't be used; accepted: numbers of processes, such as 1,2,4`)
}

/** @returns the table */
export async function scalingBench(
  servers: Servers,
  { processes, events }: { readonly processes: readonly number[]; readonly events: number },
): Promise<string> {
  const [eventStoreUrl, readModelUrl] = [await servers.eventStore(), await servers.redis()]
  const options = { folder: servers.folder(), eventStoreUrl, readModelUrl }
  const { eventStore, readModel } = await openStores(options)
  const runs: Run[] = []
  let firstId = 1
  try {
    for (const count of processes) {
      console.error(`${count} of a group ...`)
      runs.push(await runGroup({ eventStore, readModel, options, count, events, firstId }))
      firstId += Math.ceil(events / EVENTS_EACH)
    }
  } finally {
    await readModel.close()
    await eventStore.close()
  }
  return scalingTable(runs)
}

async function runGroup(setting: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly options: StoreOptions
  readonly count: number
  readonly events: number
  readonly firstId: number
}): Promise<Run> {
  const { eventStore, readModel, options, count, events, firstId } = setting
  const groups = eventStore.persistentSubscriptions as PersistentSubscriptions
  const members = Array.from({ length: count }, () => start('project-group', { ...options, group: GROUP }))
  try {
    await until(async () => (await groups.info(GROUP).catch(() => undefined))?.consumers === count)
    if (events >= 10_000) await delay(SETTLE_MS)
    const before = await Promise.all(members.map(ask))
    // They are stopped while the log is filled: what is measured is how fast they catch up.
    for (const member of members) member.kill('SIGSTOP')
    await fillLog(eventStore, events, firstId)
    const began = performance.now()
    for (const member of members) member.kill('SIGCONT')
    const ids = Array.from({ length: Math.ceil(events / EVENTS_EACH) }, (_, index) => firstId + index)
    await until(() => areComplete(readModel, ids))
    const seconds = (performance.now() - began) / 1000
    const after = await Promise.all(members.map(ask))
    const own = after.map(({ applied, cpu }, index) => ({
      applied: applied - (before[index]?.applied ?? 0),
      cpu: cpu - (before[index]?.cpu ?? 0),
    }))
    return { processes: count, events, seconds, members: own }
  } finally {
    for (const member of members) member.kill('SIGTERM')
    await until(async () => (await groups.info(GROUP)).consumers === 0)
  }
}

async function areComplete(readModel: ReadModel, ids: readonly number[]): Promise<boolean> {
  for (let from = ids.length; from > 0; from -= PAGE) {
    const documents = await readModel.documents(ids.slice(Math.max(0, from - PAGE), from))
    if (documents.some((document) => document?.revision !== EVENTS_EACH - 1)) return false
  }
  return true
}

const start = (job: string, options: object): ChildProcess =>
  fork(join(import.meta.dirname, 'jobs', `${job}.ts`), [JSON.stringify(options)], {
    execArgv: ['--max-semi-space-size=32'],
  })

async function ask(member: ChildProcess): Promise<Member> {
  member.send('count')
  const [counted] = await once(member, 'message')
  return counted as Member
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await delay(20)
}

/** One line for each number of processes. */
function scalingTable(runs: readonly Run[]): string {
  const lines = runs.map(({ processes, events, seconds, members }) => {
    const applied = members.reduce((sum, member) => sum + member.applied, 0)
    const cpu = members.reduce((sum, member) => sum + member.cpu, 0)
    const shares = members.map((member) => `${Math.round((100 * member.applied) / Math.max(1, applied))} %`)
    const again = applied - events
    return [
      String(processes).padStart(9),
      String(Math.round(events / seconds)).padStart(9),
      String(Math.round((cpu * 1e6) / events)).padStart(12),
      String(Math.max(0, again)).padStart(15),
      `  ${shares.join(', ')}`,
    ].join(' ')
  })
  return ['processes  events/s CPU us/event delivered again   shares', ...lines].join('\n')
}
