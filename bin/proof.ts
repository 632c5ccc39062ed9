/** `npm run audit`: whether the log is whole, and proofs of what is in it. See proof/. */

import { checkAuditKey, type PublicKey, readAuditKey, type SigningKey } from '../audit/proof/signing-key.ts'
import {
  checkCommand,
  checkpointCommand,
  keyCommand,
  proveCommand,
  readEventName,
  readKeyFile,
  verifyCommand,
} from '../audit/proof/subcommands.ts'
import { openStoredLog } from '../eventstore/open.ts'
import type { EventStore } from '../eventstore/port.ts'
import { patientWith } from '../eventstore/retry.ts'
import { type Configuration, ConfigurationError } from '../runtime/configuration.ts'
import { readArguments, runCommand } from '../runtime/process.ts'
import { loadKey } from '../runtime/service-keys.ts'

const USAGE =
  'verify, prove EVENT [--content], check FILE --key PUBLIC.pem, checkpoint, key; --key PUBLIC.pem (verify, prove), --json'

await runCommand(async (configuration, signal) => {
  const { values, positionals } = readArguments(
    {
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        content: { type: 'boolean', default: false },
        key: { type: 'string', multiple: true, default: [] },
      },
    },
    USAGE,
  )
  const [action = '', subject, ...more] = positionals
  const takesSubject = action === 'prove' || action === 'check'
  if (more.length > 0 || takesSubject !== (subject !== undefined)) throw usage()
  const { json, content } = values
  const print = (text: string) => console.log(text)
  const given = values.key.map(readKeyFile)
  const publicKey = (): PublicKey => given[0] ?? signingKey(configuration)

  switch (action) {
    case 'check': {
      const [key] = given
      if (key === undefined) throw new ConfigurationError('check needs --key PUBLIC.pem: the key that you trust.')
      return checkCommand({ file: subject ?? '', key, json, print })
    }
    case 'key': {
      const key = signingKey(configuration)
      return withLog(configuration, signal, async () => keyCommand({ key, json, print }))
    }
    case 'verify': {
      const keys = given.length > 0 ? given : [signingKey(configuration)]
      const isOwn = given.length === 0
      const verify = (eventStore: EventStore) => verifyCommand(eventStore, { keys, json, signal, print })
      return withLog(configuration, signal, verify, isOwn)
    }
    case 'prove': {
      const event = readEventName(subject ?? '')
      const key = publicKey()
      const prove = (eventStore: EventStore) => proveCommand(eventStore, { key, event, content, print })
      return withLog(configuration, signal, prove, given.length === 0)
    }
    case 'checkpoint': {
      const key = signingKey(configuration)
      return withLog(configuration, signal, (eventStore) => checkpointCommand(eventStore, { key, signal, json, print }))
    }
    default:
      throw usage()
  }
})

/** @param isOwn whether the key is the service's own: then it has to be the log's. One that is given is the caller's choice. */
async function withLog(
  configuration: Configuration,
  signal: AbortSignal,
  work: (eventStore: EventStore) => Promise<number>,
  isOwn = true,
): Promise<number> {
  const onOutage = (reason: string) => console.error(`${reason} Waiting for it.`)
  const wrap = patientWith(configuration.EVENTSTORE_URL, { signal, onOutage })
  const eventStore = await openStoredLog(configuration, wrap)
  try {
    if (isOwn) await checkAuditKey(eventStore, configuration, { record: false })
    return await work(eventStore)
  } finally {
    await eventStore.close()
  }
}

/** @throws ConfigurationError */
function signingKey(configuration: Configuration): SigningKey {
  return readAuditKey(loadKey(configuration, 'AUDIT_SIGNING_KEY'))
}

function usage(): ConfigurationError {
  return new ConfigurationError(`These arguments can't be used; accepted: ${USAGE}.`)
}
