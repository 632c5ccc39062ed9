/**
 * `customers token`: signs a token for a service, lists them, ends one. A new token is on standard output, everything
 * else about it on standard error. The issue is recorded before the token is shown.
 */
import { userInfo } from 'node:os'
import { endServiceToken, isActive, type ServiceToken, serviceTokens } from '../../audit/service-tokens.ts'
import { plain } from '../../audit/terminal-text.ts'
import { checkKeys } from '../../eventstore/encryption/key-fingerprints.ts'
import { openStoredLog, requireLog } from '../../eventstore/open-event-store.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { UsageError } from '../../runtime/errors.ts'
import { runCommand } from '../../runtime/process.ts'
import { loadKey } from '../../runtime/service-keys.ts'
import { tokenNames } from '../../runtime/token-names.ts'
import {
  issueServiceToken,
  MAX_SERVICE_TOKEN_HOURS,
  SERVICE_NAME,
  serviceScopes,
} from '../../subgraph/identity/service-tokens.ts'
import { createTokens } from '../../subgraph/identity/tokens.ts'

export interface TokenOptions {
  readonly subject: string
  readonly scope: readonly string[]
  readonly hours: string
}

export const token = (options: TokenOptions): Promise<void> =>
  runCommand(async (configuration) => {
    const { subject } = options
    const scopes = serviceScopes(options.scope)
    if (!SERVICE_NAME.test(subject)) {
      throw new UsageError("--subject: accepted is the service's name, of letters, digits and . _ -, up to 64.")
    }
    const hours = Number(options.hours)
    if (!(hours > 0 && hours <= MAX_SERVICE_TOKEN_HOURS)) {
      throw new UsageError(`--hours: accepted is a number above 0, up to ${MAX_SERVICE_TOKEN_HOURS}.`)
    }
    requireLog(configuration)
    const tokenSigningKey = loadKey(configuration, 'TOKEN_SIGNING_KEY')
    const tokens = createTokens(tokenSigningKey, { names: tokenNames(configuration) })
    const eventStore = await openStoredLog(configuration)
    try {
      await checkKeys(eventStore, { tokenSigningKey }, { record: false })
      const { token, jti, expiresAt } = await issueServiceToken(eventStore, tokens, {
        subject,
        scopes,
        hours,
        actor: `operator:${userInfo().username}`,
      })
      console.error(`For service:${subject}, ${scopes.join(' ')}, until ${expiresAt.toISOString()}. Id: ${jti}`)
      console.log(token)
      return 0
    } finally {
      await eventStore.close()
    }
  })

export const list = ({ all, json }: { readonly all: boolean; readonly json: boolean }): Promise<void> =>
  onLog(async (eventStore) => {
    const tokens = (await serviceTokens(eventStore)).filter((each) => all || isActive(each))
    if (!json && tokens.length === 0) console.error(all ? 'No token was ever issued.' : 'No token is valid.')
    for (const each of tokens) console.log(json ? JSON.stringify(each) : tokenLine(each))
    return 0
  })

function tokenLine({ jti, subject, scopes, issuedBy, issuedAt, expiresAt, ended }: ServiceToken): string {
  const issued = `issued ${issuedAt.toISOString()} by ${plain(issuedBy)}`
  const end = ended ? `, ended ${ended.at.toISOString()} by ${plain(ended.by)}: ${plain(ended.reason)}` : ''
  return `${plain(jti)}  service:${plain(subject)}  ${plain(scopes.join(' '))}  until ${expiresAt.toISOString()}  ${issued}${end}`
}

export const end = (jti: string, { reason }: { readonly reason: string }): Promise<void> =>
  onLog(async (eventStore) => {
    const ending = { jti, reason: reason.trim(), actor: `operator:${userInfo().username}` }
    const { token, wasEnded } = await endServiceToken(eventStore, ending)
    console.log(
      wasEnded
        ? `The token was ended already, at ${token.ended?.at.toISOString()}.`
        : `The token of service:${plain(token.subject)} is ended. It is refused everywhere within a second.`,
    )
    return 0
  })

const onLog = (work: (eventStore: EventStore) => Promise<number>): Promise<void> =>
  runCommand(async (configuration) => {
    requireLog(configuration)
    const eventStore = await openStoredLog(configuration)
    try {
      return await work(eventStore)
    } finally {
      await eventStore.close()
    }
  })
