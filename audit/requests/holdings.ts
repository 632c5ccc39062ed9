/** What is held of a person, by which store, and what an erasure does to it. */
import { keysOf } from '../../eventstore/encryption/customer-keys.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { orGone } from '../../eventstore/read.ts'
import { readAccount } from '../../projections/erasure.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { allEmailKeysOf } from '../../schema/email-key.ts'
import { STREAM_PREFIXES, STREAMS, type StreamFamily } from '../../schema/streams.ts'
import type { ErasureStep, Subject } from './request.ts'

/** What becomes of something in an erasure. `unreadable`: its events stay, and their personal fields can't be read. */
type Fate = 'goes' | 'unreadable' | 'stays'

export interface Holding {
  readonly store: 'event store' | 'key store' | 'read model'
  /** In an officer's words. */
  readonly what: string
  /** The name of the stream, where it is one. */
  readonly stream?: string
  /** Events, keys or documents. */
  readonly count: number
  readonly fate: Fate
}

/** Something to do by hand after an erasure. */
export interface ToDo {
  readonly step: ErasureStep
  readonly what: string
}

const WORDS: Readonly<Record<string, string>> = {
  [STREAM_PREFIXES.customer]: 'the account: profile, addresses, changes',
  [STREAM_PREFIXES.email]: 'the claim to an e-mail address (its keyed hash)',
  [STREAM_PREFIXES.skips]: "operators' decisions about events",
  [STREAM_PREFIXES.subscriber]: "a guest's subscription",
  [STREAM_PREFIXES.privacyNotes]: 'notes on requests',
  [STREAM_PREFIXES.credentials]: 'the password hash',
  [STREAM_PREFIXES.signIns]: 'the sign-in history',
  [STREAM_PREFIXES.access]: 'the access log',
}

const FATES: Readonly<Record<StreamFamily['erasure'], Fate>> = {
  key: 'unreadable',
  stream: 'goes',
  event: 'stays',
  nothing: 'stays',
}

/**
 * Derived from the table of streams, so a new stream is in it.
 * @param readModel absent: documents are not looked for
 * @throws EventStoreUnavailable | ReadModelUnavailable
 */
export async function holdingsOf(
  eventStore: EventStore,
  readModel: ReadModel | undefined,
  subject: Subject,
  emailHashKey: string,
): Promise<readonly Holding[]> {
  const holdings: Holding[] = []
  for (const { stream, family, isOfAddress } of await streamsAbout(eventStore, subject, emailHashKey)) {
    let count = 0
    for await (const _ of orGone(eventStore.readStream(stream))) count++
    if (count === 0) continue
    // What is kept under an address alone is deleted with it (projections/erasure.ts).
    const fate = isOfAddress && family.name === STREAM_PREFIXES.access ? 'goes' : FATES[family.erasure]
    holdings.push({ store: 'event store', what: WORDS[family.name] ?? family.name, stream, count, fate })
  }
  return [...holdings, ...(await besideTheLog(eventStore, readModel, subject))]
}

async function besideTheLog(
  eventStore: EventStore,
  readModel: ReadModel | undefined,
  subject: Subject,
): Promise<Holding[]> {
  const keys = keysOf(eventStore)
  const owners = subject.customerId === undefined ? subject.emailKeys : [String(subject.customerId)]
  const holdings: Holding[] = []
  let held = 0
  for (const owner of owners) if (await keys.isHeld(owner)) held++
  if (held > 0) holdings.push({ store: 'key store', what: 'the key of the personal fields', count: held, fate: 'goes' })
  if (readModel && subject.customerId !== undefined) {
    const [document] = await readModel.documents([subject.customerId])
    // A deleted customer's document says only that.
    if (document && document.status === 'registered') {
      holdings.push({ store: 'read model', what: 'the document for queries', count: 1, fate: 'goes' })
    }
  }
  return holdings
}

interface About {
  readonly stream: string
  readonly family: StreamFamily
  readonly isOfAddress: boolean
}

async function streamsAbout(eventStore: EventStore, subject: Subject, emailHashKey: string): Promise<About[]> {
  const { customerId } = subject
  const emailKeys =
    subject.customerId === undefined
      ? subject.emailKeys
      : await emailKeysOf(eventStore, subject.customerId, emailHashKey)
  return STREAMS.flatMap((family) => {
    const { name, of } = family
    const ofCustomer = (of === 'customer' || of === 'customer or address') && customerId !== undefined
    const ofAddress = of === 'address' || of === 'customer or address'
    return [
      ...(ofCustomer ? [{ stream: `${name}${customerId}`, family, isOfAddress: false }] : []),
      ...(ofAddress ? emailKeys.map((key) => ({ stream: `${name}${key}`, family, isOfAddress: true })) : []),
    ]
  })
}

async function emailKeysOf(eventStore: EventStore, customerId: number, hashKey: string): Promise<readonly string[]> {
  const { addresses, emailKeys } = await readAccount(eventStore, customerId)
  return [...new Set([...emailKeys, ...addresses.flatMap((email) => allEmailKeysOf(hashKey, email))])]
}

/** What stays after every erasure, and why. */
export const STAYS: readonly string[] = [
  "the customer's number, and the keyed hashes of the addresses: they say nothing without the hash key",
  'which events there were and when, without their personal values: the log stays provable',
  'this register: that the request was received, decided and done, without the words of the notes',
]

/** Where the data is. */
export interface Places {
  /** An event-store server, which keeps deleted events in its files until it is scavenged. */
  readonly isServer: boolean
  /** A read model in Redis, which may have replicas and snapshots elsewhere. */
  readonly isRedis: boolean
  /** The keys are stored in the log itself. */
  readonly hasKeysInLog: boolean
}

/** What people have to do after an erasure, because it can't be done or seen from here. */
export function toDoAfterErasure({ isServer, isRedis, hasKeysInLog }: Places): readonly ToDo[] {
  const backups = hasKeysInLog
    ? 'Let backups of the log from before the erasure expire: its keys are in them. Change the master key.'
    : 'Let backups of the key store from before the erasure expire: with one, the data can be read again.'
  return [
    ...(isServer
      ? [
          {
            step: 'scavenge',
            what: 'Scavenge every node of the event store: deleted streams lie in its files until then.',
          } as const,
        ]
      : []),
    ...(isRedis
      ? [{ step: 'replicas', what: 'Check replicas and snapshots of Redis that are kept elsewhere.' } as const]
      : []),
    { step: 'backups', what: backups },
    {
      step: 'files',
      what: 'Delete what lies beside the log: exports that an import read, their .rejected.csv, files handed out, mails in an archive.',
    },
    {
      step: 'other-systems',
      what: 'Tell whoever got the data: subgraphs with data of their own, shipping, newsletters (art. 19).',
    },
  ]
}

/** Where the data is, by the addresses of the stores in the settings. */
export const placesOf = (urls: {
  readonly EVENTSTORE_URL: string
  readonly READMODEL_URL: string
  readonly KEYS_URL?: string | undefined
}): Places => {
  const isServer = !urls.EVENTSTORE_URL.startsWith('sqlite:')
  return {
    isServer,
    isRedis: urls.READMODEL_URL.startsWith('redis'),
    hasKeysInLog: isServer && urls.KEYS_URL === undefined,
  }
}
