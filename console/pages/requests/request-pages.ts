/** One request: its page, its steps, its execution, its receipt. */
import { AuditError, RequestConflict, RequestRefused } from '../../../audit/errors.ts'
import { executeRequest } from '../../../audit/requests/execute.ts'
import { holdingsOf, placesOf, toDoAfterErasure } from '../../../audit/requests/holdings.ts'
import { changeRequest, heldBy, isAbout, readNotes, readRegister } from '../../../audit/requests/register.ts'
import { isOpen, type PrivacyRequest, subjectText } from '../../../audit/requests/request.ts'
import { type Receipt, receiptOf } from '../../../audit/requests/views.ts'
import type { RecordedEvent } from '../../../eventstore/port.ts'
import { hasWords } from '../../../runtime/reason-text.ts'
import { ERASURE_STEPS } from '../../../schema/privacy-requests.ts'
import { Refused } from '../../errors.ts'
import { chosen, textOf } from '../../form-fields.ts'
import type { Role } from '../../people.ts'
import { type Answer, action, type ConsoleApp, type Content as PageContent, page, type View } from '../../routes.ts'
import { officerOf } from './officer.ts'
import { erasurePage, receiptPage, requestPage } from './request-views.ts'
import { REQUEST_STEPS } from './steps.ts'

export function requestPages(app: ConsoleApp, roles: readonly Role[]): void {
  page(app, { path: '/requests/:number', title: 'Request', roles, isPersonal: true }, async (view) =>
    showRequest(view, await read(view)),
  )
  page(app, { path: '/requests/:number/erasure', title: 'Erasure', roles }, async (view) => {
    const found = await read(view)
    const { request } = found
    if (request.kind !== 'erasure') throw new Refused(404, 'This request does not ask for an erasure.')
    return {
      title: `Request ${request.number}: erase ${subjectText(request.subject)}`,
      body: erasurePage(view, found, await receiptFor(view, request)),
      command: `customers privacy execute ${request.number}`,
    }
  })
  page(app, { path: '/requests/:number/receipt', title: 'Receipt', roles }, async (view) => {
    const { request } = await read(view)
    if (isOpen(request)) throw new Refused(404, 'The request is open: it has a receipt once it is done or refused.')
    return {
      title: `Receipt of request ${request.number}`,
      body: receiptPage(await receiptFor(view, request), view.now),
      command: `customers privacy receipt ${request.number}`,
    }
  })
  action(app, { path: '/requests/:number/steps/:step', roles }, (view) => told(view, takeStep))
  action(app, { path: '/requests/:number/left/:step', roles }, (view) => told(view, recordStep))
  action(app, { path: '/requests/:number/execution', roles }, (view) => told(view, execute))
}

/** A request, and what its steps depend on. */
export interface Found {
  readonly request: PrivacyRequest
  /** The number of another request of the person that is on legal hold. */
  readonly heldBy: number | undefined
  /** Whether it is about the data of whoever looks. */
  readonly isOwn: boolean
}

/** @throws Refused 404 */
async function read({ options, params, actor, person }: View): Promise<Found> {
  const register = await readRegister(options.eventStore)
  const request = register.requests.get(numberOf(params.number))
  if (!request) throw new Refused(404, `There is no such request; there are ${register.requests.size}.`)
  const { subject, number } = request
  const isOwn = await isAbout(options.eventStore, subject, {
    actor,
    email: person.email,
    emailHashKey: options.emailHashKey,
  })
  return { request, heldBy: await heldBy(options.eventStore, register, subject, number), isOwn }
}

const numberOf = (text = ''): number => (/^[1-9]\d{0,14}$/.test(text) ? Number(text) : 0)

async function showRequest(view: View, found: Found, fault?: string): Promise<PageContent> {
  const { request } = found
  const { number, subject } = request
  const whose = subject.customerId === undefined ? { customerId: null, emailKeys: subject.emailKeys } : { ...subject }
  const hasNotes = request.history.some(({ note }) => note !== undefined)
  const isRevealed = hasNotes && (await view.reveal({ command: `privacy show ${number}`, ...whose })) === 'revealed'
  const notes = isRevealed ? await readNotes(view.options.eventStore, subject) : undefined
  const receipt = await receiptFor(view, request)
  return {
    title: `Request ${number}: ${request.kind}`,
    body: requestPage(view, found, receipt, { notes, fault }),
    command: `customers privacy show ${number}${isRevealed ? " --reveal --reason '…'" : ''}`,
  }
}

async function receiptFor({ options, now }: View, request: PrivacyRequest): Promise<Receipt> {
  const { eventStore, readModel, emailHashKey, configuration } = options
  const held = await holdingsOf(eventStore, readModel, request.subject, emailHashKey)
  return receiptOf(request, now, { held, toDo: toDoAfterErasure(placesOf(configuration)) })
}

/** Shows the request with the reason, if its state does not allow the step. */
async function told(view: View, act: (view: View, number: number) => Promise<Answer>): Promise<Answer> {
  const { request } = await read(view)
  try {
    return await act(view, request.number)
  } catch (error) {
    if (!(error instanceof RequestRefused || error instanceof RequestConflict || error instanceof AuditError))
      throw error
    const shown = await showRequest(view, await read(view), error.message)
    return { ...shown, status: 409 }
  }
}

/** What an officer saw of the request and says with the step. */
const saidIn = ({ form }: View) => {
  const seen = Number(form.get('seen'))
  return { note: textOf(form, 'note'), ...(Number.isInteger(seen) && seen > 0 && { seen }) }
}

async function takeStep(view: View, number: number): Promise<Answer> {
  const step = REQUEST_STEPS.find(({ name }) => name === view.params.step)
  if (!step) throw new Refused(404, 'There is no such step.')
  const said = saidIn(view)
  if (step.needsReason && !hasWords(said.note ?? '')) throw new Refused(400, 'Say why. Nothing was done.')
  const { eventStore } = view.options
  const request = await changeRequest(eventStore, number, step.command(view.form), officerOf(view), said)
  const isKept = said.note === undefined || request.history.at(-1)?.note !== undefined
  const text = `${step.title}: it is on record.${isKept ? '' : ' Your words are not kept: the person is erased.'}`
  return { redirect: `/requests/${number}`, notice: { kind: 'done', text } }
}

async function recordStep(view: View, number: number): Promise<Answer> {
  const step = chosen(new URLSearchParams({ step: view.params.step ?? '' }), 'step', 'Step', ERASURE_STEPS)
  const { eventStore } = view.options
  await changeRequest(eventStore, number, { type: 'record-step', step }, officerOf(view), saidIn(view))
  return { redirect: `/requests/${number}`, notice: { kind: 'done', text: `${step}: it is on record as done.` } }
}

async function execute(view: View, number: number): Promise<Answer> {
  const { options, form, now } = view
  const { eventStore, readModel, emailHashKey, store } = options
  const { kind, subject } = (await read(view)).request
  if (kind === 'erasure' && form.get('sure') !== 'yes') {
    throw new Refused(400, 'Tick that you are sure. Nothing was erased.')
  }
  const oldest = now.getTime() - store.audit.retentionDays * 86_400_000
  let file: string | undefined
  await executeRequest(number, {
    eventStore,
    readModel,
    emailHashKey,
    officer: officerOf(view),
    said: saidIn(view),
    isShown: ({ type, created }: RecordedEvent) => type !== 'AccessRecorded' || created.getTime() >= oldest,
    async handOut(content) {
      file = content
    },
  })
  if (file !== undefined) {
    return { filename: `request-${number}.json`, type: 'application/json; charset=utf-8', content: file }
  }
  const text =
    kind === 'erasure' ? `${subjectText(subject)} is erased.` : `Request ${number} is on record as carried out.`
  return { redirect: `/requests/${number}`, notice: { kind: 'done', text: text[0]?.toUpperCase() + text.slice(1) } }
}
