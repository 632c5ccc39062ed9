/** Exports exactly what Find finds, as CSV (a row for each field, old and new) or JSON Lines. Each export is an event. */
import { CSV_HEADER, createCsv } from '../../../audit/csv.ts'
import { findEvents, type Searched } from '../../../audit/find.ts'
import { recordOf } from '../../../audit/records.ts'
import { filtersAsked } from '../../../audit/subcommands/filters.ts'
import { type Html, html } from '../../html.ts'
import { action, type ConsoleApp, type View } from '../../routes.ts'
import { streamed } from '../../streamed.ts'
import { shownAccess } from '../access-retention.ts'
import { asOptions, criteriaFrom, type Filters, readFilters, writeFilters } from './filters.ts'
import { FIND_ROLES } from './roles.ts'

const FORMATS = {
  csv: { label: 'CSV, for spreadsheets', type: 'text/csv; charset=utf-8' },
  jsonl: { label: 'JSON Lines', type: 'application/jsonl; charset=utf-8' },
} as const
type Format = keyof typeof FORMATS

export function exportPanel({ formToken, reason }: View, filters: Filters): Html {
  return html`<form class="panel export" method="post" action="/find/export">${formToken}
${[...writeFilters(filters)].map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`)}
<h2>Export</h2>
<p>All events of this search, not just this page. Values are ${reason ? html`<strong>in clear</strong>, for the reason you gave` : 'masked; give a reason above to have them in clear'}. The export is recorded in the log.</p>
<div class="actions">${Object.entries(FORMATS).map(([format, { label }]) => html`<button name="format" value="${format}">${label}</button>`)}</div>
</form>`
}

export function registerExport(app: ConsoleApp): void {
  action(app, { path: '/find/export', roles: FIND_ROLES, isLong: true }, async (view) => {
    const { options, form, now } = view
    const filters = readFilters(form)
    const { criteria, zone } = criteriaFrom(filters)
    const format: Format = form.get('format') === 'csv' ? 'csv' : 'jsonl'
    // A text that may be an address is not recorded.
    const command = `export --format ${format}${asOptions({ ...filters, ...filtersAsked(filters) })}`
    const shown = await view.recordExport({ command, customerId: criteria.customerId ?? null })
    const csv = createCsv(options.eventStore, shown, zone)
    const isShown = shownAccess(options, now)
    async function* content(): AsyncGenerator<string> {
      if (format === 'csv') yield CSV_HEADER
      const { isComplete } = yield* streamed<string, Searched>((give) =>
        findEvents(
          options.eventStore,
          criteria,
          async (event) => {
            if (!isShown(event)) return undefined
            return give(format === 'csv' ? await csv(event) : `${JSON.stringify(recordOf(event, shown))}\n`)
          },
          { signal: view.signal },
        ),
      )
      // Otherwise what the reader has would look like all of it.
      if (!isComplete) throw new Error('The console ended before the export did.')
    }
    const day = now.toISOString().slice(0, 10)
    return { filename: `events-${day}.${format}`, type: FORMATS[format].type, content: content() }
  })
}
