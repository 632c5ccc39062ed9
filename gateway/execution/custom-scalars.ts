/** Fields whose values may be numbers that JavaScript would change: those of custom scalars. */
import {
  type GraphQLSchema,
  getNamedType,
  isInterfaceType,
  isObjectType,
  isScalarType,
  isSpecifiedScalarType,
} from 'graphql'

const scalarFields = new WeakMap<GraphQLSchema, ReadonlySet<string>>()

/** Whether an operation selects a field that has the name of one with a custom scalar. */
export function hasCustomScalars(schema: GraphQLSchema, operation: string): boolean {
  let names = scalarFields.get(schema)
  if (!names) {
    const types = Object.values(schema.getTypeMap()).filter((type) => isObjectType(type) || isInterfaceType(type))
    const fields = types.flatMap((type) => Object.values(type.getFields()))
    const scalars = fields.filter(({ type }) => {
      const named = getNamedType(type)
      return isScalarType(named) && !isSpecifiedScalarType(named)
    })
    names = new Set(scalars.map(({ name }) => name))
    scalarFields.set(schema, names)
  }
  for (const [name] of names.size > 0 ? operation.matchAll(/\w+/g) : []) if (names.has(name)) return true
  return false
}
