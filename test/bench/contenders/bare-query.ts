/**
 * A Fastify route that reads a customer's document and answers what the query of the bench asks for. For each request it
 * makes the read that the read model makes, with the driver alone.
 */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import Fastify from 'fastify'
import { createClient } from 'redis'
import type { CustomerDocument } from '../../../projections/customer.ts'
import { generationKeys, sharedKeys } from '../../../projections/redis/key-names.ts'
import { scripts } from '../../../projections/redis/scripts.ts'
import { ALL } from '../../../runtime/redis/driver.ts'
import type { StoreOptions } from '../stores.ts'
import { options, ready } from './contender.ts'

const { folder, readModelUrl } = options<StoreOptions>()

function sqlite() {
  const statement = new DatabaseSync(join(folder, 'readmodel.db')).prepare(
    `SELECT marks.revision AS mark, documents.revision, document FROM (SELECT 1)
     LEFT JOIN marks ON marks.id = ?1
     LEFT JOIN documents ON generation = 1 AND documents.id = ?1
       AND (SELECT complete FROM checkpoints WHERE generation = 1) = 1`,
  )
  return async (id: number) => String(statement.get(id)?.document)
}

async function redis(url: string) {
  const client = createClient({ url })
  client.on('error', () => {}) // the server stops with the bench
  await client.connect()
  const { lua, digest, keys } = scripts.readCustomers
  await client.scriptLoad(lua)
  const { document, seal } = generationKeys('customer', 1)
  const { mark } = sharedKeys('customer')
  return async (id: number) => {
    const read = ['EVALSHA', digest, String(keys), seal(ALL), document(id), mark(id)]
    const [, value] = (await client.sendCommand(read)) as [string, string]
    return value.slice(value.indexOf(' ') + 1)
  }
}

const read = readModelUrl === undefined ? sqlite() : await redis(readModelUrl)
const app = Fastify()
app.post<{ Params: { id: string } }>('/customers/:id', async (request) => {
  const { id, email, firstname, addresses } = JSON.parse(await read(Number(request.params.id))) as CustomerDocument
  return { data: { customer: { id, email, firstname, addresses: addresses.map(({ city }) => ({ city })) } } }
})
ready(await app.listen({ port: 0, host: '127.0.0.1' }))
