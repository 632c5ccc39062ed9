/** Find and the page of a customer, as a browser without scripts sees them. */
import t, { type Test } from 'tap'
import { eraseCustomer } from '../../audit/erase.ts'
import { writeCheckpoint } from '../../audit/proof/signed-checkpoints.ts'
import { loadSigningKey } from '../../audit/proof/signing-key.ts'
import type { ConsoleOptions } from '../../console/routes.ts'
import type { RecordedEvent } from '../../eventstore/port.ts'
import { orNone } from '../../eventstore/read.ts'
import { STREAM_NAMES, streamOf } from '../../schema/streams.ts'
import { CREATE_ADDRESS, freshEmail, signUp, startSubgraph, TEXAN, temporaryFolder } from '../support/graph.ts'
import { until } from '../support/until.ts'
import { appendAccess, countReads, startConsole, type Visitor } from './support.ts'

/** A service with a customer who signed up, moved and changed her name, and a console on its log. */
async function withCustomer(t: Test) {
  const folder = await temporaryFolder(t)
  const { send } = await startSubgraph(t, { folder })
  const email = freshEmail()
  const { id, token } = await signUp(send, email)
  const added = await send(CREATE_ADDRESS, { variables: { input: TEXAN }, token })
  const addressId = added.data.createCustomerAddress.id as number
  const change = (input: object) =>
    send(`mutation($input: CustomerAddressInput) { updateCustomerAddress(id: ${addressId}, input: $input) { id } }`, {
      variables: { input },
      token,
    })
  await change({ city: 'Dallas' })
  await change({ company: MARKUP })
  await send('mutation { updateCustomerV2(input: { lastname: "Smith" }) { customer { id } } }', { token })
  const lines: string[] = []
  const logger = { level: 'trace', stream: { write: (line: string) => void lines.push(line) } }
  const console = await startConsole(t, { folder, logger })
  const read = async (stream: string): Promise<RecordedEvent[]> => {
    const events: RecordedEvent[] = []
    for await (const event of orNone(console.options.eventStore.readStream(stream))) events.push(event)
    return events
  }
  return { ...console, send, email, id, token, change, read, lines }
}

const MARKUP = '<img src=x onerror=alert(1)> \u202eevil\u0007'

/** Appends records of access. */
async function appendSignIns({ eventStore }: ConsoleOptions, id: number, count: number): Promise<void> {
  for (let left = count; left > 0; left -= 500) {
    const events = Array.from({ length: Math.min(left, 500) }, () => ({
      id: crypto.randomUUID(),
      type: 'AccessRecorded',
      data: { kind: 'signed-in' },
      metadata: { actor: 'guest', $correlationId: 'x' },
    }))
    await eventStore.append(streamOf.access(id), events, { expected: 'any' })
  }
}

const rowsOf = (body: string): string[] => [...body.matchAll(/<tr id="e-(\d+)"/g)].map(([, position = '']) => position)

t.test('Find: by address, by each filter, and in pages', async (t) => {
  const { signIn, id, email, token, send, options, lines } = await withCustomer(t)
  const auditor = await signIn('auditor')
  const find = async (query: string) => (await auditor.get(`/find${query}`)).body
  await auditor.get('/find')

  const found = await auditor.post('/find/search', { customer: email.toUpperCase(), field: 'city' })
  t.match(found, { status: 303, location: `/find?customer=${id}&field=city` }, 'an address becomes a number')
  t.equal(rowsOf(await find(`?customer=${id}&field=city`)).length, 2)
  t.match(await auditor.post('/customers', { customer: email }), { status: 303, location: `/customers/${id}` })
  t.match(await auditor.post('/customers', { customer: 'Ann' }), {
    status: 400,
    body: /a customer&#39;s number or e-mail/,
  })
  const unknown = await auditor.post('/find/search', { customer: 'nobody@example.com' })
  t.match(unknown, { status: 404, body: /Nobody has this e-mail address/ })
  t.notMatch(unknown.body, /nobody@example/)

  for (const wrong of [{ request: email }, { actor: email }, { event: email }, { field: email }] as const) {
    t.match(await auditor.post('/find/search', wrong), { status: 400, body: /goes into the field “Customer”/ })
  }
  t.match(await auditor.post('/find/search', { actor: 'operator:olga@shop.example' }), { status: 303 })

  const today = new Date().toISOString().slice(0, 10)
  for (const [query, expected] of [
    [`?customer=${id}&type=CustomerRegistered`, 1],
    [`?customer=${id}&type=CustomerRegistered&type=CustomerAddressAdded`, 2],
    [`?customer=${id}&actor=customer%3A${id}`, 4],
    [`?customer=${id}&actor=guest&access=any`, 1],
    [`?customer=${id}&access=none&field=lastname`, 3],
    [`?customer=${id}&since=${today}&until=${today}`, 6],
    [`?customer=${id}&until=2020-01-01`, 0],
    [`?event=${id}%3A0`, 1],
    [`?request=nothing`, 0],
    [`?type=PersonalDataRevealed`, 0],
  ] as const) {
    t.equal(rowsOf(await find(query)).length, expected, query)
  }
  t.match(await find('?request=nothing'), /No event fits\..*events looked at/s)
  t.match(await find(`?customer=${id}`), /The search is complete: 6 events looked at\./)
  t.match(await find(`?customer=${id}&field=city`), /customers audit find --customer 1 --field city/)
  for (const [query, message] of [
    ['?type=Nothing', /no event type/],
    ['?field=shoe', /no field/],
    ['?since=31-01-2026', /Since: .*accepted: a date or a time/],
    ['?zone=Mars&since=2026-01-01', /Zone: .*accepted/],
    ['?customer=abc', /accepted: a customer&#39;s number/],
    ['?access=x', /Access: .*accepted: any, none/],
    [`?actor=${'x'.repeat(201)}`, /too long/],
    ['?after=x', /Search again/],
  ] as const) {
    t.match(await auditor.get(`/find${query}`), { status: 400, body: message }, query)
  }

  await appendSignIns(options, id, 60)
  for (const order of ['newest', 'oldest']) {
    const seen: string[] = []
    let url: string | undefined = `/find?customer=${id}&order=${order}`
    for (let pages = 0; url !== undefined && pages < 5; pages++) {
      const { body }: { readonly body: string } = await auditor.get(url)
      seen.push(...rowsOf(body))
      url = /href="([^"]+)">Show (?:older|newer) ones/.exec(body)?.[1]?.replaceAll('&amp;', '&')
    }
    const ordered = [...seen].sort((a, b) => (Number(a) - Number(b)) * (order === 'newest' ? -1 : 1))
    t.equal(seen.length, 66, order)
    t.same(seen, ordered, order)
  }
  const all: string[] = []
  for (let url: string | undefined = '/find'; url !== undefined; ) {
    const { body }: { readonly body: string } = await auditor.get(url)
    all.push(...rowsOf(body))
    url = /href="([^"]+)">Show older ones/.exec(body)?.[1]
  }
  let events = 0
  for await (const _ of options.stored.readAll()) events++
  t.equal(new Set(all).size, events, 'pages of the whole log have each event once')
  t.equal(all.length, events)

  t.match(await find(`?customer=${id}`), />Customer address changed<\/a> 2</)
  const counts = await auditor.get(`/find/types?customer=${id}`)
  t.match(counts.body, /<code>CustomerAddressChanged<\/code><\/td><td class="number">2</)
  t.match(await (await signIn('operator')).get('/find'), { status: 403 })
  await send('mutation { revokeCustomerToken { result } }', { token })
  t.notMatch(lines.join(''), new RegExp(`${email}|Dallas|Smith`, 'i'), 'nothing personal in the log')
})

t.test('exports are exactly what was found, masked without a reason, and on record', async (t) => {
  const { signIn, id, read } = await withCustomer(t)
  const auditor = await signIn('auditor')
  await auditor.get('/find')
  const ask = (fields: Record<string, string>) =>
    auditor.post('/find/export', { customer: String(id), field: 'city', ...fields })
  const masked = await ask({ format: 'csv' })
  t.match(masked.headers, {
    'content-type': 'text/csv; charset=utf-8',
    'content-disposition': /^attachment; filename="events-.*\.csv"/,
  })
  const [head, ...rows] = masked.body.trim().split('\r\n')
  t.equal(head, 'time,customer,event,actor,field,old,new,requestId,stream,revision,eventId')
  const cities = rows.filter((row) => row.includes('.city,'))
  t.equal(cities.length, 2)
  t.match(cities[1], /,addresses\.1\.city,•••\w{5},•••\w{5},/)
  t.notMatch(masked.body, /Dallas|Austin|Ann/)

  await auditor.giveReason('ticket 7')
  t.match((await ask({ format: 'csv' })).body, /,addresses\.1\.city,Austin,Dallas,/)
  const lines = (await ask({ format: 'jsonl' })).body
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.match(lines, [{ type: 'CustomerAddressAdded' }, { type: 'CustomerAddressChanged', data: { city: 'Dallas' } }])

  const exports = await read(STREAM_NAMES.exports)
  t.match(
    exports.map(({ data, metadata }) => ({ data, metadata })),
    [false, true, true].map((revealed, index) => ({
      data: {
        customerId: id,
        revealed,
        command: `console: export --format ${index === 2 ? 'jsonl' : 'csv'} --customer ${id} --field city`,
      },
      metadata: { actor: 'operator:anna.auditor' },
    })),
  )
  const reveals = await read(STREAM_NAMES.reveals)
  t.match(
    reveals.map(({ data }) => data),
    [{ reason: 'ticket 7' }, { reason: 'ticket 7' }],
  )
  t.match(await (await signIn('operator')).post('/find/export', {}), { status: 403 })
})

/** The cells of a small table by the first one. */
const cellsOf = (body: string, caption: string): Record<string, string[]> => {
  const table = body.slice(body.indexOf(`<caption>${caption}`)).split('</table>')[0] ?? ''
  return Object.fromEntries(
    [...table.matchAll(/<tr><td><code>([^<]+)<\/code><\/td>(.*?)<\/tr>/g)].map(([, field = '', rest = '']) => [
      field,
      [...rest.matchAll(/<td>(.*?)<\/td>/g)].map(([, cell = '']) => cell.replace(/<[^>]+>/g, '')),
    ]),
  )
}

t.test('a customer through time: states, differences, marks and evidence', async (t) => {
  const { signIn, id, options, read, lines, email, send } = await withCustomer(t)
  const key = loadSigningKey(options.configuration)
  if (key) await writeCheckpoint(options.stored, key)
  await send(`mutation { generateCustomerToken(email: "${email}", password: "wrong-Pass1") { token } }`)
  const auditor = await signIn('auditor')
  const path = `/customers/${id}`
  const masked = (await auditor.get(path)).body
  t.notMatch(masked, /Dallas|Austin|Smith|127\.0\.0/)
  t.match(masked, /<title>Customer 1 · /)
  const [old, now] = cellsOf(masked, 'Customer details changed, revision 4').lastname ?? []
  t.match([old, now], [/^•••\w{5}$/, /^•••\w{5}$/])
  t.not(old, now, 'a change is seen')
  t.equal((await read(STREAM_NAMES.reveals)).length, 0)

  await auditor.giveReason('ticket <7>')
  const { body } = await auditor.get(path)
  await auditor.get(`${path}?at=1`)
  t.same(
    (await read(STREAM_NAMES.reveals)).map(({ data }) => data),
    [{ customerId: id, command: 'console: history', reason: 'ticket <7>' }],
    'one look for one reason',
  )
  t.match((await auditor.get(path)).body, /looked at<\/span> <span>by operator:anna\.auditor.*ticket &lt;7&gt;/s)
  t.same(cellsOf(body, 'Customer address changed, revision 2'), { 'addresses.1.city': ['Austin', 'Dallas'] })
  t.same(cellsOf(body, 'Customer address changed, revision 3'), {
    'addresses.1.company': ['not set', '&lt;img src=x onerror=alert(1)&gt; \\u202eevil\\u0007'],
  })
  t.match(body, /from <strong>127\.0\.0\.0\/24<\/strong>, signed in/, 'from where')
  t.match(body, /Sign-in failed <span class="badge warning">refused/)
  t.match(body, /its stream is in no checkpoint/, 'records of access are in none')
  t.match(body, /number 0, of .*over \d+ events/, 'the checkpoint that covers it')

  const first = (await auditor.get(`${path}?at=1`)).body
  t.same(cellsOf(first, 'Fields at revision 1')['addresses.1.city'], ['Austin (changed by this revision)'])
  t.match(first, /1 of 4/)
  const [registered] = await read(`customer-${id}`)
  const time = registered?.created.toISOString() ?? ''
  t.match((await auditor.get(`${path}?at=${time}`)).body, /The customer at revision 0/)
  t.match((await auditor.get(`${path}?at=2020-01-01`)).body, /was not there at that moment/)
  t.same(cellsOf((await auditor.get(`${path}?at=4&from=1`)).body, 'Difference from revision 1 to 4'), {
    lastname: ['Lee', 'Smith'],
    'addresses.1.company': ['not set', '&lt;img src=x onerror=alert(1)&gt; \\u202eevil\\u0007'],
    'addresses.1.city': ['Austin', 'Dallas'],
  })
  const filtered = (await auditor.get(`${path}?field=lastname`)).body
  t.match(filtered, /Events that changed lastname<\/dt><dd>3</)
  for (const [url, status] of [
    ['/customers/999', 404],
    ['/customers/0', 404],
    ['/customers/x', 404],
    [`${path}?at=soon`, 400],
    [`${path}?field=shoe`, 400],
    [`${path}?page=0`, 400],
    [`${path}?zone=Mars`, 400],
  ] as const) {
    t.equal((await auditor.get(url)).status, status, url)
  }
  t.match(await auditor.get(`${path}?page=99`), { status: 200, body: /Nothing is on this page/ })
  t.equal((await (await signIn('operator')).get(path)).status, 403)
  t.notMatch(lines.join(''), new RegExp(`${email}|Dallas|Smith`, 'i'))

  const eraser = { actor: 'operator:olga', correlationId: crypto.randomUUID(), at: new Date() }
  const { eventStore, readModel, emailHashKey } = options
  await eraseCustomer({ eventStore, readModel, customerId: id, emailHashKey, eraser, reason: 'request <4>' })
  const erased = (await auditor.get(path)).body
  t.match(erased, /Customer deleted <span class="badge bad">erasure.*Reason: <q>request &lt;4&gt;<\/q>/s)
  t.same(cellsOf(erased, 'Customer details changed, revision 4'), { lastname: ['[erased:0]', '[erased:4]'] })
  t.notMatch(erased, /Dallas|Austin|Smith|Lee/)

  await options.readModel.park({
    customerId: id,
    stream: `customer-${id}`,
    revision: 4,
    type: 'X',
    reason: 'It is <odd>.',
    at: time,
  })
  t.match(
    (await auditor.get(path)).body,
    /Parked:<\/strong> the event at revision 4 \(X\) can't be applied:\s+It is &lt;odd&gt;\./,
  )
})

t.test('a search sends its rows as it finds them, and ends when the reader goes away', async (t) => {
  const { app, signIn, options, id } = await withCustomer(t)
  await appendSignIns(options, id, 4_000)
  const auditor: Visitor = await signIn('auditor')
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const cookie = [...auditor.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  const readsUnderWay = countReads(options)
  const going = new AbortController()
  const { body } = await fetch(`${url}/find?request=nothing`, { headers: { cookie }, signal: going.signal })
  let text = ''
  for await (const part of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += part
    if (text.includes('of 4,')) break
  }
  t.match(/class="progress"><td colspan="5">(\d,000 of 4,\d{3} events looked at)/.exec(text)?.[1], String)
  t.notOk(text.includes('</html>'), 'the page has not ended yet')
  t.equal(readsUnderWay(), 1)
  going.abort()
  await until('nothing reads the log any more', () => readsUnderWay() === 0)
  const whole = await (await fetch(`${url}/find?customer=${id}&access=any`, { headers: { cookie } })).text()
  t.ok(/<\/html>\s*$/.test(whole), 'the next search is answered')
})

t.test('an export that the end of the console cuts short fails for its reader', async (t) => {
  const { app, options, signIn } = await startConsole(t)
  await appendAccess(options, 1_200, 30_000)
  const auditor: Visitor = await signIn('auditor')
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const token = /name="token" value="([^"]+)"/.exec((await auditor.get('/')).body)?.[1] ?? ''
  const cookie = [...auditor.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  const body = new URLSearchParams({ token, format: 'jsonl' })
  const answer = await fetch(`${url}/find/export`, { method: 'POST', headers: { cookie, origin: url }, body })
  t.equal(answer.status, 200)
  const closing = app.close()
  await t.rejects(answer.text(), { message: 'terminated' })
  await closing
})
