/** What earlier releases wrote of an e-mail address: its key was made of the address as it was typed, in lower case. */
import { createHmac } from 'node:crypto'
import { encode } from '../../eventstore/codec.ts'
import { chained } from '../../eventstore/hash-chain.ts'
import type { EventStore } from '../../eventstore/port.ts'
import type { DomainEvent } from '../../schema/events.ts'
import { hashPassword } from '../../subgraph/identity/passwords.ts'
import { PASSWORD } from './graph.ts'
import { registered } from './registered.ts'

/** The key under which those releases claimed an address. */
export const olderKey = (emailHashKey: string, email: string): string =>
  createHmac('sha256', emailHashKey).update(email.normalize('NFC').toLowerCase()).digest('hex')

/** Appends events as those releases did. */
export async function appendOlder(
  eventStore: EventStore,
  stream: string,
  events: readonly DomainEvent[],
  actor = 'guest',
): Promise<void> {
  const causationId = crypto.randomUUID()
  const at = '2026-01-02T03:04:05.000Z'
  const metadata = { $correlationId: causationId, $causationId: causationId, actor, at }
  const encoded = events.map((event, index) => encode(event, index === 0 ? causationId : crypto.randomUUID(), metadata))
  await chained(eventStore).append(stream, encoded, { expected: 'any' })
}

/**
 * A customer who registered with an older release, with {@link PASSWORD}.
 * @param id one that is given out to nobody else
 * @param actor `import`: who was imported by it
 */
export async function registerOlder(
  eventStore: EventStore,
  emailHashKey: string,
  id: number,
  email: string,
  actor = 'guest',
): Promise<void> {
  await appendOlder(eventStore, `customerEmail-${olderKey(emailHashKey, email)}`, [
    { type: 'EmailClaimed', data: { customerId: id } },
  ])
  await appendOlder(eventStore, `customerCredentials-${id}`, [
    { type: 'CredentialsSet', data: { passwordHash: await hashPassword(PASSWORD) } },
  ])
  const event = registered(id, email)
  const first = { ...event, data: { ...event.data, credentialsRevision: 0 } } as DomainEvent
  await appendOlder(eventStore, `customer-${id}`, [first], actor)
}
