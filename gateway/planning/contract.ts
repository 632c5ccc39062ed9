/**
 * Contracts: a supergraph without the elements that have a tag (`@tag`). They are made inaccessible: clients do not see them, and
 * the planner still fetches them for what requires them.
 */
import { Supergraph } from '@apollo/federation-internals'
import { type ConstDirectiveNode, type DocumentNode, Kind, parse, print, visit } from 'graphql'

const TAG = 'https://specs.apollo.dev/tag/'
const INACCESSIBLE = 'https://specs.apollo.dev/inaccessible/'
/** What a supergraph without the feature needs, to have it. */
const FEATURE = `
extend schema @link(url: "${INACCESSIBLE}v0.2", for: SECURITY)
directive @inaccessible on FIELD_DEFINITION | OBJECT | INTERFACE | UNION | ENUM | ENUM_VALUE | SCALAR | INPUT_OBJECT | INPUT_FIELD_DEFINITION | ARGUMENT_DEFINITION
`

/**
 * @param supergraph as composed
 * @param tags names of tags; what has one of them is left out
 * @returns the supergraph's text
 * @throws Error for a tag that nothing has, and for a contract that is no valid schema: a field that stays and whose type does
 * not, for example
 */
export function excludeTags(supergraph: string, tags: readonly string[]): string {
  const document = parse(supergraph, { noLocation: true })
  const tagName = directiveOf(document, TAG)
  const present = new Set<string>()
  const isTag = ({ name }: ConstDirectiveNode) => name.value === tagName
  visit(document, {
    Directive: (node) => void (isTag(node as ConstDirectiveNode) && present.add(tagOf(node as ConstDirectiveNode))),
  })
  const unknown = tags.find((tag) => !present.has(tag))
  if (unknown !== undefined) {
    const known = [...present].sort().map((tag) => JSON.stringify(tag))
    const there = known.length > 0 ? `there are ${known.join(', ')}` : 'the schemas have no tags'
    throw new Error(`nothing has the tag ${JSON.stringify(unknown)}; ${there}`)
  }

  const known = directiveOf(document, INACCESSIBLE)
  const inaccessible: ConstDirectiveNode = {
    kind: Kind.DIRECTIVE,
    name: { kind: Kind.NAME, value: known ?? 'inaccessible' },
  }
  const hidden = visit(document, {
    enter(node) {
      if (!('directives' in node) || node.kind === Kind.SCHEMA_DEFINITION || node.kind === Kind.SCHEMA_EXTENSION) return
      const directives = (node.directives ?? []) as readonly ConstDirectiveNode[]
      const isExcluded = directives.some((directive) => isTag(directive) && tags.includes(tagOf(directive)))
      const isHidden = directives.some(({ name }) => name.value === inaccessible.name.value)
      return isExcluded && !isHidden ? { ...node, directives: [...directives, inaccessible] } : undefined
    },
  })
  const text = `${print(hidden)}\n${known === undefined ? FEATURE : ''}`
  Supergraph.build(text).apiSchema()
  return text
}

/** The name that a feature's directive has in this document. */
function directiveOf({ definitions }: DocumentNode, url: string): string | undefined {
  for (const definition of definitions) {
    if (definition.kind !== Kind.SCHEMA_DEFINITION && definition.kind !== Kind.SCHEMA_EXTENSION) continue
    for (const directive of definition.directives ?? []) {
      if (directive.name.value !== 'link') continue
      if (!textOf(directive, 'url')?.startsWith(url)) continue
      const name = url.split('/').at(-2) ?? ''
      return importedAs(directive, `@${name}`) ?? textOf(directive, 'as') ?? name
    }
  }
  return undefined
}

/** The name that a link's import gives to a directive. */
function importedAs({ arguments: given = [] }: ConstDirectiveNode, directive: string): string | undefined {
  const list = given.find(({ name }) => name.value === 'import')?.value
  for (const each of list?.kind === Kind.LIST ? list.values : []) {
    if (each.kind !== Kind.OBJECT) continue
    const [name, as] = ['name', 'as'].map((wanted) => {
      const value = each.fields.find((field) => field.name.value === wanted)?.value
      return value?.kind === Kind.STRING ? value.value : undefined
    })
    if (name === directive) return as?.slice(1)
  }
  return undefined
}

const tagOf = (directive: ConstDirectiveNode): string => textOf(directive, 'name') ?? ''

function textOf({ arguments: given = [] }: ConstDirectiveNode, name: string): string | undefined {
  const value = given.find((argument) => argument.name.value === name)?.value
  return value?.kind === Kind.STRING ? value.value : undefined
}
