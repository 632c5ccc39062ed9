/** What somebody with a role, or with a copied cookie, tries by hand-made requests. */
import { IncomingMessage, ServerResponse } from 'node:http'
import { connect, Socket } from 'node:net'
import t from 'tap'
import { writeCheckpoint } from '../../audit/proof/signed-checkpoints.ts'
import { loadSigningKey, type SigningKey } from '../../audit/proof/signing-key.ts'
import { createLongReads } from '../../console/long-reads.ts'
import { STREAM_NAMES, streamOf } from '../../schema/streams.ts'
import { collect } from '../projections/support.ts'
import { until } from '../support/until.ts'
import { appendAccess, countReads, startConsole, type Visitor } from './support.ts'

/** An event of a customer as it was stored before there was encryption. */
const IN_CLEAR = {
  id: '11111111-1111-4111-8111-111111111111',
  type: 'CustomerProfileChanged',
  data: { firstname: 'Annabella' },
  metadata: { actor: 'customer:7', $correlationId: 'r-1', schemaVersion: 1 },
}

t.test('an event in clear leaves in a proof only for a reason, which is on record', async (t) => {
  const { options, signIn } = await startConsole(t)
  const { stored, configuration } = options
  await stored.append(streamOf.customer(7), [IN_CLEAR], { expected: 'no_stream' })
  await writeCheckpoint(stored, loadSigningKey(configuration) as SigningKey)
  const auditor = await signIn('auditor')
  const asked = { event: '7:0', content: 'on' }
  const refused = await auditor.post('/proof/of-event', asked)
  t.match(refused, { status: 403, body: /in clear.*reason/s })
  t.notMatch(refused.body, /Annabella/)
  t.notMatch((await auditor.post('/proof/of-event', { event: IN_CLEAR.id, content: 'on' })).body, /Annabella/)
  t.match(
    await auditor.post('/proof/of-event', { event: '7:0' }),
    { status: 200 },
    'without the event there is nothing to see',
  )
  await auditor.giveReason('ticket 9')
  t.match(await auditor.post('/proof/of-event', asked), { status: 200, body: /Annabella/ })
  const reveals = await collect(stored.readStream(STREAM_NAMES.reveals))
  t.match(
    reveals.map(({ data }) => data),
    [{ customerId: 7, reason: 'ticket 9', command: /prove/ }],
  )
  t.equal(reveals.length, 1)
})

t.test('a reason has words that can be read', async (t) => {
  const { signIn } = await startConsole(t)
  const auditor = await signIn('auditor')
  for (const reason of ['\u200b', '\u3164\u3164', '\u2800', '...', '\u00ad\u034f', '\u202e', '-', '\u115f\ufe0f']) {
    t.match(await auditor.post('/reason', { reason }), { status: 400, body: /Write why/ }, JSON.stringify(reason))
  }
  t.match(await auditor.post('/reason', { reason: 'ann@example.com called' }), { status: 400, body: /name a person/ })
  for (const reason of ['7', 'チケット', 'JIRA-12: «вопрос»']) {
    t.match(await auditor.post('/reason', { reason }), { status: 303 }, reason)
  }
})

t.test('what an export records names no address, and has a limit', async (t) => {
  const { options, signIn } = await startConsole(t)
  const auditor = await signIn('auditor')
  await auditor.post('/find/export', { actor: 'operator:ann@example.com', request: 'bob@example.com', format: 'csv' })
  const [event] = await collect(options.stored.readStream(STREAM_NAMES.exports))
  t.match(event?.data, { command: /export --format csv/ })
  t.notMatch(JSON.stringify(event?.data), /example\.com/)
  const many = Array.from({ length: 60 }, (_, index) => index).join(' ')
  t.match(await auditor.get(`/find?actor=${encodeURIComponent(many)}`), { status: 400, body: /too many/ })
  t.match(await auditor.post('/find/export', { actor: many }), { status: 400 })
})

t.test('one person leaves a few searches open, and no more', async (t) => {
  const { app, options, signIn } = await startConsole(t)
  await appendAccess(options, 400, 40_000)
  const readsUnderWay = countReads(options)
  const [auditor, officer] = [await signIn('auditor'), await signIn('privacy-officer')]
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const token = /name="token" value="([^"]+)"/.exec((await auditor.get('/')).body)?.[1] ?? ''
  const cookie = [...auditor.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  /** An export that nobody reads. */
  const open = async () => {
    const leaving = new AbortController()
    const headers = { cookie, origin: url }
    const body = new URLSearchParams({ token, format: 'jsonl' })
    // Kept to the end: fetch gives up an answer that was garbage-collected.
    const answer = await fetch(`${url}/find/export`, { method: 'POST', headers, body, signal: leaving.signal })
    return { answer, leave: () => leaving.abort() }
  }
  const opened = await Promise.all([open(), open(), open(), open()])
  t.same(
    opened.map(({ answer }) => answer.status),
    [200, 200, 200, 200],
  )
  t.match(await auditor.get('/find'), { status: 429, body: /4 long reads of the log under way/ })
  t.match(await auditor.get('/'), { status: 200 }, 'other pages are there')
  t.match(await officer.get('/find'), { status: 200 }, 'others are not in the way')
  await until('each reads the log', () => readsUnderWay() === 4)
  for (const { leave } of opened) leave()
  await until('none of them reads the log any more', () => readsUnderWay() === 0)
  await until('there is room', async () => (await auditor.get('/find')).status !== 429)
  // More than may be open.
  for (let round = 0; round < 6; round++) await officer.get('/find?customer=7')
  t.match(await officer.get('/find'), { status: 200 }, 'what has ended does not count')

  const leaver = connect(Number(new URL(url).port), '127.0.0.1')
  const form = new URLSearchParams({ token, format: 'jsonl' }).toString()
  const head = `HTTP/1.1\r\nhost: ${new URL(url).host}\r\ncookie: ${cookie}\r\norigin: ${url}\r\n`
  const unread = `POST /find/export ${head}content-type: application/x-www-form-urlencoded\r\ncontent-length: ${form.length}\r\n\r\n${form}`
  leaver.write(unread.repeat(4))
  await until('there is none', async () => (await auditor.get('/find')).status !== 200)
  leaver.destroy()
  await until(
    'requests that waited behind the one that is left do not count, either',
    async () => (await auditor.get('/find')).status === 200,
  )
  for (let round = 0; round < 5; round++) t.match(await auditor.get('/find'), { status: 200 })
  const reads = createLongReads()
  for (let round = 0; round < 5; round++) {
    const ended = new ServerResponse(new IncomingMessage(new Socket())).destroy()
    t.doesNotThrow(() => reads.begin('ann', ended), 'who had left before the read began does not count')
  }
})

t.test('HEAD does not make a page do its work', async (t) => {
  const { app, signIn } = await startConsole(t)
  const { cookies } = await signIn('auditor')
  const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  const ask = (url: string) => app.inject({ method: 'HEAD', url, headers: { host: 'localhost:4005', cookie } })
  t.equal((await ask('/find')).statusCode, 404)
  t.equal((await ask('/healthz')).statusCode, 200)
})

t.test('events that somebody put into the log hide nothing else', async (t) => {
  const { options, signIn } = await startConsole(t)
  const { stored } = options
  const auditor = await signIn('auditor')
  await auditor.post('/find/export', { format: 'csv' })
  const streams = [streamOf.customer(7), streamOf.access(7), STREAM_NAMES.reveals, STREAM_NAMES.exports]
  for (const stream of [...streams, STREAM_NAMES.logVerifications, STREAM_NAMES.serviceTokens]) {
    for (const metadata of [
      { actor: { a: 1 }, $correlationId: 7, schemaVersion: 1 },
      { actor: '<script>', at: 'x' },
    ]) {
      const types = [
        '<script>',
        'PersonalDataRevealed',
        'EventsExported',
        'LogVerified',
        'ServiceTokenIssued',
        'AccessRecorded',
      ]
      const data = [null, [1], { customerId: 7, kind: 5, reason: { a: 1 }, command: ['x'], jti: 3, by: {} }]
      const events = types.flatMap((type) =>
        data.map((each) => ({ id: crypto.randomUUID(), type, data: each as never, metadata: metadata as never })),
      )
      await stored.append(stream, events, { expected: 'any' })
    }
  }
  const visit = async (who: Visitor, path: string) => {
    const { status, body } = await who.get(path)
    t.equal(status, 200, path)
    t.notMatch(body, /is incomplete/, path)
    t.notMatch(body, /<script>/, path)
    return body
  }
  for (const path of ['/find', '/find?order=oldest', '/find?customer=7', '/customers/7', '/proof']) {
    await visit(auditor, path)
  }
  const looks = await visit(auditor, '/looks')
  t.match(looks, /not what this service writes/)
  t.match(looks, /export --format csv/)
  await visit(await signIn('operator'), '/keys')
  for (const format of ['csv', 'jsonl']) {
    const { body } = await auditor.post('/find/export', { format })
    t.ok(body.split('\n').length > 200, `${format} is whole`)
  }
})
