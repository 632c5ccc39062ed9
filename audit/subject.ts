/** `npm run audit -- subject`: all data about one person (GDPR art. 15 and 20). */
import { comparePositions, type EventStore, type RecordedEvent } from '../eventstore/port.ts'
import { orGone, orNone } from '../eventstore/read.ts'
import { readAccount, streamsOfAccount, streamsOfAddress } from '../projections/erasure.ts'
import { foldCustomer } from '../projections/fold.ts'
import { allEmailKeysOf } from '../schema/email-key.ts'
import { STREAM_NAMES, STREAM_PREFIXES, streamOf } from '../schema/streams.ts'
import { fieldsOf } from './changes.ts'
import { type EventRecord, recordOf } from './records.ts'
import { readRegister } from './requests/register.ts'
import { isSameSubject, type Subject } from './requests/request.ts'
import { REVEALS_STREAM } from './reveals.ts'
import { streamsOf } from './timeline.ts'

/** Whether an event has not expired. */
type IsShown = (event: RecordedEvent) => boolean

/**
 * @returns the content of the file. Password hashes are withheld: they are useless to the person, and valuable to a
 * thief.
 * @throws EventStoreUnavailable; the error of an event that can't be applied
 */
export async function subjectData(
  eventStore: EventStore,
  customerId: number,
  emailHashKey: string,
  isShown: IsShown,
): Promise<object> {
  const document = await foldCustomer(eventStore, customerId)
  const { addresses: emailAddresses } = await readAccount(eventStore, customerId)
  const streams = [
    ...Object.values(streamsOf(customerId)),
    ...Object.values(streamsOfAccount(customerId)),
    streamOf.privacyNotes(customerId),
  ]
  const ofAddresses = new Map<string, (event: RecordedEvent) => boolean>()
  for (const email of emailAddresses) {
    const emailKeys = allEmailKeysOf(emailHashKey, email)
    const claims = await Promise.all(emailKeys.map((key) => claimsOf(eventStore, key)))
    for (const [index, key] of emailKeys.entries()) {
      const [own, others] = [claims[index] ?? [], claims.toSpliced(index, 1)]
      for (const stream of addressStreams([key])) ofAddresses.set(stream, createIsOwn([own, ...others], customerId))
    }
  }
  return {
    customerId,
    time: new Date().toISOString(),
    state: Object.fromEntries(fieldsOf(document).map(({ field, value }) => [field, value])),
    emailAddresses,
    /** Everything that was ever written about the person, in order of time. */
    events: await eventsOf(
      eventStore,
      [...streams, ...ofAddresses.keys()],
      (event) => isShown(event) && (ofAddresses.get(event.stream)?.(event) ?? true),
    ),
    /** What the person asked for under the GDPR, and what came of it. */
    requests: await requestsOf(eventStore, { customerId }),
    /** Who was shown personal data. Some disclosures were about several customers, possibly including this one. */
    disclosures: await disclosuresOf(
      eventStore,
      (whose) => whose.customerId === customerId || (whose.customerId === null && whose.emailKeys === undefined),
    ),
  }
}

/** All data about an address that is no customer's. @param emailKeys its keyed hashes @throws EventStoreUnavailable */
export async function addressData(
  eventStore: EventStore,
  emailKeys: readonly string[],
  isShown: IsShown,
): Promise<object> {
  const streams = [...addressStreams(emailKeys), ...emailKeys.map((key) => streamOf.privacyNotes(key))]
  return {
    time: new Date().toISOString(),
    events: await eventsOf(eventStore, streams, isShown),
    requests: await requestsOf(eventStore, { emailKeys }),
    disclosures: await disclosuresOf(eventStore, (whose) => whose.emailKeys?.some((key) => emailKeys.includes(key))),
  }
}

async function claimsOf(eventStore: EventStore, emailKey: string): Promise<RecordedEvent[]> {
  const claims: RecordedEvent[] = []
  for await (const event of orNone(eventStore.readStream(streamOf.email(emailKey)))) claims.push(event)
  return claims
}

/**
 * Returns whether an event about an address is about the customer: it was written while the customer had the address, or before
 * that and after anybody else had it. Whoever has it later, as a customer or as a guest, may be another person.
 * @param claims those under the key of the event's stream; then those under the other keys that earlier releases may have
 * used, which count where nobody has the address under the first
 */
function createIsOwn(
  claims: readonly (readonly RecordedEvent[])[],
  customerId: number,
): (event: RecordedEvent) => boolean {
  const isOf = (claim: RecordedEvent | undefined) =>
    (claim?.data as { readonly customerId?: unknown } | undefined)?.customerId === customerId
  const isUnclaimed = claims.every(({ length }) => length === 0)
  return (event) => {
    if (event.stream.startsWith(STREAM_PREFIXES.email)) return isOf(event)
    let next: RecordedEvent | undefined
    for (const ofKey of claims) {
      const after = ofKey.findIndex(({ position }) => comparePositions(position, event.position) > 0)
      const before = after === 0 ? undefined : ofKey.at(after === -1 ? -1 : after - 1)
      if (before?.type === 'EmailClaimed') return isOf(before)
      const later = after === -1 ? undefined : ofKey[after]
      if (later && (next === undefined || comparePositions(later.position, next.position) < 0)) next = later
    }
    return isUnclaimed || isOf(next)
  }
}

const addressStreams = (emailKeys: readonly string[]) =>
  [...new Set(emailKeys)].flatMap((key) => Object.values(streamsOfAddress(key)))

async function eventsOf(eventStore: EventStore, streams: readonly string[], isShown: IsShown): Promise<EventRecord[]> {
  const events: EventRecord[] = []
  for (const stream of streams) {
    for await (const event of orGone(eventStore.readStream(stream)))
      if (isShown(event)) events.push(recordOf(event, 'revealed'))
  }
  return events.sort((a, b) => Number(a.position) - Number(b.position))
}

async function requestsOf(eventStore: EventStore, subject: Subject): Promise<EventRecord[]> {
  const { requests } = await readRegister(eventStore)
  const numbers = new Set(
    [...requests.values()].filter((each) => isSameSubject(each.subject, subject)).map((each) => each.number),
  )
  const events: EventRecord[] = []
  if (numbers.size === 0) return events
  for await (const event of orNone(eventStore.readStream(STREAM_NAMES.privacyRequests))) {
    if (numbers.has((event.data as { request: number }).request)) events.push(recordOf(event, 'revealed'))
  }
  return events
}

interface Whose {
  readonly customerId?: number | null
  readonly emailKeys?: readonly string[]
}

async function disclosuresOf(
  eventStore: EventStore,
  isOfSubject: (whose: Whose) => boolean | undefined,
): Promise<EventRecord[]> {
  const disclosures: EventRecord[] = []
  for await (const event of orNone(eventStore.readStream(REVEALS_STREAM))) {
    if (isOfSubject((event.data ?? {}) as Whose)) disclosures.push(recordOf(event, 'revealed'))
  }
  return disclosures
}
