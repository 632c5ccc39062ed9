/** Plans whose calls come before what they require. The conformance suite has one that the planner makes. */
import type { FetchNode, PlanNode } from '@apollo/query-planner'
import { buildSchema } from 'graphql'
import t from 'tap'
import { inOrder } from '../../gateway/planning/call-order.ts'

const schema = buildSchema('type Query { e: E } type E { id: ID a: Int b: Int c: Int }')

const root: FetchNode = { kind: 'Fetch', serviceName: 'root', operation: '{ e { __typename id } }' } as FetchNode

/** A call for entities at `e` that requires some fields and gives one. */
const call = (gives: string, ...requires: string[]): PlanNode => ({
  kind: 'Flatten',
  path: ['e'],
  node: {
    kind: 'Fetch',
    serviceName: gives,
    requires: [
      { kind: 'InlineFragment', typeCondition: 'E', selections: requires.map((name) => ({ kind: 'Field', name })) },
    ],
    operation: `query ($representations: [_Any!]!) { _entities(representations: $representations) { ... on E { ${gives} } } }`,
  } as unknown as FetchNode,
})
const sequence = (...nodes: PlanNode[]): PlanNode => ({ kind: 'Sequence', nodes })
const parallel = (...nodes: PlanNode[]): PlanNode => ({ kind: 'Parallel', nodes })
const ordered = (node: PlanNode) => inOrder(schema, { kind: 'QueryPlan', node }).node

t.test('a call beside the one that gives what it requires is sent after it', async (t) => {
  const plan = sequence(root, parallel(call('b', 'id', 'a'), call('a', 'id'), call('c', 'id')))
  const expected = sequence(root, parallel(call('a', 'id'), call('c', 'id')), call('b', 'id', 'a'))
  t.strictSame(ordered(plan), expected)
})

t.test('so is a call before that one', async (t) => {
  const plan = sequence(root, call('b', 'id', 'a'), call('a', 'id'), call('c', 'b'))
  t.strictSame(ordered(plan), sequence(root, call('a', 'id'), call('b', 'id', 'a'), call('c', 'b')))
})

t.test('a plan in order, and calls that wait for each other, stay as they are', async (t) => {
  for (const plan of [
    sequence(root, parallel(call('a', 'id'), call('c', 'id')), call('b', 'a')),
    sequence(root, parallel(call('a', 'b'), call('b', 'a'))),
    sequence(root, call('a', 'b'), call('b', 'a')),
  ])
    t.equal(ordered(plan), plan)
})
