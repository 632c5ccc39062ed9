/**
 * The shape of an operation's answer, type by type: the client's selections with fragments merged and conditions
 * evaluated.
 */
import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLCompositeType,
  type GraphQLFormattedError,
  type GraphQLOutputType,
  type GraphQLSchema,
  getNamedType,
  isAbstractType,
  isCompositeType,
  isInterfaceType,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  SchemaMetaFieldDef,
  type SelectionNode,
  type SelectionSetNode,
  TypeMetaFieldDef,
} from 'graphql'
import type { IsDenied } from '../planning/authorization.ts'
import {
  type InternalName,
  type IsNull,
  type IsTrue,
  isIncluded,
  isUndecided,
  responseName,
} from '../planning/operation-corrections.ts'

/** One field of an answer's object. */
export interface Field {
  /** Its name in the answer. */
  readonly key: string
  /** Its name in what the subgraphs sent. */
  readonly source: string
  readonly name: string
  /**
   * `denied`: the client is not authorised for it. `undecided`: a condition in the object is null, so the whole object
   * is.
   */
  readonly kind: 'field' | 'denied' | 'undecided' | 'typename' | 'introspection'
  /** The type whose field it is, as errors name it. */
  readonly parent: string
  readonly type: GraphQLOutputType
  /** The shape of the object, or of the objects of a list. */
  readonly shape: Shape | undefined
  /** All occurrences in the client's document. */
  readonly nodes: readonly FieldNode[]
}

/** An object of an answer. Its fields depend on its type at runtime. */
export interface Shape {
  /** Its type in the schema. */
  readonly type: GraphQLCompositeType
  /** The fields of a runtime type, in the answer's order; undefined for a type that clients do not know. */
  readonly fieldsOf: (typename: string) => readonly Field[] | undefined
  /** The deferred fragments of a runtime type. Their fields arrive later, and are not among {@link Shape.fieldsOf}. */
  readonly deferredOf: (typename: string) => readonly DeferredFragment[]
}

export interface DeferredFragment {
  /** The id that its plan has, too. */
  readonly id: string
  /** Of the object, with the fields of the fragment alone. */
  readonly shape: Shape
}

/** The fields of an object of one type. */
interface Collected {
  readonly fields: readonly Field[]
  readonly deferred: readonly DeferredFragment[]
}

interface Found {
  readonly nodes: FieldNode[]
  readonly parent: GraphQLCompositeType
  readonly sets: Set<SelectionSetNode>
}
interface Selections {
  readonly set: SelectionSetNode
  readonly parent: GraphQLCompositeType | undefined
}

const applies = (schema: GraphQLSchema, condition: GraphQLCompositeType, runtime: GraphQLCompositeType): boolean =>
  condition === runtime ||
  (isAbstractType(condition) &&
    (isObjectType(runtime) || isInterfaceType(runtime)) &&
    schema.isSubType(condition, runtime))

/** Replaces all selections: the specification requires an error where the conditions are evaluated, at the object. */
function undecidedField(schema: GraphQLSchema, { name: parent }: GraphQLCompositeType): Field {
  const type = schema.getType('Boolean') as GraphQLOutputType
  return { key: '', source: '', name: '', kind: 'undecided', parent, type, shape: undefined, nodes: [] }
}

/**
 * The shape of an operation's answer.
 * @param document valid for the schema
 * @param isTrue the values of the conditions' variables
 * @param sourceOf the name of a field in the subgraphs' data
 * @param isNull the conditions' variables that are null
 * @param deferredBy the id of a fragment that is deferred
 */
export function shapeOf(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  isTrue: IsTrue,
  isDenied: IsDenied = () => false,
  sourceOf: InternalName = responseName,
  isNull: IsNull = () => false,
  deferredBy: (fragment: SelectionNode) => string | undefined = () => undefined,
): Shape {
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition)
  }

  function makeShape(type: GraphQLCompositeType, selections: readonly Selections[]): Shape {
    const known = new Map<string, Collected | undefined>()
    const of = (typename: string): Collected | undefined => {
      if (!known.has(typename)) {
        const runtime = schema.getType(typename)
        known.set(typename, isCompositeType(runtime) ? collect(runtime, selections) : undefined)
      }
      return known.get(typename)
    }
    return {
      type,
      fieldsOf: (typename) => of(typename)?.fields,
      deferredOf: (typename) => of(typename)?.deferred ?? [],
    }
  }

  function collect(runtime: GraphQLCompositeType, selections: readonly Selections[]): Collected {
    const found = new Map<string, Found>()
    const deferred: DeferredFragment[] = []
    const seen = new Set<string | SelectionSetNode>()
    let undecided = false
    const visit = (set: SelectionSetNode, parent: GraphQLCompositeType): void => {
      for (const selection of set.selections) {
        // As graphql-js has it: the conditions of a fragment that is in the answer already do not matter.
        if (selection.kind === Kind.FRAGMENT_SPREAD && seen.has(selection.name.value)) continue
        undecided ||= isUndecided(selection.directives, isTrue, isNull)
        if (!isIncluded(selection.directives, isTrue)) continue
        if (selection.kind === Kind.FIELD) {
          const key = responseName(selection)
          let field = found.get(key)
          if (!field) {
            field = { nodes: [], parent, sets: new Set() }
            found.set(key, field)
          }
          field.nodes.push(selection)
          if (selection.selectionSet) field.sets.add(selection.selectionSet)
          continue
        }
        let fragment: {
          readonly typeCondition?: { name: { value: string } } | undefined
          selectionSet: SelectionSetNode
        }
        if (selection.kind === Kind.FRAGMENT_SPREAD) {
          const name = selection.name.value
          seen.add(name)
          fragment = fragments.get(name) as FragmentDefinitionNode
        } else fragment = selection
        const condition = fragment.typeCondition ? schema.getType(fragment.typeCondition.name.value) : parent
        if (!isCompositeType(condition) || (fragment.typeCondition && !applies(schema, condition, runtime))) continue
        const id = deferredBy(selection)
        if (id === undefined) visit(fragment.selectionSet, condition)
        else deferred.push({ id, shape: makeShape(runtime, [{ set: fragment.selectionSet, parent: condition }]) })
      }
    }
    for (const { set, parent } of selections) visit(set, parent ?? runtime)
    if (undecided) return { fields: [undecidedField(schema, runtime)], deferred: [] }
    return { fields: [...found].flatMap(([key, each]) => fieldOf(key, each, runtime) ?? []), deferred }
  }

  function fieldOf(key: string, { nodes, parent, sets }: Found, runtime: GraphQLCompositeType): Field | undefined {
    const [node] = nodes as [FieldNode]
    const name = node.name.value
    const common = { key, source: sourceOf(node), name, nodes, parent: parent.name }
    if (name === '__typename') {
      return { ...common, kind: 'typename', type: schema.getType('String') as GraphQLOutputType, shape: undefined }
    }
    if (runtime === schema.getQueryType() && (name === '__schema' || name === '__type')) {
      const { type } = name === '__schema' ? SchemaMetaFieldDef : TypeMetaFieldDef
      return { ...common, kind: 'introspection', type, shape: undefined }
    }
    // The type of an object's field may be stricter than that of its interface.
    const definition = [runtime, parent].flatMap((type) => ('getFields' in type && type.getFields()[name]) || [])[0]
    if (!definition) return undefined
    if (isDenied(runtime.name, name) || isDenied(parent.name, name)) {
      return { ...common, kind: 'denied', type: definition.type, shape: undefined }
    }
    const named = getNamedType(definition.type)
    const shape = isCompositeType(named)
      ? makeShape(
          named,
          [...sets].map((set) => ({ set, parent: undefined })),
        )
      : undefined
    return { ...common, kind: 'field', type: definition.type, shape }
  }

  const root = schema.getRootType(operation.operation)
  if (!root) throw new Error(`The schema has no type for a ${operation.operation}.`)
  return makeShape(root, [{ set: operation.selectionSet, parent: undefined }])
}

/**
 * Whether the selection depends on the concrete type of an object of which only the interface is known, because the
 * call for the type has failed.
 */
export function isTypeMissing(schema: GraphQLSchema, shape: Shape, typename: string): boolean {
  const type = schema.getType(typename)
  if (!isInterfaceType(type)) return false
  const sourcesOf = (name: string) => (shape.fieldsOf(name) ?? []).map(({ source }) => source).join()
  const known = sourcesOf(typename)
  return schema.getPossibleTypes(type).some(({ name }) => sourcesOf(name) !== known)
}

/** A selected field that can't be fetched: a null without an error would mean that there is no value. */
export function unreachableFields(root: Shape, rootName: string | undefined): GraphQLFormattedError[] {
  const fields = (rootName !== undefined && root.fieldsOf(rootName)) || []
  return fields
    .filter(({ kind }) => kind === 'field')
    .map(({ key, name }) => ({
      message: `No subgraph can answer the field ${rootName}.${name} as it is asked for.`,
      path: [key],
      extensions: { code: 'INTERNAL_SERVER_ERROR' },
    }))
}
