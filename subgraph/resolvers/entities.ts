/** `_entities`, where one invalid representation does not affect the others. */
import { type GraphQLFieldResolver, type GraphQLSchema, isObjectType, isUnionType } from 'graphql'
import { refusal, serviceUnavailable, translateFault } from '../errors.ts'
import type { RequestContext } from '../http/request-context.ts'

/**
 * @apollo/subgraph's own resolver refuses all entities of a call if one has an unknown `__typename`.
 * @param schema its `_entities` is changed so that such an entity is null, with an error (BAD_USER_INPUT)
 * @returns the same schema
 */
export function separateEntities(schema: GraphQLSchema): GraphQLSchema {
  const field = schema.getQueryType()?.getFields()._entities
  const union = schema.getType('_Entity')
  const resolve = field?.resolve as GraphQLFieldResolver<unknown, RequestContext> | undefined
  if (!field || !resolve || !isUnionType(union)) return schema
  const names = new Set(
    union
      .getTypes()
      .filter(isObjectType)
      .map(({ name }) => name),
  )

  field.resolve = (source, { representations }: { representations: readonly unknown[] }, context, info) =>
    representations.map(async (representation) => {
      if (context.isGone()) throw serviceUnavailable()
      const typename = typenameOf(representation)
      if (typename === undefined || !names.has(typename) || !hasPlainKey(representation)) {
        throw refusal('REPRESENTATION_INVALID')
      }
      try {
        const [entity] = (await resolve(source, { representations: [representation] }, context, info)) as unknown[]
        return await entity
      } catch (error) {
        throw translateFault(error)
      }
    })
  return schema
}

/** All keys of the schema are texts or numbers. */
const hasPlainKey = (representation: unknown): boolean =>
  Object.values(representation as object).every((value) => typeof value !== 'object' || value === null)

function typenameOf(representation: unknown): string | undefined {
  if (typeof representation !== 'object' || representation === null) return undefined
  if (!Object.hasOwn(representation, '__typename')) return undefined
  const { __typename } = representation as { __typename: unknown }
  return typeof __typename === 'string' ? __typename : undefined
}
