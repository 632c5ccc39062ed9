/** Answers in parts: `multipart/mixed`, each part with JSON. */
import { Readable } from 'node:stream'
import type { LaterPart } from '../execution/executor.ts'
import type { IncrementalFormat } from '../execution/incremental-formats.ts'

/** The media types of the formats, as clients ask for them. */
const PARAMETERS: Readonly<Record<IncrementalFormat, string>> = {
  2022: 'deferSpec=20220824',
  'v0.2': 'incrementalSpec=v0.2',
}
const MULTIPART = 'multipart/mixed'
/** How many parsed `Accept` headers are cached. */
const KNOWN = 100

const known = new Map<string, IncrementalFormat | undefined>()

export const contentTypeOf = (format: IncrementalFormat): string => `${MULTIPART}; boundary="-"; ${PARAMETERS[format]}`

/**
 * The format in which a client takes deferred parts, by its `Accept`; undefined: it wants the answer in one piece. That is
 * so if it does not name `multipart/mixed`, or likes JSON better.
 */
export function incrementalFormat(accept: string | undefined): IncrementalFormat | undefined {
  if (accept === undefined || !/multipart\/mixed/i.test(accept)) return undefined
  if (known.has(accept)) return known.get(accept)
  const found = read(accept)
  if (known.size >= KNOWN) known.clear()
  known.set(accept, found)
  return found
}

function read(accept: string): IncrementalFormat | undefined {
  let best: { readonly format: IncrementalFormat; readonly quality: number } | undefined
  let json = 0
  for (const range of accept.toLowerCase().split(',')) {
    const [type = '', ...parameters] = range.split(';').map((each) => each.trim())
    const values = new Map(parameters.map((each) => splitParameter(each)))
    const quality = Number(values.get('q') ?? 1)
    if (!(quality > 0)) continue
    if (type === MULTIPART) {
      const format = formatOf(values)
      if (format && quality > (best?.quality ?? 0)) best = { format, quality }
    } else json = Math.max(json, quality)
  }
  return best && best.quality >= json ? best.format : undefined
}

function splitParameter(text: string): readonly [string, string] {
  const [name = '', value = ''] = text.split('=').map((each) => each.trim())
  return [name, value.replace(/^"(.*)"$/, '$1')]
}

/** Clients that name no format speak that of 2022, or both. One with a format that is not ours gets no parts. */
function formatOf(values: ReadonlyMap<string, string>): IncrementalFormat | undefined {
  const [older, newer] = [values.get('deferspec'), values.get('incrementalspec')]
  if (newer !== undefined) return newer === 'v0.2' ? 'v0.2' : undefined
  return older === undefined || older === '20220824' ? '2022' : undefined
}

/**
 * The body of an answer in parts. Each is sent as soon as it is there; what a slow client has not read yet is kept, so
 * that it holds up nothing else.
 * @param onEnd called once, when the last part is there or the client has gone away
 */
export function multipartBody(first: string, rest: AsyncIterable<LaterPart>, onEnd: () => void): Readable {
  const body = new Readable({ read: () => {} })
  async function fill(): Promise<void> {
    try {
      // A part ends with the next boundary: a client that waits for that gets it at once.
      body.push(`\r\n---${partOf(first)}\r\n---`)
      for await (const { text } of rest) body.push(`${partOf(text)}\r\n---`)
      body.push('--\r\n')
      body.push(null)
    } catch (error) {
      body.destroy(error as Error)
    } finally {
      onEnd()
    }
  }
  void fill()
  return body
}

const partOf = (text: string): string => `\r\ncontent-type: application/json; charset=utf-8\r\n\r\n${text}`
