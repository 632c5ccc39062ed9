/** The spans of a projection: one for each event, from its write to its document, and one for its batch. */
import type { RecordedEvent } from '../../eventstore/port.ts'
import { isSampled, isTracing, startSpan } from '../../runtime/tracing.ts'
import type { EventMetadata } from '../../schema/events.ts'
import type { ProjectionObserver } from './worker.ts'

const MOST_LINKS = 100
/**
 * Older events come from a refill of the read model and not from a live trace; a million spans would slow that down.
 */
const OLDEST_MS = 10 * 60_000

/** Wraps the observer with spans; returns it unchanged if tracing is off. */
export function traced(observer: Partial<ProjectionObserver>): Partial<ProjectionObserver> {
  if (!isTracing()) return observer
  return {
    ...observer,
    applied(events, caughtUp, isRefill) {
      observer.applied?.(events, caughtUp, isRefill)
      if (events.length > 0) trace(events)
    },
  }
}

function trace(events: readonly RecordedEvent[]): void {
  const oldest = Date.now() - OLDEST_MS
  const parents = events.map(({ metadata, created }) =>
    created.getTime() < oldest ? undefined : (metadata as Partial<EventMetadata> | undefined)?.traceparent,
  )
  const links = [...new Set(parents.filter((parent) => parent !== undefined && isSampled(parent)))] as string[]
  if (links.length === 0) return
  startSpan('apply batch', {
    kind: 'consumer',
    links: links.slice(0, MOST_LINKS),
    attributes: { 'batch.events': events.length },
  }).end()
  for (const [index, { type, stream, revision, created }] of events.entries()) {
    const parent = parents[index]
    if (!isSampled(parent)) continue
    const attributes = { 'event.stream': stream, 'event.revision': revision }
    startSpan(`project ${type}`, { kind: 'consumer', parent, startTime: created, attributes }).end()
  }
}
