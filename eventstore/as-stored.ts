/** The log as it is stored, for those who need nothing of it that is encrypted: positions, streams, types, ids. */
import { hasKeys } from './encryption/customer-keys.ts'
import type { EventStore } from './port.ts'

/** Nothing that is read there is decrypted. Without encryption it is the store itself. */
export const asStored = (eventStore: EventStore): EventStore => (hasKeys(eventStore) ? eventStore.keys.log : eventStore)
