/** The tokens of services, as the stream `serviceTokens` knows them: issued, and ended before their time. */
import { encode, type Recorded } from '../eventstore/codec.ts'
import { chained } from '../eventstore/hash-chain.ts'
import type { EventStore } from '../eventstore/port.ts'
import { orNone } from '../eventstore/read.ts'
import type { ServiceTokenEvent } from '../schema/events.ts'
import { STREAM_NAMES } from '../schema/streams.ts'
import { AuditError } from './errors.ts'
import { soundEvent } from './sound.ts'

export const SERVICE_TOKENS_STREAM = STREAM_NAMES.serviceTokens

export interface ServiceToken {
  /** The token's id (claim `jti`); the token itself is stored nowhere. */
  readonly jti: string
  /** The service's name. */
  readonly subject: string
  readonly scopes: readonly string[]
  /** Who asked for it, such as `operator:<user>`. */
  readonly issuedBy: string
  readonly issuedAt: Date
  readonly expiresAt: Date
  /** Set if it was ended before it expired. */
  readonly ended?: { readonly by: string; readonly at: Date; readonly reason: string }
}

/**
 * All tokens of services that were ever issued, the newest first.
 * An event that can't be read is left out, so that the others can still be ended.
 * @throws EventStoreUnavailable
 */
export async function serviceTokens(eventStore: EventStore): Promise<ServiceToken[]> {
  const tokens = new Map<string, ServiceToken>()
  for await (const event of orNone(eventStore.readStream(SERVICE_TOKENS_STREAM))) {
    const sound = soundEvent<ServiceTokenEvent>(event)
    if (sound) apply(tokens, sound)
  }
  return [...tokens.values()].reverse()
}

function apply(tokens: Map<string, ServiceToken>, event: Recorded<ServiceTokenEvent>): void {
  const { metadata, created } = event
  const { jti } = event.data
  if (event.type === 'ServiceTokenIssued') {
    const { subject, scope, expiresAt } = event.data
    const issued = { issuedBy: metadata.actor, issuedAt: created, expiresAt: new Date(expiresAt) }
    tokens.set(jti, { jti, subject, scopes: scope.split(' '), ...issued })
    return
  }
  const token = tokens.get(jti)
  // The first end counts: a later one is of somebody who did the same at the same moment.
  if (token && !token.ended) {
    tokens.set(jti, { ...token, ended: { by: metadata.actor, at: created, reason: event.data.reason } })
  }
}

/** Whether the token is still accepted. */
export const isActive = ({ ended, expiresAt }: ServiceToken, now: Date = new Date()): boolean =>
  ended === undefined && expiresAt > now

/**
 * Ends a token before it expires. The subgraphs refuse it within a second.
 * @param request.actor who ends it, such as `operator:<user>`
 * @returns the token; it may have been ended already, which changes nothing
 * @throws AuditError if there is no such token, or it has expired; EventStoreUnavailable
 */
export async function endServiceToken(
  eventStore: EventStore,
  request: { readonly jti: string; readonly reason: string; readonly actor: string; readonly now?: Date },
): Promise<{ readonly token: ServiceToken; readonly wasEnded: boolean }> {
  const { jti, reason, actor, now = new Date() } = request
  const token = (await serviceTokens(eventStore)).find((each) => each.jti === jti)
  if (token === undefined) throw new AuditError('There is no such token of a service.')
  if (token.ended) return { token, wasEnded: true }
  if (token.expiresAt <= now) throw new AuditError(`The token expired by itself at ${token.expiresAt.toISOString()}.`)
  const id = crypto.randomUUID()
  const metadata = { $correlationId: id, $causationId: id, actor, at: now.toISOString() }
  const event = encode({ type: 'ServiceTokenEnded', data: { jti, reason } }, id, metadata)
  await chained(eventStore).append(SERVICE_TOKENS_STREAM, [event], { expected: 'stream_exists' })
  return { token: { ...token, ended: { by: actor, at: now, reason } }, wasEnded: false }
}
