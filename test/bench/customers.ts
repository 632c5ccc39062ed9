/** The customers that the contenders serve. */

import { randomUUID } from 'node:crypto'
import { absentCustomer } from '../../projections/customer.ts'
import { startProjection } from '../../projections/worker/worker.ts'
import { store as defaultStore } from '../../schema/store.ts'
import { streamOf } from '../../schema/streams.ts'
import { createCommand, encodeAll } from '../../subgraph/commands/command.ts'
import { addAddress, checkRegistration, register } from '../../subgraph/domain/customer.ts'
import { createTokens } from '../../subgraph/identity/tokens.ts'
import { openStores, type StoreOptions } from './stores.ts'

export interface BenchCustomer {
  readonly id: number
  readonly email: string
  readonly token: string
}

export const ADDRESS = {
  firstname: 'Ann',
  lastname: 'Lee',
  street: ['1 Main St'],
  city: 'Austin',
  telephone: '555-0100',
  postcode: '78701',
  country_id: 'US',
  region: { region_id: 57 },
}

/** Writes customers 1 to `count` into empty stores, each with one address, and their documents. */
export async function addCustomers(stores: StoreOptions, count: number): Promise<BenchCustomer[]> {
  const { eventStore, readModel, keys } = await openStores(stores)
  const store = defaultStore()
  const at = new Date()
  const tokens = createTokens(keys.tokenSigningKey)
  const customers = await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const id = index + 1
      const email = `customer${id}@example.com`
      const registration = checkRegistration({ email, firstname: 'Ann', lastname: 'Lee' }, store, at)
      const command = createCommand({
        operation: 'bench',
        arguments: {},
        actor: 'bench',
        correlationId: randomUUID(),
        at,
      })
      // As a registration and a new address leave them, but for the password: its hash would take the bench's time.
      const events = [
        ...register(absentCustomer(id), { ...registration, customerId: id, credentialsRevision: -1, at }, store),
        ...addAddress(absentCustomer(id), id, ADDRESS, store),
      ]
      await eventStore.append(streamOf.customer(id), encodeAll(command, events), { expected: 'no_stream' })
      return { id, email, token: tokens.issue({ customerId: id, generation: 0 }) }
    }),
  )
  const projection = startProjection({ eventStore, readModel })
  await projection.caughtUp()
  await projection.stop()
  await readModel.close()
  await eventStore.close()
  return customers
}
