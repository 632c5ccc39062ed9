/** Find and the page of a customer, as a browser without scripts sees them. */
import t, { type Test } from 'tap'
import { CREATE_ADDRESS, freshEmail, signUp, startSubgraph, TEXAN, temporaryFolder } from '../support/graph.ts'
import { startConsole } from './support.ts'

/** A service with a customer who has signed up, moved and changed her name, and a console on its log. */
async function withCustomer(t: Test) {
  const folder = await temporaryFolder(t)
  const subgraph = await startSubgraph(t, { folder })
  const email = freshEmail()
  const { id, token } = await signUp(subgraph.send, email)
  await subgraph.send(CREATE_ADDRESS, { variables: { input: TEXAN }, token })
  await subgraph.send('mutation { updateCustomerV2(input: { lastname: "Smith" }) { customer { id } } }', { token })
  const console = await startConsole(t, { folder })
  return { ...console, subgraph, email, id, token }
}

t.test('find', async (t) => {
  const { signIn, id, email } = await withCustomer(t)
  const auditor = await signIn('auditor')
  const found = await auditor.get('/find')
  t.equal(found.status, 200)
  console.log(found.body.slice(0, 100))
  const customer = await auditor.get(`/customers/${id}`)
  t.equal(customer.status, 200)
  console.log(email, customer.body)
})
