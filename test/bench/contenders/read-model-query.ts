/** The same route over the read model, which shares reads among requests, and keeps documents that it has parsed. */
import Fastify from 'fastify'
import { openStores, type StoreOptions } from '../stores.ts'
import { options, ready } from './contender.ts'

const { readModel } = await openStores({ ...options<StoreOptions>(), isBare: true })
const app = Fastify()
app.post<{ Params: { id: string } }>('/customers/:id', async (request) => {
  const [entry] = await readModel.get([Number(request.params.id)])
  if (!entry?.document) throw new Error('no such customer')
  const { id, email, firstname, addresses } = entry.document
  return { data: { customer: { id, email, firstname, addresses: addresses.map(({ city }) => ({ city })) } } }
})
ready(await app.listen({ port: 0, host: '127.0.0.1' }))
