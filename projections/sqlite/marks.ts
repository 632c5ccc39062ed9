/** The marks of acknowledged revisions, and the incarnation of the file that contains them. */
import { statSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'
import type { Access } from './access.ts'
import type { Statements } from './schema.ts'

/** A file that replaces this one, for instance from a backup, has another incarnation. */
export function incarnationOf(database: DatabaseSync, path: string): string {
  const { id } = database.prepare('SELECT id FROM incarnation').get() as { id: string }
  return `${id}.${statSync(path).ino}`
}

export interface MarkWriter {
  /** Raises a mark. @returns the incarnation @throws ReadModelUnavailable */
  acknowledge(id: number, revision: number): Promise<string>
  /** Resolves when no mark waits for its transaction. */
  settled(): Promise<void>
}

/** All marks of one turn of the event loop share a transaction. */
export function createMarkWriter({ write }: Access, sql: Statements, incarnation: string): MarkWriter {
  let marks: { readonly id: number; readonly revision: number }[] = []
  let marking: Promise<string> | undefined
  return {
    acknowledge(id, revision) {
      marks.push({ id, revision })
      marking ??= Promise.resolve().then(() => {
        const group = marks
        marks = []
        marking = undefined
        return write(() => {
          for (const mark of group) sql.acknowledge.run(mark.id, mark.revision)
          return incarnation
        })
      })
      return marking
    },

    async settled() {
      await marking?.catch(() => {}) // its callers get the error
    },
  }
}
