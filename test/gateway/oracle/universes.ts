/** The generators of random supergraphs, in one form. */
import type { GraphQLFieldResolver, GraphQLSchema } from 'graphql'
import { type Asked, createOperation } from './operations.ts'
import type { Random } from './random.ts'
import { createOperation as createSecondOperation } from './second/operations.ts'
import * as second from './second/subgraphs.ts'
import { createWorld as createSecondWorld } from './second/world.ts'
import type { Service } from './services.ts'
import { serviceOf } from './subgraphs.ts'
import { createWorld, trueResolver } from './world.ts'

/** A supergraph with all its data. */
export interface Universe {
  readonly services: readonly Service[]
  /** Of the one server that holds everything. */
  readonly truth: GraphQLFieldResolver<unknown, unknown>
  readonly kindOf: (value: unknown) => string
  /** Whether subgraphs can't find some entities: then their fields have one error where the one server has several. */
  readonly losesEntities: boolean
  /** @returns undefined where no valid one was found */
  readonly createOperation: (schema: GraphQLSchema, random: Random) => Asked | undefined
}

export const generators = {
  first: (seed: number): Universe => {
    const world = createWorld(seed)
    return {
      services: world.subgraphs.map((name) => serviceOf(world, name)),
      truth: trueResolver(world) as never,
      kindOf: (value) => (value as { readonly __typename: string }).__typename,
      losesEntities: false,
      createOperation,
    }
  },
  second: (seed: number): Universe => {
    const world = createSecondWorld(seed)
    return {
      services: world.subgraphs.map((name) => ({
        name,
        sdl: second.sdlOf(world, name),
        resolvers: second.resolversOf(world, name),
        fieldResolver: second.resolverOf(world, name) as never,
      })),
      truth: second.trueResolver(world) as never,
      kindOf: (value) => (value as { readonly type: string }).type,
      losesEntities: world.broken.length > 0,
      createOperation: createSecondOperation,
    }
  },
}

export type GeneratorName = keyof typeof generators
