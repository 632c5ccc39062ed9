/** The example of an own subgraph, by the commands of docs/own-subgraph.md: started, composed, and served by `npm start`. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { client, signUp, temporaryFolder } from '../support/graph.ts'
import { freePort } from '../support/ports.ts'
import { startProcess, startScript, untilReady } from '../support/processes.ts'
import { until } from '../support/until.ts'

const root = join(import.meta.dirname, '../..')
const example = 'examples/own-subgraph'

t.test('the example extends Customer behind npm start', async (t) => {
  const folder = await temporaryFolder(t)
  const [gatewayPort, subgraphPort, loyaltyPort] = [await freePort(), await freePort(), await freePort()]
  const loyalty = startScript(t, `${example}/server.js`, folder, {
    PORT: String(loyaltyPort),
    CUSTOMERS_URL: `http://127.0.0.1:${subgraphPort}`,
  })
  await until('it listens', () => {
    if (loyalty.child.exitCode !== null) throw new Error(loyalty.output())
    return loyalty.output().includes('Loyalty subgraph:')
  })

  const supergraph = join(folder, 'supergraph.graphql')
  const composed = spawnSync(
    process.execPath,
    ['bin/customers.js', 'compose', `${example}/supergraph.yaml`, supergraph],
    {
      cwd: root,
      env: { ...process.env, LOYALTY_URL: `http://127.0.0.1:${loyaltyPort}/graphql` },
      encoding: 'utf8',
    },
  )
  t.equal(composed.status, 0, composed.stderr)

  const service = startProcess(t, 'start', folder, {
    SUPERGRAPH: supergraph,
    GATEWAY_PORT: String(gatewayPort),
    SUBGRAPH_PORT: String(subgraphPort),
  })
  await untilReady(service, `http://127.0.0.1:${gatewayPort}/readyz`)
  const send = client(`http://127.0.0.1:${gatewayPort}/graphql`)
  const { token, id } = await signUp(send)
  const { data, errors } = await send('{ customer { id firstname loyaltyPoints } }', { token })
  t.equal(errors, undefined)
  t.same(data, { customer: { id, firstname: 'Ann', loyaltyPoints: id * 100 } })

  // Asked directly, it gives nobody's points to anybody else.
  const direct = client(`http://127.0.0.1:${loyaltyPort}/graphql`)
  const points = `{ _entities(representations: [{ __typename: "Customer", id: ${id} }]) { ... on Customer { loyaltyPoints } } }`
  t.same((await direct(points, { token })).data?._entities, [{ loyaltyPoints: id * 100 }])
  for (const other of [undefined, 'not-a-token', (await signUp(send)).token]) {
    const refused = await direct(points, { token: other })
    t.same(refused.data?._entities, [{ loyaltyPoints: null }])
    t.equal(refused.errors?.[0].extensions.code, 'FORBIDDEN')
  }
})

t.test('the example is short', async (t) => {
  const lines = readFileSync(join(root, example, 'server.js'), 'utf8')
    .split('\n')
    .filter((line) => !/^\s*($|\/\/|\/\*)/.test(line))
  t.ok(lines.length <= 40, `${lines.length} lines of code`)
})
