/** Whether the event store and the keys of customers can be reached, as metrics. */
import type { Registry } from 'prom-client'
import { addGauge, remembered } from '../../runtime/metrics.ts'
import { answersProbe } from '../../runtime/time-limits.ts'
import type { EventStore } from '../port.ts'
import { hasKeys } from './customer-keys.ts'

/** Adds `eventstore_reachable` and `keys_reachable`. The second is NaN for a store without keys. */
export function addReachability(registry: Registry, eventStore: EventStore): void {
  const keys = hasKeys(eventStore) ? eventStore.keys : undefined
  // Not that of the encrypted log, which asks for its keys, too.
  const log = keys?.log ?? eventStore
  addGauge(registry, 'eventstore_reachable', 'Whether the event store answers (1) or not (0).', () =>
    answersProbe(log.ping()),
  )
  // A key management system is not asked with each look.
  const reach = remembered(async () => keys !== undefined && (await answersProbe(keys.reach())))
  addGauge(
    registry,
    'keys_reachable',
    "Whether the store of the customers' keys and the master key, which may be in a KMS, answer (1) or not (0).",
    () => (keys ? reach() : Number.NaN),
  )
}
