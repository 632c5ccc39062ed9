/** Operations on addresses, as Magento's own API tests have them. */
import { type Send, signUp } from './graph.ts'
import type { Operation } from './magento.ts'

export const FIELDS = `id uid customer_id region { region region_id region_code } region_id country_code country_id street company
  telephone fax postcode city firstname lastname middlename prefix suffix vat_id default_shipping default_billing`

/** `createCustomerAddress` of this input. */
export const create = (given: object, token?: string, fields = FIELDS): Operation => ({
  query: `mutation($input: CustomerAddressInput!) { createCustomerAddress(input: $input) { ${fields} } }`,
  variables: { input: given },
  token,
})
/** A customer with this many addresses; their ids. */
export async function withAddresses(send: Send, ...inputs: object[]) {
  const customer = await signUp(send)
  const ids: number[] = []
  for (const given of inputs) {
    const { data } = await send(create(given).query, { variables: { input: given }, token: customer.token })
    ids.push(data.createCustomerAddress.id)
  }
  return { ...customer, ids, first: ids[0] as number, second: ids[1] as number }
}
