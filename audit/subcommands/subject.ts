/** `customers audit subject`: all data about one person, as one file. */
import { subjectData } from '../subject.ts'
import { type AuditContext, openForCustomer, shownAccess } from './context.ts'
import { openFile } from './output.ts'

/** The recorded reason if the operator gives none. */
const REASON = 'request for access'

/**
 * Not streamed: the data about one person fits into memory.
 * @param options.output `-`: standard output; none: customer-NUMBER.json
 * @returns the exit code @throws as `openForCustomer`
 */
export async function subject(
  context: AuditContext,
  customer: string,
  options: { readonly output?: string; readonly reason?: string },
): Promise<number> {
  const show = { json: true, reveal: true, reason: options.reason?.trim() || REASON }
  const { eventStore, customerId } = await openForCustomer(context, { command: 'subject' }, customer, show)
  const { output: path = `customer-${customerId}.json` } = options
  const data = await subjectData(eventStore, customerId, context.emailHashKey(), shownAccess(context))
  const text = `${JSON.stringify(data, null, 2)}\n`
  if (path === '-') {
    await context.write(text)
    return 0
  }
  const file = openFile(path)
  await file.write(text)
  await file.close()
  context.note(`All that is held of customer ${customerId}: ${path}`)
  return 0
}
