/** JSON-parses the same events and sends Redis one write for each document of so many events, and does nothing else. */
import { createClient } from 'redis'
import { decode } from '../../../eventstore/codec.ts'
import { absentCustomer, type CustomerDocument, project } from '../../../projections/customer.ts'
import { scripts } from '../../../projections/redis/scripts.ts'
import type { CustomerEvent } from '../../../schema/events.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

await job<StoreOptions & { readonly count: number; readonly batch: number }>(async (options) => {
  const { eventStore, readModel } = await openStores(options)
  await readModel.close()
  const documents = new Map<number, CustomerDocument>()
  const batches: { texts: [string, string][]; commands: string[][] }[] = []
  let texts: [string, string][] = []
  let written = new Map<number, { expected: number; document: CustomerDocument }>()
  const finish = () => {
    const commands = [...written.values()].map(({ expected, document }) => [
      'EVALSHA',
      scripts.putDocument.digest,
      '1',
      `customer:{${document.id}}`,
      String(expected),
      `${document.revision} ${JSON.stringify(document)}`,
    ])
    batches.push({ texts, commands })
    texts = []
    written = new Map()
  }
  for await (const event of eventStore.readAll({ filter: { streamPrefixes: ['customer-'] } })) {
    const id = Number(event.stream.slice('customer-'.length))
    const before = documents.get(id) ?? absentCustomer(id)
    const document = project(before, decode<CustomerEvent>(event))
    documents.set(id, document)
    written.set(id, { expected: written.get(id)?.expected ?? before.revision, document })
    texts.push([JSON.stringify(event.data), JSON.stringify(event.metadata)])
    if (texts.length === options.batch) finish()
  }
  finish()
  const client = createClient({ url: options.readModelUrl ?? '' })
  await client.connect()
  await client.flushAll()
  await client.sendCommand(['SCRIPT', 'LOAD', scripts.putDocument.lua])
  return async () => {
    for (const { texts, commands } of batches) {
      for (const [data, metadata] of texts) {
        JSON.parse(data)
        JSON.parse(metadata)
      }
      await Promise.all(commands.map((command) => client.sendCommand(command)))
    }
    return options.count
  }
})
