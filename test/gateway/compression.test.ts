/** Compressed answers: to clients, of subgraphs; and compressed requests. */
import { createHook } from 'node:async_hooks'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import * as zlib from 'node:zlib'
import t, { type Test } from 'tap'
import { ENCODINGS } from '../../gateway/accepted-values.ts'
import { loadGatewayConfiguration } from '../../gateway/configuration.ts'
import { createCompression } from '../../gateway/http/compression.ts'
import type { GatewayOptions } from '../../gateway/server.ts'
import { compose, serve, startGateway } from './support.ts'

const SDL = `type Query { short: String text: String long: String huge: String me: Me } type Me { token: String name: String minimum_token_length: String }
  type Mutation { generateCustomerToken(email: String): Me change: String }`

type Body = Record<string, unknown>
interface Raw {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  readonly json: Body
}

const DECODE: Record<string, (body: Buffer) => Buffer> = {
  gzip: zlib.gunzipSync,
  br: zlib.brotliDecompressSync,
  zstd: zlib.zstdDecompressSync,
}

/** A request whose answer is not decompressed on its way. */
function send(
  url: string,
  query: string | Body[],
  headers: Record<string, string> = {},
  body: Buffer | string = JSON.stringify(Array.isArray(query) ? query : { query }),
): Promise<Raw> {
  return new Promise((resolve, reject) => {
    const all = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...headers }
    const request = httpRequest(url, { method: 'POST', headers: all }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => {
        const received = Buffer.concat(chunks)
        const decode = DECODE[response.headers['content-encoding'] ?? ''] ?? ((same) => same)
        const json = JSON.parse(decode(received).toString()) as Body
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: received, json })
      })
    })
    request.on('error', reject)
    request.end(body)
  })
}

const textOf = (length: number) => 'abcdefgh'.repeat(length / 8)
const TEXTS = { short: textOf(800), text: textOf(2_000), long: textOf(100_000), huge: textOf(4_000_000) }

/** A gateway over a subgraph with answers of several lengths. */
async function start(t: Test, options: Partial<GatewayOptions> = {}) {
  const me = { token: TEXTS.text, name: TEXTS.text, minimum_token_length: TEXTS.text }
  const url = await serve(t, ({ query, response }) => {
    const text = Object.entries(TEXTS).filter(([name]) => query.includes(name))
    const data = { ...Object.fromEntries(text), me, generateCustomerToken: me, change: TEXTS.text }
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ data }))
  })
  return startGateway(t, { supergraph: compose(t, { a: { sdl: SDL, url } }), ...options })
}

const encodingOf = async (...args: Parameters<typeof send>) => (await send(...args)).headers['content-encoding']

t.test('an answer comes in the encoding that the client wants most, of those that there are', async (t) => {
  const { url } = await start(t)
  for (const [accepted, expected] of Object.entries({
    'gzip, deflate, br, zstd': 'zstd',
    'gzip, deflate, br': 'br',
    'gzip;q=1.0, br;q=0.5': 'gzip',
    'br;q=0, gzip': 'gzip',
    GZIP: 'gzip',
    'x-gzip': 'gzip',
    '*': 'zstd',
    '*;q=0.5, br': 'br',
    'zstd;q=0, *': 'br',
    'identity, gzip;q=0.5': undefined,
    'identity;q=0.5, gzip': 'gzip',
    'identity;q=0, gzip;q=0.1': 'gzip',
    'gzip;q=0': undefined,
    '*;q=0': undefined,
    deflate: undefined,
    'gzip;q=nonsense': undefined,
    '': undefined,
  })) {
    const { headers, json } = await send(url, '{ text }', { 'accept-encoding': accepted })
    t.equal(headers['content-encoding'], expected, accepted)
    t.ok((json.data as Body).text === TEXTS.text, accepted)
    t.equal(headers.vary, expected && 'Accept-Encoding', accepted)
  }
  t.equal(await encodingOf(url, '{ text }'), undefined, 'no such header')
})

t.test('short answers stay as they are; long ones are compressed beside the event loop', async (t) => {
  const { url } = await start(t)
  const accepted = { 'accept-encoding': 'gzip' }
  t.equal(await encodingOf(url, '{ short }', accepted), undefined)
  for (const name of ['text', 'long', 'huge'] as const) {
    for (const encoding of ['gzip', 'br', 'zstd']) {
      const { headers, body, json } = await send(url, `{ ${name} }`, { 'accept-encoding': encoding })
      t.equal(headers['content-encoding'], encoding)
      t.equal(Number(headers['content-length']), body.length)
      t.ok(body.length < TEXTS[name].length / 5, `${TEXTS[name].length} bytes became ${body.length}`)
      t.ok((json.data as Body)[name] === TEXTS[name])
    }
  }
  const { headers } = await send(url, '{ nothing }', { 'accept-encoding': 'gzip' })
  t.equal(headers['content-encoding'], undefined, 'a short error')
  const { url: plain } = await start(t, { answerEncodings: [] })
  t.equal(await encodingOf(plain, '{ text }', accepted), undefined, 'turned off')
  const { url: ours } = await start(t, { answerEncodings: ['gzip', 'zstd'] })
  t.equal(await encodingOf(ours, '{ text }', { 'accept-encoding': 'br, zstd, gzip' }), 'gzip', 'in our order')
})

t.test('however many large answers there are, few are compressed at once', async (t) => {
  const compress = createCompression(ENCODINGS, false)
  if (!compress) throw new Error('Nothing is compressed.')
  let begun = 0
  const watched = createHook({ init: (_, type) => void (type === 'ZLIB' && begun++) }).enable()
  t.teardown(() => watched.disable())
  const text = JSON.stringify({ data: TEXTS.long })
  const answer = { text, traits: { holdsSecret: () => false, typeTags: () => [] } }
  const reply = { header: () => reply, getHeader: () => 'Accept-Encoding' }
  for (const encoding of ENCODINGS) {
    begun = 0
    const request = { headers: { 'accept-encoding': encoding }, socket: { destroyed: false } }
    const all = Array.from({ length: 50 }, () => compress(answer, request as never, reply as never))
    t.equal(begun, 4, `${encoding}: each holds up to 16 MB while it is under way`)
    const bodies = await Promise.all(all)
    t.equal(begun, 50)
    t.ok(bodies.every((body) => String(DECODE[encoding]?.(body as Buffer)) === text))
    begun = 0
    await compress(answer, { ...request, socket: { destroyed: true } } as never, reply as never)
    t.equal(begun, 0, 'a client that has gone away waits for nothing')
  }
})

t.test('an answer with a credential in it is not compressed, nor one to a request with a cookie', async (t) => {
  const { url } = await start(t, { batchLimit: 2, forwardHeaders: ['Cookie', 'authorization'] })
  const accepted = { 'accept-encoding': 'gzip' }
  const secret = [
    '{ me { token } }',
    '{ me { aliased: token } }',
    '{ me { ...f } } fragment f on Me { token }',
    'mutation { generateCustomerToken(email: "a") { token } }',
    'mutation { generateCustomerToken(email: "a") { name } }',
  ]
  for (const query of secret) t.equal(await encodingOf(url, query, accepted), undefined, query)
  t.equal(await encodingOf(url, [{ query: '{ text }' }, { query: '{ me { token } }' }], accepted), undefined)
  t.equal(await encodingOf(url, [{ query: '{ text }' }, { query: '{ text }' }], accepted), 'gzip')
  for (const query of ['{ me { name } }', '{ me { minimum_token_length } }', 'mutation { change }']) {
    t.equal(await encodingOf(url, query, accepted), 'gzip', query)
    t.equal(await encodingOf(url, query, { ...accepted, authorization: 'Bearer x' }), 'gzip', query)
    t.equal(await encodingOf(url, query, { ...accepted, cookie: 'session=1' }), undefined, query)
  }
  const { url: other } = await start(t)
  t.equal(await encodingOf(other, '{ text }', { ...accepted, cookie: 'session=1' }), 'gzip', 'a cookie that stays here')
})

/** A gateway over a subgraph that sends these bytes. */
async function startEncoded(t: Test, options: Partial<GatewayOptions> = {}) {
  const sends = { body: Buffer.alloc(0), headers: {} as Record<string, string>, status: 200, calls: 0 }
  let accepted: string | undefined
  const url = await serve(t, ({ request, response }) => {
    sends.calls++
    accepted = request.headers['accept-encoding']
    response.writeHead(sends.status, { 'content-type': 'application/json', ...sends.headers }).end(sends.body)
  })
  const gateway = await startGateway(t, { supergraph: compose(t, { a: { sdl: SDL, url } }), ...options })
  return {
    accepted: () => accepted,
    calls: () => sends.calls,
    async ask(encoding: string, body: Buffer, status = 200) {
      Object.assign(sends, { body, headers: { 'content-encoding': encoding }, status, calls: 0 })
      return (await send(gateway.url, '{ text }')).json as { data: Body; errors?: { message: string }[] }
    },
  }
}

const ANSWER = Buffer.from(JSON.stringify({ data: { text: 'ä'.repeat(1000) } }))
const BOMB = Buffer.from(`{"data":{"text":"${' '.repeat(300_000)}"}}`)

t.test('compressed answers of subgraphs are read', async (t) => {
  const { ask, accepted } = await startEncoded(t)
  const { gzipSync, brotliCompressSync, deflateSync, deflateRawSync, zstdCompressSync } = zlib
  const ways: [string, Buffer][] = [
    ['gzip', gzipSync(ANSWER)],
    ['X-GZIP', gzipSync(ANSWER)],
    ['br', brotliCompressSync(ANSWER)],
    ['zstd', zstdCompressSync(ANSWER)],
    ['deflate', deflateSync(ANSWER)],
    ['deflate', deflateRawSync(ANSWER)],
    ['identity', ANSWER],
    ['gzip, br', brotliCompressSync(gzipSync(ANSWER))],
    ['gzip', Buffer.concat([gzipSync(ANSWER.subarray(0, 20)), gzipSync(ANSWER.subarray(20))])],
  ]
  for (const [encoding, body] of ways) {
    t.same(await ask(encoding, body), { data: { text: 'ä'.repeat(1000) } }, encoding)
  }
  t.equal(accepted(), undefined, 'they are not asked to')
  const asking = await startEncoded(t, { subgraphEncodings: ['br', 'gzip'] })
  await asking.ask('gzip', gzipSync(ANSWER))
  t.equal(asking.accepted(), 'br, gzip')
})

t.test('an answer that is broken, in an unknown encoding or a bomb is a clear error, without a retry', async (t) => {
  const { ask, calls } = await startEncoded(t, { subgraphAnswerLimit: 100_000 })
  const message = async (...args: Parameters<typeof ask>) => {
    const { data, errors } = await ask(...args)
    t.same(data, { text: null })
    return errors?.[0]?.message
  }
  const { gzipSync, brotliCompressSync, zstdCompressSync, deflateSync } = zlib
  t.equal(
    await message('compress', ANSWER),
    'The "a" service sent an answer with the unknown encoding "compress"; accepted: gzip, x-gzip, br, deflate, zstd.',
  )
  for (const [encoding, compress] of Object.entries({
    gzip: gzipSync,
    br: brotliCompressSync,
    zstd: zstdCompressSync,
    deflate: deflateSync,
  })) {
    const whole = compress(ANSWER)
    const broken = `The "a" service sent an answer that is not valid ${encoding}.`
    t.equal(await message(encoding, ANSWER), broken, 'not compressed at all')
    t.equal(await message(encoding, whole.subarray(0, whole.length - 9)), broken, 'cut off')
    t.ok(compress(BOMB).length < 1000)
    t.equal(
      await message(encoding, compress(BOMB)),
      'The "a" service sent an answer of more than 100000 bytes (SUBGRAPH_ANSWER_LIMIT_BYTES).',
      `a bomb in ${encoding}`,
    )
    t.equal(calls(), 1)
  }
  const bomb = gzipSync(gzipSync(BOMB))
  t.match(await message('gzip, gzip', bomb), /more than 100000 bytes/)
  t.match(await message('gzip, gzip, gzip', gzipSync(bomb)), /more than 2 encodings/)
  t.match(await message('gzip', Buffer.alloc(0)), /not JSON/)
  t.match(await message('gzip', Buffer.from('<html>'), 500), /HTTP status 500/, 'the status says more')
  // A frame that demands 128 MiB of memory for its window, where HTTP allows 8 MiB.
  const stream = zlib.createZstdCompress({ params: { [zlib.constants.ZSTD_c_windowLog]: 27 } })
  stream.write(ANSWER)
  await new Promise<void>((resolve) => stream.flush(resolve))
  const dear = Buffer.concat(await stream.end().toArray())
  t.same(zlib.zstdDecompressSync(dear), ANSWER)
  t.match(await message('zstd', dear), /not valid zstd/)
})

t.test('a compressed request is refused before it is read', async (t) => {
  const { url } = await start(t)
  const body = JSON.stringify({ query: '{ short }' })
  const sent = await send(url, '', { 'content-encoding': 'gzip' }, zlib.gzipSync(body))
  t.equal(sent.status, 415)
  t.equal(sent.headers['accept-encoding'], 'identity')
  t.match(sent.json, {
    errors: [{ message: 'Send the body uncompressed: its encoding is "gzip".', extensions: { code: 'BAD_REQUEST' } }],
  })
  t.equal((await send(url, '', { 'content-encoding': 'identity' }, body)).status, 200)
})

t.test('settings that can’t be used are refused with what is accepted', (t) => {
  const wrong = (env: Record<string, string>, message: RegExp) =>
    t.throws(() => loadGatewayConfiguration(env), { message })
  wrong({ ANSWER_ENCODINGS: 'gzip,lzma' }, /ANSWER_ENCODINGS: .*zstd, br, gzip .*or none/)
  wrong({ SUBGRAPH_ENCODINGS: 'x-gzip' }, /SUBGRAPH_ENCODINGS: .*zstd, br, gzip, deflate/)
  wrong({ CACHE_TAG_HEADER: 'tags' }, /CACHE_TAG_HEADER: .*cache-tag, surrogate-key, none/)
  wrong({ ANSWER_CACHING: 'on' }, /ANSWER_CACHING: .*subgraphs or off/)
  t.same(loadGatewayConfiguration({ ANSWER_ENCODINGS: 'none' }).ANSWER_ENCODINGS, [])
  t.end()
})
