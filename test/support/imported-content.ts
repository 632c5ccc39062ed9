/** What an import has written, to compare two logs. */
import type { EventStore } from '../../eventstore/port.ts'

const STREAMS = { streamPrefixes: ['customer-', 'customerEmail-', 'customerCredentials-', 'addressOwner-'] }

/** Each event as it is read, in the order of streams: without the moment at which it was written, and the run. */
export async function importedContent(eventStore: EventStore): Promise<string[]> {
  const events: string[] = []
  for await (const { stream, revision, type, id, data, metadata } of eventStore.readAll({ filter: STREAMS })) {
    const { $causationId, actor } = metadata as Record<string, unknown>
    events.push(JSON.stringify([stream, revision, type, id, data, $causationId, actor]))
  }
  return events.sort()
}
