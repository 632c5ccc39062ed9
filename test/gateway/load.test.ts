/** One client can't take the gateway from the others: sizes of answers, clients that go away, turns, memory, load. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Agent, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { setTimeout as delay, setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import t from 'tap'
import { DEFAULT_LIMITS } from '../../gateway/accepted-values.ts'
import { Cancellation } from '../../gateway/cancellation.ts'
import { createPersistedQueries } from '../../gateway/http/persisted-queries.ts'
import { createAdmission, DEFAULT_ADMISSION } from '../../gateway/limits/admission.ts'
import { createOperations } from '../../gateway/planning/operations.ts'
import { loadSupergraph } from '../../gateway/planning/supergraph.ts'
import type { GatewayOptions } from '../../gateway/server.ts'
import { until } from '../support/until.ts'
import { answer, compose, post, serve, startGateway, startSubgraph } from './support.ts'

t.test('large bodies of one client are read a few at a time, in turn with those of others', async (t) => {
  const held: ServerResponse[] = []
  let isHeld = true
  const url = await serve(t, ({ response, query }) => {
    if (isHeld && query.includes('echo')) held.push(response)
    else answer(response, query.includes('echo') ? { echo: 1 } : { x: 'X' })
  })
  const supergraph = compose(t, { a: { sdl: 'type Query { x: String echo(text: String): Int }', url } })
  const gateway = await startGateway(t, { supergraph })
  const send = (localAddress: string, body: object) =>
    new Promise<{ status: number | undefined; retryAfter: string | undefined; text: string }>((resolve, reject) => {
      const headers = { 'content-type': 'application/json' }
      const sent = httpRequest(gateway.url, { method: 'POST', headers, localAddress, agent: false }, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () =>
          resolve({ status: response.statusCode, retryAfter: response.headers['retry-after'], text }),
        )
      })
      sent.on('error', reject).end(JSON.stringify(body))
    })
  const large = (i: number) => ({
    query: 'query($text: String) { echo(text: $text) }',
    variables: { text: `${i}${'x'.repeat(40_000)}` },
  })
  const [attacker, other] = ['127.0.0.3', '127.0.0.2']
  t.equal((await send(other, { query: '{ x }' })).text, '{"data":{"x":"X"}}')

  const sent = Array.from({ length: 320 }, (_, i) => send(attacker, large(i)))
  let refused = 0
  for (const each of sent) each.then(({ status }) => status === 503 && refused++)
  const first = await Promise.race(sent)
  t.match(first, { status: 503, retryAfter: /^\d+$/, text: /"code":"OVERLOADED"/ })
  await until('those that may are under way', () => held.length >= 52 && refused >= 12)
  t.equal((await send(other, { query: '{ x }' })).text, '{"data":{"x":"X"}}', 'small ones never wait')
  t.equal(held.length, 52, 'of 40 kB, in 2 MiB')
  const others = send(other, large(0))
  await until('the other one is', () => held.length >= 53)
  t.equal((await send('127.0.0.4', { query: `{ x ${'#'.repeat(2_000_000)}` })).status, 413, 'too large: refused unread')
  isHeld = false
  for (const response of held) answer(response, { echo: 1 })
  t.equal((await others).status, 200)
  const statuses = (await Promise.all(sent)).map(({ status }) => status)
  t.equal(statuses.filter((status) => status === 503).length, 12, '256 may wait')
  t.equal(statuses.filter((status) => status === 200).length, 308)
})

t.test('a client over its rate limit is refused before a large body is read', async (t) => {
  const sdl = 'type Query { x: String }'
  const url = await startSubgraph(t, sdl, { Query: { x: () => 'X' } })
  const gateway = await startGateway(t, { supergraph: compose(t, { a: { sdl, url } }), rateLimits: { perMinute: 6 } })
  const whole = JSON.stringify({ query: `{ x } # ${'x'.repeat(100_000)}` })
  const headers = { 'content-type': 'application/json', 'content-length': whole.length }
  const send = (body: string) =>
    new Promise<IncomingMessage>((resolve, reject) => {
      const sent = httpRequest(gateway.url, { method: 'POST', headers, agent: false }, (response) => {
        response.resume()
        resolve(response)
      })
      sent.on('error', reject)
      sent.write(body)
      sent.flushHeaders()
      t.teardown(() => sent.destroy())
    })
  t.equal((await send(whole)).statusCode, 200, 'counted once')
  const refused = await send(whole.slice(0, 10))
  t.equal(refused.statusCode, 429)
  t.match(refused.headers['retry-after'], /^\d+$/)
})

t.test('an answer that is too large is the fault of the question, not of the subgraph', async (t) => {
  let calls = 0
  const sdl = 'type Query { x: String big: String list: [String] }'
  const big = 'y'.repeat(200_000)
  let isChunked = false
  const url = await serve(t, ({ query, response }) => {
    calls++
    if (query.includes('big')) {
      const text = JSON.stringify({ data: { big } })
      response.writeHead(200, {
        'content-type': 'application/json',
        ...(!isChunked && { 'content-length': text.length }),
      })
      response.write(text.slice(0, 50_000))
      response.end(text.slice(50_000))
    } else answer(response, { x: 'X', list: Array.from({ length: 100 }, () => 'é'.repeat(400)) })
  })
  const supergraph = compose(t, { a: { sdl, url } })
  const gateway = await startGateway(t, { supergraph, subgraphAnswerLimit: 100_000, answerLimit: 60_000 })
  for (isChunked of [false, true]) {
    for (let round = 0; round < 6; round++) {
      calls = 0
      const { body, status } = await post(gateway.url, { query: '{ big }' })
      t.equal(status, 200)
      t.match(body.errors, [
        {
          message: /more than 100000 bytes \(SUBGRAPH_ANSWER_LIMIT_BYTES\)/,
          path: ['big'],
          extensions: { code: 'SERVICE_UNAVAILABLE' },
        },
      ])
      t.equal(calls, 1, 'it is asked once')
    }
    t.same((await post(gateway.url, { query: '{ x }' })).body, { data: { x: 'X' } }, 'and others go on asking it')
  }
  const refused = await post(gateway.url, { query: '{ list }' })
  t.equal(refused.status, 400)
  t.match(refused.body.errors, [{ message: /more than 60000 bytes/, extensions: { code: 'ANSWER_TOO_LARGE' } }])

  const batching = await startGateway(t, { supergraph, answerLimit: 100_000, batchLimit: 5 })
  t.equal((await post(batching.url, [{ query: '{ list }' }])).status, 200)
  const batch = await post(batching.url, [{ query: '{ list }' }, { query: '{ list }' }])
  t.equal(batch.status, 400, 'the limit is of the whole batch')
  t.match(batch.body.errors, [{ message: /more than 100000 bytes/, extensions: { code: 'ANSWER_TOO_LARGE' } }])

  const inside = await startGateway(t, {
    supergraph,
    subgraphAnswerLimit: 100_000,
    transports: { a: async () => ({ status: 200, text: JSON.stringify({ data: { big } }), headers: {} }) },
  })
  t.match((await post(inside.url, { query: '{ big }' })).body.errors, [{ message: /more than 100000 bytes/ }])
})

t.test('an answer does not grow out of a small one of a subgraph', async (t) => {
  const a = 'type Query { many: [T!]! } type T @key(fields: "id") { id: ID! }'
  const b = 'type T @key(fields: "id") { id: ID! text: String n: Int }'
  const many = Array.from({ length: 5_000 }, () => ({ __typename: 'T', id: '1' }))
  let n: unknown = 1
  const supergraph = compose(t, {
    a: { sdl: a, url: await serve(t, ({ response }) => answer(response, { many })) },
    b: {
      sdl: b,
      url: await serve(t, ({ response }) => answer(response, { _entities: [{ text: 'x'.repeat(500_000), n }] })),
    },
  })
  const { url } = await startGateway(t, { supergraph })
  // The second time a value is none of its type, which takes the slow way to the answer.
  for (n of [1, 'none']) {
    const { status, body } = await post(url, { query: '{ many { text n } }' })
    t.equal(status, 400)
    t.match(body.errors, [{ extensions: { code: 'ANSWER_TOO_LARGE' } }])
  }
})

t.test('what waits for its own client keeps nobody else waiting', async (t) => {
  const admission = createAdmission({ ...DEFAULT_ADMISSION, costPerClient: 1_000, costInAll: 2_000 })
  const enter = (client: string) => admission.enter(client, 1_000, new Cancellation())
  for (const client of ['a', 'b']) t.equal(enter(client), undefined)
  let entered = ''
  const others = ['c', 'd'].map((client) => enter(client)?.then(() => (entered += client)))
  admission.yieldToOthers(1_000)
  await others[0]
  const own = enter('a')
  admission.leave('a', 1_000, true)
  await delay(1)
  t.equal(entered, 'c', 'what it has yielded is not free twice')
  admission.leave('b', 1_000)
  await others[1]
  admission.leave('c', 1_000)
  await t.resolves(own as Promise<void>)
})

t.test('who has left keeps nobody waiting', async (t) => {
  const admission = createAdmission({ ...DEFAULT_ADMISSION, costPerClient: 1_000, costInAll: 2_000, maxWaitMs: 20 })
  for (const how of ['the client has gone', 'it has waited long enough']) {
    for (const client of ['a', 'b']) t.equal(admission.enter(client, 1_000, new Cancellation()), undefined, client)
    const departure = new Cancellation()
    const left = t.rejects(admission.enter('c', 1_000, departure) as Promise<void>, how)
    if (how.includes('gone')) departure.cancel()
    await left
    admission.leave('a', 1_000)
    const next = admission.enter('d', 1_000, new Cancellation())
    next?.catch(() => {})
    t.equal(next, undefined, 'there is room again')
    for (const client of ['b', 'd']) admission.leave(client, 1_000)
  }
})

t.test('whatever comes, waits and leaves: where nothing runs nobody waits', async (t) => {
  const arrival = fc.record({ client: fc.constantFrom('a', 'b', 'c'), cost: fc.constantFrom(150, 400, 1_000, 2_500) })
  const step = fc.oneof(arrival, fc.record({ ends: fc.nat() }), fc.record({ departs: fc.nat() }))
  const property = fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
    const admission = createAdmission({ ...DEFAULT_ADMISSION, costPerClient: 1_000, costInAll: 2_000 })
    const running: { client: string; cost: number }[] = []
    const waiting = new Set<Cancellation>()
    const enter = async (entry: { client: string; cost: number }) => {
      const departure = new Cancellation()
      waiting.add(departure)
      const isIn = await Promise.resolve(admission.enter(entry.client, entry.cost, departure)).then(
        () => true,
        () => false,
      )
      waiting.delete(departure)
      if (isIn) running.push(entry)
    }
    const end = (index: number) => {
      const [entry] = running.splice(index % running.length, 1)
      if (entry) admission.leave(entry.client, entry.cost)
    }
    for (const step of [...steps, ...steps.map(() => ({ ends: 0 }))]) {
      if ('client' in step) void enter(step)
      else if ('ends' in step) end(step.ends)
      else [...waiting][step.departs % waiting.size]?.cancel()
      await setImmediate()
      if (running.length === 0 && waiting.size > 0) return false
    }
    return running.length === 0 && admission.enter('d', 2_000, new Cancellation()) === undefined
  })
  await fc.assert(property, { numRuns: 100 })
  t.pass()
})

t.test('who comes next', async (t) => {
  const options = { ...DEFAULT_ADMISSION, costPerClient: 1_000, costInAll: 2_000 }
  const nobody = () => new Cancellation()
  const admission = createAdmission({ ...options, waitingPerClient: 3 })
  t.equal(admission.enter('a', 1_000, nobody()), undefined)
  t.equal(admission.enter('a', 100, nobody()), undefined, 'what is cheap never waits')
  const order: string[] = []
  const wait = (client: string, cost: number, name: string) =>
    admission.enter(client, cost, nobody())?.then(() => void order.push(name)) ?? order.push(`${name} at once`)
  const waits = [
    wait('a', 1_000, 'a1'),
    wait('a', 1_000, 'a2'),
    wait('b', 900, 'b1'),
    wait('b', 900, 'b2'),
    wait('c', 500, 'c1'),
  ]
  t.same(order, ['b1 at once'], 'others go on; there is not enough room for all')
  const gone = new Cancellation()
  const left = t.rejects(admission.enter('a', 500, gone) as Promise<void>, { name: 'Cancelled' })
  gone.cancel()
  await left
  wait('a', 101, 'a3')
  t.throws(() => admission.enter('a', 101, nobody()), /wait for their turn/, 'only so many of one client wait')
  admission.leave('a', 1_000)
  await delay(1)
  t.same(order, ['b1 at once', 'a1'])
  admission.leave('b', 900)
  await delay(1)
  t.same(order, ['b1 at once', 'a1', 'b2'])
  admission.leave('b', 900)
  await delay(1)
  t.same(order, ['b1 at once', 'a1', 'b2', 'c1'], 'each client in its turn')
  admission.leave('a', 1_000)
  await Promise.all(waits)
  admission.leave('a', 1_000)
  await delay(1)
  t.same(order.slice(-2), ['a2', 'a3'])
  const impatient = createAdmission({ ...options, maxWaitMs: 20 })
  const before = new Cancellation()
  before.cancel()
  impatient.enter('a', 1_000, nobody())
  await t.rejects(
    impatient.enter('a', 1_000, before) as Promise<void>,
    { name: 'Cancelled' },
    'who left before waits for nothing',
  )
  await t.rejects(impatient.enter('a', 1_000, nobody()) as Promise<void>, /wait for their turn/)
  t.equal(impatient.turn('a', nobody()), undefined)
  const turns: string[] = []
  await t.rejects(impatient.turn('b', before) as Promise<void>, { name: 'Cancelled' })
  const departing = new Cancellation()
  const departed = t.rejects(impatient.turn('b', departing) as Promise<void>, { name: 'Cancelled' })
  departing.cancel()
  await departed
  const take = (client: string, name: string) => impatient.turn(client, nobody())?.then(() => void turns.push(name))
  await Promise.all([take('a', 'a1'), take('a', 'a2'), take('b', 'b1')])
  t.same(turns, ['a1', 'b1', 'a2'])
})

t.test('120 costly requests of one client do not hold another one up', async (t) => {
  const sdl =
    'type Query { things: [Thing!]! @listSize(assumedSize: 2500) cheap: String } type Thing { id: ID! text: String }'
  const things = Array.from({ length: 250 }, (_, index) => ({ id: String(index), text: 'some text' }))
  const url = await startSubgraph(t, sdl.replace(/@listSize\([^)]*\)/, ''), {
    Query: { things: () => things, cheap: () => 'cheap' },
  })
  const gateway = await startGateway(t, { supergraph: compose(t, { a: { sdl, url } }) })
  const agent = (localAddress: string) => new Agent({ keepAlive: true, localAddress })
  const agents = [agent('127.0.0.1'), agent('127.0.0.2')]
  t.teardown(() => agents.forEach((each) => void each.destroy()))
  const ask = (from: Agent | undefined, query: string) =>
    new Promise<number>((resolve, reject) => {
      const options = { method: 'POST', agent: from, headers: { 'content-type': 'application/json' } }
      const request = httpRequest(gateway.url, options as never, (response) => {
        response.resume().on('end', () => resolve(response.statusCode ?? 0))
      })
      request.on('error', reject).end(JSON.stringify({ query }))
    })
  // Each is new, and as dear as may be: it has to be planned, too.
  const dear = (n: number) =>
    `{ ${Array.from({ length: 9 }, (_, index) => `n${n}_${index}: things { id text }`).join(' ')} }`
  await ask(agents[1], '{ cheap }')
  let done = 0
  const all = Array.from({ length: 120 }, (_, n) => ask(agents[0], dear(n)).finally(() => done++))
  await until('the first is done', () => done > 0)
  const before: number[] = []
  for (let n = 0; n < 10; n++) {
    t.equal(await ask(agents[1], `{ cheap c${n}: cheap }`), 200)
    before.push(done)
  }
  t.ok((before.at(-1) ?? 0) < 70, `ten cheap ones were answered while ${before.join(', ')} of the 120 were`)
  t.same(new Set(await Promise.all(all)), new Set([200]), 'all get their answer')
})

t.test('mutations of one client do not take the connections to a subgraph from the others', async (t) => {
  const held: ServerResponse[] = []
  const url = await serve(t, ({ response, query }) => {
    if (query.startsWith('mutation')) held.push(response)
    else answer(response, { x: 'X' })
  })
  const supergraph = compose(t, { a: { sdl: 'type Query { x: String } type Mutation { set: Int }', url } })
  const gateway = await startGateway(t, { supergraph, subgraphTimeoutMs: 60_000 })
  const send = (localAddress: string, query: string) =>
    new Promise<string>((resolve, reject) => {
      const headers = { 'content-type': 'application/json' }
      const sent = httpRequest(gateway.url, { method: 'POST', headers, localAddress, agent: false }, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => resolve(text))
      })
      sent.on('error', reject).end(JSON.stringify({ query }))
    })
  const fields = Array.from({ length: 40 }, (_, n) => `a${n}: set`).join(' ')
  const all = Array.from({ length: 200 }, () => send('127.0.0.3', `mutation { ${fields} }`))
  await until('40 are under way', () => held.length >= 40)
  t.equal(await send('127.0.0.2', '{ x }'), '{"data":{"x":"X"}}')
  const other = send('127.0.0.2', 'mutation { set }')
  await until('the other one is', () => held.length >= 41)
  t.equal(held.length, 41, '40 of one client are under way, and what others send')
  let answered = 0
  // By the names that the gateway asks the subgraph for.
  const values = Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`set__${n + 1}`, n]))
  await until('all are answered', () => {
    for (const response of held.slice(answered)) {
      answered++
      answer(response, { set: 1, ...values })
    }
    return answered >= 201
  })
  t.equal(await other, '{"data":{"set":1}}')
  for (const text of await Promise.all(all)) t.match(text, /^{"data":{"a0":0,/)
})

t.test('documents that are all new do not fill the memory', async (t) => {
  const sdl = 'type Query { echo(text: String): Int } type Mutation { set(text: String): Int }'
  const url = await startSubgraph(t, sdl, { Query: { echo: (_: unknown, { text }: { text: string }) => text.length } })
  const supergraph = compose(t, { a: { sdl, url } })
  const execute = async () => ({ text: '', hasErrors: false })
  const operations = createOperations(loadSupergraph(readFileSync(supergraph, 'utf8')), {
    introspection: true,
    cachedDocuments: 1_000,
    limits: DEFAULT_LIMITS,
    activeLabels: [],
    compile: () => execute,
    compileRestricted: () => execute,
    countOf: () => () => {},
  })
  const persisted = createPersistedQueries({ mode: 'apq', maxEntries: 1_000, maxTokens: 1_000 })
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const used = () => {
    collect()
    return process.memoryUsage().heapUsed / 1024 / 1024
  }
  const plans = new Set<unknown>()
  // More than the cache takes of one document. Each of the loops would hold more than its limit if it kept one text a round.
  const long = 'x'.repeat(200_000)
  const before = used()
  for (let n = 1; n <= 40; n++) {
    const query = `{ echo(text: "${n} ${long}") }`
    const sha256Hash = createHash('sha256').update(query).digest('hex')
    const extensions = { persistedQuery: { version: 1, sha256Hash } }
    plans.add(operations.find(persisted.resolve({ query, documentId: undefined, extensions }), undefined).operation)
    plans.add(operations.find(`query($t: String = "${n} ${long}") { echo(text: $t) }`, undefined).operation)
    plans.add(operations.find(`{ echo } # ${n} ${long}`, undefined).operation)
    t.throws(() => operations.find(`{ nothing(text: "${n} ${long}") }`, undefined))
    for (const named of [
      `{ a${n}${long}: echo }`,
      `query N${n}${long} { echo }`,
      `query($v${n}${long}: Int) { echo }`,
    ]) {
      t.throws(() => operations.find(named, undefined), /a name|A name/)
    }
  }
  t.equal(plans.size, 3, 'they share their plans')
  t.ok(used() - before < 5, `${Math.round(used() - before)} MiB more`)
  for (let n = 1; n <= 60; n++) {
    operations.find(`query Q${n} { a${n}: echo(text: "${n} ${long}") }`, undefined)
    operations.find(`query D${n}($t: String = "${n} ${long}") { b${n}: echo(text: $t) }`, undefined)
    operations.find(`mutation M${n} { c${n}: set(text: "${n} ${long}") }`, undefined)
  }
  t.ok(
    used() - before < 12,
    `${Math.round(used() - before)} MiB more with documents that have each a plan and a long text`,
  )
  for (let n = 1; n <= 100; n++) {
    const literals = Array.from({ length: 20 }, (_, index) => `a${n}_${index}: echo(text: "${index}")`)
    operations.find(`{ ${literals.join(' ')} }`, undefined)
  }
  t.ok(used() - before < 40, `${Math.round(used() - before)} MiB more with many documents that have each a plan`)

  const { url: to } = await startGateway(t, { supergraph, bodyLimit: 4 * 1024 * 1024 })
  const { body } = await post(to, { query: `{ echo(text: "${long}") }` })
  t.same(body, { data: { echo: long.length } })

  const running = used()
  const longer = long.repeat(2)
  for (let n = 1; n <= 40; n++) {
    const answers = [
      await post(to, { query: `query Q${n} { a${n}: echo(text: "${n} ${longer}") }` }),
      await post(to, {
        query: `query C${n}($is: Boolean!, $t: String) { b${n}: echo(text: $t) @include(if: $is) c: echo(text: "c") @skip(if: $is) }`,
        variables: { is: n % 2 > 0, t: `${n} ${longer}` },
      }),
      await post(to, {
        query: `query I${n}($t: String) { d: echo(text: $t) e${n}: __typename }`,
        variables: { t: longer },
      }),
    ]
    for (const { body } of answers) t.notOk(body.errors)
  }
  t.ok(used() - running < 10, `${Math.round(used() - running)} MiB more with operations that were executed`)
})

t.test('load is shed, and readiness says so', async (t) => {
  const sdl = 'type Query { x: String }'
  let calls = 0
  const url = await serve(t, ({ response }) => {
    calls++
    if (calls > 6) return answer(response, { x: 'X' })
    response.writeHead(503, { 'retry-after': '2', 'content-type': 'application/json' })
    response.end('{"errors":[{"message":"Busy.","extensions":{"code":"SERVICE_UNAVAILABLE"}}]}')
  })
  const options: Partial<GatewayOptions> = {
    loadLimits: { maxEventLoopDelayMs: 300, maxHeapPercent: 0, sampleMs: 100 },
  }
  const { url: to, base } = await startGateway(t, { supergraph: compose(t, { a: { sdl, url } }), ...options })
  const block = (milliseconds: number) => {
    const until = performance.now() + milliseconds
    while (performance.now() < until);
  }
  let refused = await post(to, { query: '{ __typename }' })
  for (let round = 0; round < 50 && refused.status !== 503; round++) {
    block(700)
    await delay(1)
    refused = await post(to, { query: '{ __typename }' })
  }
  t.equal(refused.status, 503)
  t.equal(refused.headers.get('retry-after'), '2')
  t.match(refused.body.errors, [{ extensions: { code: 'OVERLOADED' } }])
  const ready = await fetch(`${base}/readyz`)
  t.equal(ready.status, 503)
  t.match(await ready.json(), { status: 'overloaded' })
  t.equal((await fetch(`${base}/healthz`)).status, 200)
  await until('it is ready again', async () => (await fetch(`${base}/readyz`)).status === 200)
  for (let round = 1; round <= 6; round++) {
    const { body } = await post(to, { query: '{ x }' })
    t.match(body, { data: { x: null }, errors: [{ message: 'Busy.' }] })
    t.equal(calls, round, 'a subgraph that sheds load is not asked again at once')
  }
  t.same((await post(to, { query: '{ x }' })).body, { data: { x: 'X' } }, 'nor left alone')
  t.same((await post(`${to}/`, { query: '{ x }' })).body, { data: { x: 'X' } }, '/graphql/ is /graphql')
})
