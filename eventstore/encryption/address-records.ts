/**
 * The same as block-records.ts for the keys of addresses that are no customer's: the log names the newest ones that were
 * made, in the stream `addressKeys`, so that an older key store is detected when a process starts. And before one is
 * made, the log is asked whether it was encrypted with such a key already: a second key of the same generation would
 * make what the first one encrypted unreadable, even after the right key store is back.
 */

import { inBatches } from '../../runtime/in-batches.ts'
import type { KeyEvent } from '../../schema/events.ts'
import { isPersonal, ownerOf, STREAM_NAMES, STREAMS } from '../../schema/streams.ts'
import { decode, encode, isEncrypted } from '../codec.ts'
import type { EventStore, RecordedEvent } from '../port.ts'
import { newestEvent, orNone } from '../read.ts'
import { streamOfBlock } from './blocks.ts'
import { generationOf } from './cipher.ts'

const STREAM = STREAM_NAMES.addressKeys
/** How many records are kept, and how many of them are compared. */
const KEPT = 50
const NEWEST = 20
/** How many events of a stream are searched for one that is encrypted: those that end a subscription are not. */
const SEARCHED = 20

/** The families of streams that the key of an address encrypts. */
const FAMILIES = STREAMS.filter((family) => isPersonal(family) && family.of?.endsWith('address'))

/** A key of an address: its keyed hash, and which key it is. */
export interface AddressKey {
  readonly emailKey: string
  readonly generation: number
}

export interface AddressRecords {
  /** Records that a key is about to be made. @throws EventStoreUnavailable */
  record(key: AddressKey): Promise<void>
  /** The newest key with which the log was encrypted for the address; -1: none. @throws EventStoreUnavailable */
  newestIn(emailKey: string): Promise<number>
  /**
   * The keys that the log was encrypted with and the key store lacks.
   * @param scope `newest`: those that an older backup lacks first; `all`: those of the whole log
   * @throws EventStoreUnavailable
   */
  missing(scope: 'newest' | 'all'): Promise<AddressKey[]>
}

export function createAddressRecords(options: {
  readonly log: EventStore
  readonly keyStore: EventStore
}): AddressRecords {
  const { log, keyStore } = options

  async function newestIn(emailKey: string): Promise<number> {
    const newest = await inBatches(FAMILIES, async ({ name }) => {
      const events = log.readStream(`${name}${emailKey}`, { direction: 'backwards', maxCount: SEARCHED })
      for await (const event of orNone(events)) if (isEncrypted(event)) return generationOf(event)
      return -1
    })
    return Math.max(...newest)
  }

  async function isLacking({ emailKey, generation }: AddressKey): Promise<boolean> {
    const stored = await newestEvent<KeyEvent>(keyStore, streamOfBlock(emailKey))
    return stored?.type !== 'CustomerKeysSet' || stored.data.generation < generation
  }

  /** Of the keys that were made last: after a crash one may be recorded that was not, and then nothing needs it. */
  async function recorded(): Promise<AddressKey[]> {
    const keys: AddressKey[] = []
    for await (const stored of orNone(log.readStream(STREAM, { direction: 'backwards', maxCount: NEWEST }))) {
      const { type, data } = decode<KeyEvent>(stored)
      if (type === 'AddressKeyBegun') keys.push(data)
    }
    const lacking = await only(keys, isLacking)
    return only(lacking, async ({ emailKey, generation }) => (await newestIn(emailKey)) >= generation)
  }

  async function ofWholeLog(): Promise<AddressKey[]> {
    const newest = new Map<string, number>()
    const note = (event: RecordedEvent) => {
      const owner = ownerOf(event.stream) ?? ''
      if (isEncrypted(event)) newest.set(owner, Math.max(newest.get(owner) ?? -1, generationOf(event)))
    }
    const streamPrefixes = FAMILIES.map(({ name }) => name)
    for await (const event of log.readAll({ filter: { streamPrefixes } })) {
      if (!/^[1-9]\d{0,15}$/.test(ownerOf(event.stream) ?? '')) note(event)
    }
    const keys = [...newest].map(([emailKey, generation]) => ({ emailKey, generation }))
    return only(
      keys.filter(({ generation }) => generation >= 0),
      isLacking,
    )
  }

  return {
    newestIn,
    missing: (scope) => (scope === 'newest' ? recorded() : ofWholeLog()),

    async record(data) {
      const id = crypto.randomUUID()
      const metadata = { $correlationId: id, $causationId: id, actor: 'keys', at: new Date().toISOString() }
      const event: KeyEvent = { type: 'AddressKeyBegun', data }
      const { revision } = await log.append(STREAM, [encode(event, id, metadata)], { expected: 'any' })
      if (revision % KEPT === 0) await log.setStreamMetadata(STREAM, { $maxCount: KEPT })
    },
  }
}

async function only<T>(items: readonly T[], test: (item: T) => Promise<boolean>): Promise<T[]> {
  const answers = await inBatches(items, test)
  return items.filter((_, index) => answers[index])
}
