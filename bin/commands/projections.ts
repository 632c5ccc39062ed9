/** The projection as a process of its own: `customers projections`. */
import type { FastifyBaseLogger } from 'fastify'
import { addAuditMetrics } from '../../audit/metrics.ts'
import { startConfiguredCheckpoints } from '../../audit/proof/signed-checkpoints.ts'
import { checkAuditKey, loadSigningKey } from '../../audit/proof/signing-key.ts'
import { checkKeysAtStart } from '../../eventstore/encryption/key-fingerprints.ts'
import { addReachability } from '../../eventstore/encryption/reachability.ts'
import { openLog } from '../../eventstore/open-event-store.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { startGroupProjection } from '../../projections/worker/group.ts'
import { buildProjectionsServer } from '../../projections/worker/health.ts'
import { createProjectionMetrics } from '../../projections/worker/metrics.ts'
import { traced } from '../../projections/worker/traced-observer.ts'
import { startProjection } from '../../projections/worker/worker.ts'
import { ConfigurationError } from '../../runtime/errors.ts'
import { loggerOptions } from '../../runtime/log.ts'
import { createRegistry } from '../../runtime/metrics.ts'
import { startMetricsExport } from '../../runtime/metrics-export.ts'
import { endProcess, listen, runProcess } from '../../runtime/process.ts'
import { startTracing } from '../../runtime/tracing.ts'

export const projections = ({ mode }: { readonly mode: 'catch-up' | 'group' }): Promise<void> =>
  runProcess(async (configuration) => {
    const { PROJECTIONS_PORT: port, HOST: host } = configuration
    const auditKey = loadSigningKey(configuration)
    const tracing = await startTracing(configuration, 'projections')
    let log: FastifyBaseLogger | undefined
    const opened = await openLog(configuration, {
      onDrop(reason) {
        log?.warn({ reason }, 'subscription to the event store dropped; it resumes where it was')
        metrics.dropped()
      },
      onOutage: (reason) => log?.warn({ reason }, 'subscription to the event store is still dropped'),
      onResume: () => log?.info('subscription to the event store resumed'),
    })
    const { eventStore, stored } = opened
    await checkKeysAtStart(opened, () => checkAuditKey(eventStore, configuration, { record: true }), endProcess)
    const readModel = await openReadModel(configuration.READMODEL_URL)
    const registry = createRegistry('projections')
    addReachability(registry, eventStore)
    addAuditMetrics(registry, eventStore)
    const group = mode === 'group' ? configuration.PROJECTION_GROUP : undefined
    const metrics = createProjectionMetrics(registry, { eventStore, readModel, group })
    const app = buildProjectionsServer({
      eventStore,
      readModel,
      metrics,
      registry,
      maxLagSeconds: configuration.PROJECTION_MAX_LAG_SECONDS,
      logger: loggerOptions(configuration, 'projections'),
    })
    log = app.log
    const exporting = await startMetricsExport(configuration, 'projections', [registry], log)

    const options = { eventStore, readModel, log: app.log, observer: traced(metrics.observer) }
    const { persistentSubscriptions } = eventStore
    if (group !== undefined && persistentSubscriptions === undefined) {
      throw new ConfigurationError('--mode group needs EventStoreDB or KurrentDB: set EVENTSTORE_URL, or use catch-up.')
    }
    const fillModel = group === undefined ? undefined : await openReadModel(configuration.READMODEL_URL)
    const projection =
      group !== undefined && fillModel !== undefined && persistentSubscriptions !== undefined
        ? startGroupProjection({ ...options, fillModel, eventStore: { ...eventStore, persistentSubscriptions }, group })
        : startProjection(options)
    await listen(app, { port, host }, 'PROJECTIONS_PORT')
    const checkpoints = startConfiguredCheckpoints(stored, auditKey, configuration.CHECKPOINT_MINUTES, app.log)
    return {
      log: app.log,
      async close() {
        await app.close()
        await exporting.close()
        await checkpoints.stop()
        await projection.stop()
        await readModel.close()
        await fillModel?.close()
        await eventStore.close()
        await tracing.close()
      },
    }
  })
