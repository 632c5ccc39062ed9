/**
 * Who signed in, tried to, was locked out or changed a password, and from where: streams `customerAccess-<id>`, or with
 * the keyed hash of an unknown address. The records are written in the background: an answer neither waits for a record
 * nor fails with it.
 */

import type { FastifyBaseLogger } from 'fastify'
import type { EventStore } from '../../eventstore/port.ts'
import { keptAddress } from '../../runtime/client-address.ts'
import { traceIds } from '../../runtime/tracing.ts'
import type { AccessKind } from '../../schema/audit-events.ts'
import type { Store } from '../../schema/store.ts'
import { streamOf } from '../../schema/streams.ts'
import { type Command, encodeAll } from '../commands/command.ts'

export interface AccessLog {
  /** @param key the customer's id, or the keyed hash of an unknown address */
  record(key: number | string, kind: AccessKind, command: Command): void
  /** Waits until everything recorded so far is written, or has failed. */
  close(): Promise<void>
}

/** How many records may wait for a slow store; further ones are counted as failed. */
const MAX_PENDING = 10_000
/** Longer ones are truncated. */
const MAX_USER_AGENT = 256
/**
 * How often a stream's retention is set again: the first time may have been interrupted, or the setting has changed.
 */
const RETENTION_EVERY = 50

export function createAccessLog(options: {
  readonly eventStore: EventStore
  readonly settings: Store['audit']
  readonly log: FastifyBaseLogger
  /** Called for each record, before it is written. */
  readonly onRecord: (kind: AccessKind) => void
  /** Called for each record that could not be written. */
  readonly onFailure: () => void
}): AccessLog {
  const { eventStore, settings, log, onRecord, onFailure } = options
  const pending = new Set<Promise<void>>()
  let failing = false

  async function write(key: number | string, kind: AccessKind, command: Command): Promise<void> {
    const { address, userAgent } = command.client ?? {}
    const clientAddress = keptAddress(address, settings.keepClientAddress)
    const data = {
      kind,
      ...(clientAddress !== undefined && { clientAddress }),
      ...(userAgent !== undefined && settings.keepUserAgent && { userAgent: userAgent.slice(0, MAX_USER_AGENT) }),
    }
    const stream = streamOf.access(key)
    // Every attempt is a record with an id of its own, also for a retried command.
    const events = encodeAll({ ...command, id: crypto.randomUUID(), deadline: undefined }, [
      { type: 'AccessRecorded', data },
    ])
    const { revision } = await eventStore.append(stream, events, { expected: 'any' })
    if (revision % RETENTION_EVERY === 0) {
      await eventStore.setStreamMetadata(stream, { $maxAge: settings.retentionDays * 86_400 })
    }
  }

  function failed(error: unknown, { traceparent }: Command): void {
    onFailure()
    // Logs the beginning of an outage; the counter has the rest.
    if (!failing) log.warn({ err: error, ...traceIds(traceparent) }, 'access could not be recorded')
    failing = true
  }

  return {
    record(key, kind, command) {
      onRecord(kind)
      if (pending.size >= MAX_PENDING)
        return failed(new Error('Too many records of access wait to be written.'), command)
      const writing = write(key, kind, command).then(
        () => {
          failing = false
        },
        (error: unknown) => failed(error, command),
      )
      pending.add(writing)
      writing.then(() => pending.delete(writing))
    },
    async close() {
      await Promise.all(pending)
    },
  }
}
