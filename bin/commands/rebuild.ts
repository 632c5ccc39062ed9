/** `customers rebuild`: see projections/rebuild.ts. Prints what it finds on standard output, its progress on standard error. */
import { openLog, requireLog } from '../../eventstore/open-event-store.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { withRetriesFor } from '../../eventstore/retry.ts'
import { dropOthers, rollBack, stateOf } from '../../projections/generations.ts'
import { openForCommand } from '../../projections/open-read-model.ts'
import type { ReadModel, Space } from '../../projections/read-model.ts'
import { compareWithLog, describe, type Progress } from '../../projections/rebuild.ts'
import { type RebuildOutcome, type RebuildRoom, runRebuild } from '../../projections/rebuild-run.ts'
import { inBytes } from '../../runtime/bytes.ts'
import { runCommand } from '../../runtime/process.ts'
import { type ProgressDisplay, showProgress } from '../../runtime/progress.ts'

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
    const { EVENTSTORE_URL, READMODEL_URL } = configuration
    requireLog(configuration)
    let isComparing = false
    const observer = {
      onDrop: (reason: string) => console.error(`${reason} It tries again.`),
      onOutage: (reason: string) => console.error(reason),
    }
    const wrap = withRetriesFor(EVENTSTORE_URL, {
      signal,
      isBegun: () => isComparing,
      onOutage: (reason) => console.error(`${reason} The comparison waits for it.`),
    })
    const { eventStore } = await openLog(configuration, observer, wrap)
    const readModel = await openForCommand(READMODEL_URL)
    try {
      if (options.verify) {
        await eventStore.ping() // fails fast
        isComparing = true
        return await verify(eventStore, readModel, signal)
      }
      if (options.rollBack) return await goBack(eventStore, readModel, READMODEL_URL)
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
  let filling: ProgressDisplay | undefined
  let comparing: ProgressDisplay | undefined
  let listed = 0
  const endFilling = () => {
    filling?.stop()
    filling = undefined
  }
  const ended = await runRebuild({
    eventStore,
    live,
    open: (generation) => openForCommand(url, generation),
    signal,
    acceptDifferences,
    ignoreMemory,
    observer: {
      room(room) {
        printRoom(room)
        if (!room.hasRoom && !ignoreMemory) return
        if (room.isBegun) console.log(`Generation ${room.generation} was begun earlier and is resumed.`)
        filling = showProgress(`filling generation ${room.generation}`, 'events')
      },
      filling: ({ done, share, position }) => filling?.report(done, share, position),
      nothingToCompare(number) {
        endFilling()
        console.log(`Generation ${number} is not complete: there is nothing to compare with.`)
      },
      comparing({ done, share }) {
        endFilling()
        comparing ??= showProgress('comparing with the live generation', 'documents')
        comparing.report(done, share)
      },
      differs(difference) {
        endFilling()
        if (++listed <= MOST_LISTED) console.log(describe(difference))
      },
      warned: (message) => console.error(message),
    },
  }).finally(() => {
    endFilling()
    comparing?.stop()
  })
  if (listed > MOST_LISTED) console.log(`... and ${listed - MOST_LISTED} more`)
  return printOutcome(ended)
}

/** @returns the exit code */
function printOutcome(ended: RebuildOutcome): number {
  const { outcome, generation } = ended
  switch (outcome) {
    case 'no room':
      return 1
    case 'stopped':
      console.log('Stopped. The same command resumes from here.')
      return 130
    case 'differs':
      console.log(`${ended.differences} documents differ: generation ${generation} is filled, but not live.`)
      console.log('  npm run rebuild -- --accept-differences   switches to it anyway')
      console.log('  npm run rebuild -- --drop                 deletes it, so that the next rebuild starts over')
      return 1
    case 'too late':
      console.log('Another rebuild was faster: nothing is switched. See npm run rebuild -- --status')
      return 1
    case 'switched':
      console.log(`Generation ${generation} is live. The one before is kept:`)
      console.log('  npm run rebuild -- --roll-back   back to it')
      console.log('  npm run rebuild -- --drop        forget it')
      return 0
  }
}

/** Prints how much a new generation takes. */
function printRoom({ generation, live, needed, hasRoom }: RebuildRoom): void {
  const { documents, free, limit } = live
  if (documents === 0) return
  const size = `about ${inBytes(needed)} beside the live one (${documents} documents)`
  const room =
    free === undefined ? '' : `; there is room for ${inBytes(free)} (${limit?.name}: ${inBytes(limit?.bytes ?? 0)})`
  console.log(`Generation ${generation} needs ${size}, until --drop${room}.`)
  if (!hasRoom) {
    console.log('There is too little room, so nothing was started. Free some (--drop deletes older generations), or')
    console.log('  npm run rebuild -- --ignore-memory   starts anyway')
  }
}

async function verify(eventStore: EventStore, readModel: ReadModel, signal: AbortSignal): Promise<number> {
  const bar = showProgress('verifying', 'customers')
  const report = ({ done, share }: Progress) => bar.report(done, share)
  let count = 0
  const onOutage = (reason: string) => console.error(`${reason} The comparison waits for it.`)
  for await (const difference of compareWithLog(eventStore, readModel, { report, signal, onOutage })) {
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

async function goBack(eventStore: EventStore, readModel: ReadModel, url: string): Promise<number> {
  const back = await rollBack(eventStore, readModel, (generation) => openForCommand(url, generation))
  switch (back.outcome) {
    case 'nothing before':
      console.log(`Generation ${back.live} is live; there is none before it to go back to.`)
      return 1
    case 'of another log':
      console.log(`Generation ${back.to} is of another log: its documents are not this service's. See --drop`)
      return 1
    case 'too late':
      console.log('Another switch was faster: nothing is switched. See npm run rebuild -- --status')
      return 1
    case 'rolled back':
      console.log(
        `Generation ${back.to} is live again. What it has missed is caught up; until then queries fold the streams.`,
      )
      return 0
  }
}

async function drop(readModel: ReadModel): Promise<number> {
  const dropped = await dropOthers(readModel)
  for (const number of dropped) console.log(`Generation ${number} is dropped.`)
  if (dropped.length === 0) console.log('There is only the live generation.')
  return 0
}

async function status(readModel: ReadModel, url: string): Promise<number> {
  for (const generation of await readModel.generations()) {
    const { number, live, state, position } = stateOf(generation, undefined)
    const place = position ? `, at position ${position.commit}` : ''
    const { documents, bytes } = await spaceOf(url, number)
    console.log(
      `generation ${number}: ${live ? 'live, ' : ''}${state}${place}, ${documents} documents, about ${inBytes(bytes)}`,
    )
  }
  return 0
}

async function spaceOf(url: string, generation: number): Promise<Space> {
  const readModel = await openForCommand(url, generation)
  try {
    return await readModel.space()
  } finally {
    await readModel.close()
  }
}
