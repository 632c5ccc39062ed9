/**
 * Moving customers in from Magento's export files. Each row's events have ids that come from the row, and are appended where
 * nothing was: so an import that is run again writes nothing twice, and one that was cut off goes on.
 */
import { stat } from 'node:fs/promises'
import { LRUCache } from 'lru-cache'
import { decode } from '../../eventstore/codec.ts'
import {
  comparePositions,
  type EventStore,
  type NewEvent,
  StreamNotFound,
  WrongExpectedRevision,
} from '../../eventstore/port.ts'
import { absentCustomer, type CustomerDocument, project } from '../../projections/customer.ts'
import { customerStream, foldCustomer } from '../../projections/fold.ts'
import type { CustomerEvent, EmailEvent } from '../../schema/events.ts'
import type { Store } from '../../schema/store.ts'
import { type Command, encodeAll, uuidOf } from '../command.ts'
import { createEmailClaims } from '../email-claims.ts'
import { CustomerError } from '../errors.ts'
import { hashPassword, MAGENTO } from '../identity/passwords.ts'
import { createIds } from '../ids.ts'
import { readNewest } from '../streams.ts'
import { ADDRESS_ID_COLUMNS, type ImportedAddress, readAddress } from './address-row.ts'
import { CUSTOMER_ID_COLUMNS, type ImportedCustomer, readCustomer } from './customer-row.ts'
import { idOf, RejectedRow, type Row, readRows } from './rows.ts'

export interface ImportReport {
  imported: number
  /** Brought in by an earlier run. */
  alreadyThere: number
  rejected: number
}

export interface ImportOptions {
  readonly eventStore: EventStore
  /** Keys the claims of addresses. */
  readonly emailHashKey: string
  readonly store: Store
  /** Paths; either may be missing. */
  readonly customers?: string | undefined
  readonly addresses?: string | undefined
  /** Nothing is written. */
  readonly dryRun?: boolean
  /** Told of each rejected row; the reason has no personal data in it. */
  readonly onRejected: (file: string, line: number, reason: string) => Promise<void> | void
  /** @param rows of both files so far @param share 0 to 1 of both */
  readonly onProgress?: (rows: number, share: number) => void
  readonly signal?: AbortSignal
  readonly now?: Date
}

type Outcome = 'imported' | 'alreadyThere'

interface Found {
  readonly id: number
  readonly revision: number
  /** undefined: none that an import of addresses would have written. */
  readonly eventIds?: ReadonlySet<string>
  readonly defaults: { billing: number | null; shipping: number | null }
}

/** Rows whose appends are under way at once: the stores write them in groups. */
const IN_FLIGHT = 1_024
/** Addresses are gathered by customer within so many rows. */
const GATHERED = 4_096
/** Ids are reserved for the import in such steps. */
const FLOOR_STEP = 100_000
/** Some 60 MB. */
const REMEMBERED = 300_000

/** Brings the files in. @throws EventStoreUnavailable; Error for a file that can't be read */
export async function importFiles(
  options: ImportOptions,
): Promise<{ customers: ImportReport; addresses: ImportReport }> {
  const { eventStore, store, dryRun = false, onRejected, onProgress, signal, now = new Date() } = options
  const load = (id: number) => foldCustomer(eventStore, id)
  const claims = createEmailClaims(eventStore, { load }, options.emailHashKey)
  const ids = createIds(eventStore)
  const run = command(`run:${crypto.randomUUID()}`)
  const report = () => ({ imported: 0, alreadyThere: 0, rejected: 0 })
  const reports = { customers: report(), addresses: report() }

  function command(name: string): Command {
    return { id: uuidOf(`import:${name}`), repeatable: false, actor: 'import', correlationId: uuidOf(name), at: now }
  }

  const sizes = await Promise.all(
    [options.customers, options.addresses].map(async (path) => (path ? (await stat(path)).size : 0)),
  )
  const total = Math.max(1, (sizes[0] ?? 0) + (sizes[1] ?? 0))
  let rows = 0
  /** Customers that this run has registered, by the keys of their addresses: what is known of them need not be read. */
  const fresh = new LRUCache<string, { readonly id: number; readonly revision: number }>({ max: REMEMBERED })
  const before = await end(eventStore)
  const hasOwnAddresses = (await readNewest(eventStore, 'addressIds', 1)).length > 0

  if (options.customers) {
    const file = options.customers
    await each(withFloors(readRows(file), 'customerId', CUSTOMER_ID_COLUMNS), IN_FLIGHT, (row) =>
      settle(reports.customers, file, row, 0, () => importCustomer(readCustomer(row, store, now))),
    )
  }
  if (options.addresses) await importAddresses(options.addresses)
  return reports

  /** One row: counted, or rejected with its reason; anything else ends the import. */
  async function settle(
    into: ImportReport,
    file: string,
    { line, bytes }: Row,
    before: number,
    work: () => Promise<Outcome>,
  ): Promise<void> {
    if (signal?.aborted) return
    try {
      into[await work()]++
    } catch (error) {
      if (!(error instanceof RejectedRow)) throw error
      into.rejected++
      await onRejected(file, line, error.message)
    }
    onProgress?.(++rows, (before + bytes) / total)
  }

  /** Rows as they come, once no id of theirs will be given out here any more. */
  async function* withFloors(
    read: AsyncIterable<Row>,
    kind: 'customerId' | 'addressId',
    columns: readonly string[],
  ): AsyncGenerator<Row> {
    let floor = 0
    for await (const row of read) {
      const id = idOf(row.fields, columns) ?? 0
      if (id > floor && !dryRun) {
        floor = id + FLOOR_STEP
        await ids.raiseFloors({ customerId: 0, addressId: 0, [kind]: floor }, run)
      }
      yield row
    }
  }

  async function importCustomer(customer: ImportedCustomer): Promise<Outcome> {
    const { email } = customer
    if (dryRun) return 'imported'
    const key = claims.keyOf(email)
    const [claimed] =
      customer.id === undefined ? await readNewest<EmailEvent>(eventStore, `customerEmail-${key}`, 1) : []
    const id = customer.id ?? claimed?.data.customerId ?? (await ids.nextCustomerId(run))
    const own = command(`customer:${id}:${key}`)
    await claim(email, key, id, own)

    const password = customer.passwordHash === undefined ? customer.password : undefined
    const passwordHash =
      password === undefined
        ? customer.passwordHash && `${MAGENTO}${customer.passwordHash}`
        : await hashPassword(password)
    if (passwordHash !== undefined) await setCredentials(id, passwordHash, own)

    const events = encodeAll(own, customer.events(id))
    const { position, written } = await appendFirst(customerStream(id), events)
    if (written) {
      if (position && comparePositions(position, before) <= 0) return 'alreadyThere'
      fresh.set(key, { id, revision: events.length - 1 })
      return 'imported'
    }
    const holder = await load(id)
    if (holder.status === 'registered' && claims.keyOf(holder.email) === key) return 'alreadyThere'
    await claims.release(email, id, own)
    throw new RejectedRow(`the id ${id} is another customer's`)
  }

  /** @throws RejectedRow where the address is another customer's */
  async function claim(email: string, key: string, id: number, own: Command): Promise<void> {
    const events = encodeAll(own, [{ type: 'EmailClaimed', data: { customerId: id } }], 'claim')
    const { written } = await appendFirst(`customerEmail-${key}`, events)
    if (written) return
    try {
      await claims.claim(email, id, own, 'graphql-already-exists')
    } catch (error) {
      if (error instanceof CustomerError && error.extensions.code === 'CONFLICT') {
        throw new RejectedRow('the e-mail address is that of another customer')
      }
      throw error
    }
  }

  /** What stands there already counts: it may have been changed since. @throws RejectedRow where it is another customer's */
  async function setCredentials(id: number, passwordHash: string, own: Command): Promise<void> {
    const stream = `customerCredentials-${id}`
    const { written } = await appendFirst(
      stream,
      encodeAll(own, [{ type: 'CredentialsSet', data: { passwordHash } }], 'credentials'),
    )
    if (!written && (await load(id)).revision === -1)
      throw new RejectedRow(`the id ${id} is being used by another registration`)
  }

  /** Appends to a stream without events; a repetition counts as written. */
  async function appendFirst(stream: string, events: readonly NewEvent[]) {
    try {
      const { position } = await eventStore.append(stream, events, { expected: 'no_stream' })
      return { written: true, position }
    } catch (error) {
      if (!(error instanceof WrongExpectedRevision)) throw error
      return { written: false, position: undefined }
    }
  }

  async function importAddresses(file: string): Promise<void> {
    let gathered: Row[] = []
    const flush = async () => {
      const rows = gathered
      gathered = []
      const byCustomer = new Map<string, { readonly row: Row; readonly address: ImportedAddress }[]>()
      for (const row of rows) {
        try {
          const address = readAddress(row, store)
          const key = claims.keyOf(address.email)
          const group = byCustomer.get(key)
          if (group) group.push({ row, address })
          else byCustomer.set(key, [{ row, address }])
        } catch (error) {
          await settle(reports.addresses, file, row, sizes[0] ?? 0, () => Promise.reject(error))
        }
      }
      await each(byCustomer, IN_FLIGHT, async ([key, group]) => {
        const addresses = group.map(({ address }) => address)
        const outcomes = await importAddressesOf(key, addresses)
        for (const [index, { row }] of group.entries()) {
          await settle(reports.addresses, file, row, sizes[0] ?? 0, async () => {
            const outcome = outcomes[index] as Outcome | RejectedRow
            if (outcome instanceof RejectedRow) throw outcome
            return outcome
          })
        }
      })
    }
    for await (const row of withFloors(readRows(file), 'addressId', ADDRESS_ID_COLUMNS)) {
      if (signal?.aborted) return
      gathered.push(row)
      if (gathered.length === GATHERED) await flush()
    }
    await flush()
  }

  /** The addresses of one customer, in one append. */
  async function importAddressesOf(
    key: string,
    addresses: readonly ImportedAddress[],
  ): Promise<(Outcome | RejectedRow)[]> {
    for (;;) {
      const customer = await find(key)
      if (customer === undefined) {
        if (dryRun && options.customers) return addresses.map(() => 'imported')
        return addresses.map(() => new RejectedRow('there is no customer with this _email'))
      }
      const outcomes: (Outcome | RejectedRow)[] = []
      const events: NewEvent[] = []
      const { defaults } = customer
      const seen = new Set<number>()
      for (const address of addresses) {
        const own = command(`address:${address.id}:${customer.id}`)
        if (customer.eventIds?.has(own.id)) outcomes.push('alreadyThere')
        else if (seen.has(address.id)) outcomes.push(new RejectedRow(`the address id ${address.id} comes twice`))
        else if (!dryRun && !(await take(address.id, customer.id, own))) {
          outcomes.push(new RejectedRow(`the address id ${address.id} is another address's`))
        } else {
          seen.add(address.id)
          outcomes.push('imported')
          events.push(...encodeAll(own, eventsOf(address, defaults)))
        }
      }
      fresh.delete(key)
      if (dryRun || events.length === 0) return outcomes
      try {
        await eventStore.append(customerStream(customer.id), events, { expected: customer.revision })
        return outcomes
      } catch (error) {
        if (!(error instanceof WrongExpectedRevision)) throw error // somebody changed the customer meanwhile: once more
      }
    }
  }

  /** The customer with this address, as far as its addresses need it. */
  async function find(key: string): Promise<Found | undefined> {
    const known = fresh.get(key)
    if (known) return { ...known, defaults: { billing: null, shipping: null } }
    const [claimed] = await readNewest<EmailEvent>(eventStore, `customerEmail-${key}`, 1)
    if (claimed?.type !== 'EmailClaimed') return undefined
    const { state, eventIds } = await read(claimed.data.customerId)
    if (state.status !== 'registered') return undefined
    const { id, revision, defaultBilling, defaultShipping } = state
    return { id, revision, eventIds, defaults: { billing: defaultBilling, shipping: defaultShipping } }
  }

  /** Makes the customer the owner of the id. @returns whether it is */
  async function take(addressId: number, customerId: number, own: Command): Promise<boolean> {
    // Of ids that were given out here before the floor was raised; on a new service there are none.
    if (hasOwnAddresses && (await ids.addressOwner(addressId)) !== undefined) {
      const [imported] = await readNewest(eventStore, `addressOwner-${addressId}`, 1)
      if (imported === undefined) return false
    }
    const events = encodeAll(own, [{ type: 'AddressIdImported', data: { customerId } }], 'owner')
    return (await appendFirst(`addressOwner-${addressId}`, events)).written
  }

  async function read(id: number): Promise<{ state: CustomerDocument; eventIds: ReadonlySet<string> }> {
    let state = absentCustomer(id)
    const eventIds = new Set<string>()
    try {
      for await (const event of eventStore.readStream(customerStream(id))) {
        eventIds.add(event.id)
        state = project(state, decode<CustomerEvent>(event))
      }
    } catch (error) {
      if (!(error instanceof StreamNotFound)) throw error
    }
    return { state, eventIds }
  }
}

function eventsOf(
  { id: addressId, fields, isDefaultBilling, isDefaultShipping }: ImportedAddress,
  defaults: { billing: number | null; shipping: number | null },
): CustomerEvent[] {
  const events: CustomerEvent[] = [{ type: 'CustomerAddressImported', data: { addressId, ...fields } }]
  // A default that the customer has chosen here since counts.
  if (isDefaultBilling && defaults.billing === null) {
    events.push({ type: 'DefaultBillingAddressSet', data: { addressId } })
    defaults.billing = addressId
  }
  if (isDefaultShipping && defaults.shipping === null) {
    events.push({ type: 'DefaultShippingAddressSet', data: { addressId } })
    defaults.shipping = addressId
  }
  return events
}

/** The newest position of the log. */
async function end(eventStore: EventStore) {
  for await (const { position } of eventStore.readAll({ direction: 'backwards', maxCount: 1 })) return position
  return { commit: -1n, prepare: -1n }
}

/** Works on the items, so many at a time; the first failure ends it. */
async function each<T>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]()
  let failed = false
  const worker = async () => {
    for (let next = await iterator.next(); !next.done && !failed; next = await iterator.next()) await work(next.value)
  }
  const fail = (error: unknown) => {
    failed = true
    throw error
  }
  await Promise.all(Array.from({ length: limit }, () => worker().catch(fail)))
}
