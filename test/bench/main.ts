/**
 * `npm run bench`: what the service costs beside the least that could do the same, each as a ratio measured in one run.
 *
 *     npm run bench                   all
 *     npm run bench -- query gateway  the named ones
 *
 * Options: `--rounds` (5), `--seconds` of one round (3), `--quick` for rounds of one second.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Comparison, compare, type Ratio } from './compare.ts'
import { addCustomers } from './customers.ts'
import { createContenders, type StartContender } from './processes.ts'
import { table } from './table.ts'

/** Starts what it compares. @param folder makes an empty folder */
type Bench = (start: StartContender, folder: () => string) => Promise<Comparison>

/** As many as there are connections: each signs in as one of them. */
const CUSTOMERS = 64

const benches: Readonly<Record<string, Bench>> = {
  /** The subgraph's query; a route that reads the same document and answers the same. Both are sent the same body. */
  async query(start, folder) {
    const stores = folder()
    const customers = await addCustomers(stores, CUSTOMERS)
    const body = { query: '{ customer { id email firstname addresses { city } } }' }
    const entrant = async (script: string, path: (id: number) => string) => ({
      contender: await start(script, { folder: stores }),
      exchanges: customers.map(({ id, email, token }) => [
        {
          path: path(id),
          body,
          token,
          answer: { data: { customer: { id, email, firstname: 'Ann', addresses: [{ city: 'Austin' }] } } },
        },
      ]),
    })
    const [ours, bare] = await Promise.all([
      entrant('subgraph', () => '/graphql'),
      entrant('bare-query', (id) => `/customers/${id}`),
    ])
    return { ours, others: [{ name: 'query / bare read', aim: 0.75, entrant: bare }] }
  },

  /** A mutation that changes something each time; a route that appends the event that it appends. */
  async mutation(start, folder) {
    const query = 'mutation($input: CustomerInput!) { updateCustomer(input: $input) { customer { firstname } } }'
    const entrant = async (script: string, path: (id: number) => string) => {
      const stores = folder()
      const customers = await addCustomers(stores, CUSTOMERS)
      return {
        contender: await start(script, { folder: stores }),
        exchanges: customers.map(({ id, token }) =>
          ['Bob', 'Ann'].map((firstname) => ({
            path: path(id),
            body: { query, variables: { input: { firstname } } },
            token,
            answer: { data: { updateCustomer: { customer: { firstname } } } },
          })),
        ),
      }
    }
    const [ours, bare] = await Promise.all([
      entrant('subgraph', () => '/graphql'),
      entrant('bare-append', (id) => `/customers/${id}`),
    ])
    return { ours, others: [{ name: 'mutation / bare append', aim: 0.6, entrant: bare }] }
  },

  /** The gateway's query over two subgraphs; a route that makes the same two calls; Apollo's own gateway. */
  async gateway(start, folder) {
    const stores = folder()
    const [customer] = await addCustomers(stores, 1) // the sample orders are the first customer's
    const { id, email, token } = customer as NonNullable<typeof customer>
    const { subgraphs } = await start('upstreams', { folder: stores })
    const orders = ['000000003', '000000002', '000000001'].map((number) => ({ number }))
    const entrant = async (script: string, path: string) => ({
      contender: await start(script, { subgraphs }),
      exchanges: [
        [
          {
            path,
            body: { query: '{ customer { id email orders { number } } }' },
            token,
            answer: { data: { customer: { id, email, orders } } },
          },
        ],
      ],
    })
    const [ours, bare, stock] = await Promise.all([
      entrant('gateway', '/graphql'),
      entrant('bare-gateway', '/graphql'),
      entrant('stock-gateway', '/'),
    ])
    return {
      ours,
      others: [
        { name: 'gateway / bare calls', aim: 0.4, entrant: bare },
        { name: 'gateway / stock Apollo', aim: 4, entrant: stock },
      ],
    }
  },
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string' },
    quick: { type: 'boolean', default: false },
  },
})
const rounds = Number(values.rounds)
const seconds = Number(values.seconds ?? (values.quick ? 1 : 3))
const names = positionals.length > 0 ? positionals : Object.keys(benches)
for (const name of names) {
  if (!Object.hasOwn(benches, name)) {
    console.error(`There is no bench "${name}"; there are ${Object.keys(benches).join(', ')}.`)
    process.exit(1)
  }
}

const scratch = mkdtempSync(join(tmpdir(), 'customer-bench-'))
const contenders = createContenders()
process.on('exit', () => {
  contenders.stop()
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5 })
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

const ratios: Ratio[] = []
for (const name of names) {
  console.error(`${name} ...`)
  const bench = benches[name] as Bench
  const comparison = await bench(contenders.start, () => mkdtempSync(join(scratch, 'stores-')))
  ratios.push(...(await compare(comparison, { rounds, seconds })))
  contenders.stop()
}
console.log(table(ratios))
process.exit()
