/** `npm run keys`: what the key store holds, and the change to another master key. See customer-keys.ts. */

import { loadMasterKeys } from '../eventstore/encryption/master-key.ts'
import { acceptKeys } from '../eventstore/key-fingerprints.ts'
import { openKeys, openLog } from '../eventstore/open.ts'
import { type Configuration, ConfigurationError } from '../runtime/configuration.ts'
import { readArguments, runCommand } from '../runtime/process.ts'
import { showProgress } from '../runtime/progress.ts'
import { loadKey } from '../runtime/service-keys.ts'

const USAGE = 'nothing (what there is), rotate, accept token, accept audit or accept store'

await runCommand(async (configuration) => {
  const [action = 'status', name, ...rest] = readArguments({ allowPositionals: true }, USAGE).positionals
  const isWhole = action === 'accept' ? ['token', 'audit', 'store'].includes(name ?? '') : name === undefined
  if (!['status', 'rotate', 'accept'].includes(action) || !isWhole || rest.length > 0) {
    throw new ConfigurationError(`These arguments can't be used; accepted: ${USAGE}.`)
  }
  if (name === 'store') return acceptStore(configuration)
  const [current] = loadMasterKeys(configuration)
  const { eventStore, keys } = await openLog(configuration)
  try {
    if (action === 'accept') {
      const variable = name === 'token' ? 'TOKEN_SIGNING_KEY' : 'AUDIT_SIGNING_KEY'
      const key = loadKey(configuration, variable)
      await acceptKeys(eventStore, name === 'token' ? { tokenSigningKey: key } : { auditSigningKey: key })
      console.log(`${variable} is the log's key from now on; start every instance anew with it.`)
      return 0
    }
    if (action === 'rotate') {
      const bar = showProgress('wrapping keys anew', 'blocks')
      const { blocks, rewrapped } = await keys.rotate((done) => bar.report(done, undefined)).finally(() => bar.stop())
      console.log(`${rewrapped} of ${blocks} blocks of keys are wrapped anew; all are by the master key ${current.id}.`)
      return 0
    }
    const { blocks, destroyed } = await keys.status()
    for (const [id, count] of blocks) {
      console.log(`master key ${id}${id === current.id ? ' (the current one)' : ''}: ${count} blocks of keys`)
    }
    console.log(`${destroyed} keys destroyed`)
    return 0
  } finally {
    await eventStore.close()
  }
})

/** The key store is an older backup, and there is no newer one. */
async function acceptStore(configuration: Configuration): Promise<number> {
  const { stored, keys } = await openKeys(configuration)
  try {
    const count = await keys.giveUpMissing()
    console.log(
      count === 0
        ? 'The key store lacks no keys of this log: nothing is given up.'
        : `${count} blocks of keys were missing: their customers count as erased from now on. Run npm run rebuild -- --accept-differences, then start the service.`,
    )
    return 0
  } finally {
    await keys.close()
    await stored.close()
  }
}
