/**
 * The two formats in which deferred parts of an answer are sent.
 *
 * - `2022`: https://github.com/graphql/graphql-spec/tree/48cf7263a71a683fab03d45d309fd42d8d9a6659/spec, which Apollo
 *   Client since 3.7, Relay and Apollo Router speak. Each part has all fields of its fragment.
 * - `v0.2`: https://specs.apollo.dev/incremental/v0.2/, the draft of the specification as graphql-js 17 has it since
 *   alpha.9. Parts are announced under ids, and each field is sent once.
 */
import type { GraphQLFormattedError } from 'graphql'
import type { Data } from './json-objects.ts'

export type IncrementalFormat = '2022' | 'v0.2'

type Path = readonly (string | number)[]

/** A part that is to come. */
export interface PendingPart {
  readonly id: string
  readonly path: Path
  /** The client's label of the fragment, if it gave one. */
  readonly label: string | undefined
}

/** Fields that no earlier part had, of one object. */
export interface NewFields {
  /** From the place of the part to the object. */
  readonly subPath: Path
  readonly data: Data
}

/** A part that has arrived. */
export interface ArrivedPart extends PendingPart {
  /** All its fields; null if an error made the whole part null. */
  readonly data: Data | null
  readonly added: readonly NewFields[]
  readonly errors: readonly GraphQLFormattedError[]
}

const withErrors = (errors: readonly GraphQLFormattedError[]) => (errors.length > 0 ? { errors } : {})

function announcement({ id, path, label }: PendingPart) {
  return { id, path, ...(label !== undefined && { label }) }
}

/** The first payload, as JSON. @param pending the parts to come, at least one */
export function initialPayload(
  format: IncrementalFormat,
  data: Data | null,
  errors: readonly GraphQLFormattedError[],
  pending: readonly PendingPart[],
): string {
  const announced = format === 'v0.2' && { pending: pending.map(announcement) }
  return JSON.stringify({ data, ...withErrors(errors), ...announced, hasNext: true })
}

/** A later payload, as JSON. @param pending parts that have become known with these */
export function laterPayload(
  format: IncrementalFormat,
  arrived: readonly ArrivedPart[],
  pending: readonly PendingPart[],
  hasNext: boolean,
): string {
  return JSON.stringify({ ...(format === '2022' ? parts2022(arrived) : partsV02(arrived, pending)), hasNext })
}

function parts2022(arrived: readonly ArrivedPart[]) {
  const incremental = arrived.map(({ data, path, label, errors }) => ({
    data,
    path,
    ...(label !== undefined && { label }),
    ...withErrors(errors),
  }))
  return { incremental }
}

function partsV02(arrived: readonly ArrivedPart[], pending: readonly PendingPart[]) {
  const incremental = arrived.flatMap(({ id, data, added, errors }) => {
    if (data === null) return []
    const entries = added.length > 0 || errors.length === 0 ? added : [{ subPath: [], data: {} }]
    return entries.map((each, index) => ({
      id,
      ...(each.subPath.length > 0 && { subPath: each.subPath }),
      data: each.data,
      ...(index === 0 && withErrors(errors)),
    }))
  })
  return {
    ...(pending.length > 0 && { pending: pending.map(announcement) }),
    ...(incremental.length > 0 && { incremental }),
    completed: arrived.map(({ id, data, errors }) => ({ id, ...(data === null && withErrors(errors)) })),
  }
}
