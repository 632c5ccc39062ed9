/** Whether the keys of customers can be reached, as a metric. */
import type { Registry } from 'prom-client'
import { addGauge } from '../../runtime/metrics.ts'
import { answersProbe } from '../../runtime/time-limits.ts'
import type { EventStore } from '../port.ts'
import { hasKeys } from './customer-keys.ts'

/** Adds `keys_reachable`. It is NaN for a store without keys. */
export function addKeysGauge(registry: Registry, eventStore: EventStore): void {
  addGauge(registry, 'keys_reachable', "Whether the store of the customers' keys answers (1) or not (0).", () =>
    hasKeys(eventStore) ? answersProbe(eventStore.keys.keyStore.ping()) : Number.NaN,
  )
}
