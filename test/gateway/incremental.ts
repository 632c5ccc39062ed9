/** Reads answers that come in parts, and joins them by each format's own rules, strictly. */
export const ACCEPTS = {
  '2022': 'multipart/mixed;deferSpec=20220824, application/json',
  'v0.2': 'multipart/mixed;incrementalSpec=v0.2, application/json',
} satisfies Record<Format, string>
export type Format = '2022' | 'v0.2'

type Path = readonly (string | number)[]
interface Failure {
  readonly message: string
  readonly path?: Path
}
export interface Payload {
  readonly data?: unknown
  readonly errors?: readonly Failure[]
  readonly hasNext?: boolean
  readonly pending?: readonly { readonly id: string; readonly path: Path; readonly label?: string }[]
  readonly incremental?: readonly {
    readonly id?: string
    readonly path?: Path
    readonly subPath?: Path
    readonly label?: string
    readonly data: unknown
    readonly errors?: readonly Failure[]
  }[]
  readonly completed?: readonly { readonly id: string; readonly errors?: readonly Failure[] }[]
}

/** The payloads of a body. @throws Error for a body that is not well-formed */
export function readParts(contentType: string, body: string): readonly Payload[] {
  if (!contentType.startsWith('multipart/mixed')) return [JSON.parse(body)]
  const boundary = /boundary="([^"]+)"/.exec(contentType)?.[1]
  const parts = body.split(`\r\n--${boundary}`)
  if (parts[0] !== '' || parts.at(-1) !== '--\r\n') throw new Error(`not a multipart body: ${JSON.stringify(body)}`)
  return parts.slice(1, -1).map((part) => {
    const [, json] = /^\r\ncontent-type: application\/json; charset=utf-8\r\n\r\n(.*)$/s.exec(part) ?? []
    if (json === undefined) throw new Error(`not a part: ${JSON.stringify(part)}`)
    return JSON.parse(json)
  })
}

export interface Joined {
  readonly data: unknown
  readonly errors: readonly Failure[]
  /** The places of parts that failed as a whole. */
  readonly failed: readonly Path[]
  /** What violates the format. */
  readonly faults: readonly string[]
}

type Data = Record<string | number, unknown>

/** Joins the payloads of one answer. */
export function joinParts(payloads: readonly Payload[], format: Format): Joined {
  const [first, ...later] = payloads as [Payload, ...Payload[]]
  const data = first.data
  const errors = [...(first.errors ?? [])]
  const failed: Path[] = []
  const faults: string[] = []
  const open = new Map<string, Path>()
  const expect = (holds: boolean, fault: string) => void (holds || faults.push(fault))
  const at = (path: Path): Data => {
    const found = path.reduce<unknown>((value, part) => (value as Data | undefined)?.[part], data)
    expect(typeof found === 'object' && found !== null, `there is no object at ${JSON.stringify(path)}`)
    return (found ?? {}) as Data
  }
  const announce = ({ pending = [] }: Payload) => {
    for (const { id, path } of pending) {
      expect(!open.has(id), `the id ${id} is pending twice`)
      open.set(id, path)
    }
  }
  announce(first)
  if (payloads.length > 1) expect(first.hasNext === true, 'more comes after hasNext: false')
  for (const [index, payload] of later.entries()) {
    expect(payload.hasNext === index < later.length - 1, `hasNext is ${payload.hasNext} in payload ${index + 1}`)
    announce(payload)
    for (const each of payload.incremental ?? []) {
      const path = format === '2022' ? each.path : open.get(each.id ?? '')
      expect(path !== undefined, `no path for ${JSON.stringify(each)}`)
      errors.push(...(each.errors ?? []))
      if (each.data === null) failed.push(path ?? [])
      else if (format === '2022') mergeDeeply(at(path ?? []), each.data as Data, faults)
      else addFields(at([...(path ?? []), ...(each.subPath ?? [])]), each.data as Data, faults)
    }
    for (const { path } of payload.pending ?? []) at(path)
    for (const { id, errors: more } of payload.completed ?? []) {
      expect(open.has(id), `${id} is completed but not pending`)
      if (more) {
        expect(more.length > 0, 'a part failed without an error')
        failed.push(open.get(id) ?? [])
        errors.push(...more)
      }
      open.delete(id)
    }
  }
  expect(open.size === 0, `${[...open.keys()]} were never completed`)
  return { data, errors, failed, faults }
}

/** The newer format sends each field once. */
function addFields(target: Data, fields: Data, faults: string[]): void {
  for (const key of Object.keys(fields)) {
    if (Object.hasOwn(target, key)) faults.push(`${key} is sent twice`)
    target[key] = fields[key]
  }
}

/** The older one may send a field again, with the same value. */
function mergeDeeply(target: Data, source: Data, faults: string[]): void {
  for (const key of Object.keys(source)) {
    const [before, value] = [target[key], source[key]]
    if (!Object.hasOwn(target, key)) target[key] = value
    else if (before !== null && value !== null && typeof before === 'object' && typeof value === 'object') {
      mergeDeeply(before as Data, value as Data, faults)
    } else if (before !== value) faults.push(`${key} was ${JSON.stringify(before)}, and is ${JSON.stringify(value)}`)
  }
}
