/**
 * `Cache-Control` of the subgraph's answers, by `@cacheControl` in its schema. The directive works as in Apollo Server: an
 * answer may be stored for the least of its fields' times. A root field, and a field with an object, counts as 0 without a
 * time of its own or of its type; any other field has the time of the object around it.
 */
import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLCompositeType,
  type GraphQLSchema,
  getDirectiveValues,
  getNamedType,
  isCompositeType,
  Kind,
  OperationTypeNode,
  parse,
  type SelectionSetNode,
} from 'graphql'
import { LRUCache } from 'lru-cache'
import { MAX_DOCUMENT_TOKENS } from '../../runtime/document-budget.ts'

/** The headers of an answer that may be stored. */
type StoredHeaders = Readonly<Record<'cache-control' | 'vary', string>>

/** What most answers have. */
export const NOT_STORED = 'no-store'

/** What the caller and the store view change. */
const VARY = 'Authorization, Store'

interface Hint {
  readonly maxAge?: number
  readonly inheritMaxAge?: boolean
}

const KNOWN_DOCUMENTS = 1_000
const KNOWN_CHARACTERS = 1024 * 1024

/**
 * @returns a function from the document of a request without a token, and the name of its operation if it has several,
 * to the headers of its answer; undefined if it may not be stored. The document may be invalid
 */
export function createCacheControl(
  schema: GraphQLSchema,
): (document: string, operationName: unknown) => StoredHeaders | undefined {
  const maxAgeOf = createMaxAge(schema)
  /** Most documents have none of the names of fields that may be stored: they are not even parsed. */
  const mayBeStored = publicFields(schema)
  const known = new LRUCache<string, StoredHeaders | false>({
    max: KNOWN_DOCUMENTS,
    maxSize: KNOWN_CHARACTERS,
    sizeCalculation: (_, key) => key.length + 1,
  })

  return (document, operationName) => {
    if (!mayBeStored.test(document)) return undefined
    const name = typeof operationName === 'string' ? operationName : ''
    const key = `${name}\n${document}`
    let headers = known.get(key)
    if (headers === undefined) {
      const maxAge = maxAgeOf(document, name)
      headers = maxAge > 0 && { 'cache-control': `public, max-age=${maxAge}`, vary: VARY }
      known.set(key, headers)
    }
    return headers || undefined
  }
}

/** Matches the names of root fields with a time, and `_entities`. */
function publicFields(schema: GraphQLSchema): RegExp {
  const hints = createHints(schema)
  const fields = Object.values(schema.getQueryType()?.getFields() ?? {})
  const names = fields.filter((field) => hints.ofField(field) !== undefined).map(({ name }) => name)
  return new RegExp(`\\b(?:${[...names, ENTITIES].join('|')})\\b`)
}

const ENTITIES = '_entities'
interface WithNode {
  readonly astNode?: Parameters<typeof getDirectiveValues>[1] | null | undefined
}
type OutputField = WithNode & { readonly type: Parameters<typeof getNamedType>[0] }

function createHints(schema: GraphQLSchema) {
  const directive = schema.getDirective('cacheControl')
  const of = ({ astNode }: WithNode): Hint | undefined => {
    const values = directive && astNode ? getDirectiveValues(directive, astNode) : undefined
    return values as Hint | undefined
  }
  return {
    ofType: (type: GraphQLCompositeType) => of(type as WithNode),
    /** Of the field, or else of its type. */
    ofField(field: OutputField): Hint | undefined {
      const own = of(field)
      const type = getNamedType(field.type)
      return own ?? (isCompositeType(type) ? of(type as WithNode) : undefined)
    },
  }
}

/** @returns a function that gives the seconds for which an answer may be stored */
function createMaxAge(schema: GraphQLSchema): (text: string, operationName: string) => number {
  const hints = createHints(schema)

  /** The document has not been validated: fragments may be missing or contain themselves. */
  function walker(document: DocumentNode) {
    const fragments = new Map(
      document.definitions
        .filter((each): each is FragmentDefinitionNode => each.kind === Kind.FRAGMENT_DEFINITION)
        .map((each) => [each.name.value, each]),
    )
    /** By name and time: each fragment is read once for each. */
    const known = new Map<string, number>()

    /** @param around the time of the object; undefined at the root */
    function least(set: SelectionSetNode, type: GraphQLCompositeType, around: number | undefined): number {
      let result = around ?? Number.POSITIVE_INFINITY
      for (const selection of set.selections) {
        if (result === 0) break
        if (selection.kind === Kind.FIELD) result = Math.min(result, ofField(selection, type, around))
        else if (selection.kind === Kind.FRAGMENT_SPREAD) result = Math.min(result, ofSpread(selection.name.value))
        else result = Math.min(result, inFragment(selection.selectionSet, selection.typeCondition?.name.value))
      }
      return result

      function ofSpread(name: string): number {
        const key = `${name} ${type.name} ${around}`
        const before = known.get(key)
        if (before !== undefined) return before
        const fragment = fragments.get(name)
        known.set(key, 0)
        const found = fragment ? inFragment(fragment.selectionSet, fragment.typeCondition.name.value) : 0
        known.set(key, found)
        return found
      }

      function inFragment(inner: SelectionSetNode, condition = type.name): number {
        const on = schema.getType(condition)
        if (!isCompositeType(on)) return 0
        // An entity of another subgraph's object: the time is that of its type.
        if (type.name === '_Entity') return least(inner, on, hints.ofType(on)?.maxAge ?? 0)
        return least(inner, on, around)
      }
    }

    function ofField(
      { name: { value: name }, selectionSet }: FieldNode,
      type: GraphQLCompositeType,
      around: number | undefined,
    ): number {
      const otherwise = around ?? Number.POSITIVE_INFINITY
      if (name === '__typename') return otherwise
      const field = 'getFields' in type ? type.getFields()[name] : undefined
      if (!field) return 0
      const result = getNamedType(field.type)
      if (name === ENTITIES && selectionSet && isCompositeType(result)) return least(selectionSet, result, undefined)
      const hint = hints.ofField(field)
      const isObject = isCompositeType(result)
      const inherits = hint?.inheritMaxAge === true || !isObject
      const age = hint?.maxAge ?? (inherits && around !== undefined ? around : 0)
      return isObject && selectionSet ? least(selectionSet, result, age) : Math.min(age, otherwise)
    }

    return least
  }

  return (text, operationName) => {
    try {
      const document = parse(text, { noLocation: true, maxTokens: MAX_DOCUMENT_TOKENS })
      const operations = document.definitions
        .filter((each) => each.kind === Kind.OPERATION_DEFINITION)
        .filter((each) => operationName === '' || each.name?.value === operationName)
      const [operation] = operations
      const root = schema.getQueryType()
      if (!root || operation?.operation !== OperationTypeNode.QUERY || operations.length > 1) return 0
      const maxAge = walker(document)(operation.selectionSet, root, undefined)
      return Number.isFinite(maxAge) ? maxAge : 0
    } catch {
      return 0 // it is no GraphQL, or nested too deeply: the answer says so
    }
  }
}
