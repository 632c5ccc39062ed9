/** Appends and deletions: each is one call, retried within its deadline if that is safe. */
import { binaryEvent, type EventData, jsonEvent } from '@kurrent/kurrentdb-client'
import type { AppendResult, ExpectedRevision, Json, NewEvent, StreamMetadata } from '../port.ts'
import type { Connection } from './connection/connection.ts'
import type { Node } from './connection/node.ts'
import { toPortError } from './errors.ts'
import { StreamsClient } from './generated-messages.ts'
import { metadataStream, removalRequest } from './requests.ts'

export interface Writes {
  /** @throws WrongExpectedRevision | StreamDeleted | AppendTooLarge | EventStoreUnavailable */
  append(stream: string, events: readonly NewEvent[], expected: ExpectedRevision): Promise<AppendResult>
  /** @throws WrongExpectedRevision | StreamDeleted | EventStoreUnavailable */
  remove(kind: 'delete' | 'tombstone', stream: string, expected: ExpectedRevision): Promise<void>
  /** Replaces the stream's metadata. @throws StreamDeleted | EventStoreUnavailable */
  setMetadata(stream: string, metadata: StreamMetadata): Promise<void>
  /** Resolves when the writes under way have ended. */
  settled(): Promise<unknown>
}

/** @param checkOpen throws EventStoreUnavailable once the store is closed */
export function createWrites(connection: Connection, checkOpen: () => void): Writes {
  const writing = new Set<Promise<unknown>>()

  /** @param repeatable whether it may be sent again if its outcome is unknown */
  async function write<T>(
    stream: string,
    expected: ExpectedRevision,
    repeatable: boolean,
    send: (node: Node, until: number) => Promise<T>,
  ): Promise<T> {
    checkOpen()
    const written = connection.call(send, repeatable).catch((error: unknown) => {
      throw toPortError(error, stream, expected)
    })
    writing.add(written)
    try {
      return await written
    } finally {
      writing.delete(written)
    }
  }

  /** On servers before 21.10. */
  async function appendOne(
    { client }: Node,
    until: number,
    stream: string,
    events: readonly NewEvent[],
    expected: ExpectedRevision,
  ): Promise<AppendResult> {
    const streamState = typeof expected === 'number' ? BigInt(expected) : expected
    const { nextExpectedRevision, position } = await client.appendToStream(stream, events.map(eventData), {
      streamState,
      deadline: until - performance.now(),
      requiresLeader: connection.requiresLeader,
    })
    return { revision: Number(nextExpectedRevision), ...(position && { position }) }
  }

  function append(stream: string, events: readonly NewEvent[], expected: ExpectedRevision): Promise<AppendResult> {
    // With `any`, a retry is written twice if the server has forgotten the ids.
    const repeatable = typeof expected === 'number' || expected === 'no_stream'
    return write(stream, expected, repeatable, (node, until) =>
      node.acceptsBatches()
        ? node.appends.append(stream, events, expected, until)
        : appendOne(node, until, stream, events, expected),
    )
  }

  return {
    append,

    async setMetadata(stream, metadata) {
      const event = { id: crypto.randomUUID(), type: '$metadata', data: metadata as Json }
      await append(metadataStream(stream), [event], 'any').catch((error: unknown) => {
        throw toPortError(error, stream)
      })
    },

    remove(kind, stream, expected) {
      const request = removalRequest(kind, stream, expected)
      return write(stream, expected, false, ({ internals }, until) =>
        internals.execute(StreamsClient, kind, (stub) => {
          const { requiresLeader } = connection
          const [metadata, options] = internals.callArguments({ deadline: until - performance.now(), requiresLeader })
          return new Promise<void>((resolve, reject) => {
            stub[kind](request, metadata, options, (error: Error | null) => (error ? reject(error) : resolve()))
          })
        }),
      )
    },

    settled: () => Promise.allSettled(writing),
  }
}

function eventData({ id, type, data, metadata }: NewEvent): EventData {
  // A copy of bytes: the caller may change them.
  const kept = metadata instanceof Uint8Array ? new Uint8Array(metadata) : metadata
  const common = { id, type, ...(kept !== undefined && { metadata: kept as Record<string, unknown> }) }
  return data instanceof Uint8Array
    ? binaryEvent({ ...common, data: new Uint8Array(data) })
    : (jsonEvent({ ...common, data: data as never }) as EventData)
}
