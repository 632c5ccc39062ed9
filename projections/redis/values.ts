/** The format of the values in Redis: how they are written and parsed (read-model.ts lists the keys). */
import type { EventPlace } from '../../eventstore/event-place.ts'
import type { CustomerDocument } from '../customer.ts'
import type { Checkpoint } from '../read-model.ts'
import { parseJson, readDocument, readNumber, readPosition } from '../stored-values.ts'
import type { RedisCommands } from './connection.ts'
import { UNREADABLE } from './scripts.ts'

/** A checkpoint as it is stored. */
export interface Stored extends Checkpoint {
  readonly epoch: string
}

export function format({ position, id, stream, revision, origin, complete, epoch }: Stored): string {
  const { commit, prepare } = position
  const place = { commit: String(commit), prepare: String(prepare), id, stream, revision }
  return JSON.stringify({ ...place, origin, complete, epoch })
}

/** null for none, and for one that can't be read. */
export function parse(stored: string): Stored | null {
  const value = (parseJson(stored) ?? null) as Readonly<Record<string, unknown>> | null
  const [commit, prepare] = [readPosition(value?.commit), readPosition(value?.prepare)]
  // Earlier releases store the position alone; then the event at it is unknown.
  const { id = '', stream = '', revision = -1, origin, complete, epoch } = value ?? {}
  if (commit === undefined || prepare === undefined || typeof origin !== 'string') return null
  if (typeof complete !== 'boolean' || typeof epoch !== 'string') return null
  if (typeof id !== 'string' || typeof stream !== 'string' || typeof revision !== 'number') return null
  return { position: { commit, prepare }, id, stream, revision, origin, complete, epoch }
}

/** A place as a text that sorts like the place. */
export function formatPlace({ position, id, stream, revision }: EventPlace): string {
  const [commit, prepare] = [position.commit, position.prepare].map((part) => String(part).padStart(20, '0'))
  return `${commit}${prepare}${JSON.stringify({ id, stream, revision })}`
}

/** null for none, and for one that can't be read. */
export function parsePlace(stored: string | null): EventPlace | null {
  const [, commit, prepare, json = ''] = /^(\d{20})(\d{20})(.*)$/s.exec(stored ?? '') ?? []
  const { id, stream, revision } = (parseJson(json) ?? {}) as Readonly<Record<string, unknown>>
  if (commit === undefined || prepare === undefined) return null
  if (typeof id !== 'string' || typeof stream !== 'string' || typeof revision !== 'number') return null
  return { position: { commit: BigInt(commit), prepare: BigInt(prepare) }, id, stream, revision }
}

export function toCheckpoint(stored: string): Checkpoint | null {
  const parsed = parse(stored)
  if (parsed === null) return null
  const { epoch: _, ...checkpoint } = parsed
  return checkpoint
}

/** null for one that can't be read. */
export function parseDocument(value: string, id: number): CustomerDocument | null {
  const blank = value.indexOf(' ')
  const revision = readNumber(value.slice(0, Math.max(blank, 0)))
  return revision === undefined ? null : readDocument(value.slice(blank + 1), id, revision)
}

/** Which generation is live. */
export const liveIn = (generations: ReadonlyMap<string, string>): number => readNumber(generations.get('live')) || 1

/** The value of a key; UNREADABLE if it is not a string. */
export function readText(commands: RedisCommands, key: string): Promise<string | null> {
  return commands.get(key).catch((error: Error) => {
    if (error.message.startsWith('WRONGTYPE')) return UNREADABLE
    throw error
  })
}
