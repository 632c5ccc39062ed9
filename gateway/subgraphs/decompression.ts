/** Decompresses subgraphs' answers. */
import { promisify } from 'node:util'
import * as zlib from 'node:zlib'

/** The encodings that subgraphs may be asked for. */
export const SUBGRAPH_ENCODINGS = ['zstd', 'br', 'gzip', 'deflate'] as const

/** An answer that can't be decompressed. The message is for clients, and names the encoding. */
export class BadEncoding extends Error {
  readonly code = 'GTW_ERR_SUBGRAPH_ENCODING'
}

/** An answer of more bytes than the limit, as sent or decompressed. */
export class AnswerTooLarge extends Error {
  readonly code = 'GTW_ERR_SUBGRAPH_ANSWER_TOO_LARGE'
}

interface Limited {
  readonly maxOutputLength: number
}
type Decompress = (body: Buffer, limit: Limited) => Promise<Buffer>

const [gunzip, inflate, inflateRaw, brotli] = [
  promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.gunzip),
  promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.inflate),
  promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.inflateRaw),
  promisify<zlib.InputType, zlib.BrotliOptions, Buffer>(zlib.brotliDecompress),
]

const DECOMPRESSORS: ReadonlyMap<string, Decompress> = new Map([
  ['gzip', gunzip],
  ['x-gzip', gunzip],
  ['br', brotli],
  // With zlib's header, as the standard has it, or without, as some servers send it.
  ['deflate', (body: Buffer, limit: Limited) => (((body[0] ?? 0) & 0x0f) === 8 ? inflate : inflateRaw)(body, limit)],
  ...zstdDecompressor(),
])

/** Node.js has zstd since 22.15. */
function zstdDecompressor(): [string, Decompress][] {
  if (typeof zlib.zstdDecompress !== 'function') return []
  const unzstd = promisify<zlib.InputType, zlib.ZstdOptions, Buffer>(zlib.zstdDecompress)
  // RFC 9659: over HTTP a window has 8 MiB at most. Without this limit, a few bytes could demand 128 MiB.
  const params = { [zlib.constants.ZSTD_d_windowLogMax]: 23 }
  return [['zstd', (body, limit) => unzstd(body, { ...limit, params })]]
}

/** Those that this version of Node.js has. */
export const isDecompressable = (encoding: string): boolean => DECOMPRESSORS.has(encoding)

/** One encoding over another is allowed; more are a mistake, or an attack. */
const MAX_LAYERS = 2

/**
 * Decompresses a body, off the event loop.
 * @param encoding the `Content-Encoding`: a list in the order in which the encodings were applied
 * @param maxBytes a body that becomes larger is not decompressed to its end
 * @throws BadEncoding, AnswerTooLarge
 */
export async function decompress(body: Buffer, encoding: string, maxBytes: number): Promise<Buffer> {
  const layers = encoding
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name !== 'identity')
  if (layers.length > MAX_LAYERS) throw new BadEncoding(`sent an answer with more than ${MAX_LAYERS} encodings`)
  let result = body
  for (const name of layers.toReversed()) {
    const decode = DECOMPRESSORS.get(name)
    if (!decode) {
      const accepted = [...DECOMPRESSORS.keys()].join(', ')
      throw new BadEncoding(
        `sent an answer with the unknown encoding ${JSON.stringify(name.slice(0, 40))}; accepted: ${accepted}`,
      )
    }
    try {
      result = await decode(result, { maxOutputLength: maxBytes })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw new AnswerTooLarge()
      throw new BadEncoding(`sent an answer that is not valid ${name}`, { cause: error })
    }
  }
  return result
}
