/** The table of streams: it knows every event, contradicts itself nowhere, and gives what was written by hand before it. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { TREE_STREAMS } from '../../audit/proof/tree.ts'
import { eventSchemas, PERSONAL_FIELDS } from '../../schema/events.ts'
import {
  indexStreams,
  isPersonal,
  personalOwnerOf,
  refusalOf,
  STREAMS,
  type StreamFamily,
  streamsWith,
} from '../../schema/streams.ts'

t.test(
  'the proof’s tree has the streams that it had in the first release, and those that came since with theirs',
  async (t) => {
    t.same(TREE_STREAMS, [
      'customer-',
      'customerEmail-',
      'customerIds',
      'customerIdFloor',
      'customerSkips-',
      'addressIds',
      'addressIdFloor',
      'addressOwner-',
      'newsletterSubscriber-',
      'auditExports',
      'auditReveals',
      'serviceTokens',
      'passwordHashKinds',
      'privacyRequests',
      'privacyNotes-',
    ])
  },
)

t.test('the personal streams are the ones that were encrypted before, and the notes', async (t) => {
  t.same(
    STREAMS.filter(isPersonal)
      .map(({ name }) => name)
      .toSorted(),
    ['customer-', 'customerAccess-', 'customerCredentials-', 'newsletterSubscriber-', 'privacyNotes-'],
  )
  t.equal(personalOwnerOf('customer-7'), '7')
  t.equal(personalOwnerOf('customerAccess-a-b'), 'a-b')
  for (const stream of ['customerIds', 'customerEmail-a', 'customerSignIns-7', 'customers-7', 'customer7', '']) {
    t.equal(personalOwnerOf(stream), undefined, stream)
  }
})

t.test('each event of the catalogue belongs somewhere', async (t) => {
  for (const type of Object.keys(eventSchemas)) t.ok(streamsWith(type).length > 0, type)
  t.same(streamsWith('CustomerRegistered'), ['customer-'])
  t.same(streamsWith('IdFloorRaised'), ['customerIdFloor', 'addressIdFloor'])
  t.same(streamsWith('NoSuchEvent'), [])
})

t.test('what is personal stands at the top of an event, where encryption looks for it', async (t) => {
  for (const [type, schema] of Object.entries(eventSchemas)) {
    const personal = PERSONAL_FIELDS.get(type)
    const { properties = {} } = z.toJSONSchema(schema) as { properties?: Record<string, object> }
    for (const [name, field] of Object.entries(properties)) {
      const marked = JSON.stringify(field).includes('"personal":true')
      t.equal(marked, personal?.has(name) ?? false, `${type}.${name}`)
    }
  }
})

t.test('streams and events that do not belong are refused', async (t) => {
  const allowed = [
    ['customer-7', 'CustomerRegistered'],
    ['customerAccess-7', 'AccessRecorded'],
    [`customerSignIns-${'a'.repeat(64)}`, 'WrongPasswordGiven'],
    ['customerKeys-of-abc', 'CustomerKeysSet'],
    ['mailCheckpoint-mails', 'MailCheckpointSet'],
    ['logCheckpoints', 'LogCheckpointWritten'],
    ['logVerifications', 'LogVerified'],
    ['auditExports', 'EventsExported'],
  ] as const
  for (const [stream, type] of allowed) t.equal(refusalOf(stream, type), undefined, `${stream} ${type}`)
  const unknown = [
    'customerNotes-7',
    'customers-7',
    'customer',
    'customerIds-7',
    'keyStoreOf',
    'toString',
    '$customer-7',
  ]
  for (const stream of unknown) t.match(refusalOf(stream, 'CustomerRegistered'), /not in the table of streams/, stream)
  for (const stream of ['customer-', 'customer-007', 'customer-x', 'customer--7', 'customer-7-8', 'customerEmail-']) {
    t.match(refusalOf(stream, streamsWith('CustomerRegistered')[0] ?? ''), /does not end with/, stream)
  }
  const misplaced = [
    ['customerEmail-abc', 'CustomerRegistered'],
    ['customer-7', 'CredentialsSet'],
    ['customerSignIns-7', 'AccessRecorded'],
    ['customer-7', 'CustomerKnighted'],
    ['customer-7', 'constructor'],
  ] as const
  for (const [stream, type] of misplaced) t.match(refusalOf(stream, type), /does not belong in stream/, type)
})

t.test('a table that contradicts itself is an error', async (t) => {
  const entry = (more: Partial<StreamFamily>): StreamFamily => ({
    name: 'customerNotes-',
    events: ['CustomerRegistered'],
    of: 'customer',
    inTree: false,
    erasure: 'key',
    kept: 'for good',
    ...more,
  })
  t.doesNotThrow(() => indexStreams([entry({})]))
  t.throws(() => indexStreams([entry({}), entry({})]), /twice/)
  t.throws(() => indexStreams([entry({ of: 'other' })]), /not whose key/)
  t.throws(() => indexStreams([{ ...entry({ name: 'customerNotes' }) }]), /ends with "-"/)
  t.throws(() => indexStreams([entry({ name: 'customer-notes-' })]), /ends with "-"/)
})

t.test('no stream is named by a literal, or put together from a prefix, outside the table', async (t) => {
  const root = join(import.meta.dirname, '../..')
  const folders = ['audit', 'bin', 'console', 'eventstore', 'gateway', 'mail', 'projections', 'runtime', 'subgraph']
  const names = STREAMS.map(({ name }) => name).join('|')
  const literal = new RegExp(`['"\`](?:${names})(?:['"\`]|\\$\\{)`)
  const assembled = /\$\{(?:STREAM_PREFIXES|\w*(?:STREAMS|PREFIX))\b[^}]*\}\$\{/
  for (const folder of folders) {
    for (const file of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts')) continue
      const lines = readFileSync(join(root, folder, file), 'utf8').split('\n')
      const isCode = (line: string) => !/^\s*(\*|\/\/|\/\*)/.test(line) && !line.includes('.json`')
      t.same(
        lines.filter((line) => isCode(line) && (literal.test(line) || assembled.test(line))),
        [],
        `${folder}/${file}`,
      )
    }
  }
})
