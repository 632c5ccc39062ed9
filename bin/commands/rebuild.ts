/** `customers rebuild`: see projections/rebuild.ts. Prints what it finds on standard output, its progress on standard error. */
import { setTimeout as delay } from 'node:timers/promises'
import { openLog } from '../../eventstore/open-event-store.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { provenanceOf } from '../../projections/provenance.ts'
import type { ReadModel, Space } from '../../projections/read-model.ts'
import {
  chooseGeneration,
  compareGenerations,
  compareWithLog,
  type Difference,
  describe,
  type Progress,
  roomFor,
  startFilling,
} from '../../projections/rebuild.ts'
import { runCommand } from '../../runtime/process.ts'
import { showProgress } from '../../runtime/progress.ts'

/** How many differences are listed individually. */
const MOST_LISTED = 100

export interface RebuildOptions {
  readonly verify: boolean
  readonly rollBack: boolean
  readonly drop: boolean
  readonly status: boolean
  readonly acceptDifferences: boolean
  readonly ignoreMemory: boolean
}

export const rebuild = (options: RebuildOptions): Promise<void> =>
  runCommand(async (configuration, signal) => {
    const { READMODEL_URL } = configuration
    const { eventStore } = await openLog(configuration, {
      onDrop: (reason) => console.error(`${reason} It tries again.`),
    })
    const readModel = await openReadModel(READMODEL_URL)
    try {
      if (options.verify) return await verify(eventStore, readModel, signal)
      if (options.rollBack) return await rollBack(eventStore, readModel, READMODEL_URL)
      if (options.drop) return await drop(readModel)
      if (options.status) return await status(readModel, READMODEL_URL)
      return await fillAndSwitch(eventStore, readModel, READMODEL_URL, signal, options)
    } finally {
      await readModel.close()
      await eventStore.close()
    }
  })

async function fillAndSwitch(
  eventStore: EventStore,
  live: ReadModel,
  url: string,
  signal: AbortSignal,
  { acceptDifferences, ignoreMemory }: RebuildOptions,
): Promise<number> {
  await eventStore.ping() // fails fast: later calls would wait for the store, with a generation begun
  const generations = await chooseGeneration(live)
  if (!(await reportRoom(live, url, generations)) && !ignoreMemory) return 1
  if (generations.isBegun) console.log(`Generation ${generations.next} was begun earlier and is resumed.`)
  const next = await openReadModel(url, { generation: generations.next })
  const bar = showProgress(`filling generation ${generations.next}`, 'events')
  const filling = startFilling({
    eventStore,
    readModel: next,
    log: { info() {}, warn: complain, error: complain },
    report: ({ done, share, position }) => bar.report(done, share, position),
  })
  try {
    const stopped = new Promise<'stopped'>((resolve) => signal.addEventListener('abort', () => resolve('stopped')))
    if (signal.aborted || (await Promise.race([filling.complete, stopped])) === 'stopped') {
      bar.stop()
      await filling.stop()
      console.log('Stopped. The same command resumes from here.')
      return 130
    }
    bar.stop()
    const [current] = (await live.generations()).filter((each) => each.live)
    if (current?.checkpoint?.complete) {
      const comparing = showProgress('comparing with the live generation', 'documents')
      let count = 0
      const differences = compareGenerations(next, live, ({ done, share }) => comparing.report(done, share))
      await list(
        differences,
        () => signal.aborted,
        // A live generation that can't be read does not count against the new one.
        ({ fields }) => void (fields === 'unreadable' || count++),
      )
      comparing.stop()
      if (signal.aborted) {
        console.log('Stopped. The same command resumes from here.')
        return 130
      }
      if (count > 0 && !acceptDifferences) {
        console.log(`${count} documents differ: generation ${generations.next} is filled, but not live.`)
        console.log('  npm run rebuild -- --accept-differences   switches to it anyway')
        console.log('  npm run rebuild -- --drop                 deletes it, so that the next rebuild starts over')
        return 1
      }
    } else console.log(`Generation ${generations.live} is not complete: there is nothing to compare with.`)
    if (!(await live.switchGeneration(generations.live, generations.next))) {
      console.log('Another rebuild was faster: nothing is switched. See npm run rebuild -- --status')
      return 1
    }
    // Events that group workers applied to the old generation just before the switch must reach the new one, too.
    await Promise.race([filling.caughtUp(), stopped])
    console.log(`Generation ${generations.next} is live. The one before is kept:`)
    console.log('  npm run rebuild -- --roll-back   back to it')
    console.log('  npm run rebuild -- --drop        forget it')
    return 0
  } finally {
    await filling.stop()
    await next.close()
  }
}

/** Prints how much a new generation takes. @returns whether there is room for it, as far as is known */
async function reportRoom(
  live: ReadModel,
  url: string,
  { next, isBegun }: { readonly next: number; readonly isBegun: boolean },
): Promise<boolean> {
  const begun = isBegun ? await openReadModel(url, { generation: next }) : undefined
  const { live: taken, needed, hasRoom } = await roomFor(live, begun).finally(() => begun?.close())
  const { documents, free, limit } = taken
  if (documents === 0) return true
  const size = `about ${inBytes(needed)} beside the live one (${documents} documents)`
  const room =
    free === undefined ? '' : `; there is room for ${inBytes(free)} (${limit?.name}: ${inBytes(limit?.bytes ?? 0)})`
  console.log(`Generation ${next} needs ${size}, until --drop${room}.`)
  if (!hasRoom) {
    console.log('There is too little room, so nothing was started. Free some (--drop deletes older generations), or')
    console.log('  npm run rebuild -- --ignore-memory   starts anyway')
  }
  return hasRoom
}

function inBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10))
  return `${(bytes / 1024 ** power).toFixed(power < 2 ? 0 : 1)} ${units[power]}`
}

/** Prints differences, the first ones individually. @param onDifference called for each */
async function list(
  differences: AsyncIterable<Difference>,
  isOver: () => boolean,
  onDifference: (difference: Difference) => void,
): Promise<void> {
  let count = 0
  for await (const difference of differences) {
    if (isOver()) break
    count++
    onDifference(difference)
    if (count <= MOST_LISTED) console.log(describe(difference))
  }
  if (count > MOST_LISTED) console.log(`... and ${count - MOST_LISTED} more`)
}

async function verify(eventStore: EventStore, readModel: ReadModel, signal: AbortSignal): Promise<number> {
  const bar = showProgress('verifying', 'customers')
  const report = ({ done, share }: Progress) => bar.report(done, share)
  let count = 0
  for await (const difference of compareWithLog(eventStore, readModel, report, signal)) {
    count++
    console.log(describe(difference))
  }
  bar.stop()
  if (signal.aborted) {
    console.log(`Stopped before its end; ${count} documents differed so far.`)
    return 130
  }
  console.log(count === 0 ? 'The documents are those of the log.' : `${count} documents differ from the log.`)
  return count === 0 ? 0 : 1
}

async function rollBack(eventStore: EventStore, readModel: ReadModel, url: string): Promise<number> {
  const generations = await readModel.generations()
  const current = generations.find((each) => each.live)
  const live = current?.number ?? 1
  const before = generations.filter(({ number, checkpoint }) => number < live && checkpoint !== null).at(-1)
  if (before === undefined) {
    console.log(`Generation ${live} is live; there is none before it to go back to.`)
    return 1
  }
  const isOther = current?.checkpoint && before.checkpoint?.origin !== current.checkpoint.origin
  if (isOther || !(await isOfLog(eventStore, url, before.number))) {
    console.log(`Generation ${before.number} is of another log: its documents are not this service's. See --drop`)
    return 1
  }
  if (!(await readModel.switchGeneration(live, before.number))) {
    console.log('Another switch was faster: nothing is switched. See npm run rebuild -- --status')
    return 1
  }
  console.log(
    `Generation ${before.number} is live again. What it has missed is caught up; until then queries fold the streams.`,
  )
  return 0
}

/**
 * Whether a generation was filled from this log, and not from a lost one or from events that a restored log no longer
 * has.
 */
async function isOfLog(eventStore: EventStore, url: string, number: number): Promise<boolean> {
  const generation = await openReadModel(url, { generation: number })
  try {
    const checkpoint = await generation.getCheckpoint()
    return (await provenanceOf(eventStore, { checkpoint, newest: await generation.newest() })) === 'same'
  } finally {
    await generation.close()
  }
}

async function drop(readModel: ReadModel): Promise<number> {
  const others = (await readModel.generations()).filter(({ live }) => !live)
  await delay(others.length > 0 ? 1_000 : 0) // processes that still use one of them switch over first
  for (const { number } of others) {
    await readModel.dropGeneration(number)
    console.log(`Generation ${number} is dropped.`)
  }
  if (others.length === 0) console.log('There is only the live generation.')
  return 0
}

async function status(readModel: ReadModel, url: string): Promise<number> {
  for (const { number, live, checkpoint } of await readModel.generations()) {
    const state = checkpoint === null ? 'empty' : checkpoint.complete ? 'complete' : 'being filled'
    const place = checkpoint ? `, at position ${checkpoint.position.commit}` : ''
    const { documents, bytes } = await spaceOf(url, number)
    console.log(
      `generation ${number}: ${live ? 'live, ' : ''}${state}${place}, ${documents} documents, about ${inBytes(bytes)}`,
    )
  }
  return 0
}

async function spaceOf(url: string, generation: number): Promise<Space> {
  const readModel = await openReadModel(url, { generation })
  try {
    return await readModel.space()
  } finally {
    await readModel.close()
  }
}

function complain(details: object, message: string): void {
  const { reason } = details as { reason?: string }
  console.error(`${message}${reason ? `: ${reason}` : ''}`)
}
