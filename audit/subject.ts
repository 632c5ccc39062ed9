/** `npm run audit -- subject`: all data about one person (GDPR art. 15 and 20). */
import type { EventStore, RecordedEvent } from '../eventstore/port.ts'
import { orNone } from '../eventstore/read.ts'
import { readAccount, streamsOfAccount, streamsOfAddress } from '../projections/erasure.ts'
import { foldCustomer } from '../projections/fold.ts'
import { allEmailKeysOf } from '../schema/email-key.ts'
import { fieldsOf } from './changes.ts'
import { type EventRecord, recordOf } from './records.ts'
import { REVEALS_STREAM } from './reveals.ts'
import { streamsOf } from './timeline.ts'

/**
 * @param isShown whether an event has not expired
 * @returns the content of the file. Password hashes are withheld: they are useless to the person, and valuable to a
 * thief.
 * @throws EventStoreUnavailable; the error of an event that can't be applied
 */
export async function subjectData(
  eventStore: EventStore,
  customerId: number,
  emailHashKey: string,
  isShown: (event: RecordedEvent) => boolean,
): Promise<object> {
  const document = await foldCustomer(eventStore, customerId)
  const { addresses: emailAddresses } = await readAccount(eventStore, customerId)
  const keys = [...new Set(emailAddresses.flatMap((email) => allEmailKeysOf(emailHashKey, email)))]
  const streams = [
    ...Object.values(streamsOf(customerId)),
    ...Object.values(streamsOfAccount(customerId)),
    ...keys.flatMap((key) => Object.values(streamsOfAddress(key))),
  ]
  const events: EventRecord[] = []
  for (const stream of streams) {
    for await (const event of orNone(eventStore.readStream(stream)))
      if (isShown(event)) events.push(recordOf(event, 'revealed'))
  }
  const disclosures: EventRecord[] = []
  for await (const event of orNone(eventStore.readStream(REVEALS_STREAM))) {
    const { customerId: whose } = (event.data ?? {}) as { customerId?: unknown }
    // Some disclosures were about several customers, possibly including this one.
    if (whose === customerId || whose === null) disclosures.push(recordOf(event, 'revealed'))
  }
  return {
    customerId,
    time: new Date().toISOString(),
    state: Object.fromEntries(fieldsOf(document).map(({ field, value }) => [field, value])),
    emailAddresses,
    /** Everything that was ever written about the person, in order of time. */
    events: events.sort((a, b) => Number(a.position) - Number(b.position)),
    /** Who was shown personal data. */
    disclosures,
  }
}
