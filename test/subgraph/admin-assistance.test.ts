/** Customer.admin_assistance_actions: what services and operators did with an account, as the log has it. */
import t from 'tap'
import { recordReveal } from '../../audit/reveals.ts'
import { encode } from '../../eventstore/codec.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import type { DomainEvent } from '../../schema/events.ts'
import type { Scope } from '../../schema/scopes.ts'
import { issueServiceToken } from '../../subgraph/identity/service-tokens.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { createTokens } from '../../subgraph/identity/tokens.ts'
import { environment, freshEmail, PASSWORD, signIn, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'

const folder = await temporaryFolder(t)
const { send, eventStore } = await startSubgraph(t, { folder })
const tokens = createTokens(loadKeys(loadConfiguration(environment(folder))).tokenSigningKey)

/** As Adobe's account pages ask for it. */
const ACTIONS = `query($currentPage: Int, $pageSize: Int) { customer { email
  admin_assistance_actions(pageSize: $pageSize, currentPage: $currentPage) {
    total_count items { action date details } page_info { current_page page_size total_pages } } } }`

async function service(...scopes: Scope[]): Promise<string> {
  const issued = { subject: 'crm', scopes, hours: 1, actor: 'operator:olga' }
  return (await issueServiceToken(eventStore, tokens, issued)).token
}

async function actionsOf(token: string, variables: object = {}) {
  const { data, errors } = await send(ACTIONS, { token, variables })
  return errors ? errors[0]?.message : data.customer.admin_assistance_actions
}

async function append(stream: string, event: DomainEvent, actor: string): Promise<void> {
  const id = crypto.randomUUID()
  const metadata = { $correlationId: id, $causationId: id, actor, at: new Date().toISOString() }
  await eventStore.append(stream, [encode(event, id, metadata)], { expected: 'any' })
}

t.test('nobody but the customer has done anything', async (t) => {
  const { token } = await signUp(send)
  await send('mutation { updateCustomer(input: { firstname: "Bea" }) { customer { id } } }', { token })
  t.strictSame(await actionsOf(token), {
    total_count: 0,
    items: [],
    page_info: { current_page: 1, page_size: 20, total_pages: 0 },
  })
})

t.test('what staff did, the newest first, in pages', async (t) => {
  const email = freshEmail()
  const crm = await service('customers:audit')
  const created = await send(
    'mutation($input: CustomerCreateInput!) { createCustomerV2(input: $input) { customer { id } } }',
    { token: crm, variables: { input: { firstname: 'Ann', lastname: 'Lee', email, password: PASSWORD } } },
  )
  const id = created.data.createCustomerV2.customer.id as number
  const token = await signIn(send, email)
  t.match(await actionsOf(token), {
    total_count: 1,
    items: [{ action: 'customer_registered', details: 'Service crm', date: /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/ }],
  })
  await send('mutation($email: String!) { subscribeEmailToNewsletter(email: $email) { status } }', {
    token: crm,
    variables: { email },
  })
  await send(`{ customerHistory(customerId: ${id}, reason: "suspected fraud") { edges { cursor } } }`, { token: crm })
  const reveal = { command: 'state', reason: 'ticket 7', actor: 'operator:olga' }
  await recordReveal(eventStore, { ...reveal, customerId: id })
  await recordReveal(eventStore, { ...reveal, customerId: id + 1 })
  await recordReveal(eventStore, { ...reveal, customerId: null })
  await append(`customerSkips-${id}`, { type: 'EventSkipped', data: { revision: 999, reason: 'x' } }, 'operator:olga')

  const { total_count, items, page_info } = await actionsOf(token)
  t.strictSame([total_count, page_info], [5, { current_page: 1, page_size: 20, total_pages: 1 }])
  t.strictSame(
    items.map(({ action, details }: Record<string, string>) => [action, details]),
    [
      ['event_skipped', 'Staff'],
      ['personal_data_revealed', 'Staff: state'],
      ['personal_data_revealed', 'Service crm: customerHistory'],
      ['newsletter_subscribed', 'Service crm'],
      ['customer_registered', 'Service crm'],
    ],
  )
  t.notMatch(JSON.stringify(items), /olga|fraud|ticket/, 'no names of people, no reasons')

  const pages = []
  for (const currentPage of [1, 2, 3, 4]) pages.push(await actionsOf(token, { currentPage, pageSize: 2 }))
  t.strictSame(
    pages.map((page) => page.items.map(({ action }: { action: string }) => action)),
    [
      ['event_skipped', 'personal_data_revealed'],
      ['personal_data_revealed', 'newsletter_subscribed'],
      ['customer_registered'],
      [],
    ],
  )
  t.strictSame(pages[3].page_info, { current_page: 4, page_size: 2, total_pages: 3 })
})

t.test('pages are bounded', async (t) => {
  const { token } = await signUp(send)
  t.equal(await actionsOf(token, { pageSize: 0 }), 'pageSize value must be greater than 0.')
  t.equal(await actionsOf(token, { currentPage: 0 }), 'currentPage value must be greater than 0.')
  t.equal(await actionsOf(token, { pageSize: 101 }), 'Maximum pageSize is 100.')
  t.match(await actionsOf(token, { pageSize: 100, currentPage: 2_147_483_647 }), { items: [] })
  t.match(await actionsOf(token, { pageSize: null, currentPage: null }), { page_info: { page_size: 20 } })
})

t.test('who sees it', async (t) => {
  const { id, token, email } = await signUp(send)
  await recordReveal(eventStore, { customerId: id, command: 'state', reason: 'r', actor: 'operator:olga' })
  t.match(await actionsOf(token), { total_count: 1 })
  t.match(await actionsOf((await signUp(send)).token), { total_count: 0 }, 'nobody sees another one’s')
  const entity = `query($of: [_Any!]!) { _entities(representations: $of) {
    ... on Customer { email admin_assistance_actions { total_count } } } }`
  const variables = { of: [{ __typename: 'Customer', id }] }
  const reader = await send(entity, { variables, token: await service('customers:read') })
  t.match(reader.errors, [{ message: "The current customer isn't authorized." }])
  const auditor = await send(entity, { variables, token: await service('customers:read', 'customers:audit') })
  t.match(auditor.data._entities, [{ email, admin_assistance_actions: { total_count: 1 } }])
  t.match(await send(ACTIONS), { data: { customer: null } }, 'nor does a guest')
})

t.test('an instance that has answered before sees what others have written since', async (t) => {
  const other = await startSubgraph(t, { folder, projection: false })
  const { id, token } = await signUp(send)
  const count = async () => {
    const { data } = await other.send(ACTIONS, { token })
    return data.customer.admin_assistance_actions.total_count
  }
  t.equal(await count(), 0)
  await recordReveal(eventStore, { customerId: id, command: 'state', reason: 'r', actor: 'operator:olga' })
  t.equal(await count(), 1)
  await append(`customer-${id}`, { type: 'NewsletterSubscribed', data: {} }, 'service:crm')
  t.equal(await count(), 2)
})
