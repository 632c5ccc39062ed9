/** The fields that a document selects, as schema coordinates. */
import {
  type DocumentNode,
  type GraphQLSchema,
  isAbstractType,
  isInterfaceType,
  isObjectType,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql'

/**
 * The coordinates (`Query.customer`) of every field that a valid document selects, sorted, without `__typename`. A field
 * that is selected on an interface is listed for each of its types, too, and one that is selected on a type for the
 * interfaces that it has the field from. So a rule about one of them can't be evaded by way of the other.
 */
export function selectedFields(schema: GraphQLSchema, document: DocumentNode): readonly string[] {
  const found = new Set<string>()
  const types = new TypeInfo(schema)
  const visitor = visitWithTypeInfo(types, {
    Field({ name: { value: name } }) {
      const parent = types.getParentType()
      if (!parent || name === '__typename') return
      found.add(`${parent.name}.${name}`)
      const objects = isAbstractType(parent) ? schema.getPossibleTypes(parent) : [parent]
      for (const type of objects) {
        found.add(`${type.name}.${name}`)
        if (!isObjectType(type)) continue
        for (const each of type.getInterfaces()) {
          if (isInterfaceType(each) && name in each.getFields()) found.add(`${each.name}.${name}`)
        }
      }
    },
  })
  visit(document, visitor)
  // Plugins get this list, for as long as the operation is cached.
  return Object.freeze([...found].sort())
}
