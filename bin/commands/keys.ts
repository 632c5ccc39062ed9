/** `customers keys`: shows what the key store holds, and changes keys. See customer-keys.ts. */

import { acceptKeys } from '../../eventstore/encryption/key-fingerprints.ts'
import { loadMasterKeys } from '../../eventstore/encryption/master-key.ts'
import { keyStoreUrl, type OpenedLog, openKeys, openLog } from '../../eventstore/open-event-store.ts'
import { EventStoreUnavailable } from '../../eventstore/port.ts'
import { withRetriesFor } from '../../eventstore/retry.ts'
import type { Configuration } from '../../runtime/configuration.ts'
import { runCommand } from '../../runtime/process.ts'
import { showProgress } from '../../runtime/progress.ts'
import { loadKey } from '../../runtime/service-keys.ts'

const blocksOfKeys = (count: number) => `${count} ${count === 1 ? 'block' : 'blocks'} of keys`

export const status = (): Promise<void> =>
  withLog(async ({ keys }, current) => {
    const { blocks, destroyed } = await keys.status()
    for (const [id, count] of blocks) {
      console.log(`master key ${id}${id === current ? ' (the current one)' : ''}: ${blocksOfKeys(count)}`)
    }
    console.log(`${destroyed} ${destroyed === 1 ? 'key' : 'keys'} destroyed`)
  })

export const rotate = (): Promise<void> =>
  withLog(async ({ keys }, current, { signal }) => {
    const bar = showProgress('rewrapping keys', 'blocks')
    const rotating = keys.rotate((done) => bar.report(done, undefined), signal)
    const { blocks, rewrapped } = await rotating
      .finally(() => bar.stop())
      .catch((error: unknown) => {
        if (signal.aborted || error instanceof EventStoreUnavailable) {
          console.error('Not all keys are rewrapped: run the same command again. Keep MASTER_KEY_PREVIOUS until then.')
        }
        throw error
      })
    console.log(`${rewrapped} of ${blocksOfKeys(blocks)} rewrapped; all now use the master key ${current}.`)
  })

export const accept = (name: 'token' | 'audit'): Promise<void> =>
  withLog(async ({ eventStore }, _, { configuration }) => {
    const variable = name === 'token' ? 'TOKEN_SIGNING_KEY' : 'AUDIT_SIGNING_KEY'
    const key = loadKey(configuration, variable)
    await acceptKeys(eventStore, name === 'token' ? { tokenSigningKey: key } : { auditSigningKey: key })
    console.log(`${variable} is the log's key from now on. Restart every instance with it.`)
  })

/**
 * For a key store restored from an older backup, where no newer one exists: gives up the customers whose keys are
 * missing.
 */
export const acceptStore = (): Promise<void> =>
  runCommand(async (configuration) => {
    const { stored, keys } = await openKeys(configuration)
    try {
      const { blocks, addresses } = await keys.giveUpMissing()
      if (blocks === 0 && addresses === 0) {
        console.log('The key store lacks no keys of this log. Nothing was changed.')
      }
      if (addresses > 0) {
        const text = addresses === 1 ? '1 key of a guest is' : `${addresses} keys of guests are`
        console.log(`${text} missing from the key store: they count as erased from now on.`)
      }
      if (blocks > 0) {
        console.log(
          `${blocksOfKeys(blocks)} missing from the key store: their customers count as erased from now on. Run npm run rebuild -- --accept-differences, then start the service.`,
        )
      }
      return 0
    } finally {
      await keys.close()
      await stored.close()
    }
  })

interface Context {
  readonly configuration: Configuration
  readonly signal: AbortSignal
}

/** Once it has begun, it waits for a server that is away. @param work takes the log and the id of the current master key */
function withLog(work: (log: OpenedLog, current: string, context: Context) => Promise<void>) {
  return runCommand(async (configuration, signal) => {
    const [current] = loadMasterKeys(configuration)
    let isBegun = false
    const onOutage = (reason: string) => console.error(`${reason} Waiting for it.`)
    const patience = { signal, onOutage, isBegun: () => isBegun }
    const log = await openLog(configuration, {}, (store, holds) =>
      withRetriesFor(holds === 'keys' ? keyStoreUrl(configuration) : configuration.EVENTSTORE_URL, patience)(store),
    )
    try {
      await log.keys.keyStore.ping() // fails fast
      isBegun = true
      await work(log, current.id, { configuration, signal })
      return 0
    } finally {
      await log.eventStore.close()
    }
  })
}
