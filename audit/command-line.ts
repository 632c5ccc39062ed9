/** `npm run audit`: what each command does, apart from the process that it runs in. */
import { createWriteStream } from 'node:fs'
import { type EventStore, StreamNotFound } from '../eventstore/port.ts'
import { eraseAddress } from '../projections/erasure.ts'
import type { ReadModel } from '../projections/read-model.ts'
import { readArguments } from '../runtime/process.ts'
import type { ProgressDisplay } from '../runtime/progress.ts'
import { eventSchemas } from '../schema/events.ts'
import { changesBetween, fieldsOf } from './changes.ts'
import { findHolder, resolveCustomer } from './customer-ref.ts'
import { eraseCustomer } from './erase.ts'
import { AuditError } from './error.ts'
import { type Criteria, findEvents, parseField } from './find.ts'
import { shownChange, shownData, shownDocument } from './masking.ts'
import { ACCEPTED_MOMENTS, ACCEPTED_TIMES, type Moment, parseMoment, parseTime } from './moments.ts'
import { CSV_HEADER, csvLine, type EventRecord, recordOf } from './records.ts'
import { recordReveal } from './reveals.ts'
import { subjectData } from './subject.ts'
import { changeLines, columns, entryText, plain, timeText, valueText } from './text.ts'
import { type CustomerAt, customerAt, streamsOf, type TimelineEntry, timeline, timelineEvents } from './timeline.ts'

/** Where a command works. */
export interface AuditContext {
  /** Opened where a command needs it; the caller closes it. */
  readonly openEventStore: () => EventStore | Promise<EventStore>
  /** The documents, for an erasure. */
  readonly openReadModel: () => ReadModel
  /** Needed to find a customer by an e-mail address. */
  readonly emailHashKey: () => string
  /** How long the records of access are kept: older ones are not shown, wherever they still lie. */
  readonly accessRetentionDays: () => number
  /** The user whose name stands in the record of what was revealed. */
  readonly operator: string
  /** Standard output. */
  readonly write: (text: string) => void | Promise<void>
  /** A line of standard error. */
  readonly note: (line: string) => void
  readonly progress: (label: string, unit: string) => ProgressDisplay
  /** Asks the operator; undefined where nobody can be asked. */
  readonly confirm: (question: string) => Promise<boolean | undefined>
  /** Whether a terminal shows it. */
  readonly styled: boolean
  readonly signal?: AbortSignal
}

const USAGE = `npm run audit -- COMMAND

  history CUSTOMER                          what happened: who, when, which request, old and new values
  state CUSTOMER --at MOMENT                the customer as of then
  diff CUSTOMER --from MOMENT [--to MOMENT] what changed in between; to: now
  find [--actor A] [--type T] [--since TIME] [--until TIME] [--field F]
                                            events of the whole log; options may be repeated, A may end with *
  export [CUSTOMER] [--format jsonl|csv] [--output FILE]
                                            all events, or one customer's
  subject CUSTOMER [--output FILE]          all that is held of one person, as one JSON file; FILE: - for standard output
  erase CUSTOMER --reason TEXT [--yes]      erases a person for good; the log stays whole. Without a terminal: --yes
  verify                                    whether anything in the log was altered, removed, inserted or moved
  prove EVENT, check FILE --key PUBLIC.pem, checkpoint, key
                                            proofs of what is in the log; EVENT: an id, or CUSTOMER:REVISION

  CUSTOMER: a number or an e-mail address. MOMENT: a revision or a TIME (when the store wrote it), UTC by default.
  --json                   one JSON object in each line
  --reveal --reason TEXT   shows personal data, which is masked otherwise; that is recorded as an event.
                           subject always does: there --reason alone is enough, or none. erase records its reason
`

const COMMANDS = ['history', 'state', 'diff', 'find', 'export', 'subject', 'erase'] as const
type Command = (typeof COMMANDS)[number]

/** Options that a command takes beside those that all take. */
const OWN_OPTIONS: Readonly<Record<Command, readonly string[]>> = {
  history: [],
  state: ['at'],
  diff: ['from', 'to'],
  find: ['actor', 'type', 'since', 'until', 'field'],
  export: ['format', 'output'],
  subject: ['output'],
  erase: ['yes'],
}
/** What is recorded where the operator gives no reason. */
const REASONS: Partial<Record<Command, string>> = { subject: 'request for access' }

const text = { type: 'string' } as const
const texts = { type: 'string', multiple: true } as const
const flag = { type: 'boolean', default: false } as const
const OPTIONS = {
  at: text,
  from: text,
  to: text,
  actor: texts,
  type: texts,
  since: text,
  until: text,
  field: texts,
  format: text,
  output: text,
  json: flag,
  reveal: flag,
  reason: text,
  yes: flag,
} as const

const read = (args: readonly string[]) =>
  readArguments({ args: [...args], allowPositionals: true, options: OPTIONS }, 'see npm run audit')
type Options = ReturnType<typeof read>['values']

/**
 * Runs one command.
 * @returns the exit code
 * @throws AuditError | ConfigurationError in one line; EventStoreUnavailable
 */
export async function runAudit(args: readonly string[], context: AuditContext): Promise<number> {
  if (args.length === 0) {
    await context.write(USAGE)
    return 0
  }
  const { values, positionals } = read(args)
  const [name = '', customer, ...rest] = positionals
  const command = COMMANDS.find((each) => each === name)
  if (command === undefined) {
    throw new AuditError(`There is no command ${JSON.stringify(name)}; accepted: ${COMMANDS.join(', ')}.`)
  }
  check(command, customer, rest, values)
  switch (command) {
    case 'history':
      return history(await asked(command, customer, values, context))
    case 'state':
      return state(await asked(command, customer, values, context, values.at))
    case 'diff':
      return diff(await asked(command, customer, values, context, values.from, values.to))
    case 'find':
      return find(criteriaOf(values), await asked(command, undefined, values, context))
    case 'export':
      return exportEvents(formatOf(values), await asked(command, customer, values, context))
    case 'subject':
      return subject(await asked(command, customer, values, context))
    case 'erase':
      return erase(customer ?? '', values, context)
  }
}

function check(command: Command, customer: string | undefined, rest: readonly string[], values: Options): void {
  const others = Object.keys(OPTIONS).filter((name) => !OWN_OPTIONS[command].includes(name))
  for (const name of others) {
    if (['json', 'reveal', 'reason'].includes(name) || !values[name as keyof Options]) continue
    throw new AuditError(`${command} does not take --${name}; see npm run audit.`)
  }
  if (customer === undefined && ['history', 'state', 'diff', 'subject', 'erase'].includes(command)) {
    throw new AuditError(`${command} needs a customer: a number or an e-mail address.`)
  }
  if (rest.length > 0 || (command === 'find' && customer !== undefined)) {
    throw new AuditError(`${command} takes ${command === 'find' ? 'no customer' : 'one customer'}; see npm run audit.`)
  }
  if (values.reveal && !values.reason?.trim()) {
    throw new AuditError('--reveal needs --reason TEXT: it is recorded with what is shown.')
  }
  if (command === 'erase' && !values.reason?.trim()) {
    throw new AuditError('erase needs --reason TEXT: it is recorded with the deletion.')
  }
  if (!values.reveal && values.reason !== undefined && !REASONS[command] && command !== 'erase')
    throw new AuditError('--reason goes with --reveal.')
  if (command === 'state' && values.at === undefined) throw new AuditError(`state needs --at: ${ACCEPTED_MOMENTS}.`)
  if (command === 'diff' && values.from === undefined) throw new AuditError(`diff needs --from: ${ACCEPTED_MOMENTS}.`)
}

/** What was asked for, with everything looked up that can be wrong, and what is revealed on record. */
interface Asked {
  readonly eventStore: EventStore
  readonly customerId: number | null
  readonly moments: readonly Moment[]
  readonly values: Options
  readonly context: AuditContext
}

async function asked(
  command: Command,
  customer: string | undefined,
  values: Options,
  context: AuditContext,
  ...moments: (string | undefined)[]
): Promise<Asked> {
  const parsed = moments.filter((each) => each !== undefined).map(momentOf)
  const eventStore = await context.openEventStore()
  const customerId = customer === undefined ? null : await resolveCustomer(eventStore, customer, context.emailHashKey)
  if (customerId !== null) await checkCustomer(eventStore, customerId)
  if (values.reveal || command === 'subject') {
    const options = OWN_OPTIONS[command].flatMap((name) => {
      if (name === 'output') return []
      const given = [values[name as keyof Options] ?? []].flat()
      return given.map((value) => `--${name} ${value}`)
    })
    await recordReveal(eventStore, {
      customerId,
      command: [command, ...options].join(' '),
      reason: values.reason?.trim() || (REASONS[command] ?? ''),
      actor: `operator:${context.operator}`,
    })
  }
  return { eventStore, customerId, moments: parsed, values, context }
}

/** @throws AuditError where nothing is known of the customer */
async function checkCustomer(eventStore: EventStore, customerId: number): Promise<void> {
  for (const stream of Object.values(streamsOf(customerId))) {
    try {
      for await (const _ of eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 })) return
    } catch (error) {
      if (!(error instanceof StreamNotFound)) throw error
    }
  }
  throw new AuditError(`There is no customer ${customerId}.`)
}

async function history({ eventStore, customerId, values, context }: Asked): Promise<number> {
  const id = customerId as number
  const output = createOutput(context.write)
  for await (const entry of timeline(eventStore, id)) {
    const shown = shownEntry(entry, values.reveal)
    await output.write(values.json ? line(entryJson(shown)) : entryText(id, shown, context.styled))
  }
  await output.end()
  noteMask(values, context)
  return 0
}

/** A timeline's entry as it may be shown. */
function shownEntry(entry: TimelineEntry, reveal: boolean): TimelineEntry {
  return {
    ...entry,
    changes: entry.changes.map((change) => shownChange(change, reveal)),
    details: shownData(entry.details, reveal) as TimelineEntry['details'],
  }
}

function entryJson({ created, places: _, ...entry }: TimelineEntry): object {
  const { stream, revision, id, type, ...rest } = entry
  return { stream, revision, id, type, time: created.toISOString(), ...rest }
}

async function state({ eventStore, customerId, moments, values, context }: Asked): Promise<number> {
  const id = customerId as number
  const [found] = await customerAt(eventStore, id, moments)
  const { document, created } = await presentAt(eventStore, id, moments[0], found)
  const shown = { customerId: id, revision: document.revision, time: created.toISOString() }
  if (values.json) {
    await context.write(line({ ...shown, customer: shownDocument(document, values.reveal) }))
    return 0
  }
  const fields = fieldsOf(document).map(({ field, value }): [string, string] => {
    return [field, valueText(shownChange({ field, from: null, to: value }, values.reveal).to)]
  })
  const head = `Customer ${id} at revision ${document.revision}, since ${timeText(created)}`
  await context.write(`${[head, ...columns(fields)].join('\n')}\n`)
  noteMask(values, context)
  return 0
}

async function diff({ eventStore, customerId, moments, values, context }: Asked): Promise<number> {
  const id = customerId as number
  const [from, to = { time: new Date() }] = moments as readonly [Moment, Moment?]
  const found = await customerAt(eventStore, id, [from, to])
  const before = await presentAt(eventStore, id, from, found[0])
  const after = await presentAt(eventStore, id, to, found[1])
  const changes = changesBetween(before.document, after.document).map((change) => shownChange(change, values.reveal))
  if (values.json) {
    const ends = { from: endOf(before), to: endOf(after) }
    await context.write(line({ customerId: id, ...ends, changes }))
    return 0
  }
  const revisions = `revision ${before.document.revision} to ${after.document.revision}`
  const lines = changes.length > 0 ? changeLines(changes) : ['    nothing changed']
  await context.write(`${[`Customer ${id}, ${revisions}`, ...lines].join('\n')}\n`)
  noteMask(values, context)
  return 0
}

const endOf = ({ document, created }: CustomerAt) => ({ revision: document.revision, time: created.toISOString() })

/** @throws AuditError where the customer was not there at the moment */
async function presentAt(
  eventStore: EventStore,
  customerId: number,
  moment: Moment | undefined,
  found: CustomerAt | undefined,
): Promise<CustomerAt> {
  if (found) return found
  if (moment && 'revision' in moment) {
    const newest = eventStore.readStream(streamsOf(customerId).customer, { direction: 'backwards', maxCount: 1 })
    for await (const { revision } of newest) {
      throw new AuditError(`Customer ${customerId} has the revisions 0 to ${revision}; there is no ${moment.revision}.`)
    }
  }
  throw new AuditError(`Customer ${customerId} was not there yet at that time.`)
}

async function find(criteria: Criteria, { eventStore, values, context }: Asked): Promise<number> {
  const output = createOutput(context.write)
  const bar = context.progress('searching', 'events')
  const end = await lastPosition(eventStore)
  const isShown = shownAccess(context)
  let found = 0
  const looked = await findEvents(
    eventStore,
    criteria,
    (event) => {
      if (!isShown(event)) return undefined
      found++
      const record = recordOf(event, values.reveal)
      return output.write(values.json ? line(record) : foundText(record))
    },
    (count, { position }) => bar.report(count, share(position.commit, end)),
    context.signal,
  )
  await output.end()
  bar.report(looked, 1)
  bar.stop()
  context.note(`${found} ${found === 1 ? 'event fits' : 'events fit'}.`)
  noteMask(values, context)
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

async function exportEvents(format: 'jsonl' | 'csv', asked: Asked): Promise<number> {
  const { eventStore, customerId, values, context } = asked
  const file = values.output === undefined ? undefined : openFile(values.output)
  const output = createOutput(file?.write ?? context.write)
  const bar = context.progress('exporting', 'events')
  const isShown = shownAccess(context)
  const end = customerId === null ? await lastPosition(eventStore) : undefined
  const print = format === 'csv' ? csvLine : line
  let count = 0
  if (format === 'csv') await output.write(CSV_HEADER)
  for await (const event of customerId === null ? eventStore.readAll() : timelineEvents(eventStore, customerId)) {
    if (!isShown(event)) continue
    await output.write(print(recordOf(event, values.reveal)))
    if (++count % 1_000 !== 0) continue
    bar.report(count, end === undefined ? undefined : share(event.position.commit, end))
    if (context.signal?.aborted) break
  }
  await output.end()
  await file?.close()
  bar.report(count, 1)
  bar.stop()
  return stopped(context)
}

/** Not in pieces: what is held of one person has room in memory. */
async function subject({ eventStore, customerId, values, context }: Asked): Promise<number> {
  const id = customerId as number
  const { output: path = `customer-${id}.json` } = values
  const isShown = shownAccess(context)
  const text = `${JSON.stringify(await subjectData(eventStore, id, context.emailHashKey(), isShown), null, 2)}\n`
  if (path === '-') {
    await context.write(text)
    return 0
  }
  const file = openFile(path)
  await file.write(text)
  await file.close()
  context.note(`All that is held of customer ${id}: ${path}`)
  return 0
}

async function erase(customer: string, values: Options, context: AuditContext): Promise<number> {
  const eventStore = await context.openEventStore()
  const reason = values.reason?.trim() ?? ''
  const eraser = { actor: `operator:${context.operator}`, correlationId: crypto.randomUUID(), at: new Date() }
  const tell = (result: object, text: string) => context.write(values.json ? line(result) : `${text}\n`)
  const holder = await findHolder(eventStore, customer, context.emailHashKey)
  const question =
    holder.customerId === undefined ? 'Erase what is known of this address' : `Erase customer ${holder.customerId}`
  if (!values.yes) {
    const answer = await context.confirm(`${question} for good?`)
    if (answer === undefined) throw new AuditError('erase needs --yes where there is no terminal to ask on.')
    if (!answer) {
      context.note('Nothing was erased.')
      return 1
    }
  }
  if (holder.customerId === undefined) {
    const found = []
    for (const key of holder.emailKeys) found.push(await eraseAddress(eventStore, key, eraser))
    if (!found.some(Boolean)) throw new AuditError('Nothing is known of this address.')
    await tell({ address: 'erased' }, 'Nobody has this address; what was known of it is erased.')
    return 0
  }
  const { customerId } = holder
  const readModel = context.openReadModel()
  try {
    const { customer: outcome, inClear } = await eraseCustomer({
      eventStore,
      readModel,
      customerId,
      emailHashKey: context.emailHashKey(),
      eraser,
      reason,
    })
    if (outcome === 'absent') throw new AuditError(`There is no customer ${customerId}.`)
    await tell({ customerId, customer: outcome, eventsInClear: inClear }, `Customer ${customerId} is erased.`)
    if (inClear > 0) {
      context.note(
        `Events from before there was encryption: ${inClear}. What is personal in them stays in the log, in clear.`,
      )
    }
    return inClear > 0 ? 1 : 0
  } finally {
    await readModel.close()
  }
}

function stopped({ signal, note }: AuditContext): number {
  if (!signal?.aborted) return 0
  note('Stopped before its end.')
  return 130
}

/** A server keeps expired events until it is cleaned up: here they are gone when their time is over. */
function shownAccess({ accessRetentionDays }: AuditContext): (event: { type: string; created: Date }) => boolean {
  const oldest = Date.now() - accessRetentionDays() * 86_400_000
  return ({ type, created }) => type !== 'AccessRecorded' || created.getTime() >= oldest
}

async function lastPosition(eventStore: EventStore): Promise<bigint | undefined> {
  for await (const { position } of eventStore.readAll({ direction: 'backwards', maxCount: 1 })) return position.commit
  return undefined
}

const share = (position: bigint, end: bigint | undefined) => (end ? Math.min(1, Number(position) / Number(end)) : 0)

function noteMask({ reveal, json }: Options, { note }: AuditContext): void {
  if (!reveal && !json) note('Personal data is masked; --reveal --reason "..." shows it, and is recorded.')
}

function momentOf(given: string): Moment {
  const moment = parseMoment(given)
  if (moment === undefined)
    throw new AuditError(`${JSON.stringify(given)} can't be used; accepted: ${ACCEPTED_MOMENTS}.`)
  return moment
}

function criteriaOf(values: Options): Criteria {
  const time = (name: 'since' | 'until') => {
    const given = values[name]
    const parsed = given === undefined ? undefined : parseTime(given)
    if (given === undefined || parsed) return parsed
    throw new AuditError(`--${name}: ${JSON.stringify(given)} can't be used; accepted: ${ACCEPTED_TIMES}.`)
  }
  const { actor = [], type = [], field = [] } = values
  for (const each of type) {
    if (Object.hasOwn(eventSchemas, each)) continue
    throw new AuditError(`There is no event type ${JSON.stringify(each)}; types are named as in a history.`)
  }
  for (const each of field) {
    if (parseField(each)) continue
    throw new AuditError(
      `There is no field ${JSON.stringify(each)}; accepted: names as in a history, such as firstname or addresses.city.`,
    )
  }
  return { actors: actor, types: type, fields: field, since: time('since'), until: time('until') }
}

function formatOf({ format = 'jsonl', json }: Options): 'jsonl' | 'csv' {
  if (format !== 'jsonl' && format !== 'csv') {
    throw new AuditError(`--format: ${JSON.stringify(format)} can't be used; accepted: jsonl or csv.`)
  }
  if (json && format === 'csv') throw new AuditError('--json and --format csv exclude each other.')
  return format
}

const line = (value: object) => `${JSON.stringify(value)}\n`

/** Texts in pieces of a size that is worth a write. */
function createOutput(write: AuditContext['write']) {
  const PIECE = 64 * 1024
  let texts: string[] = []
  let length = 0
  const flush = async () => {
    const piece = texts.join('')
    texts = []
    length = 0
    if (piece !== '') await write(piece)
  }
  return {
    write(text: string): void | Promise<void> {
      texts.push(text)
      length += text.length
      if (length >= PIECE) return flush()
    },
    end: flush,
  }
}

/** A file that is its owner's alone: it may hold personal data. @throws AuditError at the first write where it can't be written */
function openFile(path: string) {
  const stream = createWriteStream(path, { mode: 0o600 })
  let failure: Error | undefined
  let fail: (error: Error) => void = () => {}
  const failed = new Promise<never>((_, reject) => {
    fail = reject
  })
  failed.catch(() => {})
  stream.on('error', (error: NodeJS.ErrnoException) => {
    failure = new AuditError(`--output: ${JSON.stringify(path)} can't be written (${error.code}).`)
    fail(failure)
  })
  const done = (start: (callback: () => void) => unknown) =>
    Promise.race([failed, new Promise<void>((resolve) => start(resolve))])
  return {
    write: (piece: string) => done((callback) => stream.write(piece, (error) => error ?? callback())),
    close: () => done((callback) => stream.end(callback)),
  }
}
