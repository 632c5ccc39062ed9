/** The mail worker's health server: when the worker is ready. */
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import type { Registry } from 'prom-client'
import type { EventStore } from '../eventstore/port.ts'
import { buildHealthServer } from '../runtime/health-server.ts'
import { answersProbe } from '../runtime/time-limits.ts'
import type { MailStatus } from './worker.ts'

export function buildMailServer(options: {
  readonly eventStore: EventStore
  readonly status: () => MailStatus
  readonly registry: Registry
  readonly logger?: FastifyServerOptions['logger']
}): FastifyInstance {
  const { eventStore, status, ...rest } = options
  return buildHealthServer({
    ...rest,
    async readiness() {
      const checks = { eventStore: await answersProbe(eventStore.ping()), mailServer: status().isServerThere }
      return { ready: checks.eventStore && checks.mailServer, ...checks, lagSeconds: status().lagSeconds }
    },
  })
}
