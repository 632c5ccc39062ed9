import { Trace } from '@apollo/usage-reporting-protobuf'
import t from 'tap'
import { CREATE_ADDRESS, signUp, startSubgraph, TEXAN } from '../support/graph.ts'

const { app, send } = await startSubgraph(t)

t.test('a trace comes to a gateway that asks for it, and to no other', async (t) => {
  const { token, id } = await signUp(send)
  await send(CREATE_ADDRESS, { variables: { input: TEXAN }, token })
  const ask = async (payload: object, headers: Record<string, string> = {}) => {
    const sent = { authorization: `Bearer ${token}`, ...headers }
    const response = await app.inject({ method: 'POST', url: '/graphql', headers: sent, payload })
    return { status: response.statusCode, body: response.json() }
  }
  const tracing = { 'apollo-federation-include-trace': 'ftv1' }
  const payload = {
    query: 'query Q($no: Boolean!) { me: customer { id email @include(if: $no) addresses { city } } }',
    variables: { no: false },
  }
  const plain = await ask(payload)
  t.notOk(plain.body.extensions)
  const traced = await ask(payload, tracing)
  t.same(traced.body.data, plain.body.data)
  t.same(traced.body.data, { me: { id, addresses: [{ city: 'Austin' }] } })

  const trace = Trace.decode(Buffer.from(traced.body.extensions.ftv1, 'base64'))
  t.ok(Number(trace.durationNs) > 0)
  t.ok(trace.startTime && trace.endTime)
  const [me] = trace.root?.child ?? []
  t.match(me, { responseName: 'me', originalFieldName: 'customer', type: 'Customer', parentType: 'Query' })
  t.ok(Number(me?.endTime) > Number(me?.startTime))
  t.same(
    me?.child?.map(({ responseName }) => responseName),
    ['id', 'addresses'],
  )
  t.match(me?.child?.[1]?.child?.[0], { index: 0, child: [{ responseName: 'city', parentType: 'CustomerAddress' }] })

  const failed = await ask({ query: '{ customer { id } }' }, { ...tracing, authorization: '' })
  t.same(failed.body.data, { customer: null })
  t.match(failed.body.errors, [{ message: "The current customer isn't authorized.", path: ['customer'] }])
  const node = Trace.decode(Buffer.from(failed.body.extensions.ftv1, 'base64')).root?.child?.[0]
  t.match(node?.error, [{ message: '<masked>' }])

  for (const query of ['{', '{ nothing }']) {
    const { status, body } = await ask({ query }, tracing)
    t.equal(status, 400)
    t.match(body.errors, [{ message: /./ }])
    t.notOk('data' in body)
  }
})
