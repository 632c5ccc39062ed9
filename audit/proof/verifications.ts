/** The record of verifications: each run over the whole log is an event of the stream `logVerifications`. */
import { encode } from '../../eventstore/codec.ts'
import { chained } from '../../eventstore/hash-chain.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { orNone } from '../../eventstore/read.ts'
import type { VerificationEvent } from '../../schema/events.ts'
import { STREAM_NAMES } from '../../schema/streams.ts'
import { soundEvent } from '../sound.ts'
import type { Verification } from './verify.ts'

/** The outcome of a verification, as recorded. */
export type RecordedVerification = VerificationEvent['data']

/**
 * Records the outcome of a verification that was not stopped.
 * @param by who ran it, such as `operator:<user>`
 * @returns why it could not be recorded; undefined if it is. The outcome itself holds either way
 */
export async function recordVerification(
  eventStore: EventStore,
  result: Verification,
  by: string,
): Promise<string | undefined> {
  const { events, streams, faultCount, inTree, covered, checkpoints } = result
  const id = crypto.randomUUID()
  const at = new Date().toISOString()
  const data: RecordedVerification = {
    by,
    at,
    events,
    streams,
    faults: faultCount,
    uncovered: inTree - covered,
    checkpoints: checkpoints.good,
  }
  const event = encode({ type: 'LogVerified', data }, id, { $correlationId: id, $causationId: id, actor: by, at })
  try {
    await chained(eventStore).append(STREAM_NAMES.logVerifications, [event], { expected: 'any' })
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

/**
 * The newest verification of the whole log; undefined if there was none. What is in their stream and is none is left out.
 * @throws EventStoreUnavailable
 */
export async function lastVerification(eventStore: EventStore): Promise<RecordedVerification | undefined> {
  return (await recentVerifications(eventStore, 1))[0]
}

/** The newest verifications of the whole log, at most so many, the newest first. @throws EventStoreUnavailable */
export async function recentVerifications(eventStore: EventStore, most: number): Promise<RecordedVerification[]> {
  const found: RecordedVerification[] = []
  const newest = eventStore.readStream(STREAM_NAMES.logVerifications, { direction: 'backwards' })
  for await (const event of orNone(newest)) {
    const sound = soundEvent<VerificationEvent>(event)
    if (sound?.type === 'LogVerified') found.push(sound.data)
    if (found.length === most) break
  }
  return found
}
