/** The schema against Adobe's published references of 2.4.8 and 2.4.9: each operation and field is served, or documented. */
import { readFileSync } from 'node:fs'
import { type DefinitionNode, type FieldDefinitionNode, type InputValueDefinitionNode, parse, print } from 'graphql'
import t from 'tap'

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

/** A text where both versions have the same; else by the versions that have it. */
type Published = string | Readonly<Record<string, string>>
const published: Readonly<Record<string, Readonly<Record<string, Published>>>> = JSON.parse(
  read('test/magento/published-customer-area.json'),
).types

/** Arguments and type of a field, the arguments in the order of their names; '' for a value of an enum. */
function signatureOf(field: FieldDefinitionNode | InputValueDefinitionNode): string {
  const args = ('arguments' in field ? (field.arguments ?? []) : []).map(
    (each) => `${each.name.value}: ${print(each.type)}`,
  )
  const type = print(field.type)
  return args.length > 0 ? `(${args.sort().join(', ')}): ${type}` : type
}

function signaturesOf(definition: DefinitionNode): [string, string][] {
  if ('values' in definition) return (definition.values ?? []).map(({ name }) => [name.value, ''])
  if (!('fields' in definition)) return []
  return (definition.fields ?? []).map((field) => [field.name.value, signatureOf(field)])
}

const served = new Map(
  parse(read('schema/customer.graphql')).definitions.flatMap((definition) =>
    'name' in definition && definition.name
      ? [[definition.name.value, new Map(signaturesOf(definition))] as const]
      : [],
  ),
)
const servedAs = (type: string, field: string) => served.get(type)?.get(field)

/** What the table below a heading names in its first column, as `Type.field`. */
function namedUnder(heading: string): Set<string> {
  const section =
    read('docs/magento-contract.md')
      .split(/^## /m)
      .find((each) => each.startsWith(`${heading}\n`)) ?? ''
  const cells = [...section.matchAll(/^\| (`[^|]*) \|/gm)].map(([, cell = '']) => cell)
  return new Set(cells.flatMap((cell) => [...cell.matchAll(/`(\w+\.\w+)`/g)].map(([, name = '']) => name)))
}
const notServed = namedUnder('What is not served')
const otherType = namedUnder('What has another type')
const notPublished = namedUnder('What the references do not have')

const all = Object.entries(published).flatMap(([type, fields]) =>
  Object.entries(fields).map(([field, signature]) => ({ type, field, name: `${type}.${field}`, signature })),
)
/** The newest version's; undefined where it has the field no more. */
const newest = (signature: Published) =>
  typeof signature === 'string'
    ? signature
    : Object.entries(signature).find(([versions]) => versions.endsWith('2.4.9'))?.[1]

t.test('all that is published is served, or in the table of what is not', async (t) => {
  t.ok(all.length > 500, 'the list is whole')
  t.same(
    all
      .filter(({ type, field, name }) => servedAs(type, field) === undefined && !notServed.has(name))
      .map((each) => each.name),
    [],
  )
})

t.test('with the arguments and the type of 2.4.9, or in the table of what has another type', async (t) => {
  t.same(
    all
      .filter(({ type, field, name, signature }) => {
        const own = servedAs(type, field)
        return own !== undefined && own !== (newest(signature) ?? own) && !otherType.has(name)
      })
      .map(({ type, field, name, signature }) => [name, servedAs(type, field), signature]),
    [],
  )
})

t.test('what the tables say is true', async (t) => {
  const names = new Set(all.map(({ name }) => name))
  for (const name of notServed) {
    const [type = '', field = ''] = name.split('.')
    t.ok(names.has(name), `${name} is published`)
    t.equal(servedAs(type, field), undefined, `${name} is not served`)
  }
  for (const { type, field, name, signature } of all.filter(({ name }) => otherType.has(name))) {
    t.not(servedAs(type, field), newest(signature), `${name} has another type`)
  }
  for (const name of notPublished) {
    const [type = '', field = ''] = name.split('.')
    t.ok(servedAs(type, field), `${name} is served`)
    t.notOk(names.has(name), `${name} is not published`)
  }
  const others = [...served]
    .filter(([type]) => published[type])
    .flatMap(([type, fields]) => [...fields.keys()].map((field) => `${type}.${field}`))
    .filter((name) => !names.has(name) && !notPublished.has(name) && !name.startsWith('CountryCodeEnum.'))
  t.same(others, [], 'what is served beside them is in the table')
})
