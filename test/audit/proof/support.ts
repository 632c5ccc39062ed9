/** Logs that can be forged: the same on SQLite, in whose file the rows are changed, and on the test server, in its memory. */
import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Test } from 'tap'
import { readAuditKey } from '../../../audit/proof/signing-key.ts'
import { chained } from '../../../eventstore/hash-chain.ts'
import { openEventStore } from '../../../eventstore/open-event-store.ts'
import type { EventStore, ExpectedRevision, Json, NewEvent } from '../../../eventstore/port.ts'
import { startEventStoreServer } from '../../support/eventstore-server/server.ts'
import { temporaryFolder } from '../../support/graph.ts'

/** An event as it lies in the store. */
export interface Row {
  readonly stream: string
  readonly revision: number
  readonly id: string
  readonly type: string
  readonly data: Buffer
  readonly metadata: Buffer
  readonly created: number
}

export interface ForgeableLog {
  /** Bare: without the chain. */
  readonly eventStore: EventStore
  readonly url: string
  readonly folder: string
  /** All of the log, in its order. */
  rows(): Row[]
  /** Puts these events in the place of all, in this order. */
  forge(rows: readonly Row[]): void
}

export const KINDS = ['sqlite', 'kurrentdb'] as const

export async function aLog(t: Test, kind: (typeof KINDS)[number]): Promise<ForgeableLog> {
  const folder = await temporaryFolder(t)
  if (kind === 'sqlite') {
    const path = join(folder, 'events.db')
    const eventStore = await openEventStore(`sqlite:${path}`)
    t.teardown(() => eventStore.close())
    return { eventStore, url: `sqlite:${path}`, folder, ...sqliteRows(path) }
  }
  const server = await startEventStoreServer(t)
  const eventStore = await openEventStore(server.url)
  t.teardown(() => eventStore.close())
  const system: Row[] = []
  return {
    eventStore,
    url: server.url,
    folder,
    rows() {
      system.splice(0, system.length, ...server.log.records.filter(({ stream }) => stream.startsWith('$')))
      return server.log.records.filter(({ stream }) => !stream.startsWith('$'))
    },
    forge: (rows) =>
      server.log.rewrite([...system, ...rows].map((row) => ({ contentType: 'application/json', ...row }))),
  }
}

function sqliteRows(path: string): Pick<ForgeableLog, 'rows' | 'forge'> {
  const open = <T>(work: (database: DatabaseSync) => T): T => {
    const database = new DatabaseSync(path, { timeout: 5_000 })
    try {
      return work(database)
    } finally {
      database.close()
    }
  }
  return {
    rows: () =>
      open((database) =>
        database
          .prepare(
            `SELECT s.name AS stream, e.revision, e.id, e.type, CAST(e.data AS BLOB) AS data,
              CAST(e.metadata AS BLOB) AS metadata, e.created
             FROM events e JOIN streams s ON s.id = e.stream WHERE s.name NOT LIKE '$%' ORDER BY e.position`,
          )
          .all()
          .map((row) => ({
            ...(row as unknown as Row),
            data: Buffer.from(row.data as Uint8Array),
            metadata: Buffer.from((row.metadata ?? []) as Uint8Array),
          })),
      ),
    forge: (rows) =>
      open((database) => {
        const ours = "stream IN (SELECT id FROM streams WHERE name NOT LIKE '$%')"
        const positions = database.prepare(`SELECT position FROM events WHERE ${ours} ORDER BY position`).all()
        database.exec(`BEGIN; DELETE FROM events WHERE ${ours}`)
        const add = database.prepare(
          `INSERT INTO events (position, stream, revision, id, type, data, metadata, created)
           VALUES (?, (SELECT id FROM streams WHERE name = ?), ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?)`,
        )
        for (const [index, { stream, revision, id, type, data, metadata, created }] of rows.entries()) {
          const position = (positions[index]?.position as number | undefined) ?? null
          add.run(position, stream, revision, id, type, data, metadata, created)
        }
        database.exec('COMMIT')
      }),
  }
}

export const aKey = () =>
  readAuditKey(generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString())

/** An event of a command with a random id. */
export const anEvent = (data: Json = {}, type = 'Happened', id: string = crypto.randomUUID()): NewEvent => ({
  id,
  type,
  data,
  metadata: { $causationId: id, actor: 'customer:1', at: '2026-01-02T03:04:05.000Z' },
})

/** Appends so many events to a stream, one by one. */
export async function grow(
  eventStore: EventStore,
  stream: string,
  count: number,
  after: ExpectedRevision = 'no_stream',
) {
  let expected = after
  for (let index = 0; index < count; index++) {
    const { revision } = await eventStore.append(stream, [anEvent({ name: `Ann ${expected} ${index}` })], { expected })
    expected = revision
  }
}

/** A shop's log in small: customers in turn, and streams of other kinds; 22 events in the tree. */
export async function fill(eventStore: EventStore): Promise<void> {
  const store = chained(eventStore)
  for (const name of ['customerIds', 'customerEmail-a', 'customerEmail-b', 'addressIds']) await grow(store, name, 1)
  await store.setStreamMetadata('customerCredentials-1', { $maxCount: 1 })
  await grow(store, 'customerCredentials-1', 3)
  for (let revision = 0; revision < 6; revision++) {
    for (const customer of [1, 2, 3]) {
      await grow(store, `customer-${customer}`, 1, revision === 0 ? 'no_stream' : revision - 1)
    }
  }
}

export const IN_TREE = 22
