/** Environment variables are checked at start; a wrong one is named, with what is accepted, and a secret is never shown. */
import { join } from 'node:path'
import t from 'tap'
import { loadConfiguration } from '../../runtime/configuration.ts'

t.test('defaults', async (t) => {
  t.match(loadConfiguration({}), {
    EVENTSTORE_URL: 'sqlite:data/events.db',
    READMODEL_URL: 'sqlite:data/readmodel.db',
    GATEWAY_PORT: 4000,
    SUBGRAPH_PORT: 4001,
    PROJECTIONS_PORT: 4002,
    HOST: '127.0.0.1',
  })
  t.equal(loadConfiguration({ GATEWAY_PORT: '' }).GATEWAY_PORT, 4000, 'an empty one counts as not set')
  t.equal(loadConfiguration({ GATEWAY_PORT: '8080' }).GATEWAY_PORT, 8080)
})

t.test('wrong values', async (t) => {
  const cases: [string, string, string][] = [
    ['GATEWAY_PORT', 'http', 'GATEWAY_PORT: "http" can\'t be used; accepted: a port, 0 to 65535 (0: any free one).'],
    [
      'SUBGRAPH_PORT',
      '65536',
      'SUBGRAPH_PORT: "65536" can\'t be used; accepted: a port, 0 to 65535 (0: any free one).',
    ],
    [
      'LOG_LEVEL',
      'loud',
      'LOG_LEVEL: "loud" can\'t be used; accepted: fatal, error, warn, info, debug, trace or silent.',
    ],
    [
      'EVENTSTORE_URL',
      'mysql://user:secret@host',
      "EVENTSTORE_URL: its value can't be used; accepted: sqlite:PATH, kurrentdb://…, kurrent://…, kdb://…, esdb://… (each also with +discover).",
    ],
    ['SUBGRAPH_SECRET', 'short', "SUBGRAPH_SECRET: its value can't be used; accepted: 16 characters or more."],
    [
      'OTEL_EXPORTER_OTLP_ENDPOINT',
      'grpc://user:secret@host',
      "OTEL_EXPORTER_OTLP_ENDPOINT: its value can't be used; accepted: an http or https URL.",
    ],
  ]
  for (const [name, value, message] of cases) {
    t.throws(() => loadConfiguration({ [name]: value }), { name: 'ConfigurationError', message })
  }
})

t.test('a secret may stand in a file', async (t) => {
  const folder = t.testdir({ key: 'a secret of sixteen characters\n', short: 'short' })
  const path = join(folder, 'key')
  t.equal(loadConfiguration({ SUBGRAPH_SECRET_FILE: path }).SUBGRAPH_SECRET, 'a secret of sixteen characters')
  t.throws(() => loadConfiguration({ SUBGRAPH_SECRET_FILE: path, SUBGRAPH_SECRET: 'another one of some length' }), {
    name: 'ConfigurationError',
    message: 'SUBGRAPH_SECRET and SUBGRAPH_SECRET_FILE are both set; accepted: one of them.',
  })
  t.throws(() => loadConfiguration({ SUBGRAPH_SECRET_FILE: '/nowhere/key' }), {
    message: 'SUBGRAPH_SECRET_FILE: "/nowhere/key" can\'t be read (ENOENT).',
  })
  t.throws(() => loadConfiguration({ SUBGRAPH_SECRET_FILE: join(folder, 'short') }), {
    message: "SUBGRAPH_SECRET: its value can't be used; accepted: 16 characters or more.",
  })
})
