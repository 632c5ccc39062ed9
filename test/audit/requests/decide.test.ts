/** Requests of data subjects: what may happen to them, given as examples and as properties. */
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { addMonths, parseDay, secondsUntilEnd } from '../../../audit/requests/deadlines.ts'
import {
  type Circumstances,
  decide,
  decideReceipt,
  type Receive,
  type RequestCommand,
} from '../../../audit/requests/decide.ts'
import { isSamePerson } from '../../../audit/requests/person.ts'
import { evolve, type PrivacyRequest, secondsUntilDue, statusOf } from '../../../audit/requests/request.ts'
import type { Recorded } from '../../../eventstore/codec.ts'
import { type RequestEvent, SCHEMA_VERSION } from '../../../schema/events.ts'
import { REQUEST_KINDS } from '../../../schema/privacy-requests.ts'

const RULES = { secondPerson: true, approvalDays: 14 }
const ALICE = 'operator:alice'
const BOB = 'operator:bob'
const RECEIVED: Receive = {
  type: 'receive',
  kind: 'erasure',
  subject: { customerId: 7 },
  channel: 'letter',
  receivedOn: '2026-01-31',
}

const on = (day: string, actor = ALICE, more: Partial<Circumstances> = {}): Circumstances => ({
  actor,
  now: new Date(`${day}T12:00:00Z`),
  rules: RULES,
  ...more,
})

type Done = readonly [RequestCommand, Circumstances]

function applied(request: PrivacyRequest | undefined, events: readonly RequestEvent[], { actor, now }: Circumstances) {
  return events.reduce<PrivacyRequest | undefined>((state, event) => {
    const metadata = {
      $correlationId: 'c',
      $causationId: 'c',
      actor,
      at: now.toISOString(),
      schemaVersion: SCHEMA_VERSION,
    }
    const recorded = { ...event, id: '', revision: (state?.version ?? 0) + 5, metadata, created: now }
    return evolve(state, recorded as Recorded<RequestEvent>)
  }, request)
}

/** A request that alice received, and what was done with it since. */
function given(receive: Partial<Receive> = {}, ...done: Done[]): PrivacyRequest {
  const received = { ...RECEIVED, ...receive }
  const entered = on(received.receivedOn)
  const first = applied(undefined, decideReceipt(3, received, entered), entered)
  const request = done.reduce(
    (state, [command, where]) => applied(state, decide(state as PrivacyRequest, command, where), where),
    first,
  )
  return request as PrivacyRequest
}

const identified = (day: string, actor = ALICE): Done => [{ type: 'identify', how: 'mailed-link' }, on(day, actor)]
const approved = (day: string, actor = BOB): Done => [{ type: 'approve' }, on(day, actor)]
const begun = (day: string, actor = ALICE): Done => [{ type: 'begin' }, on(day, actor)]
const held = (day: string): Done => [{ type: 'hold', ground: 'legal-claim' }, on(day)]
const finished = (day: string): Done => [{ type: 'finish', eventsInClear: 0 }, on(day)]
const refused = (day: string): Done => [{ type: 'refuse', ground: 'unfounded' }, on(day)]

function refuses(t: Test, request: PrivacyRequest, command: RequestCommand, where: Circumstances, message: RegExp) {
  t.throws(() => decide(request, command, where), { code: 'AUD_ERR_REFUSED', message }, String(message))
}

t.test('time limits', async (t) => {
  for (const [day, months, then] of [
    ['2026-01-31', 1, '2026-02-28'],
    ['2028-01-31', 1, '2028-02-29'],
    ['2026-01-31', 3, '2026-04-30'],
    ['2026-03-15', 1, '2026-04-15'],
    ['2026-12-31', 1, '2027-01-31'],
    ['2026-11-30', 3, '2027-02-28'],
    ['2027-11-29', 3, '2028-02-29'],
  ] as const) {
    t.equal(addMonths(day, months), then, `${day} and ${months}`)
  }
  t.equal(secondsUntilEnd('2026-02-28', new Date('2026-02-28T23:59:00Z')), 60, 'its whole day counts')
  t.equal(secondsUntilEnd('2026-02-28', new Date('2026-03-01T00:00:01Z')), -1)
  t.same(['2026-02-28', '2026-02-29', '2026-2-1', '28.02.2026', ''].map(parseDay), ['2026-02-28', ...Array(4)])

  await t.test('a month later is the same day, or the last day of a month that has none', async () => {
    const days = fc.date({ min: new Date('1970-01-01'), max: new Date('2100-01-01'), noInvalidDate: true })
    fc.assert(
      fc.property(days, fc.integer({ min: 0, max: 40 }), (date, months) => {
        const day = date.toISOString().slice(0, 10)
        const then = addMonths(day, months)
        const [year = 0, month = 0, of = 0] = day.split('-').map(Number)
        const [thenYear = 0, thenMonth = 0, thenOf = 0] = then.split('-').map(Number)
        if (parseDay(then) !== then) return false
        if (thenYear * 12 + thenMonth !== year * 12 + month + months) return false
        return (
          thenOf === of ||
          (thenOf < of &&
            addMonths(then, 0).slice(8) === new Date(Date.UTC(thenYear, thenMonth, 0)).toISOString().slice(8, 10))
        )
      }),
    )
  })
})

t.test('persons are compared, not the ways in which they came', async (t) => {
  for (const [a, b, same] of [
    ['operator:ann', 'operator:ann', true],
    ['operator:ann', 'person:Ann', true],
    ['operator:ann', 'person:ann@example.com', true],
    ['person:ann@example.com', 'operator:ann', true],
    ['person:ann@example.com', 'person:ann@example.org', false],
    ['operator:ann', 'operator:anna', false],
    ['operator:ann', 'person:bob@example.com', false],
    ['operator:ﬁn', 'person:fin', true],
  ] as const) {
    t.equal(isSamePerson(a, b), same, `${a} and ${b}`)
  }
})

t.test('received', async (t) => {
  t.match(given(), { number: 3, version: 1, dueOn: '2026-02-28', recorded: { by: ALICE }, subject: { customerId: 7 } })
  t.equal(statusOf(given(), new Date('2026-02-01')), 'received')
  t.equal(secondsUntilDue(given(), new Date('2026-03-02T00:00:00Z')), -86_400)
  t.throws(() => decideReceipt(1, { ...RECEIVED, receivedOn: '2026-02-01' }, on('2026-01-31')), /yet to come/)
  t.match(decideReceipt(1, { ...RECEIVED, subject: { emailKeys: ['a', 'b'] } }, on('2026-01-31')), [
    { data: { emailKeys: ['a', 'b'] } },
  ])
  t.throws(
    () => evolve(undefined, { type: 'LegalHoldReleased', data: { request: 3 }, metadata: {} } as never),
    /begins with/,
  )
})

t.test('approved', async (t) => {
  const ready = given({}, identified('2026-02-01'))
  await t.test('by another person than those who prepared it', async (t) => {
    refuses(t, given(), { type: 'approve' }, on('2026-02-01', BOB), /no identity check/)
    refuses(t, ready, { type: 'approve' }, on('2026-02-02', ALICE), /second person .* operator:alice recorded it/)
    refuses(t, ready, { type: 'approve' }, on('2026-02-02', 'person:Alice@example.com'), /second person/)
    const byBob = given({}, identified('2026-02-01', BOB))
    refuses(t, byBob, { type: 'approve' }, on('2026-02-02', BOB), /operator:bob checked the identity/)
    t.match(decide(ready, { type: 'approve' }, on('2026-02-02', BOB)), [
      { type: 'PrivacyRequestApproved', data: { request: 3, expiresAt: '2026-02-16T12:00:00.000Z' } },
    ])
  })
  await t.test('once, and for fourteen days', async (t) => {
    const done = given({}, identified('2026-02-01'), approved('2026-02-02'))
    t.equal(statusOf(done, new Date('2026-02-16T11:59:59Z')), 'approved')
    t.equal(
      statusOf(done, new Date('2026-02-16T12:00:00Z')),
      'identified',
      'an approval that has expired counts no more',
    )
    refuses(t, done, { type: 'approve' }, on('2026-02-03', 'operator:carol'), /approved already, by operator:bob/)
    refuses(t, done, { type: 'begin' }, on('2026-02-17'), /needs another approval: the one by operator:bob has expired/)
    t.match(decide(done, { type: 'approve' }, on('2026-02-17', BOB)), [{ type: 'PrivacyRequestApproved' }], 'again')
    t.match(decide(done, { type: 'begin' }, on('2026-02-16', BOB, { now: new Date('2026-02-16T11:00:00Z') })), [
      { type: 'ExecutionBegun', data: { approval: 'given' } },
    ])
  })
  await t.test('and not what was identified again since', async (t) => {
    const again = given({}, identified('2026-02-01'), approved('2026-02-02'), identified('2026-02-03'))
    refuses(t, again, { type: 'begin' }, on('2026-02-03'), /not approved yet/)
  })
  await t.test('not at all where the store does not want it', async (t) => {
    const rules = { ...RULES, secondPerson: false }
    t.match(decide(ready, { type: 'begin' }, on('2026-02-02', ALICE, { rules })), [
      { data: { approval: 'not-required' } },
    ])
    refuses(t, given(), { type: 'begin' }, on('2026-02-02', ALICE, { rules }), /no identity check/)
    refuses(t, ready, { type: 'begin' }, on('2026-02-02'), /not approved yet/)
  })
})

t.test('extended once, before its end, after the person was told', async (t) => {
  const extend = (toldOn: string) => ({ type: 'extend', ground: 'complexity', toldOn }) as const
  t.match(decide(given(), extend('2026-02-10'), on('2026-02-28')), [
    { type: 'PrivacyRequestExtended', data: { dueOn: '2026-04-30', toldOn: '2026-02-10' } },
  ])
  const extended = given({}, [extend('2026-02-10'), on('2026-02-11')])
  t.match(extended, { dueOn: '2026-04-30', extension: { ground: 'complexity' } })
  refuses(t, extended, extend('2026-02-12'), on('2026-02-12'), /extended already/)
  refuses(t, given(), extend('2026-02-28'), on('2026-03-01'), /too late to extend/)
  refuses(t, given(), extend('2026-02-11'), on('2026-02-10'), /was told between 2026-01-31 and 2026-02-10/)
  refuses(t, given(), extend('2026-01-30'), on('2026-02-10'), /was told between/)
})

t.test('a legal hold stops an erasure until it is released', async (t) => {
  const ready = [identified('2026-02-01'), approved('2026-02-02')]
  const onHold = given({}, ...ready, held('2026-02-03'))
  t.equal(statusOf(onHold, new Date('2026-02-03')), 'on hold')
  refuses(t, onHold, { type: 'begin' }, on('2026-02-04'), /on legal hold/)
  refuses(
    t,
    given({}, identified('2026-02-01'), held('2026-02-03')),
    { type: 'approve' },
    on('2026-02-04', BOB),
    /hold/,
  )
  refuses(t, onHold, { type: 'hold', ground: 'other' }, on('2026-02-04'), /on legal hold already, by operator:alice/)
  refuses(t, given({}, ...ready), { type: 'begin' }, on('2026-02-04', BOB, { heldBy: 2 }), /Request 2 is on legal hold/)
  t.throws(
    () => decideReceipt(4, { ...RECEIVED, atOnce: { reason: 'x' } }, on('2026-02-04', BOB, { heldBy: 2 })),
    /Request 2 is on legal hold/,
    'an emergency does not go around it',
  )
  const released = given({}, ...ready, held('2026-02-03'), [{ type: 'release' }, on('2026-02-04')])
  t.match(decide(released, { type: 'begin' }, on('2026-02-05')), [{ type: 'ExecutionBegun' }])
  refuses(t, released, { type: 'release' }, on('2026-02-05'), /not on legal hold/)
  refuses(t, given({ kind: 'access' }), { type: 'hold', ground: 'other' }, on('2026-02-05'), /stops erasures/)
  await t.test('also one that was interrupted', async (t) => {
    const interrupted = given({}, ...ready, begun('2026-02-03'), held('2026-02-03'))
    refuses(t, interrupted, { type: 'begin' }, on('2026-02-04'), /on legal hold/)
  })
})

t.test('executed', async (t) => {
  const ready = [identified('2026-02-01'), approved('2026-02-02')]
  const executing = given({}, ...ready, begun('2026-02-03'))
  t.equal(statusOf(executing, new Date('2026-03-30')), 'executing')
  t.same(decide(executing, { type: 'begin' }, on('2026-03-30', BOB)), [], 'resumed, also after the approval')
  for (const command of ['approve', 'identify', 'refuse'] as const) {
    refuses(
      t,
      executing,
      { type: command, how: 'other', ground: 'other' } as never,
      on('2026-02-04', 'operator:c'),
      /being executed/,
    )
  }
  const done = given({}, ...ready, begun('2026-02-03'), finished('2026-02-04'))
  t.match(done, { done: { outcome: 'erased', eventsInClear: 0, by: ALICE } })
  refuses(t, done, { type: 'begin' }, on('2026-02-05'), /done already, by operator:alice/)
  refuses(t, done, { type: 'finish' }, on('2026-02-05'), /done already/)
  refuses(t, given({}, ...ready), { type: 'finish' }, on('2026-02-05'), /not being executed/)

  await t.test('a file may be handed out again while the approval holds', async (t) => {
    const handedOut = given({ kind: 'access' }, ...ready, begun('2026-02-03'), [
      { type: 'finish', sha256: 'aa' },
      on('2026-02-03'),
    ])
    t.match(handedOut, { done: { outcome: 'handed-out', sha256: 'aa' } })
    t.match(decide(handedOut, { type: 'begin' }, on('2026-02-05')), [{ type: 'ExecutionBegun' }])
    refuses(t, handedOut, { type: 'begin' }, on('2026-02-17'), /needs another approval/)
  })

  await t.test('what is left to do is recorded, of an erasure that is done, once', async (t) => {
    const step = { type: 'record-step', step: 'backups' } as const
    refuses(t, executing, step, on('2026-02-05'), /not an erasure that is done/)
    const recorded = given({}, ...ready, begun('2026-02-03'), finished('2026-02-04'), [step, on('2026-02-05')])
    t.match(recorded.steps, { backups: { by: ALICE } })
    refuses(t, recorded, step, on('2026-02-05'), /on record: backups/)
  })

  await t.test('what is closed stays closed', async (t) => {
    for (const request of [done, given({}, refused('2026-02-04'))]) {
      for (const [command] of [identified(''), approved(''), held(''), refused(''), [{ type: 'release' }]] as Done[]) {
        refuses(t, request, command, on('2026-02-05', 'operator:c'), /is (done|refused), by/)
      }
    }
    refuses(t, given({}, refused('2026-02-04')), { type: 'begin' }, on('2026-02-05'), /is refused/)
  })
})

t.test('whatever people try in whatever order, nobody executes alone, and nothing that is held', async () => {
  const people = fc.constantFrom('operator:alice', 'person:alice@example.com', 'operator:bob', 'person:carol')
  const commands = fc.constantFrom<RequestCommand>(
    { type: 'identify', how: 'document' },
    { type: 'approve' },
    { type: 'hold', ground: 'investigation' },
    { type: 'release' },
    { type: 'refuse', ground: 'other' },
    { type: 'begin' },
    { type: 'finish' },
  )
  const steps = fc.array(fc.tuple(commands, people, fc.integer({ min: 0, max: 10 })), { maxLength: 25 })
  fc.assert(
    fc.property(fc.constantFrom(...REQUEST_KINDS), people, steps, (kind, first, taken) => {
      let now = Date.parse('2026-01-31T12:00:00Z')
      let request = given({ kind })
      request = { ...request, recorded: { ...request.recorded, by: first } }
      for (const [command, actor, days] of taken) {
        now += days * 86_400_000
        const where = { actor, now: new Date(now), rules: RULES }
        let events: RequestEvent[]
        try {
          events = decide(request, command, where)
        } catch (error) {
          if ((error as { code?: string }).code === 'AUD_ERR_REFUSED') continue
          throw error
        }
        const { approval, identity, recorded } = request
        if (events.some(({ type }) => type === 'ExecutionBegun')) {
          if (approval === undefined || identity === undefined) return false
          if (isSamePerson(approval.by, recorded.by) || isSamePerson(approval.by, identity.by)) return false
          if (Date.parse(approval.expiresAt) <= now || approval.at < identity.at) return false
          if (request.hold || request.refusal) return false
        }
        const next = applied(request, events, where) as PrivacyRequest
        if (next.version !== request.version + events.length) return false
        if (request.refusal && next !== request) return false
        request = next
      }
      return true
    }),
    { numRuns: 500 },
  )
})
