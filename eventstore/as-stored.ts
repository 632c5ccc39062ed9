/** The log as stored, for callers that need only what is not encrypted: positions, streams, types and ids. */
import { hasKeys } from './encryption/customer-keys.ts'
import type { EventStore } from './port.ts'

/** A store whose reads decrypt nothing. Without encryption it is the store itself. */
export const asStored = (eventStore: EventStore): EventStore => (hasKeys(eventStore) ? eventStore.keys.log : eventStore)
