/** Long work of this process that somebody started and others watch: one at a time of a kind. */
import { setTimeout as delay } from 'node:timers/promises'
import type { EventStore, RecordedEvent } from '../eventstore/port.ts'

/** How far a job is. */
interface Progress {
  readonly done: number
  /** From 0 to 1; undefined: nobody knows. */
  readonly share: number | undefined
}

export type JobState<R> =
  | { readonly status: 'idle' }
  | { readonly status: 'running'; readonly by: string; readonly since: Date; readonly progress: Progress }
  | { readonly status: 'stopped'; readonly by: string; readonly at: Date }
  | { readonly status: 'failed'; readonly by: string; readonly at: Date; readonly error: unknown }
  | { readonly status: 'done'; readonly by: string; readonly at: Date; readonly result: R }

export interface Job<R> {
  /** What it is doing, or came to last in this process. */
  state(): JobState<R>
  /** @returns false if it is running already; then nothing is started */
  start(
    by: string,
    work: (tools: { readonly signal: AbortSignal; report(progress: Progress): void }) => Promise<R>,
  ): boolean
  /** Does nothing if it is not running. */
  stop(): void
  /** The state, now and after each change, at most every half second, until the job ends or the reader goes away. */
  watch(signal: AbortSignal): AsyncGenerator<JobState<R>>
  /** Stops it, and waits for its end. */
  close(): Promise<void>
}

const WATCH_MS = 500

/** @param onFailure is told about work that fails, unless it was stopped */
export function createJob<R>(onFailure: (error: unknown) => void): Job<R> {
  let state: JobState<R> = { status: 'idle' }
  let running = Promise.resolve()
  let stopping = new AbortController()

  return {
    state: () => state,

    start(by, work) {
      if (state.status === 'running') return false
      const since = new Date()
      stopping = new AbortController()
      const { signal } = stopping
      state = { status: 'running', by, since, progress: { done: 0, share: undefined } }
      const report = (progress: Progress) => {
        state = { status: 'running', by, since, progress }
      }
      running = work({ signal, report }).then(
        (result) => {
          state = signal.aborted
            ? { status: 'stopped', by, at: new Date() }
            : { status: 'done', by, at: new Date(), result }
        },
        (error: unknown) => {
          if (!signal.aborted) onFailure(error)
          state = signal.aborted
            ? { status: 'stopped', by, at: new Date() }
            : { status: 'failed', by, at: new Date(), error }
        },
      )
      return true
    },

    stop: () => stopping.abort(),

    async *watch(signal) {
      for (;;) {
        yield state
        if (state.status !== 'running' || signal.aborted) return
        await Promise.race([running, delay(WATCH_MS)])
      }
    },

    async close() {
      stopping.abort()
      await running
    },
  }
}

const BATCH = 1_000

/**
 * The same store, whose log is read at half speed: after each batch it waits for as long as the batch took. So long reads of
 * people leave the service the other half.
 */
export const unhurried = (eventStore: EventStore): EventStore => ({
  ...eventStore,
  readAll: (options) => paced(eventStore.readAll(options)),
})

async function* paced(events: AsyncIterable<RecordedEvent>): AsyncGenerator<RecordedEvent> {
  let count = 0
  let begun = performance.now()
  for await (const event of events) {
    yield event
    if (++count % BATCH !== 0) continue
    await delay(performance.now() - begun)
    begun = performance.now()
  }
}
