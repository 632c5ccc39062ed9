/** Whether the event store and the keys of customers can be reached, as metrics. */
import type { Registry } from 'prom-client'
import { addGauge } from '../../runtime/metrics.ts'
import { answersProbe } from '../../runtime/time-limits.ts'
import type { EventStore } from '../port.ts'
import { hasKeys } from './customer-keys.ts'

/** Adds `eventstore_reachable` and `keys_reachable`. The second is NaN for a store without keys. */
export function addReachability(registry: Registry, eventStore: EventStore): void {
  addGauge(registry, 'eventstore_reachable', 'Whether the event store answers (1) or not (0).', () =>
    answersProbe(eventStore.ping()),
  )
  addGauge(registry, 'keys_reachable', "Whether the store of the customers' keys answers (1) or not (0).", () =>
    hasKeys(eventStore) ? answersProbe(eventStore.keys.keyStore.ping()) : Number.NaN,
  )
}
