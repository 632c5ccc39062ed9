/** What an import reports: the outcome of each row, counted. */
import type { Row, Table } from './files/csv.ts'
import { rejectionOf } from './rejections.ts'

/** The outcome of a row that was not rejected. */
export type Outcome = 'imported' | 'alreadyThere'

export interface ImportReport {
  imported: number
  /** Imported by an earlier run. */
  alreadyThere: number
  rejected: number
  /** How many rows were rejected for each reason; `N` stands for the numbers in it. */
  readonly reasons: Map<string, number>
  /** Unused columns of the file. */
  readonly unused: readonly string[]
}

export const newReport = (table?: Table): ImportReport => ({
  imported: 0,
  alreadyThere: 0,
  rejected: 0,
  reasons: new Map(),
  unused: table?.unused ?? [],
})

/** A row on its way through the import. */
export interface ReportedRow {
  readonly row: Row
  /** In a composite file: the rows from the customer's to this one, which are needed to understand it. */
  readonly above?: readonly Row[]
}

/** Callbacks for the rows of an import, and the signal that stops it. */
export interface Reporting {
  /**
   * Called with each rejected row; the reason has no personal data in it.
   * @param above of a composite file: the rows from the customer's to this one, without which it can't be understood
   */
  readonly onRejected: (
    file: string,
    line: number,
    reason: string,
    row: Row,
    above: readonly Row[],
  ) => Promise<void> | void
  /** @param rows of both files so far @param share 0 to 1 of both */
  readonly onProgress?: (rows: number, share: number) => void
  readonly signal?: AbortSignal
}

/** The rows of one file, as they are counted. */
export interface Counted {
  readonly report: ImportReport
  readonly file: string
  /** Bytes of the files before this one. */
  readonly before: number
}

/** Counts the rows. */
export interface Settle {
  /** Processes a row and counts it, or rejects it with its reason; any other error ends the import. */
  (into: Counted, row: ReportedRow, work: () => Promise<Outcome>): Promise<void>
  /** Counts a row that has been processed. */
  done(into: Counted, row: ReportedRow, outcome: Outcome): void
}

/** @param total bytes of all files */
export function createSettle({ onRejected, onProgress, signal }: Reporting, total: number): Settle {
  let rows = 0
  const progress = ({ before }: Counted, { row }: ReportedRow) => onProgress?.(++rows, (before + row.bytes) / total)

  async function settle(into: Counted, each: ReportedRow, work: () => Promise<Outcome>): Promise<void> {
    if (signal?.aborted) return
    const { report, file } = into
    try {
      report[await work()]++
    } catch (error) {
      const { message } = rejectionOf(error)
      report.rejected++
      const reason = message.replace(/(?<![\w-])\d+/g, 'N')
      report.reasons.set(reason, (report.reasons.get(reason) ?? 0) + 1)
      await onRejected(file, each.row.line, message, each.row, each.above ?? [])
    }
    progress(into, each)
  }

  return Object.assign(settle, {
    done(into: Counted, each: ReportedRow, outcome: Outcome): void {
      into.report[outcome]++
      progress(into, each)
    },
  })
}
