/** Live updates, by server-sent events: measured only while somebody listens. */
import { pause } from '../../../runtime/time-limits.ts'
import { count } from '../../components.ts'
import type { Download, View } from '../../routes.ts'
import type { Operations } from './operations.ts'
import { appliedText, positionText, secondsText } from './overview.ts'
import { projectionState } from './watch.ts'

const EACH_MS = 2_000
/** A stream ends after this, and the browser asks again: its session may have ended. */
const LONGEST_MS = 5 * 60_000

export function liveUpdates(view: View, operations: Operations): Download {
  return { filename: 'live', type: 'text/event-stream', content: updates(view, operations) }
}

async function* updates(view: View, operations: Operations): AsyncGenerator<string> {
  const signal = AbortSignal.any([view.signal, operations.closing])
  const until = performance.now() + LONGEST_MS
  yield 'retry: 3000\n\n'
  while (!signal.aborted && performance.now() < until) {
    yield `data: ${JSON.stringify(await valuesNow(view, operations))}\n\n`
    await pause(EACH_MS, signal)
  }
}

async function valuesNow({ options }: View, { watch, jobs }: Operations): Promise<object> {
  const job = jobs.current()
  const running = job &&
    !job.ended && {
      phase: job.phase,
      done: count(job.done),
      ...(job.share !== undefined && { share: job.share * 100, shareText: `${Math.floor(job.share * 100)} %` }),
    }
  const shared = { ...running, ended: job?.ended !== undefined }
  try {
    const measure = await watch.measure()
    const parked = await options.readModel.parked()
    return {
      ...shared,
      state: projectionState(watch.measures, options.configuration.PROJECTION_MAX_LAG_SECONDS),
      lagEvents: count(measure.lag.events),
      lagSeconds: secondsText(measure.lag.seconds),
      position: positionText(measure.position),
      end: positionText(measure.end),
      applied: appliedText(measure),
      parked: count(parked.length),
    }
  } catch {
    return { ...shared, state: 'a store does not answer' }
  }
}
