/** The customer as of a moment, and the difference of two moments. */
import { type Change, changesBetween, fieldsOf } from '../../../audit/changes.ts'
import { type Shown, shownChange } from '../../../audit/masking.ts'
import type { Edge, Moment } from '../../../audit/moments.ts'
import { momentOf, zoneOf } from '../../../audit/subcommands/times.ts'
import { customerAt } from '../../../audit/timeline.ts'
import { type EventStore, EventStoreUnavailable } from '../../../eventstore/port.ts'
import { UsageError } from '../../../runtime/errors.ts'
import { Refused } from '../../errors.ts'
import { valueWords } from '../../words.ts'

/** The moments of the page's address. */
export interface Moments {
  /** undefined: now. */
  readonly at: Moment | undefined
  /** What to compare with; undefined: nothing. */
  readonly from: Moment | undefined
}

/** @throws Refused */
export function readMoments(query: URLSearchParams): Moments {
  try {
    const zone = zoneOf({ zone: query.get('zone')?.trim() || undefined })
    const moment = (name: string, edge: Edge) => {
      const text = query.get(name)?.trim()
      return text ? momentOf(text, edge, zone) : undefined
    }
    return { at: moment('at', 'last'), from: moment('from', 'first') }
  } catch (error) {
    if (error instanceof UsageError) throw new Refused(400, error.message.replace(/^--zone/, 'The time zone'))
    throw error
  }
}

export interface State {
  readonly revision: number
  /** Since when. */
  readonly created: Date
  readonly fields: readonly { readonly field: string; readonly value: string }[]
  /** The fields that the last event before the moment changed. */
  readonly changed: ReadonlySet<string>
  /** From the other moment to this one; `not there`: the customer was not there at the other moment. */
  readonly difference: { readonly from: number; readonly changes: readonly Change[] } | 'not there' | undefined
}

/**
 * @returns `not there` if the customer was not there at the moment; `not applicable` if an event before it can't be applied
 * @throws EventStoreUnavailable
 */
export async function readState(
  eventStore: EventStore,
  customerId: number,
  { at, from }: Moments,
  { shown, now }: { readonly shown: Shown; readonly now: Date },
): Promise<State | 'not there' | 'not applicable'> {
  const scope = String(customerId)
  try {
    const [found, other] = await customerAt(eventStore, customerId, [at ?? { time: now }, from ?? { revision: 0 }])
    if (!found) return 'not there'
    const { document, created } = found
    const [before] =
      document.revision > 0 ? await customerAt(eventStore, customerId, [{ revision: document.revision - 1 }]) : []
    const changes = before ? changesBetween(before.document, document) : []
    return {
      revision: document.revision,
      created,
      fields: fieldsOf(document).map(({ field, value }) => ({
        field,
        value: valueWords(shownChange({ field, from: null, to: value }, shown, scope).to),
      })),
      changed: new Set(changes.map(({ field }) => field)),
      difference: from && (other ? differenceOf(other.document, document) : 'not there'),
    }
  } catch (error) {
    if (error instanceof EventStoreUnavailable) throw error
    return 'not applicable'
  }

  function differenceOf(...[before, after]: Parameters<typeof changesBetween>) {
    const changes = changesBetween(before, after).map((change) => shownChange(change, shown, scope))
    return { from: before.revision, changes }
  }
}
