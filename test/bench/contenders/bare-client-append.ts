/** A Fastify route that appends, with the official client, the event that a customer's change of name appends. */
import { randomUUID } from 'node:crypto'
import { jsonEvent, KurrentDBClient } from '@kurrent/kurrentdb-client'
import Fastify from 'fastify'
import type { StoreOptions } from '../stores.ts'
import { options, ready } from './contender.ts'

const { eventStoreUrl = '' } = options<StoreOptions>()
const client = KurrentDBClient.connectionString(eventStoreUrl)
const app = Fastify()
app.post<{ Params: { id: string }; Body: { variables: { input: { firstname: string } } } }>(
  '/customers/:id',
  async (request) => {
    const { id } = request.params
    const { firstname } = request.body.variables.input
    const eventId = randomUUID()
    const event = jsonEvent({
      id: eventId,
      type: 'CustomerDetailsChanged',
      data: { firstname },
      metadata: {
        $correlationId: randomUUID(),
        $causationId: eventId,
        actor: `customer:${id}`,
        at: new Date().toISOString(),
        schemaVersion: 1,
      },
    })
    await client.appendToStream(`customer-${id}`, event, { streamState: 'any' })
    return { data: { updateCustomer: { customer: { firstname } } } }
  },
)
ready(await app.listen({ port: 0, host: '127.0.0.1' }))
