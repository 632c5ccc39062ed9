/** `customers audit find`: searches events in the whole log. */
import { UsageError } from '../../runtime/errors.ts'
import { eventSchemas } from '../../schema/events.ts'
import { type Criteria, findEvents, parseField } from '../find.ts'
import { type EventRecord, recordOf } from '../records.ts'
import { plain, valueText } from '../terminal-text.ts'
import { type AuditContext, noteMask, openForAll, type ShowOptions, shownAccess, stopped } from './context.ts'
import { createOutput, line } from './output.ts'
import { timeOf } from './times.ts'

export interface FindOptions extends ShowOptions {
  readonly actor?: readonly string[]
  readonly type?: readonly string[]
  readonly field?: readonly string[]
  readonly since?: string
  readonly until?: string
}

/** @returns the exit code @throws UsageError for a criterion that can't be used; EventStoreUnavailable */
export async function find(context: AuditContext, options: FindOptions): Promise<number> {
  const criteria = criteriaOf(options)
  const { actor, type, since, until, field } = options
  const asked = { command: 'find', options: { actor, type, since, until, field } }
  const eventStore = await openForAll(context, asked, options)
  const output = createOutput(context.write)
  const bar = context.progress('searching', 'events')
  const isShown = shownAccess(context)
  let found = 0
  const count = await findEvents(
    eventStore,
    criteria,
    (event) => {
      if (!isShown(event)) return undefined
      found++
      const record = recordOf(event, options.reveal)
      return output.write(options.json ? line(record) : foundText(record))
    },
    (count, _, share) => bar.report(count, share),
    context.signal,
  )
  await output.end()
  bar.report(count, 1)
  bar.stop()
  context.note(`${found} ${found === 1 ? 'event fits' : 'events fit'}.`)
  noteMask(options, context)
  return stopped(context)
}

function foundText({ time, stream, revision, type, actor, requestId, data }: EventRecord): string {
  const isGroup = typeof data === 'object' && data !== null && !Array.isArray(data)
  const fields = Object.entries(isGroup ? data : { data })
    .filter(([, value]) => value != null)
    .map(([name, value]) => `${plain(name)}: ${valueText(value ?? null)}`)
  const head = `${time.replace('T', ' ')}  ${plain(stream)} ${revision}  ${plain(type)}`
  const who = `by ${plain(actor ?? '-')}, request ${plain(requestId ?? '-')}`
  return `${head}  ${who}\n${fields.length > 0 ? `    ${fields.join(', ')}\n` : ''}`
}

/** @throws UsageError */
function criteriaOf({ actor = [], type = [], field = [], since, until }: FindOptions): Criteria {
  for (const each of type) {
    if (Object.hasOwn(eventSchemas, each)) continue
    throw new UsageError(`There is no event type ${JSON.stringify(each)}; types are named as in a history.`)
  }
  for (const each of field) {
    if (parseField(each)) continue
    throw new UsageError(
      `There is no field ${JSON.stringify(each)}; accepted: names as in a history, such as firstname or addresses.city.`,
    )
  }
  return { actors: actor, types: type, fields: field, since: timeOf('since', since), until: timeOf('until', until) }
}
