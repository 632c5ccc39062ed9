/** The health server of a projection: when the projection is ready. */
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import type { Registry } from 'prom-client'
import type { EventStore } from '../../eventstore/port.ts'
import { buildHealthServer } from '../../runtime/health-server.ts'
import { answersProbe, probed } from '../../runtime/time-limits.ts'
import type { ReadModel } from '../read-model.ts'
import type { ProjectionMetrics } from './metrics.ts'

/**
 * @param options.maxLagSeconds how far a ready projection may be behind
 */
export function buildProjectionsServer(options: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly metrics: Pick<ProjectionMetrics, 'lag'>
  readonly registry: Registry
  readonly maxLagSeconds: number
  readonly logger?: FastifyServerOptions['logger']
}): FastifyInstance {
  const { eventStore, readModel, metrics, maxLagSeconds, ...rest } = options
  return buildHealthServer({
    ...rest,
    async readiness() {
      const [events, documents, lagSeconds] = await Promise.all([
        answersProbe(eventStore.ping()),
        answersProbe(readModel.ping()),
        probed(metrics.lag()).then(
          ({ seconds }) => seconds,
          () => null,
        ),
      ])
      const ready = events && documents && lagSeconds !== null && lagSeconds <= maxLagSeconds
      return { ready, eventStore: events, readModel: documents, lagSeconds, maxLagSeconds }
    },
  })
}
