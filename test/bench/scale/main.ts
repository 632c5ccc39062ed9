/**
 * `npm run bench -- scale`: whether a log that grows makes anything dearer that it should not. For each size a log is made by
 * the import; then each operation runs on it, as an operator runs it.
 *
 * Options: `--full` for a million customers too; `--customers 10000,100000` for other sizes; `--operations find,query` for some.
 */
import { rmSync } from 'node:fs'
import { Client } from 'undici'
import { createTokens } from '../../../subgraph/identity/tokens.ts'
import type { StartContender } from '../processes.ts'
import type { Servers } from '../servers.ts'
import { openStores } from '../stores.ts'
import { writeExport } from './files.ts'
import { type Figure, type Figures, type Growth, growthTable } from './growth.ts'
import { command, job, startOfSubgraph } from './processes.ts'

interface Subject {
  readonly folder: string
  /** How many there are. */
  readonly customers: number
  readonly startContender: StartContender
}

interface Operation {
  readonly flat: readonly Figure[]
  /** What has to be done before, and is not measured. */
  readonly before?: (subject: Subject) => Promise<unknown>
  readonly run: (subject: Subject) => Promise<Figures>
}

const ALL: readonly Figure[] = ['time', 'cpu', 'memory']
const MEMORY: readonly Figure[] = ['memory']
/** Requests of which the time and CPU of one are the mean. */
const REQUESTS = 2_000
/** Customers who make them. */
const ASKING = 200
const CONNECTIONS = 8

/** In this order: what one leaves is what the next works on. */
const OPERATIONS: Readonly<Record<string, Operation>> = {
  import: { flat: MEMORY, run: ({ folder }) => command(folder, 'import', 'customers.csv', 'addresses.csv') },
  start: { flat: ALL, run: ({ folder }) => startOfSubgraph(folder) },
  projection: { flat: MEMORY, run: ({ folder, customers }) => job(folder, 'project', { count: customers }) },
  rebuild: { flat: MEMORY, run: ({ folder }) => command(folder, 'rebuild') },
  drop: { flat: MEMORY, run: ({ folder }) => command(folder, 'rebuild', '--drop') },
  'rebuild --verify': { flat: MEMORY, run: ({ folder }) => command(folder, 'rebuild', '--verify') },
  find: { flat: MEMORY, run: ({ folder }) => command(folder, 'audit', 'find', '--actor', 'nobody') },
  export: { flat: MEMORY, run: ({ folder }) => command(folder, 'audit', 'export', '--output', '/dev/null') },
  // Its table has 32 bytes for each stream.
  verify: { flat: [], run: ({ folder }) => command(folder, 'audit', 'verify') },
  'prove, first': {
    flat: MEMORY,
    before: ({ folder }) => command(folder, 'audit', 'checkpoint'),
    run: ({ folder, customers }) => command(folder, 'audit', 'prove', `${Math.ceil(customers / 2)}:0`),
  },
  prove: {
    flat: ALL,
    run: ({ folder, customers }) => command(folder, 'audit', 'prove', `${Math.ceil(customers / 3)}:0`),
  },
  query: { flat: ALL, run: (subject) => requests(subject, () => '{ customer { id firstname addresses { city } } }') },
  update: {
    flat: ALL,
    run: (subject) =>
      requests(
        subject,
        (number) => `mutation { updateCustomer(input: { firstname: "Bea ${number}" }) { customer { firstname } } }`,
      ),
  },
}

/** Operations that others need: they run always, and are shown where they were asked for. */
const NEEDED = new Set(['import', 'projection'])

/** @throws Error for an operation that there is not, and where one fails */
export async function scaleBench(
  servers: Servers,
  startContender: StartContender,
  { sizes, operations }: { readonly sizes: readonly number[]; readonly operations: readonly string[] },
): Promise<string> {
  const unknown = operations.find((name) => !Object.hasOwn(OPERATIONS, name))
  if (unknown !== undefined) {
    throw new Error(`There is no operation "${unknown}"; there are ${Object.keys(OPERATIONS).join(', ')}.`)
  }
  const isShown = (name: string) => operations.length === 0 || operations.includes(name)
  const names = Object.keys(OPERATIONS).filter((name) => isShown(name) || NEEDED.has(name))
  const measured = new Map(names.map((name) => [name, [] as Figures[]]))
  for (const customers of sizes) {
    const subject = { folder: servers.folder(), customers, startContender }
    writeExport(subject.folder, customers)
    for (const name of names) {
      console.error(`${customers} customers: ${name} ...`)
      const { before, run } = OPERATIONS[name] as Operation
      await before?.(subject)
      measured.get(name)?.push(await run(subject))
    }
    rmSync(subject.folder, { recursive: true, force: true, maxRetries: 5 })
  }
  const growths = names.filter(isShown).map((name): Growth => {
    return { name, flat: OPERATIONS[name]?.flat ?? [], measured: measured.get(name) ?? [] }
  })
  return growthTable(sizes, growths)
}

/** What one request takes, of many that customers from all over the log make at once. */
async function requests(subject: Subject, queryOf: (number: number) => string): Promise<Figures> {
  const { folder, customers, startContender } = subject
  const { eventStore, readModel, keys } = await openStores({ folder })
  await readModel.close()
  await eventStore.close()
  const tokens = createTokens(keys.tokenSigningKey)
  const asking = Math.min(ASKING, customers)
  const idOf = (number: number) => 1 + Math.floor(((number % asking) * customers) / asking)
  const contender = await startContender('subgraph', { folder })
  const client = new Client(contender.url, { pipelining: 1 })
  const send = async (number: number) => {
    const { statusCode, body } = await client.request({
      method: 'POST',
      path: '/graphql',
      headers: {
        'content-type': 'application/json',
        authorization: `Bearer ${tokens.issue({ customerId: idOf(number), generation: 0 })}`,
      },
      body: JSON.stringify({ query: queryOf(number) }),
    })
    const text = await body.text()
    if (statusCode !== 200 || text.includes('"errors"')) throw new Error(`The answer was ${text.slice(0, 500)}`)
  }
  for (let number = 0; number < asking; number++) await send(number) // every connection, statement and document is warm
  const [began, cpu] = [performance.now(), await contender.cpu()]
  let next = 0
  const worker = async () => {
    while (next < REQUESTS) await send(next++)
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, worker))
  const time = (performance.now() - began) / 1000 / REQUESTS
  const used = ((await contender.cpu()) - cpu) / 1e6 / REQUESTS
  const { resident } = await contender.memory()
  await client.close()
  contender.stop()
  return { time, cpu: used, memory: resident }
}

/** @throws Error for what is no list of sizes */
export function sizesOf(given: string | undefined, isFull: boolean): number[] {
  if (given === undefined) return isFull ? [10_000, 100_000, 1_000_000] : [10_000, 100_000]
  const sizes = given.split(',').map(Number)
  if (sizes.length >= 2 && sizes.every((size) => Number.isSafeInteger(size) && size > 0)) return sizes
  throw new Error(
    `--customers: ${JSON.stringify(given)} can't be used; accepted: two numbers or more, such as 10000,100000`,
  )
}
