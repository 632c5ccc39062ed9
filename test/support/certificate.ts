/** A certificate for `localhost` (and its address, which gossip tells) that nobody else trusts, in a folder that goes with the test. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { temporaryFolder } from './graph.ts'

export async function certificate(t: Test): Promise<{
  readonly tls: { readonly key: Buffer; readonly cert: Buffer }
  readonly caFile: string
  readonly keyFile: string
}> {
  const folder = await temporaryFolder(t)
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const extensions = ['subjectAltName=DNS:localhost,IP:127.0.0.1', 'basicConstraints=CA:FALSE'].flatMap((each) => [
    '-addext',
    each,
  ])
  const args = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-keyout', key, '-out', cert]
  execFileSync('openssl', [...args, '-subj', '/CN=localhost', ...extensions], { stdio: 'pipe' })
  return { tls: { key: readFileSync(key), cert: readFileSync(cert) }, caFile: cert, keyFile: key }
}
