/** Keys and access: master keys and what each wraps, and the tokens of services. */
import { loadMasterKeys, type MasterKeys } from '../../../eventstore/encryption/master-key.ts'
import { lazily } from '../../../runtime/lazily.ts'
import { badge, commandBox, count, facts, table, time } from '../../components.ts'
import { type Html, html } from '../../html.ts'
import { createJob, type Job, type JobState } from '../../jobs.ts'
import { action, type ConsoleApp, page, type View } from '../../routes.ts'
import { KEYS_ROLES } from './roles.ts'
import { registerTokens, tokenSection } from './tokens.ts'

type RotationJob = Job<{ readonly blocks: number; readonly rewrapped: number }>

export function keys(app: ConsoleApp): void {
  const job: RotationJob = createJob((error) =>
    app.fastify.log.error({ err: error }, 'a rotation of master keys failed'),
  )
  // A plug-in may connect to something: it is asked once.
  const masterKeys = lazily(() => loadMasterKeys(app.options.configuration))
  app.fastify.addHook('preClose', () => job.close())
  page(
    app,
    {
      path: '/keys',
      title: 'Keys and access',
      roles: KEYS_ROLES,
      nav: { label: 'Keys', about: 'Master keys and their rotation, and the tokens of services, ended one by one.' },
    },
    async (view) => html`<link rel="stylesheet" href="/assets/proof.css">
${await masterKeySection(view, job, masterKeys())}
${await tokenSection(view)}`,
  )
  action(app, { path: '/keys/rotate', roles: KEYS_ROLES }, async ({ options, actor }) => {
    const total = sum((await options.keys.status()).blocks.values())
    const isStarted = job.start(actor, ({ report }) =>
      options.keys.rotate((done) => report({ done, share: total === 0 ? undefined : Math.min(1, done / total) })),
    )
    const text = isStarted ? 'The rotation has begun.' : 'A rotation is running already.'
    return { redirect: '/keys', notice: { kind: isStarted ? 'done' : 'failed', text } }
  })
  page(app, { path: '/keys/progress', title: 'Progress', roles: KEYS_ROLES }, ({ signal }) => ({
    filename: 'progress.txt',
    type: 'text/event-stream',
    content: messages(job, signal),
  }))
  registerTokens(app)
}

const sum = (numbers: Iterable<number>): number => {
  let all = 0
  for (const each of numbers) all += each
  return all
}

async function* messages(job: RotationJob, signal: AbortSignal): AsyncGenerator<string> {
  for await (const state of job.watch(signal)) {
    const data =
      state.status === 'running' ? { text: progressText(state.progress.done), share: state.progress.share } : null
    yield `data: ${JSON.stringify(data)}\n\n`
  }
}

const progressText = (done: number) => `${count(done)} blocks done`

async function masterKeySection(
  { options, formToken }: View,
  job: RotationJob,
  [current, ...previous]: MasterKeys,
): Promise<Html> {
  const { blocks, destroyed } = await options.keys.status()
  const loaded = new Map([[current.id, 'wraps new keys'], ...previous.map(({ id }) => [id, 'only unwraps'] as const)])
  const ids = new Set([...loaded.keys(), ...blocks.keys()])
  const older = sum([...blocks].filter(([id]) => id !== current.id).map(([, number]) => number))
  const state = job.state()
  return html`<section aria-labelledby="master-title"><h2 id="master-title">Master keys</h2>
<p>Each customer's personal data is encrypted with a key of its own. The keys are stored in blocks of 64 customers, and each block is wrapped by a master key. A rotation wraps them all with the current master key. No event of the log changes.</p>
${table(
  'Master keys and what each has wrapped',
  [{ label: 'Id' }, { label: 'In this process' }, { label: 'Blocks it has wrapped', isNumber: true }],
  [...ids].map((id) => [
    html`<code>${id}</code>`,
    loaded.has(id)
      ? html`${loaded.get(id)} ${id === current.id && badge('current', 'good')}`
      : badge('is not configured', 'bad'),
    count(blocks.get(id) ?? 0),
  ]),
)}
${facts([['Destroyed keys of erased persons', count(destroyed)]])}
${state.status === 'running' ? running(state) : idle(state, older, previous.length > 0, formToken)}
${commandBox('customers keys\ncustomers keys rotate')}</section>`
}

function running({ by, since, progress }: Extract<JobState<unknown>, { status: 'running' }>): Html {
  const percent = progress.share === undefined ? undefined : Math.round(progress.share * 100)
  return html`<div class="panel" data-progress="/keys/progress"><p id="progress-text"><strong>A rotation is running</strong>, begun ${time(since, 'clock')} by ${by}: <span data-text>${progressText(progress.done)}</span>. If it is interrupted, a later one goes on.</p>
<progress class="bar-meter" aria-labelledby="progress-text" max="100"${percent !== undefined && html` value="${percent}"`}></progress>
<div class="actions"><a class="button" href="/keys">Refresh</a></div></div>
<script type="module" src="/assets/progress.js"></script>`
}

/** @param hasPrevious whether older keys are configured */
function idle(state: ReturnType<RotationJob['state']>, older: number, hasPrevious: boolean, formToken: Html): Html {
  const next = hasPrevious
    ? html`Take <code>MASTER_KEY_PREVIOUS</code> away from every process, and restart each. Keep the old key for as long as you keep backups of the key store from before.`
    : html`To replace it, set a new <code>MASTER_KEY</code> and the old one as <code>MASTER_KEY_PREVIOUS</code>, restart every process, and come back here.`
  return html`${state.status === 'failed' && html`<p class="fault" role="alert">The last rotation could not be finished. Nothing is lost: see that every master key above is configured, and start it again.</p>`}
${state.status === 'done' && html`<p class="notice">The last rotation wrapped ${count(state.result.rewrapped)} of ${count(state.result.blocks)} blocks anew.</p>`}
${
  older === 0
    ? html`<p>The current master key has wrapped everything. ${next}</p>`
    : html`<form method="post" action="/keys/rotate">${formToken}<p>${count(older)} ${older === 1 ? 'block is' : 'blocks are'} wrapped by an older master key. Keep that key until the rotation is done.</p><button class="primary">Wrap them with the current key</button></form>`
}`
}
