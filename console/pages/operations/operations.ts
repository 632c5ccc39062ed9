/** Operations: how far the projections are, generations of the read model, parked events, mail, the stores. */
import { openForCommand } from '../../../projections/open-read-model.ts'
import { SILENT } from '../../../runtime/log.ts'
import type { Role } from '../../people.ts'
import { type ConsoleApp, page } from '../../routes.ts'
import { generationPages } from './generation-pages.ts'
import { createJobs, type Jobs } from './jobs.ts'
import { liveUpdates } from './live.ts'
import { overview } from './overview.ts'
import { parkedPages } from './parked-pages.ts'
import { createWatch, type Watch } from './watch.ts'

/** What the pages of operations share in this process. */
export interface Operations {
  readonly roles: readonly Role[]
  readonly watch: Watch
  readonly jobs: Jobs
  /** Aborted when the console closes. */
  readonly closing: AbortSignal
}

export function operations(app: ConsoleApp): void {
  const { options, fastify, now } = app
  const { eventStore, readModel, configuration } = options
  const closing = new AbortController()
  const shared: Operations = {
    roles: ['operator'],
    watch: createWatch({ eventStore, readModel, groupName: configuration.PROJECTION_GROUP, now }),
    jobs: createJobs({
      eventStore,
      openLive: () => openForCommand(configuration.READMODEL_URL),
      open: (generation) => openForCommand(configuration.READMODEL_URL, generation),
      now,
      log: fastify.log ?? SILENT,
    }),
    closing: closing.signal,
  }
  // Before the server waits for its connections: live updates are open ones.
  fastify.addHook('preClose', async () => {
    closing.abort()
    await shared.jobs.stop()
  })
  const { roles } = shared
  const nav = {
    label: 'Operations',
    about: 'How far the documents are behind, parked events, rebuilds, mail, and what the stores say of themselves.',
  }
  page(app, { path: '/operations', title: 'Operations', roles, nav }, (view) => overview(view, shared))
  page(app, { path: '/operations/live', title: 'Live updates', roles }, (view) => liveUpdates(view, shared))
  generationPages(app, shared)
  parkedPages(app, shared)
}
