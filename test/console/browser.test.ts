/** The console in a real browser: by mouse and by keyboard, for everybody, within its own CSP. */
import t, { type Test } from 'tap'
import { writeCheckpoint } from '../../audit/proof/signed-checkpoints.ts'
import { loadSigningKey } from '../../audit/proof/signing-key.ts'
import { CREATE_ADDRESS, freshEmail, signUp, startSubgraph, TEXAN, temporaryFolder } from '../support/graph.ts'
import { openTab, photograph, startBrowser, startConsole } from './support.ts'

const browser = await startBrowser(t)

/** A console on the log of a customer who moved, and whose name has markup and a character that reverses text in it. */
async function withCustomer(t: Test) {
  const folder = await temporaryFolder(t)
  const { send } = await startSubgraph(t, { folder })
  const email = freshEmail()
  const { id, token } = await signUp(send, email)
  const added = await send(CREATE_ADDRESS, { variables: { input: TEXAN }, token })
  const addressId = added.data.createCustomerAddress.id
  const change = (input: object) =>
    send(`mutation($input: CustomerAddressInput) { updateCustomerAddress(id: ${addressId}, input: $input) { id } }`, {
      variables: { input },
      token,
    })
  await change({ city: 'Dallas' })
  await change({ city: 'El Paso', company: '<b>Bold</b> \u202eevil\u0007' })
  await send('mutation { updateCustomerV2(input: { lastname: "Smith" }) { customer { id } } }', { token })
  await send(`mutation { generateCustomerToken(email: "${email}", password: "wrong-Pass1") { token } }`)
  const console = await startConsole(t, { folder })
  const { stored, configuration } = console.options
  const key = loadSigningKey(configuration)
  if (key) await writeCheckpoint(stored, key)
  await change({ city: 'Waco' })
  return { ...console, send, email, id, url: await console.app.listen({ port: 0, host: '127.0.0.1' }) }
}

t.test('an auditor answers a question, by mouse', async (t) => {
  const { url, email, id } = await withCustomer(t)
  const tab = await openTab(t, browser, url, 'auditor', { timezoneId: 'Europe/Berlin' })
  const { page } = tab
  await photograph(t, tab, 'home')
  await page.getByRole('link', { name: /^Find/ }).first().click()
  await photograph(t, tab, 'find')
  await page.getByLabel('Customer number or e-mail').fill(email)
  await page.getByText('More filters').click()
  await page.getByLabel('Changed field').fill('city')
  await page.getByRole('button', { name: 'Search' }).click()
  await page.waitForURL(new RegExp(`/find\\?customer=${id}&field=city$`))
  await photograph(t, tab, 'find-city')
  t.equal(await page.locator('table.events tbody tr[id]').count(), 4)
  await page.getByRole('link', { name: 'Customer address changed' }).first().click()
  await page.waitForURL(new RegExp(`/customers/${id}\\?at=5#customer-5`))
  await photograph(t, tab, 'customer-masked')
  await page.goBack()
  t.match(page.url(), /#e-\d+$/, 'Back keeps the place')
  await page.goForward()
  await page.getByLabel('Personal data is masked').fill('ticket 12')
  await page.getByRole('button', { name: 'Show', exact: true }).first().click()
  await page.getByText('You see personal data until').waitFor()
  await photograph(t, tab, 'customer')
  t.match(
    await page.locator('#customer-3').innerText(),
    /addresses\.1\.company\s+not set\s+<b>Bold<\/b> \\u202eevil\\u0007/,
  )
})
