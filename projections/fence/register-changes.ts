/**
 * The changes that an instance has to make to the register, as pure functions of the register and the instance's
 * knowledge. docs/read-your-writes.md explains why each step is safe.
 */
import { NO_REGISTER, type Register } from './register.ts'

/** How long an instance may rely on its last read of the register, counted from before the read. */
export const LEASE_MS = 1_000
/** After this time no instance relies on the previous state of the register: a lease, plus the tolerance for clocks. */
export const EXPIRY_MS = LEASE_MS + 100

/**
 * A writer that has had a fence for this long is asked whether it is still alive; again after twice the time, and so
 * on.
 */
const CHALLENGE_AFTER_MS = 3_000
const MOST_DOUBLINGS = 4
/** After this time, any other instance takes over a task that an instance has claimed and not finished. */
const TAKE_OVER_MS = 10_000
/** How long others have to object to a retired incarnation that wants to come back. */
const CONTEST_MS = 3 * LEASE_MS
const CONTEST_AGAIN_MS = 15_000
const ABANDONED_CONTEST_MS = 30_000
const MOST_RETIRED = 50

/** What an instance knows. */
export interface Situation {
  /** The instance's name in the register. */
  readonly me: string
  /** The incarnations of the servers that it reaches. */
  readonly reached: readonly string[]
  /** Whether these are all servers that it knows of. */
  readonly isWhole: boolean
  /** Whether it has acknowledged a change that it could not mark, now or a moment ago. */
  readonly hasUnmarked: boolean
  /** Milliseconds since it first saw an entry (see `entriesOf`) in the register. */
  age(entry: string): number
  /** The entries whose events are all covered by documents or marks: see coverage.ts. */
  readonly covered: ReadonlySet<string>
  /** Whether the read model accepts its writes, if that matters. */
  readonly acceptsWrites: boolean
  /** Milliseconds since it last contested. */
  readonly sinceContest: number
}

type Fence = Register['fences'][number]
type Settling = Register['settling'][number]

const settlingEntry = ({ incarnation, by }: Settling) => `settling ${incarnation} ${by}`
const fenceEntry = ({ writer, answers }: Fence) => `fence ${writer} ${answers}`
const challengeEntry = ({ writer, challenger, answers }: Fence) => `challenge ${writer} ${challenger} ${answers}`
const contestEntry = ({ incarnation, by }: NonNullable<Register['contest']>) => `contest ${incarnation} ${by}`
const retiredEntry = (incarnation: string) => `retired ${incarnation}`
export const periodEntry = (period: string) => `period ${period}`

/** Names for all entries of the register whose age matters. */
export function entriesOf({ settling, fences, contest, retired, period }: Register): string[] {
  return [
    ...settling.map(settlingEntry),
    ...fences.flatMap((fence) => [fenceEntry(fence), challengeEntry(fence)]),
    ...retired.map(retiredEntry),
    ...(contest ? [contestEntry(contest)] : []),
    ...(period ? [periodEntry(period)] : []),
  ]
}

/** How long this instance has seen an incarnation settling; undefined: it is not settling. */
export function settlingFor(register: Register, incarnation: string, age: Situation['age']): number | undefined {
  const found = register.settling.find((each) => each.incarnation === incarnation)
  return found && age(settlingEntry(found))
}

/**
 * The register with a fence of the writer, and no question about it pending.
 * @param force replaces the register in any case, so that an earlier change still under way can't take effect
 */
export function withFence(register: Register, writer: string, force = false): Register | undefined {
  const own = register.fences.find((fence) => fence.writer === writer)
  if (own && own.challenger === null && !force) return undefined
  const answered = { writer, challenger: null, answers: own ? own.answers + 1 : 0 }
  return {
    ...register,
    period: register.period ?? crypto.randomUUID(),
    fences: [...register.fences.filter((fence) => fence !== own), answered],
  }
}

function withoutFences(register: Register, isOver: (fence: Fence) => boolean): Register {
  const fences = register.fences.filter((fence) => !isOver(fence))
  return { ...register, fences, period: fences.length > 0 ? register.period : null }
}

/** The entries that could be removed if documents and marks covered the current log. */
export function coverable({ settling, fences }: Register, { me, age, reached }: Situation): string[] {
  const isDue = (entry: string, by: string) => age(entry) >= (by === me ? EXPIRY_MS : TAKE_OVER_MS)
  const isReached = settling.some(({ incarnation }) => reached.includes(incarnation))
  return [
    ...settling.filter((each) => isReached && isDue(settlingEntry(each), each.by)).map(settlingEntry),
    ...fences
      .filter((fence) => fence.challenger !== null && isDue(challengeEntry(fence), fence.challenger))
      .map(challengeEntry),
  ]
}

/** The next change that the instance has to make; undefined: none. */
export function nextStep(register: Register, situation: Situation): Register | undefined {
  const { me, reached } = situation
  if (register.revision === 'no_stream') {
    return reached.length > 0 ? { ...NO_REGISTER, trusted: [...reached] } : undefined
  }
  return (
    ownFence(register, me, situation.hasUnmarked) ??
    whatIsCovered(register, situation) ??
    contestOf(register, situation) ??
    strangers(register, situation) ??
    reinstate(register, situation) ??
    challenge(register, situation)
  )
}

/** Lifts the fence if all changes are marked, and answers a question about it. */
function ownFence(register: Register, me: string, hasUnmarked: boolean): Register | undefined {
  const own = register.fences.find(({ writer }) => writer === me)
  if (own === undefined) return undefined
  return hasUnmarked ? withFence(register, me) : withoutFences(register, (fence) => fence === own)
}

function whatIsCovered(register: Register, { covered, reached }: Situation): Register | undefined {
  const isOver = (fence: Fence) => covered.has(challengeEntry(fence))
  const settled = register.settling.filter(
    (each) => covered.has(settlingEntry(each)) && reached.includes(each.incarnation),
  )
  if (settled.length === 0 && !register.fences.some(isOver)) return undefined
  return withoutFences(
    {
      ...register,
      trusted: [...register.trusted, ...settled.map(({ incarnation }) => incarnation)],
      settling: register.settling.filter((each) => !settled.includes(each)),
    },
    isOver,
  )
}

/** Objects to the return of a retired incarnation, if this instance reaches the current ones and not that one. */
function contestOf(register: Register, situation: Situation): Register | undefined {
  const { contest } = register
  if (contest === null) return undefined
  const { me, age, reached, isWhole } = situation
  const over = { ...register, contest: null }
  const isReached = reached.includes(contest.incarnation)
  if (contest.by === me) {
    if (!isReached) return over
    return age(contestEntry(contest)) >= CONTEST_MS ? succeed(over, situation, [contest.incarnation]) : undefined
  }
  const isPresent = isWhole && reached.some((incarnation) => isCurrent(register, incarnation))
  if (isPresent && !isReached) return over
  return age(contestEntry(contest)) >= ABANDONED_CONTEST_MS ? over : undefined
}

/** New incarnations: a server was restarted, or another one has taken over. */
function strangers(register: Register, situation: Situation): Register | undefined {
  const unknown = situation.reached.filter(
    (incarnation) => !isCurrent(register, incarnation) && !register.retired.includes(incarnation),
  )
  return unknown.length > 0 ? succeed(register, situation, unknown) : undefined
}

function reinstate(register: Register, { me, reached, age, sinceContest }: Situation): Register | undefined {
  if (register.contest !== null || sinceContest < CONTEST_AGAIN_MS) return undefined
  const incarnation = reached.find(
    (each) => register.retired.includes(each) && age(retiredEntry(each)) >= CHALLENGE_AFTER_MS,
  )
  return incarnation === undefined ? undefined : { ...register, contest: { incarnation, by: me } }
}

/** The first fence of another writer about which it is time to ask. */
export function silentFence({ fences }: Register, { me, age }: Pick<Situation, 'me' | 'age'>): Fence | undefined {
  return fences.find(
    (fence) =>
      fence.writer !== me &&
      fence.challenger === null &&
      age(fenceEntry(fence)) >= CHALLENGE_AFTER_MS * 2 ** Math.min(fence.answers, MOST_DOUBLINGS),
  )
}

/** Whether others, who can reach the read model, have asked about the writer's fence. */
export function isAskedAbout({ fences }: Register, writer: string): boolean {
  return fences.some((fence) => fence.writer === writer && (fence.answers > 0 || fence.challenger !== null))
}

/**
 * Asked only by an instance that reaches a trusted read model which accepts its writes; the question itself conveys
 * that.
 */
function challenge(register: Register, situation: Situation): Register | undefined {
  const { me, reached, hasUnmarked, acceptsWrites } = situation
  const isWell = !hasUnmarked && acceptsWrites && reached.some((incarnation) => isCurrent(register, incarnation))
  const silent = isWell ? silentFence(register, situation) : undefined
  if (silent === undefined) return undefined
  return { ...register, fences: register.fences.map((each) => (each === silent ? { ...each, challenger: me } : each)) }
}

/**
 * The incarnations in `next` replace those that the instance does not reach. They are trusted once they contain what
 * was acknowledged before.
 */
function succeed(register: Register, { me, reached }: Situation, next: readonly string[]): Register {
  const trusted = register.trusted.filter((incarnation) => reached.includes(incarnation))
  const settling = [
    ...register.settling.filter(({ incarnation }) => reached.includes(incarnation)),
    ...next.map((incarnation) => ({ incarnation, by: me })),
  ]
  const present = new Set([...trusted, ...settling.map(({ incarnation }) => incarnation)])
  const known = [...register.retired, ...register.trusted, ...register.settling.map(({ incarnation }) => incarnation)]
  return { ...register, trusted, settling, retired: known.filter((each) => !present.has(each)).slice(-MOST_RETIRED) }
}

/** Whether it is trusted, or about to be. */
export function isCurrent({ trusted, settling }: Register, incarnation: string): boolean {
  return trusted.includes(incarnation) || settling.some((each) => each.incarnation === incarnation)
}
