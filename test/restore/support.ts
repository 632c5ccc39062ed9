/** A service on an event-store server that is restored from a backup. */
import type { EventStoreServer } from '../support/eventstore-server/server.ts'
import { freshEmail, PASSWORD, type Send, signIn } from '../support/graph.ts'

/** What a copy of the server's files would have. */
export const backUp = ({ log }: EventStoreServer) => [...log.records]

/** The server goes and comes back on the same port, with what the backup has. */
export async function restore(server: EventStoreServer, backup: ReturnType<typeof backUp>): Promise<void> {
  await server.stop()
  server.log.rewrite(backup)
  await server.start()
}

/** Registers somebody, and signs in. */
export async function register(send: Send, firstname: string) {
  const email = freshEmail()
  const created = await send('mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id } } }', {
    variables: { input: { firstname, lastname: 'Lee', email, password: PASSWORD } },
  })
  if (created.errors) throw new Error(JSON.stringify(created.errors))
  return { firstname, email, id: created.data.createCustomer.customer.id as number, token: await signIn(send, email) }
}

export const rename = (send: Send, token: string, lastname: string) =>
  send(
    'mutation($input: CustomerUpdateInput!) { updateCustomerV2(input: $input) { customer { firstname lastname } } }',
    {
      token,
      variables: { input: { lastname } },
    },
  )

export const whoAmI = (send: Send, token: string) =>
  send('{ customer { firstname lastname email addresses { city } } }', { token })
