/** The console in a real browser: by mouse and by keyboard, for everybody, within its own CSP. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { writeCheckpoint } from '../../audit/proof/signed-checkpoints.ts'
import { loadSigningKey } from '../../audit/proof/signing-key.ts'
import { startBrowser } from '../support/browser.ts'
import { CREATE_ADDRESS, freshEmail, signUp, startSubgraph, TEXAN, temporaryFolder } from '../support/graph.ts'
import { openTab, photograph, startConsole } from './support.ts'

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

const customer = await withCustomer(t)

t.test('an auditor answers a question, by mouse', async (t) => {
  const { url, email, id } = customer
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
  await page.emulateMedia({ media: 'print' })
  t.notOk(await page.getByRole('button', { name: 'Mask again' }).isVisible(), 'paper has nothing to click')
  t.ok(await page.getByText('You see personal data until').isVisible(), 'and says why it may be read')
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/print.png`, fullPage: true })
  await page.emulateMedia({ media: 'screen' })
  t.match(
    await page.locator('#customer-3').innerText(),
    /addresses\.1\.company\s+not set\s+<b>Bold<\/b> \\u202eevil\\u0007/,
  )
})

t.test('a computer whose clock is wrong', async (t) => {
  const { page, faults } = await openTab(t, browser, customer.url, 'auditor')
  await page.clock.setSystemTime(Date.now() + 3_600_000)
  await page.goto(`${customer.url}/customers/${customer.id}`)
  await page.getByLabel('Personal data is masked').fill('ticket 12')
  await page.getByRole('button', { name: 'Show', exact: true }).first().click()
  await page.getByText('(15 min left)').waitFor()
  await page.waitForLoadState('networkidle')
  t.same(faults, [])
})

t.test('the same by keyboard alone', async (t) => {
  const { url } = customer
  const context = await browser.newContext()
  t.teardown(() => context.close())
  const page = await context.newPage()
  page.setDefaultTimeout(60_000)
  const press = async (...keys: readonly string[]) => {
    for (const key of keys) await page.keyboard.press(key)
  }
  const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim() ?? '')
  /** Presses Tab until the focus is there. */
  const tabTo = async (selector: string, most = 60) => {
    for (let n = 0; n < most; n++) {
      await press('Tab')
      const isThere = (wanted: string) => document.querySelector(wanted) === document.activeElement
      if (await page.evaluate(isThere, selector)) return
    }
    throw new Error(`${selector} is not reached by Tab`)
  }
  await page.goto(url)
  await tabTo('button[value="anna.auditor"]')
  await press('Enter')
  await page.waitForURL(`${url}/`)
  await press('Tab')
  t.equal(await focused(), 'Skip to the content')
  await press('Enter')
  t.equal(await page.evaluate(() => document.activeElement?.id), 'main')
  await tabTo('#h-customer')
  await page.keyboard.type(customer.email)
  await press('Enter')
  await page.waitForURL(`${url}/customers/${customer.id}`)
  await tabTo('#c-slider')
  await press('Home')
  await page.waitForURL(/at=0/)
  await page.getByText('The customer at revision 0').waitFor()
  await tabTo('.neighbours a')
  await press('Enter')
  await page.waitForURL(/at=1/)
  await tabTo('#c-from')
  await page.keyboard.type('0')
  await press('Enter')
  await page.getByRole('heading', { name: 'Difference from revision 0 to 1' }).waitFor()
  await tabTo('article .evidence summary', 100)
  await press('Enter')
  await page.getByText('Checkpoint that covers it').first().waitFor()
  await tabTo('a[href="/find"]', 200)
  await press('Enter')
  await page.waitForURL(/\/find$/)
  await tabTo('.search summary')
  await press('Enter')
  await tabTo('#f-field')
  await page.keyboard.type('lastname')
  await press('Enter')
  await page.waitForURL(/field=lastname/)
  t.ok((await page.locator('table.events tbody tr[id]').count()) > 0)
})

t.test('pages that have little to say, and faults', async (t) => {
  const { url } = customer
  const tab = await openTab(t, browser, url, 'privacy-officer')
  for (const [name, path] of [
    ['find-nothing', '/find?request=nothing'],
    ['find-types', '/find/types'],
    ['not-found', '/customers/999'],
    ['not-usable', '/find?since=soon'],
  ] as const) {
    await tab.page.goto(url + path)
    await photograph(t, tab, name)
  }
  const operator = await openTab(t, browser, url, 'operator')
  await operator.page.goto(`${url}/find`)
  await photograph(t, operator, 'not-allowed')
  await tab.page.getByRole('button', { name: 'Sign out' }).click()
  await photograph(t, tab, 'signed-out')
  await tab.page.getByRole('link', { name: 'Sign in again' }).click()
  await photograph(t, tab, 'sign-in')
})

t.test('a page of another site can send no form', async (t) => {
  const { url } = customer
  const { page } = await openTab(t, browser, url, 'auditor')
  const evil = createServer((_, response) => {
    response.setHeader('content-type', 'text/html')
    response.end(
      `<!doctype html><form method="post" action="${url}/reason"><input name="reason" value="x"><button>Go</button></form>`,
    )
  })
  await new Promise<void>((resolve) => evil.listen(0, '127.0.0.1', resolve))
  t.teardown(() => evil.close())
  await page.goto(`http://localhost:${(evil.address() as AddressInfo).port}`)
  await page.getByRole('button', { name: 'Go' }).click()
  await page.waitForURL(`${url}/reason`)
  t.match(await page.content(), /nothing was done/)
  await page.goto(`${url}/`)
  t.notMatch(await page.content(), /You see personal data/)
})
