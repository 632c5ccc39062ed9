/**
 * `npm run token`: signs a token for a service. The token is on standard output, all else on standard error; that it was
 * issued is recorded before it is shown.
 */
import { userInfo } from 'node:os'
import { checkKeys } from '../eventstore/key-fingerprints.ts'
import { openStoredLog } from '../eventstore/open.ts'
import { ConfigurationError } from '../runtime/configuration.ts'
import { readArguments, runCommand } from '../runtime/process.ts'
import { loadKey } from '../runtime/service-keys.ts'
import {
  issueServiceToken,
  MAX_SERVICE_TOKEN_HOURS,
  SERVICE_NAME,
  serviceScopes,
} from '../subgraph/identity/service-tokens.ts'
import { createTokens } from '../subgraph/identity/tokens.ts'

const USAGE = '--scope SCOPE (may be repeated), --subject NAME, --hours NUMBER'

await runCommand(async (configuration) => {
  const { values } = readArguments(
    {
      options: {
        scope: { type: 'string', multiple: true, default: [] },
        subject: { type: 'string', default: '' },
        hours: { type: 'string', default: '1' },
      },
    },
    USAGE,
  )
  const scopes = serviceScopes(values.scope)
  if (!SERVICE_NAME.test(values.subject)) {
    throw new ConfigurationError("--subject is needed: the service's name, of letters, digits and . _ -")
  }
  const hours = Number(values.hours)
  if (!(hours > 0 && hours <= MAX_SERVICE_TOKEN_HOURS)) {
    throw new ConfigurationError(`--hours: accepted is a number above 0, up to ${MAX_SERVICE_TOKEN_HOURS}.`)
  }
  const tokenSigningKey = loadKey(configuration, 'TOKEN_SIGNING_KEY')
  const tokens = createTokens(tokenSigningKey)
  const eventStore = await openStoredLog(configuration)
  try {
    await checkKeys(eventStore, { tokenSigningKey }, { record: false })
    const { token, expiresAt } = await issueServiceToken(eventStore, tokens, {
      subject: values.subject,
      scopes,
      hours,
      actor: `operator:${userInfo().username}`,
    })
    console.error(`For service:${values.subject}, ${scopes.join(' ')}, until ${expiresAt.toISOString()}`)
    console.log(token)
    return 0
  } finally {
    await eventStore.close()
  }
})
