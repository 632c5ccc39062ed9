/** Magento's own API tests of addresses by uid, and of their pages. */
import t from 'tap'
import { FIELDS, withAddresses } from '../support/addresses.ts'
import { signUp, startGraph, TEXAN } from '../support/graph.ts'
import { check, forbidden, GUEST, gives, input, noSuchEntity, type Operation, QUICK_STORE } from '../support/magento.ts'

const { send } = await startGraph(t, { store: QUICK_STORE })

const uidOf = (id: number | string) => Buffer.from(String(id)).toString('base64')

const updateV2 = (uid: string, given: object | undefined, token?: string): Operation => ({
  query: `mutation($uid: ID!, $input: CustomerAddressInput) { updateCustomerAddressV2(uid: $uid, input: $input) { ${FIELDS} } }`,
  variables: { uid, input: given },
  token,
})
const removeV2 = (uid: string, token?: string): Operation => ({
  query: 'mutation($uid: ID!) { deleteCustomerAddressV2(uid: $uid) }',
  variables: { uid },
  token,
})

t.test('updateCustomerAddressV2 and deleteCustomerAddressV2', async (t) => {
  const { token, first, second } = await withAddresses(
    send,
    { ...TEXAN, default_billing: true, default_shipping: true },
    TEXAN,
  )
  const other = await signUp(send)
  const [uid, unknown] = [uidOf(second), uidOf(999_999)]
  const CAMBRIDGE = {
    city: 'Cambridge',
    street: ['123 Harvard Street'],
    postcode: '02138',
    telephone: '0987654321',
    firstname: 'Jane',
    lastname: 'Smith',
  }
  const notFound = noSuchEntity('Could not find an address with the specified ID')
  const notYours = forbidden('Current customer does not have permission to get address with the specified ID')
  const isDefault = (which: string) =>
    input(`Customer Address with the specified ID is set as default ${which} address and can not be deleted`)
  await check(t, send, [
    {
      name: 'update',
      ...updateV2(uid, CAMBRIDGE, token),
      gives: { updateCustomerAddressV2: { uid, ...CAMBRIDGE, country_id: 'US', region: { region_id: 57 } } },
    },
    { name: 'update: an unknown uid', ...updateV2(unknown, { city: 'X' }, token), refused: notFound },
    { name: 'update: as a guest', ...updateV2(uid, { city: 'X' }), refused: GUEST },
    {
      name: 'update: the address of another customer',
      ...updateV2(uid, { city: 'X' }, other.token),
      refused: notYours,
    },
    {
      name: 'update: no uid',
      ...updateV2('no uid!', { city: 'X' }, token),
      refused: input('Value of uid "no uid!" is incorrect.'),
    },
    {
      name: 'update: an empty uid',
      ...updateV2('', { city: 'X' }, token),
      refused: input('Address "uid" value must be specified'),
    },
    { name: 'update: no input', ...updateV2(uid, undefined, token), refused: input('"input" value must be specified') },
    { name: 'delete: as a guest', ...removeV2(uid), refused: GUEST },
    { name: 'delete: an unknown uid', ...removeV2(unknown, token), refused: notFound },
    { name: 'delete: the address of another customer', ...removeV2(uid, other.token), refused: notYours },
    {
      name: 'delete: the default of both: billing is named',
      ...removeV2(uidOf(first), token),
      refused: isDefault('billing'),
    },
    {
      name: 'delete: no longer default billing',
      ...updateV2(uidOf(first), { default_billing: false }, token),
      gives: { updateCustomerAddressV2: { default_billing: false, default_shipping: true } },
    },
    { name: 'delete: the default shipping address', ...removeV2(uidOf(first), token), refused: isDefault('shipping') },
    { name: 'delete', ...removeV2(uid, token), gives: { deleteCustomerAddressV2: true } },
    { name: 'delete: again', ...removeV2(uid, token), refused: notFound },
  ])
})

t.test('addressesV2', async (t) => {
  const { token, ids } = await withAddresses(send, TEXAN, TEXAN, TEXAN)
  const none = await signUp(send)
  const page = (args: string, token?: string): Operation => ({
    query: `{ customer { addressesV2${args} { items { id } page_info { page_size current_page total_pages } total_count } } }`,
    token,
  })
  const pages = (items: unknown[], page_size: number, current_page: number, total_pages: number, total_count = 3) => ({
    customer: {
      addressesV2: {
        items: items.map((id) => ({ id })),
        page_info: { page_size, current_page, total_pages },
        total_count,
      },
    },
  })
  const greater = (name: string) => `${name} value must be greater than 0.`
  await check(t, send, [
    {
      name: 'one of three pages',
      ...page('(pageSize: 1, currentPage: 1)', token),
      gives: pages(ids.slice(0, 1), 1, 1, 3),
    },
    {
      name: 'the first of two pages',
      ...page('(pageSize: 2, currentPage: 1)', token),
      gives: pages(ids.slice(0, 2), 2, 1, 2),
    },
    {
      name: 'the second of two pages',
      ...page('(pageSize: 2, currentPage: 2)', token),
      gives: pages(ids.slice(2), 2, 2, 2),
    },
    { name: 'one page', ...page('(pageSize: 3, currentPage: 1)', token), gives: pages(ids, 3, 1, 1) },
    { name: 'by default five a page', ...page('', token), gives: pages(ids, 5, 1, 1) },
    { name: 'none', ...page('', none.token), gives: pages([], 5, 1, 0, 0) },
    { name: 'as a guest', ...page(''), refused: GUEST },
  ])
  for (const [args, name] of [
    ['(pageSize: 0)', 'pageSize'],
    ['(currentPage: 0)', 'currentPage'],
    ['(pageSize: -1)', 'pageSize'],
  ] as const) {
    await t.test(args, async (t) => {
      const { query } = page(args)
      const answer = await send(query, { token })
      t.equal(answer.errors?.[0].message, greater(name))
      t.equal(answer.errors?.[0].extensions.category, 'graphql-input')
      t.same(answer.errors?.[0].path, ['customer', 'addressesV2'])
    })
  }
  gives(t, await send('{ customer { addresses { id } } }', { token }), {
    customer: { addresses: ids.map((id) => ({ id })) },
  })
})
