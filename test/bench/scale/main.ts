/**
 * `npm run bench -- scale`: shows which operations become more expensive as the log grows. For each size, the import
 * makes a log. Then each operation runs on it, as an operator would run it.
 *
 * Options: `--full` adds a million customers; `--customers 10000,100000` sets other sizes; `--operations find,query`
 * selects operations.
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
  readonly customers: number
  readonly startContender: StartContender
}

interface Operation {
  readonly flat: readonly Figure[]
  /** Runs before it and is not measured. */
  readonly before?: (subject: Subject) => Promise<unknown>
  readonly run: (subject: Subject) => Promise<Figures>
}

const ALL: readonly Figure[] = ['time', 'cpu', 'memory']
const MEMORY: readonly Figure[] = ['memory']
/** How many requests the figures of one are the mean of; of few customers ten each, because then it is a try only. */
const REQUESTS = 2_000
const REQUESTS_EACH = 10
/** How many customers send them. */
const ASKING = 200
const CONNECTIONS = 8

/** In this order, because each works on what the one before has left. */
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

/** Operations that others need. They always run, but are shown only if they were requested. */
const NEEDED = new Set(['import', 'projection'])

/** @throws Error for an unknown operation, and if one fails */
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

/** The figures of one request. Customers from all parts of the log send many at the same time. */
async function requests(subject: Subject, queryOf: (number: number) => string): Promise<Figures> {
  const { folder, customers, startContender } = subject
  const { eventStore, readModel, keys } = await openStores({ folder })
  await readModel.close()
  await eventStore.close()
  const tokens = createTokens(keys.tokenSigningKey)
  const asking = Math.min(ASKING, customers)
  const count = Math.min(REQUESTS, REQUESTS_EACH * customers)
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
  for (let number = 0; number < asking; number++) await send(number) // warms up every connection, statement and document
  const [began, cpu] = [performance.now(), await contender.cpu()]
  let next = 0
  const worker = async () => {
    while (next < count) await send(next++)
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, worker))
  const time = (performance.now() - began) / 1000 / count
  const used = ((await contender.cpu()) - cpu) / 1e6 / count
  const { resident } = await contender.memory()
  await client.close()
  contender.stop()
  return { time, cpu: used, memory: resident }
}

/** @throws Error for an invalid list of sizes */
export function sizesOf(given: string | undefined, isFull: boolean): number[] {
  if (given === undefined) return isFull ? [10_000, 100_000, 1_000_000] : [10_000, 100_000]
  const sizes = given.split(',').map(Number)
  if (sizes.length >= 2 && sizes.every((size) => Number.isSafeInteger(size) && size > 0)) return sizes
  throw new Error(
    `--customers: ${JSON.stringify(given)} can't be used; accepted: two or more numbers, such as 10000,100000`,
  )
}
