/**
 * Moving customers in from Magento's export files. Each row's events have ids that come from the row, and are appended where
 * nothing was: so an import that is run again writes nothing twice, and one that was cut off goes on.
 *
 * A customer's appends come in the order of a registration: the claim of the address, the credentials, the customer. What an
 * earlier run has brought in shows by the claim, and is looked at before anything is written: a customer who has a new
 * password, another address or is gone by now stays as it is.
 */
import { stat } from 'node:fs/promises'
import { LRUCache } from 'lru-cache'
import { chained } from '../../eventstore/chain.ts'
import { decode, InvalidEvent, type Recorded } from '../../eventstore/codec.ts'
import {
  AppendTooLarge,
  comparePositions,
  type EventStore,
  type NewEvent,
  StreamNotFound,
  WrongExpectedRevision,
} from '../../eventstore/port.ts'
import { readNewest } from '../../eventstore/read.ts'
import { absentCustomer, project } from '../../projections/customer.ts'
import { customerStream, foldCustomer } from '../../projections/fold.ts'
import { ConfigurationError } from '../../runtime/configuration.ts'
import { formerEmailKeysOf } from '../../schema/email-key.ts'
import type { CredentialsEvent, CustomerEvent, EmailEvent, ImportedIdEvent } from '../../schema/events.ts'
import type { Store } from '../../schema/store.ts'
import { type Command, encodeAll, uuidOf } from '../command.ts'
import type { GuestStatus } from '../domain/customer.ts'
import { createEmailClaims } from '../email-claims.ts'
import { CustomerError } from '../errors.ts'
import { createHashKinds } from '../identity/password-checks.ts'
import { hashPassword, kindOf, MAGENTO } from '../identity/passwords.ts'
import { createIds } from '../ids.ts'
import { createSubscribers } from '../subscribers.ts'
import { ADDRESS_ID_COLUMNS, type ImportedAddress, readAddress, readCompositeAddress } from './address-row.ts'
import { withBoundedReads } from './bounded-reads.ts'
import { addressColumns, addressFieldsOf, customerColumns, isComposite } from './columns.ts'
import { openTable, type Row, type Table } from './csv.ts'
import { CUSTOMER_ID_COLUMNS, type ImportedCustomer, readCustomer } from './customer-row.ts'
import { each } from './each.ts'
import { idOf, RejectedRow } from './rows.ts'

export interface ImportReport {
  imported: number
  /** Brought in by an earlier run. */
  alreadyThere: number
  rejected: number
  /** How many rows were rejected for each reason; `N` stands for the numbers in it. */
  readonly reasons: Map<string, number>
  /** Columns of the file that nothing was done with. */
  readonly unused: readonly string[]
}

/** The files of an import, with their head lines read. */
export interface ImportFiles {
  readonly customers?: Table & { readonly path: string }
  readonly addresses?: Table & { readonly path: string }
}

export interface ImportOptions {
  readonly eventStore: EventStore
  /** Keys the claims of addresses. */
  readonly emailHashKey: string
  readonly store: Store
  /** Paths; either may be missing. A composite file of customers has their addresses, too. */
  readonly customers?: string | undefined
  readonly addresses?: string | undefined
  /** Of both files, as of {@link openTable}. */
  readonly encoding?: string | undefined
  /** Nothing is written. */
  readonly dryRun?: boolean
  /** In which `created_at` is written: newer versions of Magento take the store's; default UTC. */
  readonly timeZone?: string
  /**
   * Told of each rejected row; the reason has no personal data in it.
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
  readonly now?: Date
}

type Outcome = 'imported' | 'alreadyThere'

interface Found {
  readonly id: number
  readonly revision: number
  /** undefined: none that an import of addresses would have written. */
  readonly eventIds?: ReadonlySet<string>
  readonly defaults: { billing: number | null; shipping: number | null }
  /** The newest id of an address that was given out here. */
  readonly lastAddressId: number
}

/** An address with the row that it stands in, and which one of its customer's it is in a composite file. */
interface AddressRow {
  readonly row: Row
  readonly address: ImportedAddress
  readonly number: number
  /** In a composite file: from the customer's row on. */
  readonly above?: readonly Row[]
}

/** A row that is no address, and why. */
interface NoAddress {
  readonly row: Row
  readonly error: unknown
  readonly above?: readonly Row[]
}

/** Rows whose appends are under way at once: the stores write them in groups. */
const IN_FLIGHT = 1_024
/** Addresses are gathered by customer within so many rows. */
const GATHERED = 4_096
/** The appends of one customer's addresses take so many of them at once. */
const ADDRESSES_AT_ONCE = 100
/** The floor of ids is raised in such steps, so that it is not raised for each row. */
const FLOOR_STEP = 10_000
/** Some 60 MB. */
const REMEMBERED = 300_000

/** What a row must have a column for: without it names and cities would come in empty. */
const REQUIRED = {
  customers: ['email', 'firstname', 'lastname'],
  addresses: ['_email', '_entity_id', 'firstname', 'lastname', 'street', 'city', 'country_id'],
  composite: ['firstname', 'lastname', 'street', 'city', 'country_id'].map((name) => `_address_${name}`),
}

/**
 * Opens the files and checks their head lines.
 * @throws ConfigurationError in one line, naming the columns that a file lacks
 */
export async function openFiles({
  customers,
  addresses,
  encoding,
  store,
}: Pick<ImportOptions, 'customers' | 'addresses' | 'encoding' | 'store'>): Promise<ImportFiles> {
  const codes = (declared: readonly { readonly code: string }[]) => declared.map(({ code }) => code)
  const own = { customer: codes(store.customAttributes.customer), address: codes(store.customAttributes.address) }
  const files: { -readonly [K in keyof ImportFiles]: ImportFiles[K] } = {}
  if (customers !== undefined) {
    const table = await openTable(customers, customerColumns(own.customer, own.address), encoding)
    requireColumns(customers, table, REQUIRED.customers)
    if (isComposite(table.columns)) requireColumns(customers, table, REQUIRED.composite)
    files.customers = { ...table, path: customers }
  }
  if (addresses !== undefined) {
    const table = await openTable(addresses, addressColumns(own.address), encoding)
    requireColumns(
      addresses,
      table,
      table.columns.includes('entity_id')
        ? REQUIRED.addresses.filter((name) => name !== '_entity_id')
        : REQUIRED.addresses,
    )
    files.addresses = { ...table, path: addresses }
  }
  return files
}

/** @throws ConfigurationError */
function requireColumns(path: string, { columns }: Table, required: readonly string[]): void {
  const missing = required.filter((name) => !columns.includes(name))
  if (missing.length === 0) return
  throw new ConfigurationError(
    `${path} has no column ${missing.join(', ')}; accepted: Magento's export of customers, then that of addresses, ` +
      `with commas, semicolons or tabs between the columns.`,
  )
}

/**
 * Brings the files in.
 * @throws EventStoreUnavailable; ConfigurationError as of {@link openFiles}; BrokenFileError and the system's errors for a
 * file that can't be read to its end
 */
export async function importFiles(
  options: ImportOptions,
): Promise<{ customers: ImportReport; addresses: ImportReport }> {
  const files = await openFiles(options)
  const eventStore = chained(withBoundedReads(options.eventStore))
  const { store, dryRun = false, onRejected, onProgress, signal, now = new Date(), timeZone = 'UTC' } = options
  const load = (id: number) => foldCustomer(eventStore, id)
  const claims = createEmailClaims(eventStore, { load }, options.emailHashKey)
  const ids = createIds(eventStore)
  const hashKinds = createHashKinds(eventStore)
  const correlationId = crypto.randomUUID()
  const run = command(`run:${correlationId}`)
  const report = (table?: Table): ImportReport => ({
    imported: 0,
    alreadyThere: 0,
    rejected: 0,
    reasons: new Map(),
    unused: table?.unused ?? [],
  })
  const reports = { customers: report(files.customers), addresses: report(files.addresses) }

  function command(name: string): Command {
    return { id: uuidOf(`import:${name}`), repeatable: false, actor: 'import', correlationId, at: now }
  }

  const sizes = await Promise.all(
    [options.customers, options.addresses].map(async (path) => (path ? (await stat(path)).size : 0)),
  )
  const total = Math.max(1, (sizes[0] ?? 0) + (sizes[1] ?? 0))
  let rows = 0
  /** Customers of this run's rows, by the keys of their addresses. What it has registered need not be read. */
  const met = new LRUCache<string, { readonly id: number; readonly revision: number } | 'there'>({ max: REMEMBERED })
  /** Customers whose rows are under way, by the same keys. */
  const underWay = new Set<string>()
  const before = await end(eventStore)
  /** Where nobody has an address yet, none needs to be looked up. */
  const isEmpty = await hasNone(eventStore, 'customerEmail-')
  const subscribers = createSubscribers(eventStore, claims.keysOf)
  const hasGuests = !(await hasNone(eventStore, 'newsletterSubscriber-'))
  /** Ids up to these may have been given out here; those above have not, and will not be. */
  const givenOut = { customer: 0, address: 0 }

  if (files.customers) {
    const { path, rows, columns } = files.customers
    const composite = isComposite(columns)
    const read = withFloors(rows(), 'customer', CUSTOMER_ID_COLUMNS)
    await each(composite ? grouped(read) : alone(read), IN_FLIGHT, async ({ row, above }) => {
      // In a composite file a row without an e-mail address is a further address of the customer above it.
      if (composite && row.fault === undefined && emailIn(row) === null) return
      const work = () => importCustomer(readCustomer(whole(row), store, now, timeZone))
      await settle(reports.customers, path, row, 0, work, above)
    })
    if (composite && !signal?.aborted) await importAddresses(path, compositeRows(rows()), 0)
  }
  if (files.addresses && !signal?.aborted) {
    const { path, rows } = files.addresses
    await importAddresses(path, addressRows(withFloors(rows(), 'address', ADDRESS_ID_COLUMNS)), sizes[0] ?? 0)
  }
  return reports

  /** One row: counted, or rejected with its reason; anything else ends the import. */
  async function settle(
    into: ImportReport,
    file: string,
    row: Row,
    before: number,
    work: () => Promise<Outcome>,
    above: readonly Row[] = [],
  ): Promise<void> {
    if (signal?.aborted) return
    try {
      into[await work()]++
    } catch (error) {
      const { message } = rejectionOf(error)
      into.rejected++
      const reason = message.replace(/(?<![\w-])\d+/g, 'N')
      into.reasons.set(reason, (into.reasons.get(reason) ?? 0) + 1)
      await onRejected(file, row.line, message, row, above)
    }
    onProgress?.(++rows, (before + row.bytes) / total)
  }

  /** Rows as they come, once no id of theirs will be given out here any more. */
  async function* withFloors(
    read: AsyncIterable<Row>,
    kind: 'customer' | 'address',
    columns: readonly string[],
  ): AsyncGenerator<Row> {
    let floor = 0
    for await (const row of read) {
      if (signal?.aborted) return
      const id = idOf(row.fields, columns) ?? 0
      if (id > floor && !dryRun) {
        floor = Math.ceil(id / FLOOR_STEP) * FLOOR_STEP
        givenOut[kind] = Math.max(givenOut[kind], await ids.raiseFloor(kind, floor, run))
      }
      yield row
    }
  }

  async function importCustomer(customer: ImportedCustomer): Promise<Outcome> {
    const key = claims.keyOf(customer.email)
    if (underWay.has(key) || met.has(key)) throw new RejectedRow('the e-mail address comes twice in the file')
    underWay.add(key)
    try {
      const outcome = await importOnce(customer, key, command(`customer:${customer.id ?? ''}:${key}`))
      if (!met.has(key)) met.set(key, 'there')
      return outcome
    } finally {
      underWay.delete(key)
    }
  }

  async function importOnce(customer: ImportedCustomer, key: string, own: Command): Promise<Outcome> {
    if (await cameWithEarlierRelease(customer)) return 'alreadyThere'
    if (dryRun) return foresee(customer, key, own)
    if (customer.id === undefined ? await isHeld(key) : customer.id <= givenOut.customer) {
      return importAgain(customer, key, own)
    }
    const id = customer.id ?? (await ids.nextCustomerId(run))
    const { written, position } = await appendFirst(claimStream(key), claimOf(id, own))
    const isNew = written && position !== undefined && comparePositions(position, before) > 0
    return isNew ? register(customer, id, key, own) : importAgain(customer, key, own)
  }

  /** Where a release has claimed the address under another key. @throws RejectedRow where it is another customer's */
  async function cameWithEarlierRelease(customer: ImportedCustomer): Promise<boolean> {
    for (const key of formerEmailKeysOf(options.emailHashKey, customer.email)) {
      if (!(await isHeld(key))) continue
      const { isThere } = await look(customer, key, command(`customer:${customer.id ?? ''}:${key}`))
      if (isThere) return true
    }
    return false
  }

  async function isHeld(key: string): Promise<boolean> {
    return !isEmpty && (await readNewest(eventStore, claimStream(key), 1)).length > 0
  }

  /** Where somebody has the address or has had it, or the id was given out here: what is there is looked at first. */
  async function importAgain(customer: ImportedCustomer, key: string, own: Command): Promise<Outcome> {
    const { newest, id = await ids.nextCustomerId(run), isThere } = await look(customer, key, own)
    if (isThere) return 'alreadyThere'
    const isOwn = newest?.type === 'EmailClaimed' && newest.data.customerId === id
    if (!isOwn) {
      try {
        await claims.claim(customer.email, id, own, 'change')
      } catch (error) {
        if (error instanceof CustomerError && error.code === 'EMAIL_TAKEN_ON_CHANGE') throw addressTaken()
        throw error
      }
    }
    return register(customer, id, key, own)
  }

  /** What there is of a row. @throws RejectedRow where its address or id is another customer's */
  async function look(customer: ImportedCustomer, key: string, own: Command) {
    const history = await all<EmailEvent>(claimStream(key))
    const newest = history.at(-1)
    const earlier = history.findLast(({ metadata }) => metadata.$causationId === own.id)
    let id = customer.id ?? earlier?.data.customerId
    const events = id === undefined ? [] : await all<CustomerEvent>(customerStream(id))
    if (events.some((event) => event.id === own.id)) return { newest, id, isThere: true }
    if (newest?.type === 'EmailClaimed') {
      const holder = await load(newest.data.customerId)
      if (holder.status === 'registered' && claims.keyOf(holder.email) === claims.keyOf(customer.email)) {
        // Came in from a file of another kind, or was registered here.
        if (holder.id === customer.id) return { newest, id, isThere: true }
        throw addressTaken()
      }
    }
    if (id !== undefined && events.length > 0 && !isTakenBy(events, own)) {
      if (customer.id !== undefined) throw idTaken(id)
      id = undefined // fenced off by one who took the claim over
    }
    return { newest, id, isThere: false }
  }

  /** What would come of the row. */
  async function foresee(customer: ImportedCustomer, key: string, own: Command): Promise<Outcome> {
    return !isEmpty && (await look(customer, key, own)).isThere ? 'alreadyThere' : 'imported'
  }

  /** Once the address is claimed: the credentials, then the customer. */
  async function register(customer: ImportedCustomer, id: number, key: string, own: Command): Promise<Outcome> {
    try {
      const guest = hasGuests ? await subscribers.status(customer.email) : 'none'
      const revision =
        customer.id !== undefined && id <= givenOut.customer
          ? await registerReserved(customer, id, guest, own)
          : await registerFree(customer, id, guest, own)
      if (guest !== 'none') await subscribers.handOver(customer.email, id, own)
      met.set(key, { id, revision })
      return 'imported'
    } catch (error) {
      if (isRejection(error)) await claims.release(customer.email, id, own)
      throw error
    }
  }

  /** An id that is nobody else's. @returns the customer's revision */
  async function registerFree(
    customer: ImportedCustomer,
    id: number,
    guest: GuestStatus,
    own: Command,
  ): Promise<number> {
    const passwordHash = await hashOf(customer)
    const events = encodeAll(own, customer.events(id, passwordHash === undefined ? -1 : 0, guest))
    if (passwordHash !== undefined) {
      const { written } = await appendFirst(credentialsStream(id), credentialsOf(passwordHash, own))
      if (!written) throw idTaken(id)
    }
    if (!(await appendFirst(customerStream(id), events)).written) throw idTaken(id)
    return events.length - 1
  }

  /**
   * An id of a block that an instance has, which may be about to give it to a new customer. Whose it is is decided by the
   * first event of the customer's stream, before any credentials: the other one's are never this customer's.
   */
  async function registerReserved(
    customer: ImportedCustomer,
    id: number,
    guest: GuestStatus,
    own: Command,
  ): Promise<number> {
    if (!(await appendFirst(customerStream(id), takingOf(own))).written) throw idTaken(id)
    // Without a password it gets one that nobody knows: it keeps out what the other one may still write.
    const passwordHash = (await hashOf(customer)) ?? (await hashPassword(crypto.randomUUID()))
    for (;;) {
      const { status, revision } = await load(id)
      if (status !== 'absent') throw idTaken(id)
      try {
        const credentialsRevision = await replaceCredentials(id, passwordHash, own)
        const events = encodeAll(own, customer.events(id, credentialsRevision, guest))
        await eventStore.append(customerStream(id), events, { expected: revision })
        return revision + events.length
      } catch (error) {
        // One who has the id under way has written its credentials, or its claim was given up there.
        if (!(error instanceof WrongExpectedRevision)) throw error
      }
    }
  }

  /** Sets the credentials, in the place of those that a registration has left which lost the id. @returns their revision */
  async function replaceCredentials(id: number, passwordHash: string, own: Command): Promise<number> {
    const stream = credentialsStream(id)
    const [left] = await readNewest<CredentialsEvent>(eventStore, stream, 1)
    if (left?.metadata.$causationId === own.id) return left.revision
    if (left) await eventStore.setStreamMetadata(stream, { $maxCount: 1 })
    const expected = left?.revision ?? 'no_stream'
    return (await eventStore.append(stream, credentialsOf(passwordHash, own), { expected })).revision
  }

  /** Only now: to hash a password is costly, and few rows of a run that goes on need it. */
  async function hashOf({ passwordHash, password }: ImportedCustomer): Promise<string | undefined> {
    if (passwordHash !== undefined) {
      const hash = MAGENTO + passwordHash
      // On record before the first of its kind: from then on a wrong password takes as long for everybody.
      await hashKinds.found(kindOf(hash), run)
      return hash
    }
    return password === undefined ? undefined : hashPassword(password)
  }

  /** A stream's events, oldest first; none for a missing stream. */
  async function all<E extends CustomerEvent | EmailEvent>(stream: string): Promise<Recorded<E>[]> {
    const events: Recorded<E>[] = []
    try {
      for await (const event of eventStore.readStream(stream)) events.push(decode<E>(event))
    } catch (error) {
      if (!(error instanceof StreamNotFound)) throw error
    }
    return events
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

  /** The addresses of a file of their own, or why a row is none. */
  async function* addressRows(rows: AsyncIterable<Row>): AsyncGenerator<AddressRow | NoAddress> {
    for await (const row of rows) {
      try {
        yield { row, address: readAddress(whole(row), store), number: 0 }
      } catch (error) {
        yield { row, error }
      }
    }
  }

  /** The addresses in a composite file: of the customer in the same row, or in the last one above it that has one. */
  async function* compositeRows(rows: AsyncIterable<Row>): AsyncGenerator<AddressRow | NoAddress> {
    const counts = new LRUCache<string, number>({ max: REMEMBERED })
    /** undefined: not known, because a row could not be read that may have been a customer's. */
    let email: string | null | undefined = null
    for await (const group of grouped(rows)) {
      if (signal?.aborted) return
      const { row } = group
      if (row.fault !== undefined) {
        email = undefined
        continue // told as a customer's row
      }
      email = emailIn(row) ?? email
      const fields = addressFieldsOf(row.fields)
      if (fields === undefined) continue
      try {
        if (email === null) throw new RejectedRow('the address comes before any customer')
        if (email === undefined)
          throw new RejectedRow('whose address it is can not be told: a row above it is rejected')
        const key = claims.keyOf(email)
        const number = (counts.get(key) ?? 0) + 1
        counts.set(key, number)
        yield { ...group, address: readCompositeAddress(fields, email, store), number }
      } catch (error) {
        yield { ...group, error }
      }
    }
  }

  async function importAddresses(
    file: string,
    rows: AsyncIterable<AddressRow | NoAddress>,
    before: number,
  ): Promise<void> {
    const count = ({ row, above }: Pick<AddressRow, 'row' | 'above'>, work: () => Promise<Outcome>) =>
      settle(reports.addresses, file, row, before, work, above)
    let gathered: AddressRow[] = []
    const flush = async () => {
      const byCustomer = Map.groupBy(gathered, ({ address }) => claims.keyOf(address.email))
      gathered = []
      await each(byCustomer, IN_FLIGHT, async ([key, group]) => {
        const outcomes: (Outcome | RejectedRow)[] = []
        for (let from = 0; from < group.length; from += ADDRESSES_AT_ONCE) {
          outcomes.push(...(await importAddressesOf(key, group.slice(from, from + ADDRESSES_AT_ONCE))))
        }
        for (const [index, each] of group.entries()) {
          await count(each, async () => {
            const outcome = outcomes[index] as Outcome | RejectedRow
            if (outcome instanceof RejectedRow) throw outcome
            return outcome
          })
        }
      })
    }
    for await (const each of rows) {
      if ('error' in each) await count(each, () => Promise.reject(each.error))
      else gathered.push(each)
      if (gathered.length === GATHERED) await flush()
    }
    await flush()
  }

  /** The addresses of one customer, in one append. */
  async function importAddressesOf(key: string, addresses: readonly AddressRow[]): Promise<(Outcome | RejectedRow)[]> {
    for (;;) {
      const customer = await find(key, addresses)
      if (customer === undefined) return Promise.all(addresses.map((each) => withoutCustomer(key, each)))
      const outcomes: (Outcome | RejectedRow)[] = []
      const events: NewEvent[] = []
      const { defaults } = customer
      let { lastAddressId } = customer
      const seen = new Set<number>()
      for (const each of addresses) {
        const { address } = each
        const own = commandOf(each, customer.id)
        try {
          if (customer.eventIds?.has(own.id)) {
            outcomes.push('alreadyThere')
            continue
          }
          if (address.id !== undefined && seen.has(address.id)) {
            throw new RejectedRow(`the address id ${address.id} comes twice`)
          }
          const moved = { ...defaults }
          const encoded = (id: number) => encodeAll(own, eventsOf(address, id, moved))
          encoded(address.id ?? 1) // what can't be represented must not take an id
          if (address.id === undefined) {
            if (!dryRun) lastAddressId = await nextAddressId(customer.id, lastAddressId)
          } else if (!dryRun && !(await take(address.id, customer.id, own))) {
            throw new RejectedRow(`the address id ${address.id} is another address's`)
          } else seen.add(address.id)
          Object.assign(moved, defaults)
          events.push(...encoded(address.id ?? (lastAddressId || 1)))
          Object.assign(defaults, moved)
          outcomes.push('imported')
        } catch (error) {
          outcomes.push(rejectionOf(error))
        }
      }
      met.delete(key)
      if (dryRun || events.length === 0) return outcomes
      try {
        await eventStore.append(customerStream(customer.id), events, { expected: customer.revision })
        return outcomes
      } catch (error) {
        if (error instanceof AppendTooLarge && addresses.length > 1) {
          const outcomes: (Outcome | RejectedRow)[] = []
          for (const address of addresses) outcomes.push(...(await importAddressesOf(key, [address])))
          return outcomes
        }
        if (isRejection(error)) return addresses.map(() => rejectionOf(error))
        if (!(error instanceof WrongExpectedRevision)) throw error // somebody changed the customer meanwhile: once more
      }
    }
  }

  /** In a composite file addresses are told apart by their number, elsewhere by their id. */
  function commandOf({ address: { id }, number }: AddressRow, customerId: number): Command {
    return command(`address:${id ?? `number ${number}`}:${customerId}`)
  }

  /** The next id for an address of the customer's own. */
  async function nextAddressId(customerId: number, lastAddressId: number): Promise<number> {
    return ids.nextAddressId({ lastAddressId }) ?? (await ids.reserveAddressIds(customerId, run))
  }

  /** An address whose customer has another e-mail address by now, or is gone; or has never been. */
  async function withoutCustomer(key: string, each: AddressRow): Promise<Outcome | RejectedRow> {
    const owner = await ownerOf(key, each.address)
    if (owner !== undefined) {
      const own = commandOf(each, owner)
      if ((await all(customerStream(owner))).some((event) => event.id === own.id)) return 'alreadyThere'
    }
    if (dryRun && options.customers) return 'imported'
    return new RejectedRow('there is no customer with this _email')
  }

  /** Whose the address is or was, as far as an earlier run tells. */
  async function ownerOf(key: string, { id }: ImportedAddress): Promise<number | undefined> {
    if (id === undefined) return (await all<EmailEvent>(claimStream(key))).at(-1)?.data.customerId
    const [imported] = await readNewest<Extract<ImportedIdEvent, { type: 'AddressIdImported' }>>(
      eventStore,
      `addressOwner-${id}`,
      1,
    )
    return imported?.data.customerId
  }

  /** The customer with this address, as far as its addresses need it. */
  async function find(key: string, [first]: readonly AddressRow[]): Promise<Found | undefined> {
    const known = met.get(key)
    if (known !== undefined && known !== 'there')
      return { ...known, defaults: { billing: null, shipping: null }, lastAddressId: 0 }
    for (const each of first ? claims.keysOf(first.address.email) : [key]) {
      const [claimed] = await readNewest<EmailEvent>(eventStore, claimStream(each), 1)
      if (claimed?.type !== 'EmailClaimed') continue
      const events = await all<CustomerEvent>(customerStream(claimed.data.customerId))
      const state = events.reduce(project, absentCustomer(claimed.data.customerId))
      if (state.status !== 'registered' || claims.keyOf(state.email) !== key) continue
      const { id, revision, defaultBilling, defaultShipping, lastAddressId } = state
      const eventIds = new Set(events.map((event) => event.id))
      return { id, revision, eventIds, defaults: { billing: defaultBilling, shipping: defaultShipping }, lastAddressId }
    }
    return undefined
  }

  /** Makes the customer the owner of the id. @returns whether it is */
  async function take(addressId: number, customerId: number, own: Command): Promise<boolean> {
    if (addressId <= givenOut.address && (await ids.addressOwner(addressId)) !== undefined) {
      const [imported] = await readNewest(eventStore, `addressOwner-${addressId}`, 1)
      if (imported === undefined) return false
    }
    const events = encodeAll(own, [{ type: 'AddressIdImported', data: { customerId } }], 'owner')
    return (await appendFirst(`addressOwner-${addressId}`, events)).written
  }
}

/** @param addressId the address's own, or of a block that was reserved for the customer */
function eventsOf(
  { id, fields, isDefaultBilling, isDefaultShipping }: ImportedAddress,
  addressId: number,
  defaults: { billing: number | null; shipping: number | null },
): CustomerEvent[] {
  const type = id === undefined ? 'CustomerAddressAdded' : 'CustomerAddressImported'
  const events: CustomerEvent[] = [{ type, data: { addressId, ...fields } }]
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

const claimStream = (key: string) => `customerEmail-${key}`
const credentialsStream = (id: number) => `customerCredentials-${id}`

/** The events of a row that are not of the customer's stream, or not of its registration: always with the same ids. */
const claimOf = (id: number, own: Command) =>
  encodeAll(own, [{ type: 'EmailClaimed', data: { customerId: id } }], `claim:${id}`)
const credentialsOf = (passwordHash: string, own: Command) =>
  encodeAll(own, [{ type: 'CredentialsSet', data: { passwordHash } }], 'credentials')
const takingOf = (own: Command) => encodeAll(own, [{ type: 'CustomerIdImported', data: {} }], 'id')

/** Whether a run was cut off after it had taken an id that was given out here, and before the registration. */
const isTakenBy = (events: readonly Recorded<CustomerEvent>[], own: Command) =>
  events[0]?.id === takingOf(own)[0]?.id &&
  events.every(({ type }) => type === 'CustomerIdImported' || type === 'EmailClaimAbandoned')

const addressTaken = () => new RejectedRow('the e-mail address is that of another customer')
const idTaken = (id: number) => new RejectedRow(`the id ${id} is another customer's`)

/** A row that could be read. @throws RejectedRow */
function whole(row: Row): Row {
  if (row.fault !== undefined) throw new RejectedRow(row.fault)
  return row
}

const isRejection = (error: unknown) =>
  error instanceof RejectedRow || error instanceof InvalidEvent || error instanceof AppendTooLarge

/** The e-mail address of a row, if it has one. */
function emailIn({ fields, fault }: Row): string | null {
  return fault === undefined ? fields.email?.trim() || null : null
}

async function* alone(rows: AsyncIterable<Row>): AsyncGenerator<{ readonly row: Row; readonly above: readonly Row[] }> {
  for await (const row of rows) yield { row, above: [] }
}

/** Each row of a composite file with those above it, from the one that has an e-mail address. */
async function* grouped(
  rows: AsyncIterable<Row>,
): AsyncGenerator<{ readonly row: Row; readonly above: readonly Row[] }> {
  let above: Row[] = []
  for await (const row of rows) {
    if (emailIn(row) !== null) above = []
    yield { row, above }
    above.push(row)
  }
}

/** Why a row is rejected. @throws what is no fault of the row's */
function rejectionOf(error: unknown): RejectedRow {
  if (error instanceof RejectedRow) return error
  if (error instanceof InvalidEvent) return new RejectedRow(error.message) // names fields, never values
  if (error instanceof AppendTooLarge) return new RejectedRow('the row is too large')
  throw error
}

async function hasNone(eventStore: EventStore, prefix: string): Promise<boolean> {
  for await (const _ of eventStore.readAll({ maxCount: 1, filter: { streamPrefixes: [prefix] } })) return false
  return true
}

/** The newest position of the log. */
async function end(eventStore: EventStore) {
  for await (const { position } of eventStore.readAll({ direction: 'backwards', maxCount: 1 })) return position
  return { commit: -1n, prepare: -1n }
}
