/**
 * What a server answers, call by call: codes, words and trailers as EventStoreDB 24.6 and KurrentDB 26.1 give them. The
 * built-in server has to pass what a real one passes: with TEST_EVENTSTORE_SERVER the same cases run on that.
 */
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Message } from './eventstore-server/wire.ts'
import {
  BEYOND,
  connect,
  event,
  ofAll,
  ofStream,
  type Proposed,
  positionsOf,
  requestOf,
  shift,
  UNFORESEEN,
  UNSIGNED_END,
} from './raw-client.ts'
import { until } from './until.ts'

t.test('reads of $all and subscriptions to it: from positions of all kinds', async (t) => {
  const { client, read, append } = await connect(t)
  await append('a', [event(), event(), event()])
  await append('b', [event()])
  const [last] = await positionsOf(client, 'b')
  const [first] = await positionsOf(client, 'a')
  if (!first || !last) return t.fail('there are events')
  const inside = shift(first, 1n)
  const end = shift(last, 1n)
  const past = shift(last, 10_000_000n)
  const invalid = (result: string, kind: string) => `UNKNOWN Unexpected ${result}: ${kind}`

  t.equal(await read(ofAll(first)), 'a@0 a@1 end')
  t.equal(await read(ofAll(last, { backwards: true })), 'a@2 a@1 end', 'backwards it begins before the position')
  t.equal(await read(ofAll([last[0], 0n])), 'b@0 end', 'a page may begin so')
  t.equal(await read(ofAll([last[0], 0n], { backwards: true })), 'a@1 a@0 end')
  t.equal(await read(ofAll('end')), 'end')
  t.equal(await read(ofAll([UNSIGNED_END, UNSIGNED_END], { backwards: true })), 'b@0 a@2 end')
  for (const position of [end, past]) t.equal(await read(ofAll(position)), 'end', 'past the end there is nothing')
  t.equal(await read(ofAll(inside)), invalid('ReadAllResult', 'InvalidPosition'))
  t.equal(await read(ofAll(inside, { prefix: 'a' })), invalid('FilteredReadAllResult', 'InvalidPosition'))
  for (const position of [inside, end]) {
    t.equal(await read(ofAll(position, { backwards: true })), invalid('ReadAllResult', 'InvalidPosition'))
  }
  t.equal(await read(ofAll(past, { backwards: true })), invalid('ReadAllResult', 'Error'))
  t.equal(await read(ofAll(past, { backwards: true, prefix: 'a' })), invalid('FilteredReadAllResult', 'Error'))
  const broken = [last[0], last[1] + 1n] as const
  t.equal(await read(ofAll(broken)), UNFORESEEN, 'a prepare after its commit')

  const subscribe = { subscribe: true } as const
  const none = { subscribe: true, prefix: 'none' } as const
  t.equal(await read(ofAll(first, subscribe)), `confirmed a@1 a@2 b@0 caught up ${BEYOND}`)
  t.equal(await read(ofAll(first, { ...subscribe, prefix: 'a' })), `confirmed a@1 a@2 checkpoint caught up ${BEYOND}`)
  t.match(await read(ofAll('start', none)), /^confirmed checkpoint(\(-1\))? caught up \(open\)$/)
  for (const place of ['end', last, end, past, [UNSIGNED_END, UNSIGNED_END]] as const) {
    t.equal(await read(ofAll(place, none)), `confirmed caught up ${BEYOND}`, `nothing comes after ${place}`)
  }
  t.equal(await read(ofAll(inside, subscribe)), 'confirmed INVALID_ARGUMENT Trying to read from an invalid position.')
  t.equal(await read(ofAll(broken, subscribe)), UNFORESEEN)
})

t.test('reads of streams, and subscriptions to them', async (t) => {
  const { read, append, remove } = await connect(t)
  await append('a', [event(), event(), event()])
  await append('gone', [event()])
  await remove('tombstone', 'gone')
  const error = 'UNKNOWN Unexpected ReadStreamResult: Error'
  const deleted = "FAILED_PRECONDITION Event stream 'gone' is deleted.; exception=stream-deleted; stream-name=gone"
  for (const stream of ['a', 'missing', 'gone']) {
    t.equal(await read(ofStream(stream, 'end')), error, `${stream} from its end`)
    t.equal(await read(ofStream(stream, UNSIGNED_END)), error)
  }
  t.equal(await read(ofStream('a', 'start', { count: 0 })), error)
  t.equal(await read(ofStream('a', 1n)), 'a@1 a@2 end')
  t.equal(await read(ofStream('a', 3n)), 'end')
  t.equal(await read(ofStream('a', 1_000n, { backwards: true })), 'a@2 a@1 end')
  t.equal(await read(ofStream('missing', 'start')), 'not found end')
  t.equal(await read(ofStream('missing', 'end', { backwards: true })), 'not found end')
  t.equal(await read(ofStream('gone', 'start')), deleted)
  t.equal(await read(ofStream('gone', 'end', { backwards: true })), deleted)
  t.equal(await read(ofStream('', 'start')), UNFORESEEN)
  t.equal(await read(ofStream('', 'start', { subscribe: true })), UNFORESEEN)
  t.equal(await read(ofStream('missing', 'start', { subscribe: true })), `confirmed caught up ${BEYOND}`)
})

t.test('appends: what is refused, and how', async (t) => {
  const { append, batch } = await connect(t)
  const missing = 'Required Metadata Property'
  const trailers = 'exception=missing-required-metadata-property; required-metadata-properties=type,content-type'
  const bad = (words: string) => `INVALID_ARGUMENT BadRequest ${words}`
  t.equal(await append('', [event()]), UNFORESEEN, 'no name')
  t.match(await batch('', [event()]), /^INVALID_ARGUMENT BadRequest (eventStreamId$|Invalid stream ID: )/)
  const cases: [what: string, Partial<Proposed>, single: string, batched: string][] = [
    [
      'no id',
      { id: '00000000-0000-0000-0000-000000000000' },
      UNFORESEEN,
      bad("Empty eventId provided. (Parameter 'eventId')"),
    ],
    ['a broken id', { id: 'none' }, UNFORESEEN, bad('Unrecognized Guid format.')],
    ['an empty type', { type: '' }, UNFORESEEN, bad("Empty eventType provided. (Parameter 'eventType')")],
  ]
  for (const [what, changed, single, batched] of cases) {
    t.equal(await append('a', [event(changed)]), single, what)
    t.equal(await batch('a', [event(changed)]), batched, `${what}, in a batch`)
  }
  const { type: _, ...untyped } = event()
  t.equal(await append('a', [untyped]), `INVALID_ARGUMENT ${missing} 'type' is missing; ${trailers}`)
  t.match(
    await batch('a', [untyped]),
    /^INVALID_ARGUMENT BadRequest .*(The given key was not present|'type' is missing)/,
  )
  for (const limit of [{ time: Date.now() - 10_000 }, { seconds: -10 }, { seconds: 0 }]) {
    t.equal(await batch('a', [event()], 'any', limit), 'DEADLINE_EXCEEDED Timeout')
  }

  await append('a', [event(), event()], 'no_stream')
  for (const [expected, actual] of [
    ['no_stream', 1],
    [0, 1],
    [7, 1],
  ] as const) {
    t.equal(await append('a', [event()], expected), `conflict at ${actual}`)
    t.equal(await batch('a', [event()], expected), 'ALREADY_EXISTS WrongExpectedVersion')
  }
  t.equal(await append('b', [event()], 'stream_exists'), 'conflict at no stream')
  t.equal(await append('b', []), 'written nothing')
  t.equal(await append('a', [], 1), 'written 1')
  t.equal(await append('a', [], 0), 'conflict at 1')
})

t.test('appends: how large they may be', async (t) => {
  const { append, batch } = await connect(t)
  const wide = (length: number) => Buffer.alloc(length, ' ')
  const limit = 1_048_576
  const together = [event({ data: wide(limit / 2) }), event({ data: wide(limit / 2 + 1) })]
  t.equal(
    await append('a', together),
    `INVALID_ARGUMENT Maximum Append Size of ${limit} Exceeded.; exception=maximum-append-size-exceeded; maximum-append-size=${limit}`,
  )
  t.equal(await batch('a', together), 'INVALID_ARGUMENT MaximumAppendSizeExceeded')
  // To KurrentDB an event that is too large by itself is another thing.
  const one = event({ data: wide(limit + 1) })
  t.match(await append('a', [one]), /^INVALID_ARGUMENT .*; exception=maximum-append-(event-)?size-exceeded/)
  t.match(await batch('a', [one, event()]), /^INVALID_ARGUMENT MaximumAppend(Event)?SizeExceeded$/)
  // From 25 on metadata and types count too.
  const half = event({ data: wide(limit / 2 - 100) })
  t.equal(await append('a', [half, event({ data: wide(limit / 2 - 100) })]), 'written 1')
  t.equal(await batch('a', [event({ data: wide(limit - 100) })]), 'written 2')
})

t.test('repetitions: by exact revision for ever, and by ids', async (t) => {
  const { read, batch } = await connect(t)
  const events = [event(), event(), event()]
  const [first, second, third] = events as [Proposed, Proposed, Proposed]
  const conflict = 'ALREADY_EXISTS WrongExpectedVersion'
  t.equal(await batch('a', events, 'no_stream'), 'written 2')
  t.equal(await batch('a', events, 'no_stream'), 'written 2')
  t.equal(await batch('a', [first, second], 'no_stream'), 'written 1')
  t.equal(await batch('a', [second, third], 0), 'written 2')
  t.equal(await batch('a', [second, third]), 'written 2')
  t.equal(await batch('a', events, 'stream_exists'), 'written 2')
  for (const expected of ['no_stream', 'any'] as const)
    t.equal(await batch('a', [...events, event()], expected), conflict)
  t.equal(await batch('a', [second, first], 'no_stream'), conflict)
  t.equal(await batch('b', events), 'written 2', 'ids count within a stream')
  t.equal(await batch('a', [event(), first]), 'written 4', 'the first id tells')
  t.equal(await read(ofStream('a', 'start', { count: 9 })), 'a@0 a@1 a@2 a@3 a@4 end')
})

t.test('deletions', async (t) => {
  const { append, remove, read } = await connect(t)
  await append('a', [event(), event()])
  const conflict = (stream: string, expected: number, actual: number) =>
    `FAILED_PRECONDITION Delete failed due to WrongExpectedVersion. Stream: ${stream}, Expected version: ${expected}, Actual version: ${actual}; actual-version=${actual}; exception=wrong-expected-version; expected-version=${expected}; stream-name=${stream}`
  const deleted = "FAILED_PRECONDITION Event stream 'a' is deleted.; exception=stream-deleted; stream-name=a"
  t.equal(await remove('delete', 'missing'), conflict('missing', -2, -1))
  for (const kind of ['delete', 'tombstone'] as const) {
    t.equal(await remove(kind, 'missing', 'stream_exists'), conflict('missing', -4, -1))
    t.equal(await remove(kind, 'missing', 3), conflict('missing', 3, -1))
    t.equal(await remove(kind, 'a', 'no_stream'), conflict('a', -1, 1))
    t.equal(await remove(kind, ''), UNFORESEEN)
  }
  t.equal(await remove('delete', 'a', 1), 'done')
  t.equal(await read(ofStream('a', 'start')), 'not found end')
  t.equal(await remove('delete', 'a'), 'done')
  t.equal(await remove('delete', 'a', 'stream_exists'), deleted)
  t.equal(await append('a', [event()], 'stream_exists'), deleted)
  t.equal(await append('a', [event()], 0), 'conflict at 1')
  t.equal(await remove('tombstone', 'a', 1), 'done')
  t.equal(await append('a', [event()]), deleted)
})

t.test('metadata that is none is taken no notice of', async (t) => {
  const { append, read } = await connect(t)
  await append('a', [event(), event()])
  for (const metadata of ['{"$maxCount":"x"}', '{{', '{"$maxCount":0}', '{"$maxAge":-1}']) {
    await append('$$a', [event({ type: '$metadata', data: Buffer.from(metadata) })])
    t.equal(await read(ofStream('a', 'start')), 'a@0 a@1 end', metadata)
  }
  await append('$$a', [event({ type: '$metadata', data: Buffer.from('{"$maxCount":1}') })])
  t.equal(await read(ofStream('a', 'start')), 'a@1 end')
})

t.test('groups: what can not be made or joined', async (t) => {
  const { client, append, createGroup, joinGroup } = await connect(t)
  await append('a', [event()])
  const [last] = await positionsOf(client, 'a')
  if (!last) return t.fail('there is an event')
  const refused = (name: string, reason: string) =>
    `INTERNAL Subscription group ${name} on stream $all failed: '${reason}'; exception=persistent-subscription-failed; group-name=${name}; reason=${reason}; stream-name=$all`
  const range = 'Specified argument was out of the range of valid values.'
  t.equal(
    await createGroup('past', shift(last, 10_000_000n)),
    refused(
      'past',
      'Invalid Start From position: commit position must be less than or equal to the last commit position in the transaction file.',
    ),
  )
  t.equal(
    await createGroup('wide', 'start', { ReadBatchSize: 500 }),
    refused('wide', `${range} (Parameter 'ReadBatchSize may not be greater than or equal to BufferSize')`),
  )
  t.equal(
    await createGroup('own', 'start', { ConsumerStrategy: 'Own' }),
    refused('own', 'Consumer strategy Own does not exist.'),
  )
  t.equal(await createGroup('broken', [last[0], last[1] + 1n]), UNFORESEEN)
  t.equal(await createGroup('g', 'start'), 'done')
  t.equal(await joinGroup('g', -1), UNFORESEEN)
  t.match(
    await joinGroup('none', 10),
    /^NOT_FOUND Subscription group none on stream \$all does not exist\.; exception=persistent-subscription-does-not-exist/,
  )
})

t.test('a connection has a hundred calls at once', async (t) => {
  const { client, append, read } = await connect(t)
  await append('a', [event()])
  let begun = 0
  const calls: Message[] = Array.from({ length: 101 }, () => {
    const call = client.read(requestOf(ofStream('a', 'start', { subscribe: true })))
    call.once('data', () => begun++)
    return call.on('error', () => {})
  })
  await until('they have begun', () => begun >= 100)
  await delay(200)
  t.equal(begun, 100)
  for (const call of calls) call.cancel()
  t.equal(await read(ofStream('a', 'start')), 'a@0 end')
})
