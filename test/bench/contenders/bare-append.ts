/** A Fastify route that appends the event that a customer's change of name appends, and does nothing else. */
import { randomUUID } from 'node:crypto'
import Fastify from 'fastify'
import { openStores, type StoreOptions } from '../stores.ts'
import { options, ready } from './contender.ts'

const { eventStore } = await openStores({ ...options<StoreOptions>(), isBare: true })
const app = Fastify()
app.post<{ Params: { id: string }; Body: { variables: { input: { firstname: string } } } }>(
  '/customers/:id',
  async (request) => {
    const { id } = request.params
    const { firstname } = request.body.variables.input
    const eventId = randomUUID()
    const event = {
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
    }
    await eventStore.append(`customer-${id}`, [event], { expected: 'any' })
    return { data: { updateCustomer: { customer: { firstname } } } }
  },
)
ready(await app.listen({ port: 0, host: '127.0.0.1' }))
