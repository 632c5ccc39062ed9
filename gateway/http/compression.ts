/** Compresses answers in an encoding that the client accepts. */
import { promisify } from 'node:util'
import * as zlib from 'node:zlib'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Encoding } from '../accepted-values.ts'
import { type Answer, addVary } from './answers.ts'

/** Shorter answers are sent as they are: they fit into one packet. In UTF-16 units. */
const MIN_LENGTH = 1_024
/**
 * Up to this length an answer is compressed on the event loop, which takes 0.2 ms at most: to hand the work to a thread
 * costs as much. In UTF-16 units.
 */
const MAX_LENGTH_INLINE = 16 * 1_024

/** How many large answers are compressed at once: as many as the pool has threads. Each takes up to 16 MB besides. */
const MAX_AT_ONCE = 4

interface Compressor {
  readonly now: (text: string) => Buffer
  /** In a thread of the pool. */
  readonly later: (text: string) => Promise<Buffer>
}

const { BROTLI_PARAM_QUALITY, BROTLI_PARAM_MODE, BROTLI_MODE_TEXT, ZSTD_c_compressionLevel } = zlib.constants
const gzip = promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.gzip)
const brotli = promisify<zlib.InputType, zlib.BrotliOptions, Buffer>(zlib.brotliCompress)
// The levels at which CPU time grows faster than answers shrink: JSON becomes 7 to 8 times as small with each.
const GZIP = { level: 4 }
const BROTLI = { params: { [BROTLI_PARAM_QUALITY]: 4, [BROTLI_PARAM_MODE]: BROTLI_MODE_TEXT } }

const COMPRESSORS: Readonly<Partial<Record<Encoding, Compressor>>> = {
  gzip: { now: (text) => zlib.gzipSync(text, GZIP), later: (text) => gzip(text, GZIP) },
  br: { now: (text) => zlib.brotliCompressSync(text, BROTLI), later: (text) => brotli(text, BROTLI) },
  ...zstdCompressor(),
}

/** Node.js has zstd since 22.15. */
function zstdCompressor(): { readonly zstd?: Compressor } {
  if (typeof zlib.zstdCompress !== 'function') return {}
  const zstd = promisify<zlib.InputType, zlib.ZstdOptions, Buffer>(zlib.zstdCompress)
  const options = { params: { [ZSTD_c_compressionLevel]: 3 } }
  return { zstd: { now: (text) => zlib.zstdCompressSync(text, options), later: (text) => zstd(text, options) } }
}

/** Compresses an answer's text and sets the headers. @returns the text itself where it is not compressed */
export type Compress = (
  answer: Pick<Answer, 'text' | 'traits'>,
  request: FastifyRequest,
  reply: FastifyReply,
) => string | Buffer | Promise<Buffer>

/**
 * An answer that may hold a credential is never compressed, and no answer to a request whose cookie it may depend on: its length would tell an attacker, who can have text of their choice put beside the secret, whether they
 * guessed a part of it (BREACH, CVE-2013-3587). A bearer token is no such cookie: a page of another site can't make a
 * browser send it.
 * @param encodings in the order of preference
 * @param passesCookies whether subgraphs get the client's cookies, or plugins, which may make tokens of them
 * @returns undefined if nothing is compressed
 */
export function createCompression(encodings: readonly Encoding[], passesCookies: boolean): Compress | undefined {
  const offered = encodings.filter((each) => COMPRESSORS[each] !== undefined)
  if (offered.length === 0) return undefined
  const choose = createChoice(offered)
  const inTurn = createTurns(MAX_AT_ONCE)

  return ({ text, traits }, { headers, socket }, reply) => {
    const accepted = headers['accept-encoding']
    if (text.length < MIN_LENGTH || accepted === undefined) return text
    if (passesCookies && headers.cookie !== undefined) return text
    const encoding = choose(accepted)
    const compressor = encoding && COMPRESSORS[encoding]
    // Without traits nothing was executed: a list of errors, and nothing is known of what they quote.
    if (!compressor || traits?.holdsSecret() !== false) return text
    const finish = (body: Buffer) => {
      reply.header('content-encoding', encoding)
      if (!/accept-encoding/i.test(String(reply.getHeader('vary')))) addVary(reply, 'Accept-Encoding')
      return body
    }
    if (text.length <= MAX_LENGTH_INLINE) return finish(compressor.now(text))
    // Nobody reads the answer of a client that has gone away while it waited.
    return inTurn(async () => (socket.destroyed ? Buffer.alloc(0) : compressor.later(text))).then(finish)
  }
}

/** @returns a function that begins a work once fewer than so many are under way. The oldest waiting one is next */
function createTurns(most: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = []
  let free = most
  return async (work) => {
    if (free > 0) free--
    else await new Promise<void>((begin) => waiting.push(begin))
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else free++
    }
  }
}

/** How many parsed `Accept-Encoding` headers are kept: clients send few different ones. */
const KNOWN = 100

/** @returns a function that chooses the encoding for an `Accept-Encoding` header; undefined: none */
function createChoice(offered: readonly Encoding[]): (accepted: string) => Encoding | undefined {
  const known = new Map<string, Encoding | undefined>()
  return (accepted) => {
    if (known.has(accepted)) return known.get(accepted)
    const encoding = preferred(accepted, offered)
    if (known.size >= KNOWN) known.clear()
    known.set(accepted, encoding)
    return encoding
  }
}

/** RFC 9110, section 12.5.3: the most wanted one; of equally wanted ones the first that is offered. */
function preferred(accepted: string, offered: readonly Encoding[]): Encoding | undefined {
  const wanted = new Map<string, number>()
  for (const part of accepted.toLowerCase().split(',')) {
    const [name = '', ...parameters] = part.split(';').map((each) => each.trim())
    const quality = parameters.find((each) => /^q\s*=/.test(each))
    const value = quality === undefined ? 1 : Number(quality.replace(/^q\s*=\s*/, ''))
    wanted.set(name === 'x-gzip' ? 'gzip' : name, value >= 0 && value <= 1 ? value : 0)
  }
  const rest = wanted.get('*') ?? 0
  const qualityOf = (name: string) => wanted.get(name) ?? rest
  let best: Encoding | undefined
  for (const each of offered) {
    if (qualityOf(each) > (best === undefined ? 0 : qualityOf(best))) best = each
  }
  // Clients that do not name it take it, but last.
  const plain = wanted.get('identity') ?? 0
  return best !== undefined && qualityOf(best) >= plain ? best : undefined
}
