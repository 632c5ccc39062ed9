/**
 * `customers token`: signs a token for a service. The token is on standard output, everything else on standard error.
 * The issue is recorded before the token is shown.
 */
import { userInfo } from 'node:os'
import { checkKeys } from '../../eventstore/encryption/key-fingerprints.ts'
import { openStoredLog } from '../../eventstore/open-event-store.ts'
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
    const tokenSigningKey = loadKey(configuration, 'TOKEN_SIGNING_KEY')
    const tokens = createTokens(tokenSigningKey, { names: tokenNames(configuration) })
    const eventStore = await openStoredLog(configuration)
    try {
      await checkKeys(eventStore, { tokenSigningKey }, { record: false })
      const { token, expiresAt } = await issueServiceToken(eventStore, tokens, {
        subject,
        scopes,
        hours,
        actor: `operator:${userInfo().username}`,
      })
      console.error(`For service:${subject}, ${scopes.join(' ')}, until ${expiresAt.toISOString()}`)
      console.log(token)
      return 0
    } finally {
      await eventStore.close()
    }
  })
