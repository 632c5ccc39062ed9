/** The stream that holds a customer's current password hash and nothing older. */

import type { EventStore } from '../../eventstore/port.ts'
import { readNewest } from '../../eventstore/read.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import type { CredentialsEvent } from '../../schema/events.ts'
import { streamOf } from '../../schema/streams.ts'
import { type Command, encodeAll } from '../commands/command.ts'
import type { Customers } from '../customers/customers.ts'
import { passwordChanged, recordHashUpgrade } from '../domain/customer.ts'
import { isOutdated } from './passwords.ts'

export interface StoredCredentials {
  readonly passwordHash: string
  readonly revision: number
}

/** The token that asks for a change of password. */
interface AskingToken {
  /** Its id. */
  readonly keptToken: string | undefined
  /** The generation of the customer's tokens when it was last found to be valid. */
  readonly tokenGeneration: number
}

export interface Credentials {
  /**
   * The current credentials; undefined for an account without a password. If a change of password was interrupted
   * between its two appends (the hash is new, but the customer's stream does not record it), the missing event is
   * written here.
   */
  read(customer: CustomerDocument): Promise<StoredCredentials | undefined>
  /**
   * Stores a hash.
   * @param replaced the credentials that it replaces, undefined for the first
   * @param asked the token that asked for the change: it stays valid, and all others are revoked. Default: none does
   * @returns its revision
   * @throws WrongExpectedRevision if another change came first
   */
  set(
    customerId: number,
    passwordHash: string,
    replaced: StoredCredentials | undefined,
    command: Command,
    asked?: AskingToken,
  ): Promise<number>
  /**
   * Replaces a hash by a stronger one of the same password. @throws WrongExpectedRevision if another change came first
   */
  upgrade(customerId: number, passwordHash: string, replaced: StoredCredentials, command: Command): Promise<void>
}

export function createCredentials(eventStore: EventStore, customers: Customers): Credentials {
  /**
   * Call before a hash is written: no hash may be in a stream that would keep it. An import leaves this to the next
   * change.
   */
  async function limit(customerId: number, replaced: StoredCredentials | undefined): Promise<void> {
    if (replaced === undefined || isOutdated(replaced.passwordHash))
      await eventStore.setStreamMetadata(streamOf.credentials(customerId), { $maxCount: 1 })
  }

  return {
    async read(customer) {
      const [last] = await readNewest<CredentialsEvent>(eventStore, streamOf.credentials(customer.id), 1)
      if (last === undefined) return undefined
      if (last.revision > customer.credentialsRevision && customer.status === 'registered') {
        const { $causationId, $correlationId, actor, at } = last.metadata
        const cutOff = { id: $causationId, repeatable: false, correlationId: $correlationId, actor, at: new Date(at) }
        const { upgrade, keptToken, tokenGeneration } = last.data
        await customers.execute(customer.id, cutOff, (state) => {
          if (upgrade) return recordHashUpgrade(state, last.revision)
          // Another generation: all tokens were revoked since, so the one that asked must not come back.
          const kept = state.tokenGeneration === tokenGeneration ? keptToken : undefined
          return passwordChanged(state, last.revision, kept)
        })
      }
      return { passwordHash: last.data.passwordHash, revision: last.revision }
    },

    async set(customerId, passwordHash, replaced, command, asked) {
      await limit(customerId, replaced)
      const data = { passwordHash, ...(asked?.keptToken !== undefined && asked) }
      const events = encodeAll(command, [{ type: 'CredentialsSet', data }], 'credentials')
      const { revision } = await eventStore.append(streamOf.credentials(customerId), events, {
        expected: replaced?.revision ?? 'no_stream',
      })
      return revision
    },

    async upgrade(customerId, passwordHash, replaced, command) {
      const own = { ...command, id: crypto.randomUUID(), repeatable: false }
      await limit(customerId, replaced)
      const events = encodeAll(own, [{ type: 'CredentialsSet', data: { passwordHash, upgrade: true } }], 'credentials')
      const { revision } = await eventStore.append(streamOf.credentials(customerId), events, {
        expected: replaced.revision,
      })
      await customers.execute(customerId, own, (state) => recordHashUpgrade(state, revision))
    },
  }
}
