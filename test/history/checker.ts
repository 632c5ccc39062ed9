/**
 * What clients saw of customers, and whether it could be so: no read older than what was acknowledged or shown before it, no
 * answer to a revoked token, nothing of a deleted customer.
 */

/** Milliseconds by the clients' one clock. */
interface Span {
  readonly start: number
  readonly end: number
}

/** A name that a client saw: in a query's answer, or in its own mutation's. */
interface Sight extends Span {
  readonly name: string
  /** The instance that answered. */
  readonly by: string
}

/** A token's life. */
export interface TokenLife {
  /** When it was issued. */
  readonly issued: number
  /** When somebody began to end it, and when that was acknowledged. */
  ending: number
  ended: number
}

export interface History {
  /** A client was shown the name. */
  saw(sight: Sight): void
  /** A query was refused, as with a token that was revoked. */
  refused(token: TokenLife, span: Span, by: string): void
  /** A query with the token was answered. */
  admitted(token: TokenLife, span: Span, by: string): void
  /** @param names in the order in which they stand in the log */
  faults(names: readonly string[]): string[]
  readonly sights: number
}

export const newToken = (issued: number): TokenLife => ({
  issued,
  ending: Number.POSITIVE_INFINITY,
  ended: Number.POSITIVE_INFINITY,
})

/** The history of one customer. */
export function createHistory(customer: string): History {
  const seen: Sight[] = []
  const found: string[] = []
  const at = ({ start, end }: Span) => `${start.toFixed(0)}-${end.toFixed(0)} ms`

  return {
    saw: (sight) => void seen.push(sight),
    get sights() {
      return seen.length
    },

    admitted(token, span, by) {
      if (span.start > token.ended) {
        found.push(`${customer}: ${by} answered a token (${at(span)}) that was ended at ${token.ended.toFixed(0)} ms`)
      }
    },

    refused(token, span, by) {
      // Issued after everything that could have ended it: who refuses it shows an older state than was known.
      if (span.end < token.ending) found.push(`${customer}: ${by} refused a valid token (${at(span)})`)
    },

    faults(names) {
      const places = new Map(names.map((name, index) => [name, index]))
      const place = ({ name }: Sight) => places.get(name) ?? -1
      const byEnd = seen.toSorted((a, b) => a.end - b.end)
      let next = 0
      let newest: Sight | undefined
      const stale: string[] = []
      for (const sight of seen.toSorted((a, b) => a.start - b.start)) {
        if (!places.has(sight.name)) stale.push(`${customer}: "${sight.name}" is not in the log`)
        for (; (byEnd[next]?.end ?? Number.POSITIVE_INFINITY) < sight.start; next++) {
          const done = byEnd[next] as Sight
          if (newest === undefined || place(done) > place(newest)) newest = done
        }
        if (newest && place(sight) < place(newest)) {
          stale.push(
            `${customer}: ${sight.by} showed "${sight.name}" (${at(sight)}) after ${newest.by} showed "${newest.name}" (${at(newest)})`,
          )
        }
      }
      return [...found, ...stale]
    },
  }
}
