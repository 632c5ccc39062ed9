/** Random operations of the second generator: variables anywhere in arguments, defaults and nulls, names that others invent. */
import {
  type GraphQLField,
  type GraphQLInputType,
  type GraphQLNamedType,
  type GraphQLObjectType,
  type GraphQLSchema,
  getNamedType,
  isAbstractType,
  isCompositeType,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isListType,
  isNonNullType,
  isObjectType,
  parse,
  validate,
} from 'graphql'
import type { Asked } from '../operations.ts'
import type { Random } from '../random.ts'

const INVENTIONS = [
  ...['_generated', 'x__alias_0', 'name__alias_0', '_0', '_1', '_entities', 'representations', '_service', 'a__1'],
  ...['b__1', 'name__2', 'f__1', 'country__1', 'gateway__entry_P0', 'typename', 'constructor', 'toString'],
  ...['hasOwnProperty', 'data', 'errors', 'id', 'k', 'org', 'h', 'h__required', 'name', 'jid'],
]
const VARIABLES = [
  ...['v', 'representations', '_0', 'representations_0', 'representations_1', 'a', 'id', '__v', 'if', 'constructor'],
]
const TYPENAMES = ['t', 'id', 'k', 'name', 'kind']

interface Value {
  readonly text: string
  readonly json: unknown
}

/** The response names of one object, and what each stands for. */
type Scope = Map<string, string>

/** @returns undefined where none was found that is valid */
export function createOperation(schema: GraphQLSchema, random: Random): Asked | undefined {
  for (let attempt = 0; attempt < 20; attempt++) {
    const asked = new Writer(schema, random).operation()
    if (asked && validate(schema, parse(asked.query)).length === 0) return asked
  }
  return undefined
}

class Writer {
  readonly #schema: GraphQLSchema
  readonly #random: Random
  readonly #values: Values
  readonly #fields: readonly string[]
  readonly #fragments: { readonly on: string; text: string }[] = []
  readonly #conditions: string[] = []
  readonly #conditional: number
  readonly #aliased: number
  #budget: number

  constructor(schema: GraphQLSchema, random: Random) {
    this.#schema = schema
    this.#random = random
    this.#values = new Values(random)
    this.#conditional = random.pick([0, 0.1, 0.3, 0.5])
    this.#aliased = random.pick([0.1, 0.35, 0.6])
    this.#budget = 10 + random.int(40)
    const types = Object.values(schema.getTypeMap()).filter(isObjectType)
    const all = types.flatMap((type) => (type.name.startsWith('__') ? [] : Object.keys(type.getFields())))
    this.#fields = [...new Set(all)]
  }

  operation(): Asked | undefined {
    const [schema, random] = [this.#schema, this.#random]
    const isMutation = random.chance(0.06)
    const root = isMutation ? schema.getMutationType() : schema.getQueryType()
    if (!root) return undefined
    const scope: Scope = new Map()
    const count = 1 + random.int(3)
    const parts = Array.from({ length: count }, () =>
      random.chance(0.15) ? this.#fragment(root, 3, scope) : this.#field(root, 3, scope),
    ).filter((each) => each !== undefined)
    if (random.chance(0.1)) parts.push('__typename')
    if (random.chance(0.02) && !isMutation) parts.push('__schema{queryType{name}}')
    if (parts.length === 0) return undefined
    const { declared, variables } = this.#values
    const head = `${isMutation ? 'mutation' : 'query'} ${random.chance(0.3) ? 'Op' : ''}`
    const own = `${head}${declared.length > 0 ? `(${declared.join(' ')})` : ''}{${parts.join(' ')}}`
    const fragments = this.#fragments.map(({ on, text }, index) => `fragment F${index} on ${on} ${text}`)
    return { query: [own, ...fragments].join(' '), variables }
  }

  #condition(): string {
    const random = this.#random
    if (random.chance(0.35)) return random.pick(['true', 'false'])
    if (this.#conditions.length > 0 && random.chance(0.6)) return random.pick(this.#conditions)
    const given = random.chance(0.5)
    const fallback = String(random.chance(0.5))
    const made = random.pick([
      () => this.#values.declare('Boolean!', undefined, given),
      () => this.#values.declare('Boolean!', fallback, random.chance(0.5) ? given : undefined),
      () =>
        this.#values.declare('Boolean', fallback, random.chance(0.12) ? null : random.chance(0.5) ? given : undefined),
    ])()
    this.#conditions.push(made)
    return made
  }

  #directives(): string {
    const random = this.#random
    if (!random.chance(this.#conditional)) return ''
    const [first, second] = random.shuffle(['skip', 'include'])
    const one = ` @${first}(if:${this.#condition()})`
    return random.chance(0.15) ? `${one} @${second}(if:${this.#condition()})` : one
  }

  #typename(): string {
    const random = this.#random
    const alias = random.chance(0.35) ? `${random.pick(random.chance(0.5) ? TYPENAMES : this.#fields)}:` : ''
    return `${alias}__typename${this.#directives()}`
  }

  #selection(type: GraphQLNamedType, depth: number, scope: Scope): string {
    const random = this.#random
    const parts: string[] = random.chance(0.3) ? [this.#typename()] : []
    const isObject = isObjectType(type) || isInterfaceType(type)
    const count = 1 + random.int(4)
    for (let index = 0; index < count; index++) {
      this.#budget--
      if (isObject && random.chance(0.62)) parts.push(this.#field(type as GraphQLObjectType, depth, scope) ?? '')
      else
        parts.push(
          random.chance(isObject ? 0.16 : 0.68) ? this.#typename() : (this.#fragment(type, depth, scope) ?? ''),
        )
    }
    const text = parts.filter((each) => each !== '').join(' ')
    return `{${text || '__typename'}}`
  }

  /** The types that objects of a type may be of, too. */
  #related(type: GraphQLNamedType): GraphQLNamedType[] {
    const kinds = (each: GraphQLNamedType) =>
      isAbstractType(each) ? this.#schema.getPossibleTypes(each).map(({ name }) => name) : [each.name]
    const possible = new Set(kinds(type))
    return Object.values(this.#schema.getTypeMap()).filter(
      (each) => !each.name.startsWith('__') && isCompositeType(each) && kinds(each).some((name) => possible.has(name)),
    )
  }

  #fragment(type: GraphQLNamedType, depth: number, scope: Scope): string | undefined {
    const random = this.#random
    const on = random.chance(0.15) ? undefined : random.pick(this.#related(type))
    if (on && random.chance(0.35)) {
      const known = this.#fragments.flatMap((each, index) => (each.on === on.name && each.text ? [index] : []))
      if (known.length > 0 && random.chance(0.5)) return `...F${random.pick(known)}${this.#directives()}`
      const made = { on: on.name, text: '' }
      const index = this.#fragments.push(made) - 1
      made.text = this.#selection(on, depth, isObjectType(on) ? new Map() : scope)
      return `...F${index}${this.#directives()}`
    }
    const own = on && isObjectType(on) && random.chance(0.6) ? new Map(scope) : scope
    return `...${on ? ` on ${on.name}` : ''}${this.#directives()} ${this.#selection(on ?? type, depth, own)}`
  }

  #field(type: GraphQLObjectType, depth: number, scope: Scope): string | undefined {
    const random = this.#random
    const field = random.pick(Object.values(type.getFields()))
    const inner = getNamedType(field.type)
    if (isCompositeType(inner) && (depth <= 0 || this.#budget <= 0) && type.name !== 'Query') return undefined
    const what = `${field.name}${this.#values.given(field)}`
    let key = field.name
    if (random.chance(this.#aliased)) {
      key = random.chance(0.4)
        ? random.pick(INVENTIONS)
        : random.chance(0.5)
          ? random.pick(this.#fields)
          : random.pick(['p', 'q', 'z1'])
    }
    if ((scope.get(key) ?? what) !== what) key = `y${random.int(1000)}`
    scope.set(key, what)
    const selection = isCompositeType(inner) ? this.#selection(inner, depth - 1, new Map()) : ''
    return `${key === field.name ? '' : `${key}:`}${what}${this.#directives()}${selection}`
  }
}

/** Arguments, with the variables that are in them. */
class Values {
  readonly declared: string[] = []
  readonly variables: Record<string, unknown> = {}
  readonly #random: Random
  readonly #used = new Set<string>()
  readonly #isWild: boolean

  constructor(random: Random) {
    this.#random = random
    this.#isWild = random.chance(0.7)
  }

  /** @param value undefined: it is not sent */
  declare(type: string, fallback: string | undefined, value: unknown): string {
    const random = this.#random
    let name = this.#isWild && random.chance(0.4) ? random.pick(VARIABLES) : `v${this.declared.length}`
    while (this.#used.has(name)) name = `v${this.declared.length}${this.#used.size}`
    this.#used.add(name)
    this.declared.push(`$${name}:${type}${fallback === undefined ? '' : `=${fallback}`}`)
    if (value !== undefined) this.variables[name] = value
    return `$${name}`
  }

  given({ args }: GraphQLField<unknown, unknown>): string {
    const some = this.#random.some(args, 0.7).map(({ name, type }) => `${name}:${this.#text(type)}`)
    return some.length > 0 ? `(${this.#random.shuffle(some).join(',')})` : ''
  }

  #text(type: GraphQLInputType, depth = 0): string {
    const random = this.#random
    const bare = isNonNullType(type) ? type.ofType : type
    if (random.chance(depth === 0 ? 0.45 : 0.2)) return this.#variable(type)
    if (isInputObjectType(bare) && random.chance(0.6)) {
      const fields = random.some(Object.values(bare.getFields()), depth < 3 ? 0.4 : 0)
      return `{${fields.map((field) => `${field.name}:${this.#text(field.type, depth + 1)}`).join(',')}}`
    }
    if (isListType(bare) && random.chance(0.5)) {
      return `[${Array.from({ length: 1 + random.int(2) }, () => this.#text(bare.ofType, depth + 1)).join(',')}]`
    }
    return this.#value(type).text
  }

  #variable(type: GraphQLInputType): string {
    const random = this.#random
    const { text, json } = this.#value(type)
    const name = String(type)
    return random.pick([
      () => this.declare(name, undefined, json),
      () => this.declare(name, text, random.chance(0.5) ? undefined : this.#value(type).json),
      () => (isNonNullType(type) ? this.declare(name, text, undefined) : this.declare(name, undefined, undefined)),
    ])()
  }

  #value(type: GraphQLInputType, depth = 0): Value {
    const random = this.#random
    if (isNonNullType(type)) {
      let value = this.#value(type.ofType, depth)
      while (value.text === 'null') value = this.#value(type.ofType, depth)
      return value
    }
    if (random.chance(0.12)) return { text: 'null', json: null }
    if (isListType(type)) {
      if (random.chance(0.1) && !isListType(type.ofType)) return this.#value(type.ofType, depth)
      const items = Array.from({ length: random.int(3) }, () => this.#value(type.ofType, depth + 1))
      return { text: `[${items.map(({ text }) => text).join(',')}]`, json: items.map(({ json }) => json) }
    }
    if (isInputObjectType(type)) {
      const fields = random
        .some(Object.values(type.getFields()), depth < 3 ? 0.4 : 0)
        .map((field) => [field.name, this.#value(field.type, depth + 1)] as const)
      return {
        text: `{${fields.map(([name, { text }]) => `${name}:${text}`).join(',')}}`,
        json: Object.fromEntries(fields.map(([name, { json }]) => [name, json])),
      }
    }
    return isEnumType(type) ? same(random.pick(['RED', 'GREEN', 'BLUE']), false) : scalar(type.name, random)
  }
}

const same = (json: unknown, quoted = true): Value => ({ text: quoted ? JSON.stringify(json) : String(json), json })

function scalar(name: string, random: Random): Value {
  switch (name) {
    case 'Int':
      return same(random.int(4))
    case 'Float':
      return same(random.pick([1, 1.5, 2.25]))
    case 'ID':
      return same(random.pick(['q', '1', 'E0_1']))
    case 'Boolean':
      return same(true)
    case 'JSON':
      return random.pick([
        same(1),
        same('t'),
        same([1, [2]]),
        { text: '{a:1,b:[{c:null}]}', json: { a: 1, b: [{ c: null }] } },
      ])
    default:
      return same(random.pick(['x', 'EUR', 'USD', '']))
  }
}
