/** The query editor in a real browser: it works as it is opened, signs in, and runs its own examples. */
import { registerHooks } from 'node:module'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { startBrowser } from '../support/browser.ts'
import { freshEmail, PASSWORD, signUp, startGraph } from '../support/graph.ts'
import { compose, startGateway, startSubgraph } from './support.ts'

const SAMPLE = { email: 'roni_cost@example.com', password: 'roni_cost3@example.com' }

const browser = await startBrowser(t)
const graph = await startGraph(t)
await graph.send('mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id } } }', {
  variables: { input: { firstname: 'Veronica', lastname: 'Costello', ...SAMPLE } },
})

/** Opens the page; gives what it logged as errors, too. */
async function open(
  t: Test,
  token?: string,
  url = graph.url,
): Promise<{ readonly page: Page; readonly errors: string[] }> {
  const context = await browser.newContext()
  t.teardown(() => context.close())
  const page = await context.newPage()
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(error.message))
  if (token !== undefined) await page.addInitScript((text) => sessionStorage.setItem('customer-token', text), token)
  const introspected = answerTo(page, 'IntrospectionQuery')
  await page.goto(url)
  t.match(await introspected, { status: 200, body: { data: { __schema: Object } } }, 'the schema is there')
  return { page, errors }
}

/** The next answer to an operation. */
async function answerTo(page: Page, operation: string) {
  const response = await page.waitForResponse((response) =>
    (response.request().postData() ?? '').includes(`"operationName":"${operation}"`),
  )
  return { status: response.status(), body: await response.json() }
}

/** Runs one of the operations in the editor, as a visitor does. */
async function run(page: Page, operation: string) {
  const answer = answerTo(page, operation)
  await page.locator('.graphiql-execute-button').click()
  await page.getByRole('menuitem', { name: operation, exact: true }).click()
  return answer
}

const state = (page: Page) => page.locator('#session-state')

// One page, because to open the editor costs more than what is done with it.
t.test('signs in with the form or the example, runs each example, and has documentation and history', async (t) => {
  const { page, errors } = await open(t)
  t.equal(await state(page).innerText(), 'Guest')
  await page.getByLabel('E-mail address').fill(freshEmail())
  await page.getByLabel('Password').fill(PASSWORD)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('The account sign-in was incorrect').waitFor()

  await page.getByLabel('E-mail address').fill(SAMPLE.email)
  await page.getByLabel('Password').fill(SAMPLE.password)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('Signed in').waitFor()

  t.match((await run(page, 'Me')).body, { data: { customer: { email: SAMPLE.email } }, errors: undefined })
  const { data } = (await run(page, 'MyOrders')).body
  t.equal(data.customer.orders[0].items[0].quantity, 1)
  t.match((await run(page, 'SignIn')).body, { data: { generateCustomerToken: { token: String } } })
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByText('Guest').waitFor()
  const guest = await run(page, 'Me')
  t.equal(guest.body.errors[0].message, "The current customer isn't authorized.")

  await run(page, 'SignIn')
  await page.getByText('Signed in').waitFor()
  t.match((await run(page, 'Me')).body, { data: { customer: { email: SAMPLE.email } } })

  // Documentation and history.
  const stored = await page.evaluate(() => JSON.stringify(Object.entries(localStorage)))
  t.notMatch(stored, /eyJhbGci/, 'no token is kept beyond the tab')

  const history = page.getByLabel('History')
  t.same(
    await history.locator('option').allInnerTexts(),
    ['History', 'Me', 'mutation SignOut { revokeCustomerToken { result } }', 'MyOrders'],
    'what has a password is left out',
  )
  await page.goto(`${graph.url}/?query=${encodeURIComponent('query Name { customer { firstname } }')}`)
  await page.getByText('Signed in').waitFor()
  const named = answerTo(page, 'Name')
  await page.locator('.graphiql-execute-button').click()
  t.match(await named, { body: { data: { customer: { firstname: 'Veronica' } } } })
  await page.goto(graph.url)
  await history.selectOption({ label: 'Name' })
  await page.waitForURL(/query=query/)
  await page.getByText('firstname').first().waitFor()

  await page.getByRole('button', { name: 'Show Documentation Explorer' }).click()
  await page.locator('.graphiql-doc-explorer').waitFor()
  t.match(await page.locator('.graphiql-doc-explorer').innerText(), /Query/)
  t.same(errors, [])
})

t.test('a token that does not count never locks the page', async (t) => {
  const { token } = await signUp(graph.send)
  await graph.send('mutation { revokeCustomerToken { result } }', { token })
  const { page } = await open(t, token)
  await page.getByText('Signed in').waitFor()
  await page.locator('.graphiql-execute-button').click()
  await page.getByRole('menuitem', { name: 'Me', exact: true }).click()
  await page.getByText(/^Signed out: /).waitFor()
  t.match((await run(page, 'SignIn')).body, { data: { generateCustomerToken: { token: String } } })
  t.match((await run(page, 'Me')).body, { data: { customer: { email: SAMPLE.email } } })
})

t.test('a graph without customers: an example that runs, and nothing to sign in to', async (t) => {
  const sdl = 'type Query { hello: String }'
  const url = await startSubgraph(t, sdl, { Query: { hello: () => 'hello' } })
  const { base } = await startGateway(t, { supergraph: compose(t, { a: { sdl, url } }) })
  const { page, errors } = await open(t, undefined, base)
  t.notOk(await page.getByRole('button', { name: 'Sign in' }).isVisible())
  const example = answerTo(page, 'Example')
  await page.locator('.graphiql-execute-button').click()
  t.match(await example, { status: 200, body: { data: { __typename: 'Query' } } })
  t.same(errors, [])
})

t.test('without the package of the editor, the page says how to get it', async (t) => {
  const sdl = 'type Query { hello: String }'
  const url = await startSubgraph(t, sdl, { Query: { hello: () => 'hello' } })
  const { base } = await startGateway(t, { supergraph: compose(t, { a: { sdl, url } }) })
  const hooks = registerHooks({
    resolve(specifier, context, next) {
      if (specifier !== '@graphql-yoga/render-graphiql') return next(specifier, context)
      throw Object.assign(new Error(`Cannot find package '${specifier}'`), { code: 'ERR_MODULE_NOT_FOUND' })
    },
  })
  t.teardown(() => hooks.deregister())
  const response = await fetch(base, { headers: { accept: 'text/html' } })
  t.equal(response.status, 404)
  t.match(await response.json(), { errors: [{ message: /not installed.*npm ci/ }] })
})
