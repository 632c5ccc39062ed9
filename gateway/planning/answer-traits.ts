/** What an operation's answers can hold: for the tags of stored answers, and for what must not be compressed. */
import {
  type DocumentNode,
  type GraphQLSchema,
  getNamedType,
  isAbstractType,
  isCompositeType,
  type OperationDefinitionNode,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql'
import { countSensitiveFields } from './sensitive-fields.ts'

export interface AnswerTraits {
  /** A tag for each type whose objects may be in an answer, such as `type:Country`; in alphabetical order. */
  readonly typeTags: () => readonly string[]
  /** Whether it may hold a credential, such as a token, or has a root field that takes one. */
  readonly holdsSecret: () => boolean
}

/** Proxies have a buffer of 4 kB for all headers of an answer. */
const MAX_TAG_CHARACTERS = 2_000
/** Stands for all types where they would be too long for a header. */
const ANY_TYPE = 'type:any'

/**
 * The last word of the name of a field with a credential: `token`, `accessToken`, `private_key`. A false positive costs
 * nothing but the compression.
 */
const SECRET =
  /(^|_|[a-z\d](?=[A-Z]))(token|jwt|secret|password|passcode|otp|nonce|credential|(api|access|private|secret|session|confirmation)_?key)s?$/i

/**
 * @param document with one operation and its fragments
 * @returns functions that walk the document when they are first called
 */
export function answerTraits(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
): AnswerTraits {
  let tags: readonly string[] | undefined
  let secret: boolean | undefined
  return {
    typeTags: () => {
      tags ??= tagsOf(schema, document)
      return tags
    },
    holdsSecret: () => {
      secret ??= namesSecret(document) || countSensitiveFields(document, operation)({}) > 0
      return secret
    },
  }
}

function tagsOf(schema: GraphQLSchema, document: DocumentNode): readonly string[] {
  const types = new Set<string>()
  const info = new TypeInfo(schema)
  visit(
    document,
    visitWithTypeInfo(info, {
      Field() {
        const type = getNamedType(info.getType())
        if (!isCompositeType(type) || type.name.startsWith('__')) return
        types.add(type.name)
        // Which of them it is at runtime is not known here.
        if (isAbstractType(type)) for (const { name } of schema.getPossibleTypes(type)) types.add(name)
      },
    }),
  )
  const tags = [...types].toSorted().map((name) => `type:${name}`)
  return tags.join().length > MAX_TAG_CHARACTERS ? [ANY_TYPE] : tags
}

function namesSecret(document: DocumentNode): boolean {
  let found = false
  visit(document, {
    Field({ name, selectionSet }) {
      found ||= selectionSet === undefined && SECRET.test(name.value)
    },
  })
  return found
}
