/** `customers secrets`: creates the secrets that docker-compose.yml reads. Existing ones are kept. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateSigningKey } from '../../runtime/service-keys.ts'

const SECRETS = {
  'token-signing-key.pem': generateSigningKey,
  'audit-signing-key.pem': generateSigningKey,
  'email-hash-key': () => randomBytes(32).toString('hex'),
  'master-key': () => randomBytes(32).toString('hex'),
  'subgraph-secret': () => randomBytes(32).toString('hex'),
  'console-session-key': () => randomBytes(32).toString('hex'),
  // To be filled in by the operator.
  'smtp-url': () => '',
  'console-oidc-client-secret': () => '',
}
const FOLDER = 'secrets'

export function secrets(): void {
  // Only the owner can enter the folder. The files in it are world-readable, because a container runs as another user.
  try {
    mkdirSync(FOLDER, { recursive: true, mode: 0o700 })
  } catch (error) {
    endUnwritten(FOLDER, error as Error)
  }
  for (const [name, make] of Object.entries(SECRETS)) {
    const path = join(FOLDER, name)
    try {
      writeFileSync(path, make(), { mode: 0o644, flag: 'wx', flush: true })
      console.log(`${path} made`)
    } catch (error) {
      const failure = error as NodeJS.ErrnoException
      if (failure.code !== 'EEXIST') {
        // What a full disk has of a key would be kept as one the next time.
        if (failure.syscall !== 'open') rmSync(path, { force: true })
        endUnwritten(path, failure)
      }
      console.log(`${path} is there already: left as it is`)
    }
  }
  console.log(
    'Keep them: without the token key all customers are signed out, without the e-mail key no address is found again, without the master key nobody reads personal data again.',
  )
}

function endUnwritten(path: string, { message }: Error): never {
  console.error(`error: ${path} can't be written: ${message}`)
  process.exit(1)
}
