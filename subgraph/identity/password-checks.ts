/**
 * Password checks whose duration does not reveal whose password it is. Hashes of different kinds take different times
 * (Magento's argon2id takes five times as long as ours). So a wrong password costs the work of every kind that the
 * store holds, whichever kind the account has, and even if there is no account. A right password costs its own kind
 * alone.
 *
 * The stream `passwordHashKinds` records which kinds the store holds. It is written by an import, or when a kind is
 * found that an older release imported. Every instance reads it.
 */

import { decode } from '../../eventstore/codec.ts'
import { uuidOf } from '../../eventstore/derived-uuid.ts'
import { type EventStore, StreamNotFound } from '../../eventstore/port.ts'
import type { HashKindEvent } from '../../schema/events.ts'
import { STREAM_NAMES } from '../../schema/streams.ts'
import { type Command, checkDeadline, encodeAll } from '../commands/command.ts'
import { formsOf, kindOf, OWN_KIND, spend, verifyPassword } from './passwords.ts'

const STREAM = STREAM_NAMES.passwordHashKinds

export interface HashKinds {
  /** All recorded kinds, and our own. @throws EventStoreUnavailable */
  all(): Promise<Iterable<string>>
  /** Records a kind; does nothing if it is recorded already, or takes no time. @throws EventStoreUnavailable */
  found(kind: string, command: Command): Promise<void>
}

export function createHashKinds(eventStore: EventStore): HashKinds {
  const known = new Set([OWN_KIND])
  let next = 0

  async function all(): Promise<Set<string>> {
    try {
      for await (const event of eventStore.readStream(STREAM, { from: next })) {
        known.add(decode<HashKindEvent>(event).data.kind)
        next = Math.max(next, event.revision + 1)
      }
    } catch (error) {
      if (!(error instanceof StreamNotFound)) throw error
    }
    return known
  }

  return {
    all,
    async found(kind, command) {
      if (kind === '' || known.has(kind) || (await all()).has(kind)) return
      // Always the same id, so if two instances find it at once, one event is written.
      const own = { ...command, id: uuidOf(`password hash kind:${kind}`), repeatable: false }
      const events = encodeAll(own, [{ type: 'PasswordHashKindFound', data: { kind } }])
      await eventStore.append(STREAM, events, { expected: 'any' })
      known.add(kind)
    },
  }
}

export interface PasswordChecks {
  /**
   * Whether the password matches the hash. A wrong one costs the work of all kinds.
   * @param hash undefined: there is no hash, and no password matches
   * @throws TypeError for a hash in an unknown format; EventStoreUnavailable; CustomerError after the command's deadline
   */
  check(password: string, hash: string | undefined, command: Command): Promise<boolean>
}

/** @param onHash called with the kind of each hash that is computed */
export function createPasswordChecks(kinds: HashKinds, onHash: (kind: string) => void = () => {}): PasswordChecks {
  return {
    async check(password, hash, command) {
      const own = hash === undefined ? '' : kindOf(hash)
      const forms = formsOf(password)
      if (hash !== undefined) {
        await kinds.found(own, command)
        for (const form of forms) {
          checkDeadline(command)
          if (own !== '') onHash(own)
          if (await verifyPassword(form, hash)) return true
        }
      }
      for (const kind of await kinds.all()) {
        if (kind === own) continue
        for (const form of forms) {
          checkDeadline(command)
          onHash(kind)
          await spend(kind, form)
        }
      }
      return false
    },
  }
}
