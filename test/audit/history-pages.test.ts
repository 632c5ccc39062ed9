/** customerHistory in pages: each page reads only its own events, and an erasure between two pages is honoured. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { eraseCustomer } from '../../audit/erase.ts'
import { openLog } from '../../eventstore/open-event-store.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { streamOf } from '../../schema/streams.ts'
import type { RequestContext } from '../../subgraph/http/request-context.ts'
import { createAuditQueries } from '../../subgraph/resolvers/audit-queries.ts'
import { fillCustomer } from '../bench/log.ts'
import { temporaryFolder } from '../projections/support.ts'
import { KEYS } from '../support/keys.ts'
import { EMAIL_HASH_KEY } from './support.ts'

const ID = 7
const EVENTS = 600
const PAGE = 50
const context = {
  caller: null,
  service: { service: 'back-office', scopes: ['customers:audit'] },
  correlationId: 'req-1',
} as unknown as RequestContext

interface Page {
  readonly edges: readonly { readonly cursor: string; readonly node: { readonly changes: readonly object[] } }[]
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null }
}

/** The queries on a log with one long history, with a count of its events that were read. */
async function startQueries(t: Test, events: number) {
  const folder = await temporaryFolder(t)
  const configuration = loadConfiguration({ EVENTSTORE_URL: `sqlite:${join(folder, 'events.db')}`, ...KEYS })
  const { eventStore } = await openLog(configuration)
  t.teardown(() => eventStore.close())
  await fillCustomer(eventStore, ID, events)
  const counted = { read: 0 }
  const counting: EventStore = {
    ...eventStore,
    async *readStream(stream, options) {
      for await (const event of eventStore.readStream(stream, options)) {
        if (stream === streamOf.customer(ID)) counted.read++
        yield event
      }
    },
  }
  const queries = () => {
    const { customerHistory } = createAuditQueries(counting, () => ({}))
    return async (after: string | null, first = PAGE) =>
      (await customerHistory(undefined, { customerId: ID, reason: 'x', first, after }, context)) as Page
  }
  return { eventStore, counted, queries }
}

t.test('a page reads only its own events', async (t) => {
  const { counted, queries } = await startQueries(t, EVENTS)
  const page = queries()
  const pages: Page[] = []
  let after: string | null = null
  do {
    counted.read = 0
    const next: Page = await page(after)
    t.ok(counted.read <= PAGE + 5, `page ${pages.length + 1}: ${counted.read} events were read`)
    pages.push(next)
    after = next.pageInfo.hasNextPage ? next.pageInfo.endCursor : null
  } while (after !== null)
  t.equal(pages.length, EVENTS / PAGE)

  const elsewhere = queries() // another instance, with nothing in memory
  const cursor = pages[9]?.pageInfo.endCursor ?? null
  t.same(await elsewhere(cursor), pages[10], 'the same from the stream alone')
  counted.read = 0
  t.same(await elsewhere(pages[10]?.pageInfo.endCursor ?? null), pages[11])
  t.ok(counted.read <= PAGE + 5, 'then as cheap')
  t.same((await page(cursor, 10)).edges, pages[10]?.edges.slice(0, 10), 'another size')
})

t.test('an erased customer is not shown from memory', async (t) => {
  const { eventStore, counted, queries } = await startQueries(t, 102)
  const page = queries()
  const first = await page(null, 100)
  t.match(JSON.stringify((await page(first.pageInfo.endCursor)).edges), /Ann \d+/, 'clear before the erasure')
  const eraser = { actor: 'operator:olga', correlationId: 'req-2', at: new Date() }
  await eraseCustomer({ eventStore, customerId: ID, emailHashKey: EMAIL_HASH_KEY, eraser, reason: 'asked' })
  const rest = await page(first.pageInfo.endCursor)
  t.equal(rest.edges.length, 3)
  t.notMatch(JSON.stringify(rest), /Ann|Austin|Lee|example\.com/)
  await page(null, 100)
  counted.read = 0
  t.same((await page(first.pageInfo.endCursor)).edges, rest.edges)
  t.ok(counted.read < 10, `${counted.read} events were read: the pages of an erased customer are as cheap`)
})
