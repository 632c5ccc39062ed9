/** Where a log and its keys may be stored. */
import { join } from 'node:path'
import type { Test } from 'tap'
import { startEventStoreServer } from '../../support/eventstore-server/server.ts'
import { environment } from '../../support/graph.ts'

export type Env = Record<string, string>

/** A log in a file, or on a server, with the keys beside it or in it. */
export const KINDS_OF_LOGS: Record<string, (t: Test, folder: string) => Promise<Env>> = {
  'a file, keys beside it': async (_, folder) => environment(folder),
  'a server, keys in its log': async (t, folder) => ({
    ...environment(folder),
    EVENTSTORE_URL: (await startEventStoreServer(t)).url,
  }),
  'a server, keys in a file': async (t, folder) => ({
    ...environment(folder),
    EVENTSTORE_URL: (await startEventStoreServer(t)).url,
    KEYS_URL: `sqlite:${join(folder, 'events-keys.db')}`,
  }),
}
