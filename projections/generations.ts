/** What an operator does with the generations of the read model, beside filling one (rebuild-run.ts). */
import { setTimeout as delay } from 'node:timers/promises'
import { comparePositions, type EventStore, type Position } from '../eventstore/port.ts'
import { provenanceOf } from './provenance.ts'
import type { Generation, ReadModel } from './read-model.ts'

/** Opens a handle of one generation; the caller closes it. */
export type OpenGeneration = (generation: number) => Promise<ReadModel>

/** A generation as an operator sees it. */
export interface GenerationState {
  readonly number: number
  readonly live: boolean
  readonly state: 'empty' | 'being filled' | 'complete'
  readonly position: Position | undefined
  /** How far it has come in the log, 0 to 1; undefined for an empty one or an empty log. */
  readonly share: number | undefined
}

/** @param end the end of the log */
export function stateOf({ number, live, checkpoint }: Generation, end: Position | undefined): GenerationState {
  const position = checkpoint?.position
  const share =
    position && end
      ? comparePositions(position, end) >= 0
        ? 1
        : Number(position.commit) / Number(end.commit || 1n)
      : undefined
  return {
    number,
    live,
    state: checkpoint === null ? 'empty' : checkpoint.complete ? 'complete' : 'being filled',
    position,
    share,
  }
}

/** What came of going back; `live` is the generation that was live before. */
export type RolledBack =
  | { readonly outcome: 'rolled back'; readonly to: number }
  | { readonly outcome: 'nothing before'; readonly live: number }
  | { readonly outcome: 'of another log'; readonly to: number }
  | { readonly outcome: 'too late' }

/**
 * Makes the generation before the live one live again.
 * @throws EventStoreUnavailable | ReadModelUnavailable
 */
export async function rollBack(
  eventStore: EventStore,
  readModel: ReadModel,
  open: OpenGeneration,
): Promise<RolledBack> {
  const generations = await readModel.generations()
  const current = generations.find((each) => each.live)
  const live = current?.number ?? 1
  const before = generations.filter(({ number, checkpoint }) => number < live && checkpoint !== null).at(-1)
  if (before === undefined) return { outcome: 'nothing before', live }
  const isOther = current?.checkpoint && before.checkpoint?.origin !== current.checkpoint.origin
  if (isOther || !(await isOfLog(eventStore, open, before.number))) {
    return { outcome: 'of another log', to: before.number }
  }
  const isSwitched = await readModel.switchGeneration(live, before.number)
  return isSwitched ? { outcome: 'rolled back', to: before.number } : { outcome: 'too late' }
}

/**
 * Whether a generation was filled from this log, and not from a lost one or from events that a restored log no longer
 * has.
 */
async function isOfLog(eventStore: EventStore, open: OpenGeneration, number: number): Promise<boolean> {
  const generation = await open(number)
  try {
    const checkpoint = await generation.getCheckpoint()
    return (await provenanceOf(eventStore, { checkpoint, newest: await generation.newest() })) === 'same'
  } finally {
    await generation.close()
  }
}

/** How long processes that still use a generation may take to switch over. */
const SWITCH_OVER_MS = 1_000

/** Deletes all generations that are not live. @returns their numbers @throws ReadModelUnavailable */
export async function dropOthers(readModel: ReadModel): Promise<readonly number[]> {
  const others = (await readModel.generations()).filter(({ live }) => !live).map(({ number }) => number)
  if (others.length > 0) await delay(SWITCH_OVER_MS)
  for (const number of others) await readModel.dropGeneration(number)
  return others
}
