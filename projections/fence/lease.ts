/**
 * An instance's lease: what it may trust, based on the register as it read it less than a second ago. See
 * docs/read-your-writes.md for the protocol.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { type EventStore, EventStoreUnavailable } from '../../eventstore/port.ts'
import type { Log } from '../../runtime/log.ts'
import { elapsed, type Moment, now } from '../../runtime/moments.ts'
import { within } from '../../runtime/time-limits.ts'
import type { ReadModel } from '../read-model.ts'
import { coverLog } from './coverage.ts'
import { type Register, registerStream } from './register.ts'
import {
  coverable,
  EXPIRY_MS,
  entriesOf,
  isAskedAbout,
  isCurrent,
  LEASE_MS,
  nextStep,
  periodEntry,
  type Situation,
  settlingFor,
  silentFence,
  withFence,
} from './register-changes.ts'

/** How often the register is read. */
const RENEW_MS = 300
/** An event store that has not answered for this long is unavailable, unless this process itself was paused. */
const SILENT_MS = 400
const PROCESS_PAUSE_MS = 200
/** Longer than the event store's own time limits, so a hanging call can't block the queue. */
const GIVE_UP_MS = 6_000
/** How many rounds a change makes in competition with other instances, and how many consecutive steps run at once. */
const MAX_ATTEMPTS = 20
const MAX_STEPS = 5
const POLL_MS = 20

const NOTHING: ReadonlySet<string> = new Set()

export interface Lease {
  /**
   * The incarnations whose documents may be trusted now; undefined: there is no lease. Call it before the read is sent.
   */
  trusted(): ReadonlySet<string> | undefined
  /**
   * The same without a lease: none, unless the event store is unavailable and the read model accepts this instance's
   * writes.
   */
  trustedWithoutLease(): Promise<ReadonlySet<string>>
  /** The event store has just refused a read. */
  missed(): void
  /** Whether a change that is marked in that incarnation alone may be acknowledged now. */
  accepts(incarnation: string): boolean
  /** Waits until it may. @returns false if it may not, or not before the deadline (by `performance.now`) */
  settled(incarnation: string, deadline: number): Promise<boolean>
  /**
   * Resolves once no instance trusts the documents, until this instance lifts its fence.
   * @throws EventStoreUnavailable if the deadline passes first
   */
  fenced(deadline: number): Promise<void>
  /** Whether `fenced` would resolve at once. */
  holdsFence(): boolean
  /** Whether this instance can't reach the read model while others can: then it should get no requests. */
  isAlone(): boolean
  /**
   * Whether queries fold the streams, because of a fence, a missing lease, or an untrusted server. While the event store is
   * unavailable: whether they can't be answered at all.
   */
  isFenced(): boolean
  /** Checks immediately whether a change is due, such as lifting the fence. */
  update(): void
  /** Lifts this instance's fence if all its marks are written. Calling it again does nothing. */
  close(): Promise<void>
}

interface Held {
  /** The time before the register was read. */
  readonly began: Moment
  readonly register: Register
  readonly trusted: ReadonlySet<string>
}

type RegisterView = ReturnType<typeof createRegisterView>

/** The instance's view of the register, and its changes to it, one at a time. */
function createRegisterView(eventStore: EventStore) {
  const stream = registerStream(eventStore)
  /** When each entry of the register was first seen (performance.now). */
  let seen = new Map<string, number>()
  let held: Held | undefined
  let tail: Promise<unknown> = Promise.resolve()
  let refreshing: Promise<unknown> | undefined
  let isAway = false
  /**
   * Changes that were sent: each may still take effect as long as the register is at the revision that it expects. With
   * the writers that have a fence in all of them.
   */
  let sent: { readonly expected: Register['revision']; readonly fenced: readonly string[] } | undefined

  function adopt(began: Moment, register: Register): void {
    if (sent && sent.expected !== register.revision) sent = undefined
    const at = performance.now()
    seen = new Map(entriesOf(register).map((entry) => [entry, seen.get(entry) ?? at]))
    held = { began, register, trusted: register.fences.length > 0 ? NOTHING : new Set(register.trusted) }
  }

  function noteSent({ revision }: Register, next: Register): void {
    const writers = next.fences.map(({ writer }) => writer)
    const earlier = sent?.expected === revision ? sent.fenced : writers
    sent = { expected: revision, fenced: writers.filter((writer) => earlier.includes(writer)) }
  }

  /** Records whether the event store answers. */
  async function watched<T>(work: () => Promise<T>): Promise<T> {
    const started = performance.now()
    const timer = setTimeout(() => {
      if (performance.now() - started < SILENT_MS + PROCESS_PAUSE_MS) isAway = true
    }, SILENT_MS).unref()
    try {
      const result = await within(GIVE_UP_MS, work())
      isAway = false
      return result
    } catch (error) {
      isAway = true
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  function exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = tail.then(work, work)
    tail = result.catch(() => {})
    return result
  }

  const load = () =>
    watched(async () => {
      const began = now()
      const register = await stream.load()
      adopt(began, register)
      return register
    })

  return {
    held: () => (held !== undefined && elapsed(held.began) < LEASE_MS ? held : undefined),
    last: () => held?.register,
    /** Whether a change that was sent may still lift the writer's fence. */
    mayLift: (writer: string) => sent !== undefined && !sent.fenced.includes(writer),
    isAway: () => isAway,
    missed: () => {
      isAway = true
    },
    age: (entry: string) => performance.now() - (seen.get(entry) ?? Number.POSITIVE_INFINITY),

    /** Concurrent callers share one read. */
    refresh: (): Promise<unknown> => {
      refreshing ??= exclusive(load).finally(() => {
        refreshing = undefined
      })
      return refreshing
    },

    /**
     * Replaces the register by the result of `change` for its newest state; undefined: no change. @returns whether it
     * was replaced
     */
    change: (change: (register: Register) => Register | undefined): Promise<boolean> =>
      exclusive(async () => {
        for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
          const loaded = await load()
          const next = change(loaded)
          if (next === undefined) return false
          const stored = await watched(async () => {
            const began = now()
            noteSent(loaded, next)
            const stored = await stream.replace(loaded, next)
            if (stored) adopt(began, stored)
            return stored
          })
          if (stored) return true
        }
        return false
      }),
  }
}

/**
 * @param options.hasUnmarked whether the instance has acknowledged what it could not mark, now or a moment ago
 */
export function createLease(options: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly log: Log
  readonly hasUnmarked: () => boolean
}): Lease {
  const { eventStore, readModel, log, hasUnmarked } = options
  const me = randomUUID()
  const view = createRegisterView(eventStore)
  const updater = createRegisterUpdater({ ...options, me, view })
  const probe = createProbe(readModel)
  let timer: NodeJS.Timeout | undefined
  let closing: Promise<void> | undefined
  const report = createFenceReport(view, log)
  const fence = createOwnFence(view, me, report)

  async function renew(): Promise<void> {
    try {
      await view.refresh()
      report()
      updater.update()
    } catch {
      // Known to be unavailable by now.
    }
    if (!closing) timer = setTimeout(renew, RENEW_MS * (0.9 + Math.random() / 5)).unref()
  }
  renew()

  const trusted = () => view.held()?.trusted
  /** What is trusted without a lease, where the read model accepts this instance's writes. */
  const trustedLast = (): ReadonlySet<string> => {
    const last = view.last()
    return view.isAway() && last?.fences.length === 0 ? new Set(last.trusted) : NOTHING
  }

  function accepts(incarnation: string): boolean {
    const register = view.held()?.register
    if (register === undefined) return false
    return register.trusted.includes(incarnation) || (settlingFor(register, incarnation, view.age) ?? 0) >= EXPIRY_MS
  }

  async function settled(incarnation: string, deadline: number): Promise<boolean> {
    while (!accepts(incarnation)) {
      const register = await fresh(view, deadline)
      if (register === undefined || performance.now() >= deadline) return false
      if (incarnation === '' || register.retired.includes(incarnation)) return false
      const settling = settlingFor(register, incarnation, view.age)
      if (settling === undefined) updater.update()
      await delay(Math.max(settling === undefined ? 0 : EXPIRY_MS - settling, POLL_MS))
    }
    return true
  }

  return {
    trusted,
    accepts,
    settled,
    fenced: fence.raised,
    missed: view.missed,
    update: updater.update,
    holdsFence: () => (fence.inForceIn() ?? 1) <= 0,
    isAlone: () => {
      const register = view.held()?.register
      return register !== undefined && isAskedAbout(register, me) && !updater.reaches(register)
    },
    isFenced: () => !updater.reachesOnly(trusted() ?? trustedLast()),

    async trustedWithoutLease() {
      const [last, known] = [view.last(), trustedLast()]
      if (known.size === 0) return NOTHING
      const took = await probe()
      // Checked again, because a read of the event store may have shown a fence in the meantime.
      if (!view.isAway() || view.last() !== last) return trusted() ?? NOTHING
      return new Set([...known].filter((incarnation) => took.has(incarnation)))
    },

    close() {
      closing ??= (async () => {
        clearTimeout(timer)
        await updater.stop()
        const own = view.last()?.fences.some(({ writer }) => writer === me)
        if (own && !hasUnmarked()) await view.change((register) => nextStep(register, bare(me))).catch(() => {})
      })()
      return closing
    },
  }
}

/** The register under a valid lease. @returns undefined if the deadline passes first */
async function fresh(view: RegisterView, deadline: number): Promise<Register | undefined> {
  for (;;) {
    const register = view.held()?.register
    if (register) return register
    const left = deadline - performance.now()
    if (left <= 0) return undefined
    await within(left, view.refresh()).catch(() => delay(POLL_MS))
  }
}

/** Logs when a fence of any instance takes effect, and when the last one is lifted. */
function createFenceReport(view: RegisterView, log: Log): () => void {
  let wasFenced = false
  return () => {
    const isFenced = (view.last()?.fences.length ?? 0) > 0
    if (isFenced && !wasFenced) log.warn({}, 'a fence is in force: queries fold the streams')
    if (!isFenced && wasFenced) log.info({}, 'the fence is lifted: queries use the documents')
    wasFenced = isFenced
  }
}

/** This instance's fence. @param onChange called when it may have been raised */
function createOwnFence(view: RegisterView, me: string, onChange: () => void) {
  /** How long others may still trust documents in spite of this instance's fence; undefined: it has none. */
  function inForceIn(): number | undefined {
    const register = view.held()?.register
    const own = register?.fences.find(({ writer }) => writer === me)
    if (!register?.period || own === undefined || own.challenger !== null || view.mayLift(me)) return undefined
    // In effect since the first of an unbroken sequence of fences.
    return EXPIRY_MS - view.age(periodEntry(register.period))
  }

  async function raised(deadline: number): Promise<void> {
    for (;;) {
      await fresh(view, deadline)
      const wait = inForceIn()
      if (wait !== undefined && wait <= 0) return
      const left = deadline - performance.now()
      if (left <= 0) {
        throw new EventStoreUnavailable(
          'The read model cannot be marked, and the other instances cannot be notified in time.',
        )
      }
      if (wait !== undefined) await delay(Math.min(wait, left))
      else {
        await within(
          left,
          view.change((register) => withFence(register, me, view.mayLift(me))),
        ).catch(() => delay(POLL_MS))
        onChange()
      }
    }
  }

  return { inForceIn, raised }
}

/** The situation of an instance without unmarked changes that sees nothing: it can only lift its fence. */
const bare = (me: string): Situation => ({
  me,
  reached: [],
  isWhole: false,
  hasUnmarked: false,
  age: () => 0,
  covered: new Set(),
  acceptsWrites: false,
  sinceContest: 0,
})

/** Keeps the register up to date in the background: see register-changes.ts. */
function createRegisterUpdater(options: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly hasUnmarked: () => boolean
  readonly me: string
  readonly view: RegisterView
}) {
  const { eventStore, readModel, hasUnmarked, me, view } = options
  let running: Promise<void> | undefined
  let isOver = false
  let contested = Number.NEGATIVE_INFINITY
  let reachedLast: readonly string[] = []

  async function situation(): Promise<Situation> {
    const { reached, isWhole } = await readModel.incarnations().catch(() => ({ reached: [], isWhole: false }))
    reachedLast = reached.filter((incarnation) => incarnation !== '')
    const register = view.last()
    const isAsking = register && silentFence(register, { me, age: view.age })
    return {
      me,
      reached: reachedLast,
      acceptsWrites: isAsking !== undefined && (await readModel.probe().then(Boolean, () => false)),
      isWhole,
      hasUnmarked: hasUnmarked(),
      age: view.age,
      covered: new Set(),
      sinceContest: performance.now() - contested,
    }
  }

  async function step(): Promise<boolean> {
    let known = await situation()
    const register = view.last()
    if (register === undefined) return false
    const due = coverable(register, known)
    if (due.length > 0 && (await coverLog(eventStore, readModel, (each) => isCurrent(register, each)))) {
      known = { ...known, covered: new Set(due) }
    }
    if (nextStep(register, { ...known, hasUnmarked: hasUnmarked() }) === undefined) return false
    const changed = await view.change((newest) => nextStep(newest, { ...known, hasUnmarked: hasUnmarked() }))
    if (changed && view.last()?.contest?.by === me && register.contest === null) contested = performance.now()
    return changed
  }

  async function run(): Promise<void> {
    try {
      for (let steps = 0; steps < MAX_STEPS && !isOver && (await step()); steps++);
    } catch {
      // A store is unavailable: the next round tries again.
    }
  }

  return {
    update(): void {
      if (isOver) return
      running ??= run().finally(() => {
        running = undefined
      })
    },
    /** Whether the last read reached at least one server, and only servers among these. */
    reachesOnly: (trusted: ReadonlySet<string>) =>
      reachedLast.length > 0 && reachedLast.every((incarnation) => trusted.has(incarnation)),
    reaches: (register: Register) => reachedLast.some((incarnation) => isCurrent(register, incarnation)),
    async stop(): Promise<void> {
      isOver = true
      await running
    },
  }
}

/** The incarnations that accepted a write of this instance within the duration of a lease. */
function createProbe(readModel: ReadModel): () => Promise<ReadonlySet<string>> {
  let last: { readonly began: Moment; readonly took: ReadonlySet<string> } | undefined
  let probing: Promise<ReadonlySet<string>> | undefined
  let next = 0

  async function probe(): Promise<ReadonlySet<string>> {
    const began = now()
    next = began.monotonic + RENEW_MS
    const took = new Set(await readModel.probe().catch(() => []))
    if (took.size > 0) last = { began, took }
    return took
  }

  return async () => {
    // The next probe is sent before the lease ends.
    if (probing === undefined && performance.now() >= next) {
      probing = probe().finally(() => {
        probing = undefined
      })
    }
    if (last && elapsed(last.began) < LEASE_MS) return last.took
    return (await probing) ?? NOTHING
  }
}
