/** One process of a group of projections: joins, says so, and counts what it applies until it is killed. */

import { openReadModel } from '../../../projections/open-read-model.ts'
import type { GroupProjectionOptions } from '../../../projections/worker/group.ts'
import { startGroupProjection } from '../../../projections/worker/group.ts'
import { openStores, type StoreOptions } from '../stores.ts'

const options = JSON.parse(process.argv[2] ?? '{}') as StoreOptions & { readonly group: string }
const { eventStore, readModel } = await openStores(options)
let applied = 0
startGroupProjection({
  eventStore: eventStore as GroupProjectionOptions['eventStore'],
  readModel,
  fillModel: await openReadModel(options.readModelUrl ?? ''),
  group: options.group,
  observer: {
    applied(events) {
      applied += events.length
    },
  },
})
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send?.({ applied, cpu: (user + system) / 1e6 })
})
