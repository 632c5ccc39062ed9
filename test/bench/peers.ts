/** The other gateways of the bench: npm packages in a folder of their own. */
import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { join } from 'node:path'

const folder = join(import.meta.dirname, 'peers')

let installed: boolean | undefined

/** Installs them where they are missing, or older than their lock file. False, with a line that says so, where that fails. */
export function installPeers(): boolean {
  installed ??= install()
  return installed
}

function install(): boolean {
  const changed = (file: string) => statSync(join(folder, file), { throwIfNoEntry: false })?.mtimeMs ?? 0
  if (changed('node_modules/.package-lock.json') >= changed('package-lock.json')) return true
  console.error(`Installing the other gateways in ${folder} ...`)
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--fetch-retries=1'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: 300_000,
  })
  if (status === 0) return true
  console.error('They could not be installed: Hive and Mercurius are left out.')
  return false
}
