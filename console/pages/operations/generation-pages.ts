/** Generations of the read model: fill, compare, switch, roll back, drop. */
import { logEnd } from '../../../eventstore/read.ts'
import {
  dropOthers,
  type GenerationState,
  type RolledBack,
  rollBack,
  stateOf,
} from '../../../projections/generations.ts'
import { openReadModel } from '../../../projections/open-read-model.ts'
import type { Difference } from '../../../projections/rebuild.ts'
import { FILTER } from '../../../projections/worker/worker.ts'
import { inBytes } from '../../../runtime/bytes.ts'
import { badge, commandBox, count, table, time } from '../../components.ts'
import { Refused } from '../../errors.ts'
import { type Content, type Html, html } from '../../html.ts'
import { type Answer, action, type ConsoleApp, page, type View } from '../../routes.ts'
import type { Job } from './jobs.ts'
import type { Operations } from './operations.ts'
import { bar, liveScript, subNavigation } from './parts.ts'

const PATH = '/operations/generations'

export function generationPages(app: ConsoleApp, operations: Operations): void {
  const { roles, jobs } = operations
  page(app, { path: PATH, title: 'Generations of the read model', roles, isLong: true }, (view) =>
    generations(view, operations),
  )
  const back = (kind: 'done' | 'failed', text: string) => ({ redirect: PATH, notice: { kind, text } }) as const
  action(app, { path: `${PATH}/rebuild`, roles }, ({ form, actor }) => {
    const acceptDifferences = form.get('accept') === 'yes'
    jobs.rebuild(actor, { acceptDifferences, ignoreMemory: form.get('memory') === 'yes' })
    return back('done', acceptDifferences ? 'The switch has begun.' : 'The rebuild has begun.')
  })
  action(app, { path: `${PATH}/comparison`, roles }, ({ actor }) => {
    jobs.compare(actor)
    return back('done', 'The comparison has begun.')
  })
  action(app, { path: `${PATH}/stop`, roles }, async ({ actor, log }) => {
    log.info({ by: actor }, 'an operator stops what runs')
    return (await jobs.stop()) ? back('done', 'It is stopped.') : back('failed', 'Nothing was running.')
  })
  action(app, { path: `${PATH}/roll-back`, roles }, async (view) => {
    checkSure(view)
    checkIdle(jobs.current())
    const { eventStore, readModel, configuration } = view.options
    const open = (generation: number) => openReadModel(configuration.READMODEL_URL, { generation })
    const outcome = await rollBack(eventStore, readModel, open)
    view.log.info({ by: view.actor, ...outcome }, 'an operator rolls the read model back')
    return back(outcome.outcome === 'rolled back' ? 'done' : 'failed', rolledBackText(outcome))
  })
  action(app, { path: `${PATH}/drop`, roles }, async (view): Promise<Answer> => {
    checkSure(view)
    checkIdle(jobs.current())
    const dropped = await dropOthers(view.options.readModel)
    view.log.info({ by: view.actor, dropped }, 'an operator drops generations')
    if (dropped.length === 0) return back('failed', 'There is only the live generation.')
    return back('done', `Dropped: generation ${dropped.join(', ')}.`)
  })
}

function checkSure({ form }: View): void {
  if (form.get('sure') !== 'yes') throw new Refused(400, 'Tick that you are sure. Nothing was done.')
}

function checkIdle(job: Job | undefined): void {
  if (job && !job.ended) throw new Refused(409, `A ${job.kind} is running, started by ${job.by}. Stop it first.`)
}

function rolledBackText(back: RolledBack): string {
  switch (back.outcome) {
    case 'rolled back':
      return `Generation ${back.to} is live again. What it has missed is caught up; until then queries fold the streams.`
    case 'nothing before':
      return `Generation ${back.live} is live; there is none before it to go back to.`
    case 'of another log':
      return `Generation ${back.to} is of another log: its documents are not this service's.`
    case 'too late':
      return 'Another switch was faster: nothing is switched.'
  }
}

async function generations(view: View, { jobs }: Operations) {
  const { eventStore, readModel, configuration } = view.options
  const [all, end] = await Promise.all([readModel.generations(), logEnd(eventStore, FILTER)])
  const states = all.map((each) => stateOf(each, end))
  const isMeasured = view.query.get('sizes') === 'yes'
  const sizes = new Map<number, string>()
  if (isMeasured) {
    for (const { number } of states) sizes.set(number, await sizeOf(configuration.READMODEL_URL, number))
  }
  const job = jobs.current()
  return {
    command: 'customers rebuild --status',
    body: html`${subNavigation(PATH)}
<p>A rebuild fills a new generation beside the live one, compares the two, and switches. The service keeps running meanwhile.</p>
${table(
  'Generations',
  [
    { label: 'Generation', isNumber: true },
    { label: 'State' },
    { label: 'Position', isNumber: true },
    { label: 'Of the log' },
    ...(isMeasured ? [{ label: 'Size' }] : []),
  ],
  states.map((each) => [
    each.number,
    html`${each.live && badge('live', 'good')} ${each.state}`,
    each.position?.commit ?? '',
    each.state === 'being filled' ? bar(`Generation ${each.number}`, each.share) : percent(each),
    ...(isMeasured ? [sizes.get(each.number) ?? ''] : []),
  ]),
)}
${!isMeasured && html`<p><a href="${PATH}?sizes=yes">Measure their sizes</a> <small>walks all documents</small></p>`}
${jobPanel(view, job)}
${(job === undefined || job.ended !== undefined) && actions(view, states)}
${liveScript()}`,
  }
}

const percent = ({ share, state }: GenerationState): Content =>
  state === 'empty' || share === undefined ? '' : `${Math.floor(share * 100)} %`

async function sizeOf(url: string, generation: number): Promise<string> {
  const readModel = await openReadModel(url, { generation })
  try {
    const { documents, bytes } = await readModel.space()
    return `${count(documents)} documents, about ${inBytes(bytes)}`
  } finally {
    await readModel.close()
  }
}

function jobPanel(view: View, job: Job | undefined): Html | false {
  if (job === undefined) return false
  const { kind, by, startedAt, phase, done, share, ended, warnings, mayAccept } = job
  return html`<h2>The ${ended ? 'last' : 'running'} ${kind}</h2>
<section class="panel" aria-label="Work">
<p>Started by ${by} ${time(startedAt)}${ended && html`, ended ${time(ended.at)}`}.</p>
${
  ended
    ? html`<p class="notice ${ended.isGood ? 'done' : 'failed'}">${ended.text}</p>`
    : html`<p><span data-live="phase">${phase}</span>: <span data-live="done">${count(done)}</span> so far.</p>${bar(`Progress of the ${kind}`, share, 'share')}
<form method="post" action="${PATH}/stop">${view.formToken}<p class="actions"><button>Stop it</button> <a class="button" href="${PATH}">Refresh</a></p></form>`
}
${warnings.map((warning) => html`<p class="fault">${warning}</p>`)}
${differenceTable(job)}
${
  mayAccept &&
  html`<form method="post" action="${PATH}/rebuild">${view.formToken}<input type="hidden" name="accept" value="yes"><button class="danger">Switch all the same</button></form>
${commandBox('customers rebuild --accept-differences')}`
}
</section>`
}

/** By customer and field, without values. */
function differenceTable({ differences, moreDifferences }: Job): Html | false {
  if (differences.length === 0) return false
  return html`${table(
    'Differences',
    [
      { label: 'Customer', isNumber: true },
      { label: 'Fields' },
      { label: 'Revision expected', isNumber: true },
      { label: 'Revision found', isNumber: true },
    ],
    differences.map(({ customerId, fields, revisions: [expected, found] }) => [
      customerId,
      fieldsText(fields),
      revisionText(expected),
      revisionText(found),
    ]),
  )}
${moreDifferences > 0 && html`<p>and ${count(moreDifferences)} more.</p>`}`
}

const FIELD_WORDS: Readonly<Record<string, string>> = {
  missing: 'the document is missing',
  extra: 'there is a document, but no stream',
  unreadable: "the document can't be read",
  parked: 'an event is parked',
}

const fieldsText = (fields: Difference['fields']): string =>
  typeof fields === 'string' ? (FIELD_WORDS[fields] ?? fields) : fields.join(', ')

const revisionText = (revision: number): string => (revision < 0 ? 'none' : String(revision))

function actions({ formToken }: View, states: readonly GenerationState[]): Html {
  const hasOthers = states.length > 1
  const live = states.find((each) => each.live)?.number ?? 1
  const hasEarlier = states.some(({ number, state }) => number < live && state !== 'empty')
  const begun = states.find(({ number }) => number > live)
  const sure = (id: string, text: string) =>
    html`<p><input type="checkbox" id="${id}" name="sure" value="yes" required> <label for="${id}">${text}</label></p>`
  return html`<h2>What you can do</h2>
<div class="steps">
<form class="panel" method="post" action="${PATH}/rebuild">${formToken}<h3>${begun ? `Resume the rebuild of generation ${begun.number}` : 'Rebuild'}</h3>
<p>Fills, compares, and switches if no document differs.</p>
<p><input type="checkbox" id="memory" name="memory" value="yes"> <label for="memory">Begin even where there may be too little room</label></p>
<button class="primary">${begun ? 'Resume it' : 'Rebuild'}</button>${commandBox('customers rebuild')}</form>
<form class="panel" method="post" action="${PATH}/comparison">${formToken}<h3>Compare with the log</h3>
<p>Folds each customer's stream and compares it with the live document. Nothing is changed.</p>
<button>Compare</button>${commandBox('customers rebuild --verify')}</form>
${
  hasEarlier &&
  html`<form class="panel" method="post" action="${PATH}/roll-back">${formToken}<h3>Roll back</h3>
<p>The generation before the live one becomes live again.</p>${sure('sure-back', `Generation ${live} is live no more.`)}
<button class="danger">Roll back</button>${commandBox('customers rebuild --roll-back')}</form>`
}
${
  hasOthers &&
  html`<form class="panel" method="post" action="${PATH}/drop">${formToken}<h3>Drop the others</h3>
<p>Deletes all generations that are not live. There is nothing to roll back to then.</p>${sure('sure-drop', 'Delete them.')}
<button class="danger">Drop</button>${commandBox('customers rebuild --drop')}</form>`
}
</div>`
}
