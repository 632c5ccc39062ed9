/** Tokens for services: the issue of each is recorded in the stream `serviceTokens` first, without the token itself. */

import { randomUUID } from 'node:crypto'
import { encode } from '../../eventstore/codec.ts'
import { chained } from '../../eventstore/hash-chain.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { UsageError } from '../../runtime/errors.ts'
import { SCOPES, type Scope } from '../../schema/scopes.ts'
import { STREAM_NAMES } from '../../schema/streams.ts'
import type { Tokens } from './tokens.ts'

export const MAX_SERVICE_TOKEN_HOURS = 720
export const SERVICE_NAME = /^[\w.-]{1,64}$/

/** The named scopes, without duplicates. @throws UsageError for none, and for an unknown one */
export function serviceScopes(names: readonly string[]): Scope[] {
  const given = [...new Set(names.flatMap((name) => name.split(/[\s,]+/)).filter((name) => name !== ''))]
  const accepted = Object.keys(SCOPES).join(', ')
  const unknown = given.find((name) => !Object.hasOwn(SCOPES, name))
  if (unknown !== undefined) {
    throw new UsageError(`--scope: there is no ${JSON.stringify(unknown)}; accepted: ${accepted}.`)
  }
  if (given.length === 0) throw new UsageError(`--scope is needed; accepted: ${accepted}.`)
  return given as Scope[]
}

/** @throws EventStoreUnavailable: then no token is issued */
export async function issueServiceToken(
  eventStore: EventStore,
  tokens: Tokens,
  request: {
    readonly subject: string
    readonly scopes: readonly Scope[]
    readonly hours: number
    /** Who asked for it: `operator:<user>` */
    readonly actor: string
    readonly now?: Date
  },
): Promise<{ readonly token: string; readonly jti: string; readonly expiresAt: Date }> {
  const { subject, scopes, hours, actor, now = new Date() } = request
  const jti = randomUUID()
  // The times in a token are whole seconds.
  const expiresAt = new Date(Math.floor(now.getTime() / 1000 + hours * 3600) * 1000)
  const data = { subject, scope: scopes.join(' '), jti, expiresAt: expiresAt.toISOString() }
  const id = randomUUID()
  const metadata = { $correlationId: id, $causationId: id, actor, at: now.toISOString() }
  await chained(eventStore).append(
    STREAM_NAMES.serviceTokens,
    [encode({ type: 'ServiceTokenIssued', data }, id, metadata)],
    {
      expected: 'any',
    },
  )
  return { token: tokens.issueForService({ service: subject, scopes }, { jti, expiresAt }), jti, expiresAt }
}
