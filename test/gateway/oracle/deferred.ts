/** Random operations with `@defer`: what their parts make together is what the one server answers to them without it. */
import { type DocumentNode, Kind, parse, print, type SelectionNode, visit } from 'graphql'
import { type Format, type Joined, joinParts, type Payload } from '../incremental.ts'
import type { Asked } from './operations.ts'
import type { Random } from './random.ts'

/** Puts `@defer` into an operation, wherever it may be. */
export function withDefer({ query, variables }: Asked, random: Random): Asked {
  let labels = 0
  const known = [...query.matchAll(/\$(yes|no|late|early)\b/g)].map(([name]) => name)
  const defer = () => {
    const label = random.chance(0.7) ? `label: "l${labels++}"` : ''
    const when = random.chance(0.2) ? `if: ${random.pick(['true', 'false', ...known])}` : ''
    const given = [label, when].filter((each) => each !== '').join(', ')
    return parse(`{ ... @defer${given && `(${given})`} { a } }`).definitions.flatMap((each) =>
      each.kind === Kind.OPERATION_DEFINITION ? (each.selectionSet.selections[0]?.directives ?? []) : [],
    )
  }
  const often = random.pick([0.2, 0.5, 0.9])
  const document = visit(parse(query), {
    enter: (node) => {
      if (node.kind === Kind.OPERATION_DEFINITION && node.operation !== 'query') return false
      if (node.kind !== Kind.INLINE_FRAGMENT && node.kind !== Kind.FRAGMENT_SPREAD) return undefined
      return random.chance(often) ? { ...node, directives: [...(node.directives ?? []), ...defer()] } : undefined
    },
    SelectionSet: {
      leave: (node) => {
        if (!random.chance(often / 2)) return undefined
        const inside: SelectionNode[] = []
        const outside: SelectionNode[] = []
        for (const each of node.selections) (random.chance(0.5) ? inside : outside).push(each)
        if (inside.length === 0) return undefined
        const twice = outside.length > 0 && random.chance(0.3) ? outside.slice(0, 1) : []
        const selectionSet = { kind: Kind.SELECTION_SET, selections: [...inside, ...twice] } as const
        const fragment: SelectionNode = { kind: Kind.INLINE_FRAGMENT, directives: defer(), selectionSet }
        return { ...node, selections: random.chance(0.5) ? [...outside, fragment] : [fragment, ...outside] }
      },
    },
  })
  return { query: print(withUniqueLabels(document)), variables }
}

/** A selection that is there twice had its label twice. */
function withUniqueLabels(document: DocumentNode): DocumentNode {
  const known = new Set<string>()
  return visit(document, {
    Argument: ({ name, value }) => {
      if (name.value !== 'label' || value.kind !== Kind.STRING || !/^l\d+$/.test(value.value)) return undefined
      if (known.has(value.value)) return null
      known.add(value.value)
      return undefined
    },
  })
}

export const withoutDefer = (document: DocumentNode): DocumentNode =>
  visit(document, { Directive: ({ name }) => (name.value === 'defer' ? null : undefined) })

/** What the parts make together, in the order of the answer in one piece; or what is wrong with them. */
export function joined(payloads: readonly Payload[], format: Format, expected: unknown): Joined {
  const answer = joinParts(payloads, format)
  return { ...answer, data: inOrder(answer.data, expected) }
}

function inOrder(value: unknown, model: unknown): unknown {
  if (Array.isArray(value)) return value.map((each, index) => inOrder(each, Array.isArray(model) ? model[index] : null))
  if (typeof value !== 'object' || value === null) return value
  const wanted = typeof model === 'object' && model !== null ? (model as Record<string, unknown>) : {}
  const own = value as Record<string, unknown>
  const keys = [
    ...Object.keys(wanted).filter((key) => key in own),
    ...Object.keys(own).filter((key) => !(key in wanted)),
  ]
  return Object.fromEntries(keys.map((key) => [key, inOrder(own[key], wanted[key])]))
}

type Path = readonly (string | number)[]

/**
 * Where a part failed, its fields are missing, and what is around it stays, while without `@defer` a null goes on outwards.
 * @param whole what the one server answers without `@defer`
 * @param lenient the same if nothing were non-null
 */
export function differenceWithFailures(
  { data, errors, failed }: Joined,
  whole: unknown,
  lenient: unknown,
): string | undefined {
  const isFailed = (path: Path) => failed.some((each) => isWithin(each, path) || isWithin(path, each))
  const path: (string | number)[] = []
  const at = () => JSON.stringify(path)
  function compare(ours: unknown, theirs: unknown, more: unknown): string | undefined {
    if (theirs === null && ours !== null) {
      if (!isFailed(path)) return `${at()} is not null`
      if (ours === undefined) return undefined
      return more === null ? `${at()} is not null` : compare(ours, more, more)
    }
    if (typeof theirs !== 'object' || theirs === null) {
      return ours === theirs ? undefined : `${at()}: ${JSON.stringify(ours)} and not ${JSON.stringify(theirs)}`
    }
    if (typeof ours !== 'object' || ours === null) {
      // A null that stays within what a failed part left of it.
      return isFailed(path) && ours === null ? undefined : `${at()} is ${JSON.stringify(ours)}`
    }
    const keys = new Set([...Object.keys(ours), ...Object.keys(theirs)])
    for (const key of keys) {
      const part = Array.isArray(theirs) ? Number(key) : key
      path.push(part)
      const [own, other, further] = [ours, theirs, more].map((each) => fieldOf(each, part))
      const isMissing = own === undefined && isFailed(path)
      const found = isMissing ? undefined : compare(own, other, further)
      path.pop()
      if (found) return found
    }
    return undefined
  }
  const difference = compare(data, whole, lenient)
  if (difference) return difference
  return failed.length > 0 && errors.length === 0 ? 'a part failed without an error' : undefined
}

const fieldOf = (value: unknown, part: string | number): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, part) ? value[part as never] : undefined

const isWithin = (path: Path, place: Path): boolean => place.every((part, index) => path[index] === part)
