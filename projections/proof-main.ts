/** `npm run audit`: whether the log is whole, and proofs of what is in it. See proof/. */
import { openEventStore } from '../eventstore/open.ts'
import { patientWith } from '../eventstore/patient.ts'
import { type Configuration, ConfigurationError } from '../schema/configuration.ts'
import { readArguments, runCommand } from '../schema/process.ts'
import {
  checkCommand,
  checkpointCommand,
  keyCommand,
  proveCommand,
  readEventName,
  readKeyFile,
  verifyCommand,
} from './proof/command.ts'
import { loadSigningKey, type PublicKey, type SigningKey } from './proof/key.ts'

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
    case 'key':
      return keyCommand({ key: signingKey(configuration), json, print })
    case 'verify': {
      const keys = given.length > 0 ? given : [signingKey(configuration)]
      return withLog(configuration, signal, (eventStore) => verifyCommand(eventStore, { keys, json, signal, print }))
    }
    case 'prove': {
      const event = readEventName(subject ?? '')
      return withLog(configuration, signal, (eventStore) =>
        proveCommand(eventStore, { key: publicKey(), event, content, print }),
      )
    }
    case 'checkpoint':
      return withLog(configuration, signal, (eventStore) =>
        checkpointCommand(eventStore, { key: signingKey(configuration), signal, json, print }),
      )
    default:
      throw usage()
  }
})

async function withLog(
  { EVENTSTORE_URL }: Configuration,
  signal: AbortSignal,
  work: (eventStore: ReturnType<typeof openEventStore>) => Promise<number>,
): Promise<number> {
  const onOutage = (reason: string) => console.error(`${reason} Waiting for it.`)
  const eventStore = patientWith(EVENTSTORE_URL, { signal, onOutage })(openEventStore(EVENTSTORE_URL))
  try {
    return await work(eventStore)
  } finally {
    await eventStore.close()
  }
}

/** @throws ConfigurationError */
function signingKey(configuration: Configuration): SigningKey {
  const key = loadSigningKey(configuration)
  if (key === undefined)
    throw new ConfigurationError(
      'AUDIT_SIGNING_KEY is not set; it is required unless EVENTSTORE_URL is sqlite:PATH, or --key names a public one to verify and prove with.',
    )
  return key
}

function usage(): ConfigurationError {
  return new ConfigurationError(`These arguments can't be used; accepted: ${USAGE}.`)
}
