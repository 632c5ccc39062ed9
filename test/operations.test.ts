/** The documentation's list of operations beside Magento's and beside the schema that is served. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startGraph } from './support/graph.ts'

/** Queries and mutations of Magento's customer modules (CustomerGraphQl, DirectoryGraphQl, NewsletterGraphQl, LoginAsCustomerGraphQl), 2.3 to 2.4.9. */
const MAGENTO = [
  ...['customer', 'isEmailAvailable', 'countries', 'country', 'customerGroup', 'allCustomerGroups', 'storeConfig'],
  ...['generateCustomerToken', 'revokeCustomerToken', 'changeCustomerPassword', 'createCustomer', 'updateCustomer'],
  ...['createCustomerAddress', 'updateCustomerAddress', 'deleteCustomerAddress', 'createCustomerV2'],
  ...['updateCustomerV2', 'updateCustomerEmail', 'requestPasswordResetEmail', 'resetPassword', 'deleteCustomer'],
  ...['subscribeEmailToNewsletter', 'generateCustomerTokenAsAdmin', 'confirmEmail', 'resendConfirmationEmail'],
  ...['updateCustomerAddressV2', 'deleteCustomerAddressV2', 'exchangeExternalCustomerToken', 'attributesForm'],
]
/** Of the sample subgraphs. */
const SAMPLES = ['products', 'product']

t.test("the documentation's operations are Magento's, and what it says of each is so", async (t) => {
  const page = readFileSync(join(import.meta.dirname, '../docs/magento-contract.md'), 'utf8')
  const [, table = ''] = /\| Magento's operation \|[^\n]*\n\|[-|]*\n((?:\|.*\n)+)/.exec(page) ?? []
  const listed = new Map<string, boolean>()
  for (const row of table.trim().split('\n')) {
    const [, names = '', , here = ''] = row.split('|')
    for (const [, name = ''] of names.matchAll(/`(\w+)`/g)) listed.set(name, !here.trim().startsWith('no'))
  }
  const { send } = await startGraph(t)
  const { data } = await send(
    '{ __schema { queryType { fields(includeDeprecated: true) { name } } mutationType { fields(includeDeprecated: true) { name } } } }',
  )
  const { queryType, mutationType } = data.__schema
  const served = new Set<string>([...queryType.fields, ...mutationType.fields].map(({ name }) => name))
  for (const name of MAGENTO) t.ok(listed.has(name), `${name} of Magento is in docs/magento-contract.md`)
  for (const [name, isHere] of listed) t.equal(served.has(name), isHere, `${name} is ${isHere ? '' : 'not '}served`)
  for (const name of served) t.ok(listed.has(name) || SAMPLES.includes(name), `${name} is in docs/magento-contract.md`)
})
