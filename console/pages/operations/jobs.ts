/** Long work that an operator starts from the console: one at a time, in this process, until it ends or is stopped. */

import type { EventStore } from '../../../eventstore/port.ts'
import type { OpenGeneration } from '../../../projections/generations.ts'
import type { ReadModel } from '../../../projections/read-model.ts'
import type { Difference } from '../../../projections/rebuild.ts'
import { compareWithLog } from '../../../projections/rebuild.ts'
import { type RebuildOutcome, runRebuild } from '../../../projections/rebuild-run.ts'
import type { Log } from '../../../runtime/log.ts'
import { Refused } from '../../errors.ts'
import { createJob } from '../../jobs.ts'

/** How many differences are kept. */
const MOST_KEPT = 200
const MOST_WARNINGS = 20

export interface Job {
  readonly kind: 'rebuild' | 'comparison'
  readonly by: string
  readonly startedAt: Date
  /** In an operator's words. */
  readonly phase: string
  readonly done: number
  /** 0 to 1; undefined: not known. */
  readonly share: number | undefined
  readonly differences: readonly Difference[]
  readonly moreDifferences: number
  readonly warnings: readonly string[]
  /** How it ended, in a sentence; undefined: it runs. */
  readonly ended: { readonly at: Date; readonly text: string; readonly isGood: boolean } | undefined
  /** Documents differ, and the generation is filled: an operator may switch to it all the same. */
  readonly mayAccept: boolean
}

export interface Jobs {
  /** The one that runs, or the last one of this process. */
  current(): Job | undefined
  /** @throws Refused 409 while another one runs */
  rebuild(by: string, options: { readonly acceptDifferences: boolean; readonly ignoreMemory: boolean }): void
  /** Compares the live documents with the log. @throws Refused 409 while another one runs */
  compare(by: string): void
  /** Stops what runs; what was filled is kept. @returns whether anything ran */
  stop(): Promise<boolean>
}

type Mutable = { -readonly [K in keyof Job]: Job[K] } & { differences: Difference[]; warnings: string[] }

export function createJobs(options: {
  readonly eventStore: EventStore
  readonly open: OpenGeneration
  /** Opens a handle of the live generation, which the job closes: another process may switch to another one. */
  readonly openLive: () => Promise<ReadModel>
  readonly now: () => Date
  readonly log: Log
}): Jobs {
  const { eventStore, open, openLive, now, log } = options
  const runner = createJob<void>(() => {})
  let job: Mutable | undefined

  function start(
    kind: Job['kind'],
    by: string,
    work: (job: Mutable, signal: AbortSignal, live: ReadModel) => Promise<Ending>,
  ): void {
    const begun: Mutable = {
      kind,
      by,
      startedAt: now(),
      phase: 'beginning',
      done: 0,
      share: undefined,
      differences: [],
      moreDifferences: 0,
      warnings: [],
      ended: undefined,
      mayAccept: false,
    }
    const isStarted = runner.start(by, async ({ signal }) => {
      try {
        const live = await openLive()
        const { text, isGood, mayAccept = false } = await work(begun, signal, live).finally(() => live.close())
        begun.ended = { at: now(), text, isGood }
        begun.mayAccept = mayAccept
      } catch (error) {
        log.error({ err: error, kind }, 'work that an operator started has failed')
        begun.ended = {
          at: now(),
          text: 'It failed; the log of the console has the error. It can be started again.',
          isGood: false,
        }
      }
    })
    if (!isStarted) {
      throw new Refused(409, `A ${job?.kind} is running, started by ${job?.by}. Stop it, or wait for it.`)
    }
    job = begun
    log.info({ kind, by }, 'an operator started work')
  }

  return {
    current: () => job,

    rebuild(by, { acceptDifferences, ignoreMemory }) {
      start('rebuild', by, async (job, signal, live) => {
        const outcome = await runRebuild({
          eventStore,
          live,
          open,
          signal,
          acceptDifferences,
          ignoreMemory,
          observer: {
            filling: (progress) => Object.assign(job, { phase: 'filling', ...shown(progress) }),
            comparing: (progress) =>
              Object.assign(job, { phase: 'comparing with the live generation', ...shown(progress) }),
            differs: (difference) => keep(job, difference),
            warned: (message) => warn(job, message),
          },
        })
        return endingOf(outcome)
      })
    },

    compare(by) {
      start('comparison', by, async (job, signal, live) => {
        job.phase = 'comparing the documents with the log'
        const report = (progress: { done: number; share: number | undefined }) => Object.assign(job, shown(progress))
        const onOutage = (reason: string) => warn(job, `${reason} The comparison waits for it.`)
        let count = 0
        for await (const difference of compareWithLog(eventStore, live, { report, signal, onOutage })) {
          count++
          keep(job, difference)
        }
        if (signal.aborted)
          return { text: `Stopped before its end; ${count} documents differed so far.`, isGood: false }
        const text = count === 0 ? 'The documents are those of the log.' : `${count} documents differ from the log.`
        return { text, isGood: count === 0 }
      })
    },

    async stop() {
      if (runner.state().status !== 'running') return false
      await runner.close()
      return true
    },
  }
}

/** @param message without personal data */
const warn = ({ warnings }: Mutable, message: string) =>
  void (warnings.length < MOST_WARNINGS && warnings.push(message))

interface Ending {
  readonly text: string
  readonly isGood: boolean
  readonly mayAccept?: boolean
}

const shown = ({ done, share }: { readonly done: number; readonly share: number | undefined }) => ({ done, share })

function keep(job: Mutable, difference: Difference): void {
  if (job.differences.length < MOST_KEPT) job.differences.push(difference)
  else job.moreDifferences++
}

function endingOf(ended: RebuildOutcome): Ending {
  const { outcome, generation } = ended
  switch (outcome) {
    case 'switched':
      return { text: `Generation ${generation} is live. The one before is kept until it is dropped.`, isGood: true }
    case 'stopped':
      return { text: 'Stopped. Started again, it resumes from there.', isGood: false }
    case 'no room':
      return { text: 'There is too little room for a second generation, so nothing was started.', isGood: false }
    case 'differs':
      return {
        text: `${ended.differences} documents differ: generation ${generation} is filled, but not live.`,
        isGood: false,
        mayAccept: true,
      }
    case 'too late':
      return { text: 'Another rebuild was faster: nothing is switched.', isGood: false }
  }
}
