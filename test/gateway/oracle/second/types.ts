/** What a world of the second generator is made of. */
import { Kind, type OperationDefinitionNode, parse, type SelectionSetNode } from 'graphql'
import type { Random } from '../random.ts'

export interface Argument {
  readonly name: string
  readonly type: string
  /** As SDL has it; all of them are JSON, too. */
  readonly fallback?: string
}

interface Requirement {
  readonly text: string
  readonly set: SelectionSetNode
}

export interface Field {
  readonly name: string
  /** The type whose field it is: an interface for what its kinds have from it. */
  readonly at: string
  readonly base: string
  /** What is around the base, as in `[!]!`. */
  readonly wrap: string
  args: readonly Argument[]
  /** The subgraphs that resolve it. Of a value type's fields all do. */
  readonly owners: ReadonlySet<string>
  isShareable: boolean
  readonly isKey: boolean
  /** The subgraph that had it before. */
  from?: string
  requires?: Requirement
  provides?: string
  /** Fails for some objects. */
  throws: boolean
  /** Never fails: others depend on it. */
  isSafe: boolean
}

/** `split`: a value type of which each subgraph has other fields. `objectified`: an interface that some take for an object. */
export type TypeKind = 'entity' | 'value' | 'split' | 'interface' | 'union' | 'objectified' | 'root'

export interface Type {
  readonly name: string
  readonly kind: TypeKind
  readonly fields: Map<string, Field>
  /** By subgraph, the keys that it resolves. */
  readonly keys: Map<string, readonly string[]>
  readonly members: string[]
  /** The subgraphs that take the interface for an object. */
  readonly objectIn: Set<string>
  /** By subgraph, the fields of others that it mentions. */
  readonly external: Map<string, Set<string>>
  /** The objectified interface that it is a kind of. */
  readonly objectified?: string
  /** Whether it is a kind of the interface J. */
  hasLabel: boolean
}

/** A subgraph that can't find some of a type's entities. */
export interface Broken {
  readonly subgraph: string
  readonly type: string
  readonly mode: 'throw' | 'null'
  readonly modulus: number
}

export interface World {
  readonly seed: number
  readonly subgraphs: readonly string[]
  readonly types: ReadonlyMap<string, Type>
  readonly broken: readonly Broken[]
  /** How many objects a type has. */
  readonly pool: number
}

/** A world that is being made. */
export interface Draft extends Omit<World, 'types' | 'broken'> {
  readonly random: Random
  readonly types: Map<string, Type>
  readonly entities: Type[]
  readonly objectified: Type[]
  /** The kinds of objectified interfaces. */
  readonly kinds: Type[]
}

export function typeOf({ types }: Pick<World, 'types'>, name: string): Type {
  const type = types.get(name)
  if (!type) throw new Error(`There is no type ${name}.`)
  return type
}

/** A field of a type, or of the objectified interface that it is a kind of. */
export function fieldOf(world: Pick<World, 'types'>, typename: string, name: string): Field | undefined {
  const type = typeOf(world, typename)
  return type.fields.get(name) ?? (type.objectified ? typeOf(world, type.objectified).fields.get(name) : undefined)
}

export function selectionOf(text: string): SelectionSetNode {
  const [operation] = parse(`{${text}}`, { noLocation: true }).definitions
  if (operation?.kind !== Kind.OPERATION_DEFINITION) throw new Error(text)
  return (operation as OperationDefinitionNode).selectionSet
}

export function addTo(map: Map<string, Set<string>>, key: string, value: string): void {
  map.set(key, (map.get(key) ?? new Set()).add(value))
}
