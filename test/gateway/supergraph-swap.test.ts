import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { compose, post, startGateway, startSubgraph } from './support.ts'

const sdl = (fields: string) => `type Query { ${fields} }`

/** Repeats a look until it is true; fails the test when that takes longer than 5 seconds. */
async function until(look: () => Promise<boolean> | boolean, what: string) {
  const deadline = performance.now() + 5000
  while (!(await look())) {
    if (performance.now() > deadline) throw new Error(`not within 5 s: ${what}`)
    await sleep(20)
  }
}

t.test('a changed supergraph is swapped in under load, and one that is no good is not', async (t) => {
  const resolvers = { Query: { slow: () => sleep(30, 'slow'), added: () => 'added' } }
  const first = await startSubgraph(t, sdl('slow: String'), { Query: { slow: resolvers.Query.slow } })
  const second = await startSubgraph(t, sdl('slow: String added: String'), resolvers)
  const later = readFileSync(compose(t, { a: { sdl: sdl('slow: String added: String'), url: second } }), 'utf8')
  const file = compose(t, { a: { sdl: sdl('slow: String'), url: first } })
  const original = readFileSync(file, 'utf8')
  const log: string[] = []
  const { url, base } = await startGateway(t, {
    supergraph: file,
    watchIntervalMs: 25,
    logger: {
      level: 'info',
      stream: { write: (line: string) => void (line.includes('"msg":"request"') || log.push(line)) },
    },
  })
  const ready = async () => ((await (await fetch(`${base}/readyz`)).json()) as { supergraph: string }).supergraph
  const replace = (text: string) => {
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }

  let running = true
  let answered = 0
  const failed: unknown[] = []
  const load = Array.from({ length: 8 }, async () => {
    while (running) {
      const { status, body } = await post(url, { query: '{ slow }' })
      if (status === 200 && body.data?.slow === 'slow' && !body.errors) answered++
      else failed.push(body)
    }
  })

  const one = await ready()
  t.equal((await post(url, { query: '{ added }' })).status, 400)
  replace(later)
  await until(async () => (await ready()) !== one, 'the new supergraph')
  const two = await ready()
  t.same((await post(url, { query: '{ added }' })).body, { data: { added: 'added' } })

  for (const [bad, reason] of [
    ['type Query {', /Syntax Error/],
    ['', /./],
    ['type Query { a: Int }', /./],
    [later.replace(second, ''), /URL of the subgraph \\"a\\"/],
  ] as const) {
    const before = log.length
    replace(bad)
    await until(() => log.length > before, 'a log line')
    t.match(log.at(-1), /cannot be served; the previous one stays/)
    t.match(log.at(-1), reason)
    t.equal(await ready(), two)
  }
  const before = log.length
  rmSync(file)
  await until(() => log.length > before, 'a log line for the file that is gone')
  t.equal(await ready(), two)
  t.match(await (await fetch(`${base}/metrics`)).text(), /gateway_supergraph_load_failures_total 5/)

  replace(original)
  await until(async () => (await ready()) === one, 'the first supergraph again')
  running = false
  await Promise.all(load)
  t.same(failed, [], 'no request failed')
  t.ok(answered > 20, `${answered} requests were answered meanwhile`)
})

t.test('closing lets requests under way finish', async (t) => {
  const called = Promise.withResolvers<void>()
  const slow = () => {
    called.resolve()
    return sleep(500, 'slow')
  }
  const subgraph = await startSubgraph(t, sdl('slow: String'), { Query: { slow } })
  const { app, url } = await startGateway(t, {
    supergraph: compose(t, { a: { sdl: sdl('slow: String'), url: subgraph } }),
  })
  const answer = post(url, { query: '{ slow }' })
  await called.promise
  t.equal((await fetch(new URL('/readyz', url))).status, 200)
  const closed = app.close()
  const ready = await fetch(new URL('/readyz', url))
  t.equal(ready.status, 503, 'a load balancer is told so, instead of refused')
  t.match(await ready.json(), { status: 'draining' })
  await Promise.all([closed, answer])
  t.same((await answer).body, { data: { slow: 'slow' } })
  t.equal((await answer).headers.get('connection'), 'close', 'and its connection ends with it')
  await t.rejects(post(url, { query: '{ slow }' }))
})
