/** Requests of data subjects in the console: two officers, by mouse and keyboard, and by hand-made requests. */
import { readFile } from 'node:fs/promises'
import t from 'tap'
import { findRequest, readRegister, receiveRequest } from '../../audit/requests/register.ts'
import { foldCustomer } from '../../projections/fold.ts'
import { startBrowser } from '../support/browser.ts'
import { freshEmail, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { findBarriers, openTab, photograph, startConsole, type Tab } from './support.ts'

const browser = await startBrowser(t)

const folder = await temporaryFolder(t)
const { send } = await startSubgraph(t, { folder })
const console_ = await startConsole(t, { folder })
const { app, options } = console_
const { eventStore } = options

const HOSTILE = '<img src=x onerror=alert(1)> \u202eevil\u0007'

/** The values of a page's hidden fields. */
const hidden = (body: string, name: string) => new RegExp(`name="${name}" value="([^"]+)"`).exec(body)?.[1] ?? ''

t.test('by hand-made requests', async (t) => {
  const [paul, petra, olga] = await Promise.all(
    (['privacy-officer', 'petra.privacy', 'operator'] as const).map(console_.signIn),
  )
  const email = freshEmail()
  const { id } = await signUp(send, email)
  const enter = { kind: 'erasure', customer: email, channel: 'letter', receivedOn: '2026-01-31', note: HOSTILE }

  t.match(await olga?.post('/requests/new', enter), { status: 403 })
  t.equal((await readRegister(eventStore)).requests.size, 0)
  for (const [field, value, message] of [
    ['kind', 'gossip', /Asks for: choose one of access/],
    ['receivedOn', '2026-02-30', /accepted is a date such as/],
    ['receivedOn', '2999-01-01', /yet to come/],
    ['customer', 'nobody', /number or e-mail address/],
    ['customer', '404404', /no customer 404404/],
  ] as const) {
    const refused = await paul?.post('/requests/new', { ...enter, [field]: value })
    t.ok([400, 404, 409].includes(refused?.status ?? 0), `${field} ${value}`)
    t.match(refused?.body, message)
    t.match(refused?.body, /<h1>A new request<\/h1>/, 'the form is there again')
    t.notMatch(refused?.body, email, 'an address is not repeated in a page')
  }

  await t.test('a form that is sent twice is carried out once', async (t) => {
    const form = { ...enter, command: hidden((await paul?.get('/requests/new'))?.body ?? '', 'command') }
    t.match(await paul?.post('/requests/new', form), { status: 303, location: '/requests/1' })
    t.match(await paul?.post('/requests/new', form), { status: 303, location: '/requests/1' })
    t.match(
      await petra?.post('/requests/new', form),
      { location: '/requests/2' },
      'each person has commands of their own',
    )
    t.equal((await readRegister(eventStore)).requests.size, 2)
  })

  t.match(await paul?.post('/requests/1/steps/identify', { how: 'document' }), { status: 303 })
  t.match(await paul?.post('/requests/1/steps/approve'), { status: 409, body: /second person to approve it/ })
  t.match(await paul?.post('/requests/1/execution', { sure: 'yes' }), { status: 409, body: /not approved yet/ })
  t.match(await petra?.post('/requests/1/steps/hold', { ground: 'other' }), { status: 400, body: /Say why/ })
  t.match(await petra?.post('/requests/1/steps/knight'), { status: 404 })
  t.match(await petra?.get('/requests/77'), { status: 404, body: /there are 2/ })
  t.match(await petra?.get('/requests/1x'), { status: 404 })
  t.match(await paul?.get('/requests/1/receipt'), { status: 404, body: /is open/ })

  await t.test('what changed since somebody looked is told', async (t) => {
    const page = (await petra?.get('/requests/1'))?.body ?? ''
    await paul?.post('/requests/1/steps/identify', { how: 'in-person' })
    const stale = await petra?.post('/requests/1/steps/approve', { seen: hidden(page, 'seen') })
    t.match(stale, { status: 409, body: /was changed by operator:paul.privacy at .*, after you had looked at it/ })
    t.match(await findRequest(eventStore, 1), { approval: undefined })
  })

  await t.test('notes are masked without a reason, and show as text', async (t) => {
    t.notMatch((await paul?.get('/requests/1'))?.body, /onerror/)
    await paul?.giveReason()
    const { body = '' } = (await paul?.get('/requests/1')) ?? {}
    t.match(body, '&lt;img src=x onerror=alert(1)&gt; \\u202eevil\\u0007')
    t.notMatch(body, '<img')
  })

  t.match(await petra?.post('/requests/1/steps/approve'), { status: 303 })
  t.match(await petra?.post('/requests/2/steps/hold', { ground: 'legal-claim', note: 'file 12' }), { status: 303 })
  t.match(await paul?.post('/requests/1/execution', { sure: 'yes' }), {
    status: 409,
    body: /Request 2 is on legal hold/,
  })
  t.match(await petra?.post('/requests/2/steps/release', { note: 'closed' }), { status: 303 })
  t.match(await paul?.post('/requests/1/execution'), { status: 400, body: /Tick that you are sure/ })
  t.match(await foldCustomer(eventStore, id), { status: 'registered' })
  t.match(await paul?.post('/requests/1/execution', { sure: 'yes' }), { status: 303, location: '/requests/1' })
  t.match(await foldCustomer(eventStore, id), { status: 'deleted' })
  t.match(await paul?.post('/requests/1/execution', { sure: 'yes' }), { status: 409, body: /done already/ })
  t.match(await petra?.post('/requests/1/left/backups'), { status: 303 })
  t.match(await petra?.post('/requests/1/left/coffee'), { status: 400 })
  const receipt = await petra?.get('/requests/1/receipt')
  t.match(receipt, { status: 200, body: /Done<\/strong> by operator:petra\.privacy/ })
  t.notMatch(receipt?.body, email)
  const { body: after = '' } = (await paul?.get('/requests/1')) ?? {}
  t.match(after, /\[erased:0\]/, 'the words are erased with the person')
})

/** Goes to a link or a button by the keyboard alone. */
async function pressOn({ page }: Tab, name: string | RegExp): Promise<void> {
  for (let presses = 0; presses < 80; presses++) {
    await page.keyboard.press('Tab')
    const text = await page.evaluate(() => {
      const { activeElement } = globalThis.document
      return activeElement?.matches('a, button, summary') ? (activeElement.textContent ?? '').trim() : ''
    })
    if (typeof name === 'string' ? text === name : name.test(text)) return page.keyboard.press('Enter')
  }
  throw new Error(`There is nothing to press that is named ${name}.`)
}

t.test('a long list has pages, of which the most urgent is first', async (t) => {
  const { app: own, options, signIn } = await startConsole(t)
  await own.ready()
  const now = new Date('2026-03-01T00:00:00Z')
  for (let each = 1; each <= 205; each++) {
    const subject = { emailKeys: [`${each}`.padStart(64, '0')] }
    const receivedOn = each === 205 ? '2026-01-01' : '2026-02-01'
    const command = { type: 'receive', kind: 'access', subject, channel: 'other', receivedOn } as const
    const rules = options.store.audit
    const commandId = crypto.randomUUID()
    await receiveRequest(options.eventStore, command, { actor: 'operator:a', commandId, now, rules })
  }
  const paul = await signIn('privacy-officer')
  const numbersOn = async (url: string) =>
    [...(await paul.get(url)).body.matchAll(/href="\/requests\/(\d+)"/g)].map(([, number]) => Number(number))
  const first = await numbersOn('/requests')
  t.equal(first.length, 100)
  t.same(first.slice(0, 2), [205, 1])
  t.same(await numbersOn('/requests?page=3'), [200, 201, 202, 203, 204])
  t.same(await numbersOn('/requests?page=99&show=all'), [200, 201, 202, 203, 204])
  t.same(await numbersOn('/requests?page=-1'), first)
})

t.test('in a browser: one officer enters and checks, another approves, and the first erases', async (t) => {
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const { id } = await signUp(send)
  const paul = await openTab(t, browser, url, 'privacy-officer')
  const petra = await openTab(t, browser, url, 'petra.privacy')
  await paul.page.getByRole('navigation').getByRole('link', { name: 'Requests' }).click()
  await paul.page.getByRole('link', { name: 'Enter a request' }).click()
  await photograph(t, paul, 'request-new')
  await paul.page.getByLabel('Asks for').selectOption('erasure')
  await paul.page.getByLabel('Who').fill(String(id))
  await paul.page.getByLabel('Came in by').selectOption('letter')
  await paul.page.getByLabel('Note').fill(HOSTILE)
  await paul.page.getByRole('button', { name: 'Enter it' }).click()
  await paul.page.getByText(`erasure for customer ${id}, due on`).waitFor()
  await paul.page.getByLabel('Checked by').selectOption('mailed-link')
  await paul.page.getByRole('button', { name: 'Record the check' }).click()
  await paul.page.getByText('needs a second person').waitFor()
  await photograph(t, paul, 'request-open')
  const address = paul.page.url()
  const number = Number(address.split('/').at(-1))

  await petra.page.goto(`${url}/requests`)
  await photograph(t, petra, 'requests')
  await pressOn(petra, String(number))
  await petra.page.waitForURL(address)
  await pressOn(petra, 'Approve')
  await petra.page.getByText('Approval: it is on record.').waitFor()
  t.match(
    await findRequest(eventStore, number),
    { approval: { by: 'operator:petra.privacy' } },
    'by the keyboard alone',
  )

  await paul.page.reload()
  await paul.page.setViewportSize({ width: 320, height: 700 })
  for (const path of ['/requests', '/requests/new', `/requests/${number}/erasure`, `/requests/${number}`]) {
    await paul.page.goto(`${url}${path}`)
    const wider = await paul.page.evaluate(
      () => globalThis.document.documentElement.scrollWidth - globalThis.innerWidth,
    )
    t.ok(wider <= 0, `${path} fits into 320 px`)
  }
  await paul.page.getByRole('link', { name: 'To the erasure' }).click()
  await photograph(t, paul, 'request-erasure')
  await paul.page.getByRole('button', { name: 'Erase', exact: true }).click()
  t.match(await foldCustomer(eventStore, id), { status: 'registered' }, 'not before it is ticked')
  await paul.page.getByLabel(/Erase customer/).check()
  await paul.page.getByRole('button', { name: 'Erase', exact: true }).click()
  await paul.page.getByText(`Customer ${id} is erased.`).waitFor()
  t.match(await foldCustomer(eventStore, id), { status: 'deleted' })
  await paul.page.getByRole('button', { name: 'Done: backups' }).click()
  await paul.page.getByText('backups: it is on record as done.').waitFor()
  await photograph(t, paul, 'request-done')
  await paul.page.getByRole('link', { name: 'Receipt to print' }).click()
  await photograph(t, paul, 'request-receipt')
  await paul.page.emulateMedia({ media: 'print' })
  t.notOk(await paul.page.getByRole('link', { name: 'Requests' }).isVisible(), 'nothing to click is printed')
  await paul.page.emulateMedia({ media: 'screen' })

  await t.test('a file is saved, and on record', async (t) => {
    await paul.page.goto(`${url}/requests/new`)
    await paul.page.getByLabel('Asks for').selectOption('access')
    const { id: other } = await signUp(send)
    await paul.page.getByLabel('Who').fill(String(other))
    await paul.page.getByLabel('Came in by').selectOption('e-mail')
    await paul.page.getByRole('button', { name: 'Enter it' }).click()
    await paul.page.getByLabel('Checked by').selectOption('signed-in')
    await paul.page.getByRole('button', { name: 'Record the check' }).click()
    await petra.page.goto(paul.page.url())
    await petra.page.getByRole('button', { name: 'Approve' }).click()
    await petra.page.getByText('Approval: it is on record.').waitFor()
    await paul.page.reload()
    const coming = paul.page.waitForEvent('download')
    await paul.page.getByRole('button', { name: 'Make the file' }).click()
    const file = await readFile(await (await coming).path(), 'utf8')
    t.match(JSON.parse(file), { customerId: other, disclosures: [{ actor: 'operator:paul.privacy' }] })
    await paul.page.reload()
    t.same(await findBarriers(paul), [])
    await paul.page.getByText('SHA-256 of the file').waitFor()
  })
  t.same([...paul.faults, ...petra.faults], [])
})
