/**
 * `npm run docs`: writes the generated parts of the documentation, from the code that they describe. They stand between
 * `<!-- generated: NAME -->` and `<!-- end -->`; what is around them is written by hand. test/docs.test.ts compares the two.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { format } from 'node:util'
import { ERROR_CODES as AUDIT_CODES } from '../audit/errors.ts'
import { CONSOLE_VARIABLES } from '../console/configuration.ts'
import { ERROR_CODES as CONSOLE_CODES } from '../console/errors.ts'
import { ERROR_CODES as EVENT_STORE_CODES } from '../eventstore/errors.ts'
import { GATEWAY_VARIABLES } from '../gateway/configuration.ts'
import { ERRORS, ERROR_CODES as GATEWAY_CODES } from '../gateway/errors.ts'
import { ERROR_CODES as MAIL_CODES } from '../mail/errors.ts'
import { ERROR_CODES as PROJECTION_CODES } from '../projections/errors.ts'
import { SHARED_VARIABLES, type Variable } from '../runtime/configuration.ts'
import { ERROR_CODES as RUNTIME_CODES } from '../runtime/errors.ts'
import { ERROR_CODES as SCHEMA_CODES } from '../schema/errors.ts'
import { eventJsonSchemas, PERSONAL_FIELDS, SCHEMA_VERSION, upcast } from '../schema/events.ts'
import { STREAMS, type StreamFamily } from '../schema/streams.ts'
import { CATEGORIES, CODES } from '../subgraph/errors.ts'
import { ERROR_CODES as IMPORT_CODES } from '../subgraph/import/errors.ts'
import { collectMetrics, type DocumentedMetric } from './metrics.ts'

const folder = import.meta.dirname

/** A Markdown table. Cells are Markdown; bars in them are escaped. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n')
}

const code = (text: string) => `\`${text}\``

function defaultOf({ default: value }: Variable): string {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return 'none'
  return code(format('%s', Array.isArray(value) ? value.join(',') : value))
}

const variableCells = (name: string, variable: Variable) => [
  variable.secret ? `${code(name)} (or ${code(`${name}_FILE`)})` : code(name),
  defaultOf(variable),
  `${variable.description} Accepted: ${variable.accepted}.`,
]

function sharedVariables(): string {
  return table(
    ['Variable', 'Default', 'What it does, what is accepted', 'Read by'],
    Object.entries(SHARED_VARIABLES).map(([name, variable]) => [
      ...variableCells(name, variable),
      variable.usedBy.join(', '),
    ]),
  )
}

function ownVariables(variables: Readonly<Record<string, Variable>>): string {
  return table(
    ['Variable', 'Default', 'What it does, what is accepted'],
    Object.entries(variables).map(([name, variable]) => variableCells(name, variable)),
  )
}

const gatewayErrors = () =>
  table(
    ['`extensions.code`', 'HTTP status', 'Meaning'],
    Object.entries(ERRORS).map(([name, { status, meaning }]) => [
      code(name),
      status === 'answer' ? '200, at a field' : String(status),
      meaning,
    ]),
  )

const meanings = (head: string, entries: Readonly<Record<string, string>>) =>
  table(
    [head, 'Meaning'],
    Object.entries(entries).map(([name, meaning]) => [code(name), meaning]),
  )

/** The codes of thrown errors, by the heading of their part. */
const THROWN_CODES = {
  'Event store': EVENT_STORE_CODES,
  Projections: PROJECTION_CODES,
  Gateway: GATEWAY_CODES,
  Mail: MAIL_CODES,
  Audit: AUDIT_CODES,
  Console: CONSOLE_CODES,
  Import: IMPORT_CODES,
  'Store settings': SCHEMA_CODES,
  Processes: RUNTIME_CODES,
}

const thrownErrors = () =>
  Object.entries(THROWN_CODES)
    .map(([part, codes]) => `### ${part}\n\n${meanings('`code`', codes)}`)
    .join('\n\n')

interface JsonSchema {
  readonly type?: string
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly format?: string
  readonly anyOf?: readonly JsonSchema[]
  readonly items?: JsonSchema
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly additionalProperties?: JsonSchema | false
  readonly required?: readonly string[]
}

/** A field's type in words. */
function typeOf(schema: JsonSchema): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' or ')
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(' or ')
  if (schema.type === 'array') return `list of ${typeOf(schema.items ?? {})}`
  if (schema.type === 'object' && schema.properties) return `{ ${Object.keys(schema.properties).join(', ')} }`
  if (schema.type === 'object') return `object of ${typeOf(schema.additionalProperties || {})}`
  if (schema.format === 'date-time') return 'time'
  return schema.format ?? schema.type ?? 'any'
}

const OWNERS: Readonly<Record<NonNullable<StreamFamily['of']>, string>> = {
  customer: '`<customer number>`',
  address: '`<keyed hash of an e-mail address>`',
  'customer or address': '`<customer number>` or `<keyed hash of an e-mail address>`',
  other: '`<…>`',
}
const ERASURES: Readonly<Record<StreamFamily['erasure'], string>> = {
  key: 'the key of its personal fields is destroyed',
  stream: 'the stream is deleted',
  event: 'a last event ends it',
  nothing: 'nothing: it says nothing about the person',
}
const KEPT: Readonly<Record<StreamFamily['kept'], string>> = {
  'for good': 'for good',
  newest: 'the newest event or few',
  retention: 'for `audit.retentionDays` of the store settings',
}

function streams(): string {
  return table(
    ['Stream', 'Of', "In the proof's tree", 'Kept', 'Erasing a customer'],
    STREAMS.map((family) => [
      code(family.name),
      family.of ? OWNERS[family.of] : 'one stream',
      family.inTree ? 'yes' : 'no',
      KEPT[family.kept],
      ERASURES[family.erasure],
    ]),
  )
}

/** The comment above an event in the catalogue, as one line. */
function commentOf(source: string, type: string): string {
  const [, comment = ''] = new RegExp(`/\\*\\*((?:(?!\\*/)[\\s\\S])*)\\*/\\n\\s+${type}:`).exec(source) ?? []
  return comment
    .replace(/\n\s+\* ?/g, ' ')
    .replace(/\{@link (\w+)\}/g, '`$1`')
    .trim()
}

function events(): string {
  const source = ['events.ts', 'audit-events.ts']
    .map((name) => readFileSync(join(folder, '../schema', name), 'utf8'))
    .join('\n')
  return Object.entries(eventJsonSchemas() as Readonly<Record<string, JsonSchema>>)
    .map(([type, { properties = {}, required = [] }]) => {
      const personal = PERSONAL_FIELDS.get(type)
      const old = { $correlationId: '', $causationId: '', actor: '', at: '', schemaVersion: SCHEMA_VERSION - 1 }
      const changed = Object.keys(upcast(type, {}, old) as object).length > 0
      const inStreams = STREAMS.filter(({ events }) => (events as readonly string[]).includes(type))
      const fields = Object.entries(properties).map(([name, schema]) => [
        code(name),
        `${typeOf(schema)}${required.includes(name) ? '' : ', may be absent'}`,
        personal?.has(name) ? 'yes' : 'no',
      ])
      return [
        `### ${type}`,
        commentOf(source, type),
        [
          `Streams: ${inStreams.map(({ name }) => code(name)).join(', ')}.`,
          `Version ${SCHEMA_VERSION}${changed ? '; older ones are brought up to it when they are read' : ''}.`,
        ].join(' '),
        fields.length > 0 ? table(['Field', 'Type', 'Personal'], fields) : 'No fields.',
      ]
        .filter((part) => part !== '')
        .join('\n\n')
    })
    .join('\n\n')
}

const metricRows = (metrics: readonly DocumentedMetric[]) =>
  table(
    ['Metric', 'Type', 'Labels', 'Meaning'],
    metrics.map(({ name, type, labels, help }) => [
      code(name),
      type,
      labels.length > 0 ? labels.map(code).join(', ') : 'none',
      help,
    ]),
  )

/** The generated parts by name. */
async function generatedParts(): Promise<Readonly<Record<string, string>>> {
  const metrics = await collectMetrics()
  return {
    'shared variables': sharedVariables(),
    'gateway variables': ownVariables(GATEWAY_VARIABLES),
    'console variables': ownVariables(CONSOLE_VARIABLES),
    'gateway errors': gatewayErrors(),
    'subgraph codes': meanings('`extensions.code`', CODES),
    'subgraph categories': meanings('`extensions.category`', CATEGORIES),
    'thrown errors': thrownErrors(),
    streams: streams(),
    events: events(),
    ...Object.fromEntries(Object.entries(metrics).map(([process, list]) => [`${process} metrics`, metricRows(list)])),
  }
}

const PART = /(<!-- generated: (.+?) -->\n)[\s\S]*?(<!-- end -->)/g

/**
 * The pages that have generated parts, by file name, as they should be.
 * @throws Error for a part that nothing generates, or that no page shows
 */
export async function generatedPages(): Promise<ReadonlyMap<string, string>> {
  const parts = await generatedParts()
  const unused = new Set(Object.keys(parts))
  const pages = new Map<string, string>()
  for (const page of readdirSync(folder).filter((name) => name.endsWith('.md'))) {
    const text = readFileSync(join(folder, page), 'utf8')
    const generated = text.replace(PART, (_, start: string, name: string, end: string) => {
      const part = parts[name]
      if (part === undefined) throw new Error(`docs/${page}: nothing generates "${name}".`)
      unused.delete(name)
      return `${start}\n${part}\n\n${end}`
    })
    if (/<!-- generated: /.test(text)) pages.set(page, generated)
  }
  if (unused.size > 0) throw new Error(`No page of docs/ shows: ${[...unused].join(', ')}.`)
  return pages
}

if (import.meta.main) {
  for (const [page, text] of await generatedPages()) writeFileSync(join(folder, page), text)
}
