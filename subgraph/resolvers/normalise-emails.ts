/**
 * Normalises e-mail addresses in the input: every argument and input field named `email` is trimmed and converted to
 * NFC (schema/email-key.ts) before a resolver sees it, so a new operation can't forget it.
 */
import {
  defaultFieldResolver,
  type GraphQLInputType,
  type GraphQLSchema,
  getNamedType,
  isInputObjectType,
  isObjectType,
} from 'graphql'
import { tidyEmail } from '../../schema/email-key.ts'

type Values = Record<string, unknown>

const NAME = 'email'

/** @param schema its resolvers are changed @returns the same schema */
export function tidyEmails(schema: GraphQLSchema): GraphQLSchema {
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) || type.name.startsWith('__')) continue
    for (const field of Object.values(type.getFields())) {
      const inputs = field.args.filter((arg) => hasEmail(arg.type)).map(({ name }) => name)
      const isGiven = field.args.some(({ name }) => name === NAME)
      if (!isGiven && inputs.length === 0) continue
      const resolve = field.resolve ?? defaultFieldResolver
      field.resolve = (source, args: Values, context, info) => {
        // The arguments may be constants of a compiled operation, so they are copied instead of changed.
        const tidy = isGiven ? withTidyEmail(args) : { ...args }
        for (const name of inputs) tidy[name] = withTidyEmail(tidy[name])
        return resolve(source, tidy, context, info)
      }
    }
  }
  return schema
}

/** Whether the type is an input object with a field of that name. */
function hasEmail(type: GraphQLInputType): boolean {
  const named = getNamedType(type)
  return isInputObjectType(named) && NAME in named.getFields()
}

function withTidyEmail<V>(values: V): V {
  if (typeof values !== 'object' || values === null) return values
  const { email } = values as Values
  return typeof email === 'string' ? { ...values, email: tidyEmail(email) } : values
}
