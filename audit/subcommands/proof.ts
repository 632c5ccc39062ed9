/** The audit commands about proofs, apart from their arguments. Each returns an exit code. */

import { readFileSync } from 'node:fs'
import type { EventStore, Position } from '../../eventstore/port.ts'
import { logEnd } from '../../eventstore/read.ts'
import { ConfigurationError, UsageError } from '../../runtime/errors.ts'
import { showProgress } from '../../runtime/progress.ts'
import { NoProofError } from '../errors.ts'
import { ACCEPTED_PLACES, parseEvent, placeText } from '../places.ts'
import { checkInclusion, type EventName, parseProof, proveInclusion } from '../proof/inclusion.ts'
import { type LogCheckpoint, writeCheckpoint } from '../proof/signed-checkpoints.ts'
import { type PublicKey, publicPem, readPublicKey, type SigningKey } from '../proof/signing-key.ts'
import { counted, verificationLines } from '../proof/verification-text.ts'
import { recordVerification } from '../proof/verifications.ts'
import { verifyLog } from '../proof/verify.ts'

/** @param print prints one line, or a JSON text */
export type Print = (text: string) => void

/** Verifies the log, prints its faults, and records the outcome. @returns 0: no faults; 1: faults; 130 if it was stopped */
export async function verifyCommand(
  eventStore: EventStore,
  options: {
    readonly keys: readonly PublicKey[]
    readonly json: boolean
    readonly signal: AbortSignal
    readonly print: Print
    /** Writes a line to standard error. */
    readonly note: Print
    /** Who runs it, such as `operator:<user>`. */
    readonly by: string
  },
): Promise<number> {
  const { keys, json, signal, print, note, by } = options
  const end = (await logEnd(eventStore))?.commit ?? 1n
  const bar = showProgress('verifying the log', 'events')
  const report = (events: number, position: Position) => {
    if (events % 1_000 === 0) bar.report(events, Math.min(1, Number(position.commit) / Number(end)), position.commit)
  }
  const result = await verifyLog(eventStore, { keys, signal, report })
  bar.report(result.events)
  bar.stop()
  if (signal.aborted) {
    const soFar = counted(result.faultCount, 'fault')
    print(json ? JSON.stringify({ ...result, stopped: true }) : `Stopped before the end of the log: ${soFar} so far.`)
    return 130
  }
  if (json) print(JSON.stringify(result))
  else for (const line of verificationLines(result)) print(line)
  const unrecorded = await recordVerification(eventStore, result, by)
  if (unrecorded !== undefined) note(`The outcome holds, but could not be recorded in the log: ${unrecorded}`)
  return result.ok ? 0 : 1
}

/** Prints the proof of an event as JSON. @throws NoProofError */
export async function proveCommand(
  eventStore: EventStore,
  options: {
    readonly key: PublicKey
    readonly event: EventName
    readonly content: boolean
    /** The folder of the leaf cache. */
    readonly leafCache: string
    readonly print: Print
  },
): Promise<number> {
  const { key, event, content, leafCache, print } = options
  const bar = showProgress('making the proof', 'steps')
  let steps = 0
  const report = (share: number, position: Position) => {
    if (++steps % 1_000 === 0) bar.report(steps, share, position.commit)
  }
  try {
    print(JSON.stringify(await proveInclusion(eventStore, key, event, { content, leafCache, report }), null, 2))
    return 0
  } finally {
    bar.stop()
  }
}

/** Checks a proof in a file, without a log. @returns 1 if it is not valid */
export function checkCommand(options: {
  readonly file: string
  readonly key: PublicKey
  readonly json: boolean
  readonly print: Print
}): number {
  const { file, key, json, print } = options
  let reason: string | undefined
  try {
    const proof = parseProof(read(file))
    reason = checkInclusion(proof, key)
    if (reason === undefined) {
      const { leaf, event, checkpoint } = proof
      print(
        json ? JSON.stringify({ ok: true, leaf, checkpoint }) : describeProof(leaf, event !== undefined, checkpoint),
      )
      return 0
    }
  } catch (error) {
    if (!(error instanceof NoProofError || error instanceof RangeError)) throw error
    // JSON.stringify ends so for a value that is nested too deep.
    reason = error instanceof RangeError ? 'it is nested too deep, or too large' : error.message
  }
  print(json ? JSON.stringify({ ok: false, reason }) : `The proof does not hold: ${reason.replace(/\.$/, '')}.`)
  return 1
}

function describeProof(leaf: string, withEvent: boolean, { time, size }: LogCheckpoint): string {
  const [stream, revision, hash] = JSON.parse(leaf) as [string, number, string]
  const what = withEvent ? 'The event in the file' : `An event with the hash ${hash}`
  return `The proof holds. ${what} was ${placeText({ stream, revision })}, one of the ${size} events that were signed at ${time}.`
}

/** Writes a checkpoint now. @throws LogCheckpointError */
export async function checkpointCommand(
  eventStore: EventStore,
  options: { readonly key: SigningKey; readonly signal: AbortSignal; readonly json: boolean; readonly print: Print },
): Promise<number> {
  const { key, signal, json, print } = options
  const bar = showProgress('reading the log', 'events')
  let checkpoint: LogCheckpoint | undefined
  try {
    checkpoint = await writeCheckpoint(eventStore, key, { signal, report: (events) => bar.report(events) })
  } finally {
    bar.stop()
  }
  if (signal.aborted) return 130
  if (json) print(JSON.stringify(checkpoint ?? null))
  else if (checkpoint === undefined) print('There is nothing new since the last checkpoint.')
  else
    print(
      `Checkpoint of ${checkpoint.size} events up to position ${checkpoint.position.commit} of the log. Root of the tree: ${checkpoint.root}`,
    )
  return 0
}

/** Prints the public key. */
export function keyCommand(options: {
  readonly key: PublicKey
  readonly json: boolean
  readonly print: Print
}): number {
  const { key, json, print } = options
  print(json ? JSON.stringify({ keyId: key.id, publicKey: publicPem(key) }) : publicPem(key).trimEnd())
  return 0
}

/** An event's id, or its place in any of the accepted forms. @throws UsageError */
export function readEventName(text: string): EventName {
  const event = parseEvent(text)
  if (event) return event
  throw new UsageError(`${JSON.stringify(text)} can't be used; accepted: an event's id, or ${ACCEPTED_PLACES}.`)
}

/** @throws ConfigurationError if the file can't be read, or is not a public key */
export const readKeyFile = (path: string): PublicKey => readPublicKey(read(path), path)

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new ConfigurationError(`${JSON.stringify(path)} can't be read (${(error as NodeJS.ErrnoException).code}).`)
  }
}
