/** The rows of a generation. A value that can't be read counts as missing. */
import type { EventPlace } from '../../eventstore/event-place.ts'
import { comparePositions, type Position } from '../../eventstore/port.ts'
import type { CustomerDocument } from '../customer.ts'
import type { Checkpoint, DocumentWrite } from '../read-model.ts'
import { readDocument, readPosition } from '../stored-values.ts'
import type { Statements } from './schema.ts'

interface DocumentRow {
  readonly revision: number
  readonly document: string
}

/** The generation that queries see. */
export function liveGeneration(sql: Statements): number {
  return (sql.live.get() as { number: number } | undefined)?.number ?? 1
}

/** For projections: the stored document, complete or not. */
export function documentAt(sql: Statements, generation: number, id: number): CustomerDocument | null {
  return parse(id, sql.document.get(generation, id) as DocumentRow | undefined)
}

/**
 * Stores a document if the stored revision is the expected one; an unreadable one is overwritten.
 * @returns the revision now stored; -1: none
 */
export function writeDocument(sql: Statements, generation: number, { document, expected }: DocumentWrite): number {
  const stored = (sql.revision.get(generation, document.id) as { revision: number } | undefined)?.revision ?? -1
  if (stored !== expected) {
    if (isReadable(sql, generation, document.id)) return stored
    sql.dropDocument.run(generation, document.id)
    if (expected !== -1) return -1
  }
  sql.put.run(generation, document.id, document.revision, JSON.stringify(document))
  return document.revision
}

/** Whether the stored value of a customer, if there is one, is a document. */
function isReadable(sql: Statements, generation: number, id: number): boolean {
  const row = sql.document.get(generation, id) as DocumentRow | undefined
  return row === undefined || parse(id, row) !== null
}

export function checkpointOf(sql: Statements, generation: number): Checkpoint | null {
  const row = sql.checkpoint.get(generation) as
    | { commit: string; prepare: string; origin: string; complete: number }
    | undefined
  if (row === undefined) return null
  const { origin, complete } = row
  const position = positionOf(row)
  if (position === undefined) return null
  const place = placeAt(sql, generation, 'checkpoint')
  // Earlier releases store the position alone; then the event at it is unknown.
  const isKnown = place !== null && comparePositions(place.position, position) === 0
  const { id, stream, revision } = isKnown ? place : { id: '', stream: '', revision: -1 }
  return { position, id, stream, revision, origin, complete: complete === 1 }
}

export function writeCheckpoint(sql: Statements, generation: number, checkpoint: Checkpoint): void {
  const { position, origin, complete } = checkpoint
  sql.setCheckpoint.run(generation, String(position.commit), String(position.prepare), origin, complete ? 1 : 0)
  setPlace(sql, generation, 'checkpoint', checkpoint)
}

/** null if there is none, or if it can't be read. */
export function placeAt(sql: Statements, generation: number, kind: 'checkpoint' | 'newest'): EventPlace | null {
  const row = sql.place.get(generation, kind) as
    | { commit: string; prepare: string; id: string; stream: string; revision: number }
    | undefined
  const position = row && positionOf(row)
  if (row === undefined || position === undefined) return null
  const { id, stream, revision } = row
  return { position, id, stream, revision }
}

/** Records the newest event that documents reflect, if it is newer than the stored one. */
export function raiseNewest(sql: Statements, generation: number, place: EventPlace): void {
  const stored = placeAt(sql, generation, 'newest')
  if (stored === null || comparePositions(stored.position, place.position) < 0) {
    setPlace(sql, generation, 'newest', place)
  }
}

function setPlace(sql: Statements, generation: number, kind: 'checkpoint' | 'newest', place: EventPlace): void {
  const { position, id, stream, revision } = place
  sql.setPlace.run(generation, kind, String(position.commit), String(position.prepare), id, stream, revision)
}

/** null if there is none, and for one that can't be read. */
function parse(id: number, row: DocumentRow | undefined): CustomerDocument | null {
  return row === undefined ? null : readDocument(row.document, id, row.revision)
}

/** undefined for an invalid position. */
function positionOf(row: { readonly commit: unknown; readonly prepare: unknown }): Position | undefined {
  const [commit, prepare] = [readPosition(row.commit), readPosition(row.prepare)]
  return commit === undefined || prepare === undefined ? undefined : { commit, prepare }
}
