/**
 * An instance's lease: what it may believe, by what it read in the register less than a second ago. See
 * docs/read-your-writes.md for the protocol.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { type EventStore, EventStoreUnavailable } from '../../eventstore/port.ts'
import type { Log } from '../../runtime/log.ts'
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
/** An event store that has not answered for so long is away, unless it was this process that stood still. */
const SILENT_MS = 400
const STOOD_STILL_MS = 200
/** Longer than the event store's own limits: whatever it does, the next one gets its turn. */
const GIVE_UP_MS = 6_000
/** Rounds against other instances that change the register, and steps that follow from each other at once. */
const MAX_ATTEMPTS = 20
const MAX_STEPS = 5
const POLL_MS = 20

const NOTHING: ReadonlySet<string> = new Set()

export interface Lease {
  /** The incarnations whose documents may be believed now; undefined: there is no lease. Take it before the read is sent. */
  trusted(): ReadonlySet<string> | undefined
  /** The same where there is no lease: nothing, unless the event store is away and the read model takes this instance's writes. */
  trustedWithoutLease(): Promise<ReadonlySet<string>>
  /** The event store has just refused a read. */
  missed(): void
  /** Whether what is marked in that incarnation, and nowhere else, may be acknowledged now. */
  accepts(incarnation: string): boolean
  /** Waits until it may. @returns false where it will not, or not before the deadline (by `performance.now`) */
  settled(incarnation: string, deadline: number): Promise<boolean>
  /**
   * Resolves when nobody believes a document, and will not until this instance has lifted its fence.
   * @throws EventStoreUnavailable where the deadline passes before
   */
  fenced(deadline: number): Promise<void>
  /** Whether `fenced` would resolve at once. */
  holdsFence(): boolean
  /** Whether this instance does not reach the read model while others do: it had better be left alone. */
  isAlone(): boolean
  /** Whether a fence, the lack of a lease, or a server that is not trusted has queries fold the streams. */
  isFenced(): boolean
  /** Checks at once whether there is something to do, such as lifting the fence. */
  attend(): void
  /** Lifts this instance's fence where nothing is owed. Calling it again does nothing. */
  close(): Promise<void>
}

/** A moment by two clocks: the monotonic one may stop with a virtual machine, the other one may be set. */
interface Moment {
  readonly monotonic: number
  readonly wall: number
}

const now = (): Moment => ({ monotonic: performance.now(), wall: Date.now() })
const elapsed = ({ monotonic, wall }: Moment) => Math.max(performance.now() - monotonic, Date.now() - wall)

interface Held {
  /** From before the register was asked for. */
  readonly began: Moment
  readonly register: Register
  readonly trusted: ReadonlySet<string>
}

type RegisterView = ReturnType<typeof createRegisterView>

/** What the instance has seen of the register, and changes to it, one after the other. */
function createRegisterView(eventStore: EventStore) {
  const stream = registerStream(eventStore)
  /** When each entry of the register was first seen (performance.now). */
  let seen = new Map<string, number>()
  let held: Held | undefined
  let tail: Promise<unknown> = Promise.resolve()
  let refreshing: Promise<unknown> | undefined
  let isAway = false
  /** A change that was sent: it may come to be as long as the register is at the revision that it expects. */
  let sent: { readonly expected: Register['revision']; readonly next: Register } | undefined

  function adopt(began: Moment, register: Register): void {
    if (sent && sent.expected !== register.revision) sent = undefined
    const at = performance.now()
    seen = new Map(entriesOf(register).map((entry) => [entry, seen.get(entry) ?? at]))
    held = { began, register, trusted: register.fences.length > 0 ? NOTHING : new Set(register.trusted) }
  }

  /** Notes whether the event store answers. */
  async function watched<T>(work: () => Promise<T>): Promise<T> {
    const started = performance.now()
    const timer = setTimeout(() => {
      if (performance.now() - started < SILENT_MS + STOOD_STILL_MS) isAway = true
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
    /** What the register may have become since it was read. */
    sent: () => sent?.next,
    isAway: () => isAway,
    missed: () => {
      isAway = true
    },
    age: (entry: string) => performance.now() - (seen.get(entry) ?? Number.POSITIVE_INFINITY),

    /** Those who ask at the same time share one read. */
    refresh: (): Promise<unknown> => {
      refreshing ??= exclusive(load).finally(() => {
        refreshing = undefined
      })
      return refreshing
    },

    /** Replaces the register by what `change` makes of its newest state; undefined: it stays. @returns whether it was replaced */
    change: (change: (register: Register) => Register | undefined): Promise<boolean> =>
      exclusive(async () => {
        for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
          const loaded = await load()
          const next = change(loaded)
          if (next === undefined) return false
          const stored = await watched(async () => {
            const began = now()
            sent = { expected: loaded.revision, next }
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
 * @param options.owes whether the instance has acknowledged what it could not mark, now or a moment ago
 */
export function createLease(options: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly log: Log
  readonly owes: () => boolean
}): Lease {
  const { eventStore, readModel, log, owes } = options
  const me = randomUUID()
  const view = createRegisterView(eventStore)
  const duties = createDuties({ ...options, me, view })
  const probe = createProbe(readModel)
  let timer: NodeJS.Timeout | undefined
  let closing: Promise<void> | undefined
  const report = createFenceReport(view, log)
  const fence = createOwnFence(view, me, report)

  async function renew(): Promise<void> {
    try {
      await view.refresh()
      report()
      duties.attend()
    } catch {
      // Known as away by now.
    }
    if (!closing) timer = setTimeout(renew, RENEW_MS * (0.9 + Math.random() / 5)).unref()
  }
  renew()

  const trusted = () => view.held()?.trusted

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
      if (settling === undefined) duties.attend()
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
    attend: duties.attend,
    holdsFence: () => (fence.inForceIn() ?? 1) <= 0,
    isAlone: () => {
      const register = view.held()?.register
      return register !== undefined && isAskedAbout(register, me) && !duties.reaches(register)
    },
    isFenced: () => !duties.reachesOnly(trusted()),

    async trustedWithoutLease() {
      const last = view.last()
      if (!view.isAway() || last === undefined || last.fences.length > 0) return NOTHING
      const took = await probe()
      // Asked again: meanwhile the event store may have shown a fence.
      if (!view.isAway() || view.last() !== last) return trusted() ?? NOTHING
      return new Set(last.trusted.filter((incarnation) => took.has(incarnation)))
    },

    close() {
      closing ??= (async () => {
        clearTimeout(timer)
        await duties.stop()
        const own = view.last()?.fences.some(({ writer }) => writer === me)
        if (own && !owes()) await view.change((register) => nextStep(register, bare(me))).catch(() => {})
      })()
      return closing
    },
  }
}

/** The register by a lease that holds. @returns undefined where the deadline passes before */
async function fresh(view: RegisterView, deadline: number): Promise<Register | undefined> {
  for (;;) {
    const register = view.held()?.register
    if (register) return register
    const left = deadline - performance.now()
    if (left <= 0) return undefined
    await within(left, view.refresh()).catch(() => delay(POLL_MS))
  }
}

/** Logs when a fence comes into force, whoever's it is, and when the last one is lifted. */
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
  function isBeingLifted(): boolean {
    const next = view.sent()
    return next !== undefined && !next.fences.some(({ writer }) => writer === me)
  }

  /** For how long others may still believe documents in spite of this instance's fence; undefined: it has none. */
  function inForceIn(): number | undefined {
    const register = view.held()?.register
    const own = register?.fences.find(({ writer }) => writer === me)
    if (!register?.period || own === undefined || own.challenger !== null || isBeingLifted()) return undefined
    // In force since the first fence of those that have followed each other without a break.
    return EXPIRY_MS - view.age(periodEntry(register.period))
  }

  async function raised(deadline: number): Promise<void> {
    for (;;) {
      await fresh(view, deadline)
      const wait = inForceIn()
      if (wait !== undefined && wait <= 0) return
      const left = deadline - performance.now()
      if (left <= 0) {
        throw new EventStoreUnavailable('The read model can not be marked, and the others can not be told in time.')
      }
      if (wait !== undefined) await delay(Math.min(wait, left))
      else {
        await within(
          left,
          view.change((register) => withFence(register, me)),
        ).catch(() => delay(POLL_MS))
        onChange()
      }
    }
  }

  return { inForceIn, raised }
}

/** Of an instance that owes nothing and sees nothing: all that it can do is lift its fence. */
const bare = (me: string): Situation => ({
  me,
  reached: [],
  isWhole: false,
  owes: false,
  age: () => 0,
  covered: new Set(),
  takesWrites: false,
  sinceContest: 0,
})

/** What an instance owes the others, done in the background: see register-changes.ts. */
function createDuties(options: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly owes: () => boolean
  readonly me: string
  readonly view: RegisterView
}) {
  const { eventStore, readModel, owes, me, view } = options
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
      takesWrites: isAsking !== undefined && (await readModel.probe().then(Boolean, () => false)),
      isWhole,
      owes: owes(),
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
    if (nextStep(register, { ...known, owes: owes() }) === undefined) return false
    const changed = await view.change((newest) => nextStep(newest, { ...known, owes: owes() }))
    if (changed && view.last()?.contest?.by === me && register.contest === null) contested = performance.now()
    return changed
  }

  async function run(): Promise<void> {
    try {
      for (let steps = 0; steps < MAX_STEPS && !isOver && (await step()); steps++);
    } catch {
      // A store is away: the next round may be luckier.
    }
  }

  return {
    attend(): void {
      if (isOver) return
      running ??= run().finally(() => {
        running = undefined
      })
    },
    /** Whether all servers that it reached last, one at least, are among these. */
    reachesOnly: (trusted: ReadonlySet<string> | undefined) =>
      reachedLast.length > 0 && reachedLast.every((incarnation) => trusted?.has(incarnation)),
    reaches: (register: Register) => reachedLast.some((incarnation) => isCurrent(register, incarnation)),
    async stop(): Promise<void> {
      isOver = true
      await running
    },
  }
}

/** The incarnations that took a write of this instance's less than a lease ago. */
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
    // The next one is on its way before the lease ends.
    if (probing === undefined && performance.now() >= next) {
      probing = probe().finally(() => {
        probing = undefined
      })
    }
    if (last && elapsed(last.began) < LEASE_MS) return last.took
    return (await probing) ?? NOTHING
  }
}
