/** Claims of e-mail addresses that race: at most one customer ends up with an address, whoever is slow. */
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { EventStore } from '../../eventstore/port.ts'
import { PASSWORD, type Send, signIn, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'

/** Holds back the first append to a customer's stream whose event is of that type, or its answer, until released. */
function holdBack(type: string, what: 'append' | 'answer' = 'append') {
  let release = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  let reached = () => {}
  const held = new Promise<void>((resolve) => {
    reached = resolve
  })
  let first = true
  const wrapEventStore = (store: EventStore): EventStore => ({
    ...store,
    async append(stream, events, options) {
      if (first && events.some((event) => event.type === type)) {
        first = false
        const written = what === 'answer' ? await store.append(stream, events, options) : undefined
        reached()
        await released
        if (written) return written
      }
      return store.append(stream, events, options)
    },
  })
  return { wrapEventStore, held, release: () => release() }
}

const register = (send: Send, email: string, firstname = 'Ann') =>
  send('mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id firstname } } }', {
    variables: { input: { firstname, lastname: 'Lee', email, password: PASSWORD } },
  })
const TAKEN = [{ message: 'A customer with the same email address already exists in an associated website.' }]
const email = 'wanted@example.com'

/** Two instances, of which the slow one holds the address, and is held back before it registers the customer. */
async function stall(t: Test) {
  const folder = await temporaryFolder(t)
  const { wrapEventStore, held, release } = holdBack('CustomerRegistered')
  const slow = await startSubgraph(t, { folder, wrapEventStore })
  const quick = await startSubgraph(t, { folder })
  const stalled = register(slow.send, email, 'Slow')
  await held
  return { slow, quick, stalled, release }
}

t.test('a registration that stalls for longer than the grace loses its claim, and fails when it goes on', async (t) => {
  const { slow, quick, stalled, release } = await stall(t)
  const taken = await register(quick.send, email, 'Quick')
  t.match(taken.data, { createCustomer: { customer: { firstname: 'Quick' } } })
  release()
  t.match((await stalled).errors, TAKEN)
  const token = await signIn(quick.send, email)
  t.match((await slow.send('{ customer { firstname } }', { token })).data, { customer: { firstname: 'Quick' } })
})

t.test('the same, where the clock is set back while the other one waits', async (t) => {
  const { quick, stalled, release } = await stall(t)
  const other = register(quick.send, email, 'Quick')
  await delay(300)
  const { now } = Date
  t.intercept(Date, 'now', { value: () => now() - 3_600_000, configurable: true })
  t.match((await other).data, { createCustomer: { customer: { firstname: 'Quick' } } })
  release()
  t.match((await stalled).errors, TAKEN)
})

t.test('a registration that stalls for less keeps it; the other one waits and is refused', async (t) => {
  const { quick, stalled, release } = await stall(t)
  const other = register(quick.send, email, 'Quick')
  setTimeout(release, 200)
  t.match((await stalled).data, { createCustomer: { customer: { firstname: 'Slow' } } })
  t.match((await other).errors, TAKEN)
})

t.test('a change of address that stalls loses its claim, and fails when it goes on', async (t) => {
  const folder = await temporaryFolder(t)
  const { wrapEventStore, held, release } = holdBack('CustomerEmailChanged')
  const slow = await startSubgraph(t, { folder, wrapEventStore })
  const quick = await startSubgraph(t, { folder })
  const ann = await signUp(quick.send)
  const stalled = slow.send(
    `mutation { updateCustomer(input: { email: "${email}", password: "${PASSWORD}" }) { customer { email } } }`,
    { token: ann.token },
  )
  await held
  t.match((await register(quick.send, email, 'Quick')).data, { createCustomer: { customer: { firstname: 'Quick' } } })
  release()
  t.match((await stalled).errors, TAKEN)
  t.match((await slow.send('{ customer { email } }', { token: ann.token })).data, { customer: { email: ann.email } })
  t.ok(await signIn(slow.send, ann.email), 'the old address still is theirs')
})

t.test('a customer whose other change comes between claims again and succeeds', async (t) => {
  const folder = await temporaryFolder(t)
  const { wrapEventStore, held, release } = holdBack('CustomerEmailChanged')
  const slow = await startSubgraph(t, { folder, wrapEventStore })
  const quick = await startSubgraph(t, { folder })
  const { token } = await signUp(quick.send)
  const stalled = slow.send(
    `mutation { updateCustomer(input: { email: "${email}", password: "${PASSWORD}" }) { customer { email lastname } } }`,
    { token },
  )
  await held
  await quick.send('mutation { updateCustomer(input: { lastname: "Other" }) { customer { id } } }', { token })
  release()
  t.match((await stalled).data, { updateCustomer: { customer: { email, lastname: 'Other' } } })
})

t.test('a customer who moves back before the move away releases the address keeps it', async (t) => {
  const folder = await temporaryFolder(t)
  const { wrapEventStore, held, release } = holdBack('CustomerEmailChanged', 'answer')
  const slow = await startSubgraph(t, { folder, wrapEventStore })
  const quick = await startSubgraph(t, { folder })
  const ann = await signUp(quick.send)
  const moveTo = (send: Send, address: string) =>
    send(`mutation { updateCustomerEmail(email: "${address}", password: "${PASSWORD}") { customer { email } } }`, {
      token: ann.token,
    })
  const away = moveTo(slow.send, email)
  await held
  t.match((await moveTo(quick.send, ann.email)).data, { updateCustomerEmail: { customer: { email: ann.email } } })
  release()
  t.match((await away).data, { updateCustomerEmail: { customer: { email } } })
  t.ok(await signIn(slow.send, ann.email))
  t.match((await register(slow.send, ann.email)).errors, TAKEN)
  t.match((await register(slow.send, email)).data, { createCustomer: {} }, 'the other address is free')
})
