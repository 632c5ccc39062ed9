/** Links in mails under pressure: used once, never twice at a time, and no address told apart by the answers. */
import t from 'tap'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { createMailTokens } from '../../schema/mail-tokens.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import {
  environment,
  freshEmail,
  PASSWORD,
  type Send,
  signIn,
  signUp,
  startSubgraph,
  temporaryFolder,
} from '../support/graph.ts'

const folder = await temporaryFolder(t)
const tokens = createMailTokens(loadKeys(loadConfiguration(environment(folder))).emailHashKey)
let now = () => new Date()
const { send, eventStore } = await startSubgraph(t, { folder, now: () => now() })
const other = await startSubgraph(t, { folder, projection: false, now: () => now() })

const request = (email: string) => send(`mutation { requestPasswordResetEmail(email: "${email}") }`)
const reset = (via: Send, email: string, token: string, password: string) =>
  via(`mutation { resetPassword(email: "${email}", resetPasswordToken: "${token}", newPassword: "${password}") }`)

async function newest(id: number): Promise<string> {
  let eventId = ''
  for await (const event of eventStore.readStream(`customer-${id}`)) eventId = event.id
  return eventId
}

t.test('one link, two instances, ten tries at once: one of them sets the password', async (t) => {
  const { id, email, token } = await signUp(send)
  t.match((await request(email)).data, { requestPasswordResetEmail: true })
  const link = tokens.of('reset-password', await newest(id))
  const passwords = Array.from({ length: 10 }, (_, index) => `Passw0rd-${index}`)
  const answers = await Promise.all(
    passwords.map((password, index) => reset(index % 2 ? send : other.send, email, link, password)),
  )
  const winners = passwords.filter((_, index) => answers[index]?.data?.resetPassword)
  t.equal(winners.length, 1)
  for (const { errors } of answers.filter(({ errors }) => errors)) {
    t.match(errors, [{ message: 'The password token is mismatched. Reset and try again.' }])
  }
  t.ok(await signIn(send, email, winners[0]))
  t.notOk(await signIn(send, email))
  t.equal((await send('{ customer { id } }', { token })).status, 401, 'tokens end with the password')
})

t.test('a newer link ends the older one, and so does a change of the password', async (t) => {
  const { id, email, token } = await signUp(send)
  await request(email)
  const first = tokens.of('reset-password', await newest(id))
  const later = Date.now() + 11 * 60_000
  now = () => new Date(later)
  await request(email)
  const second = tokens.of('reset-password', await newest(id))
  t.not(second, first)
  const mismatch = [{ message: 'The password token is mismatched. Reset and try again.' }]
  t.match((await reset(send, email, first, 'N3w-password')).errors, mismatch)
  await send(
    `mutation { changeCustomerPassword(currentPassword: "${PASSWORD}", newPassword: "N3w-password") { id } }`,
    {
      token,
    },
  )
  t.match((await reset(send, email, second, 'Th1rd-password')).errors, mismatch)
  now = () => new Date()
})

t.test('whoever has tried too many passwords can sign in after a reset', async (t) => {
  const { id, email } = await signUp(send)
  for (let i = 0; i < 6; i++) t.notOk(await signIn(other.send, email, `wr0ng-Password-${i}`))
  t.notOk(await signIn(send, email), 'not before')
  await request(email)
  const link = tokens.of('reset-password', await newest(id))
  t.match((await reset(send, email, link, 'N3w-password')).data, { resetPassword: true })
  t.ok(await signIn(other.send, email, 'N3w-password'))
})

t.test('mails are limited, and nobody is told', async (t) => {
  const { id, email } = await signUp(send)
  await request(email)
  const first = await newest(id)
  t.match((await request(email)).data, { requestPasswordResetEmail: true })
  t.equal(await newest(id), first, 'ten minutes in between')
  t.match((await request(freshEmail())).data, { requestPasswordResetEmail: true }, 'an address that nobody has')
  const answers = await Promise.all([
    reset(send, email, 'wrong', 'N3w-password'),
    reset(send, freshEmail(), 'wrong', 'N3w-password'),
  ])
  t.same(answers[0]?.errors, answers[1]?.errors, 'a wrong token and an unknown address are answered alike')
})

t.test('no token of a mail is in the log', async (t) => {
  const { id, email } = await signUp(send)
  await request(email)
  const link = tokens.of('reset-password', await newest(id))
  for await (const event of eventStore.readAll()) t.notMatch(JSON.stringify([event.data, event.metadata]), link)
})

t.test('a deleted customer: gone for every instance, the address free at once', async (t) => {
  const { id, email, token } = await signUp(send)
  t.match((await other.send('{ customer { id } }', { token })).data, { customer: { id } })
  t.match((await send('mutation { deleteCustomer }', { token })).data, { deleteCustomer: true })
  t.equal((await other.send('{ customer { id } }', { token })).status, 401)
  t.notOk(await signIn(other.send, email))
  for (const stream of [`customerCredentials-${id}`, `customerSignIns-${id}`]) {
    await t.rejects(eventStore.readStream(stream)[Symbol.asyncIterator]().next(), { name: 'StreamNotFound' })
  }
  const again = await signUp(other.send, email)
  t.not(again.id, id)
})

t.test('an idempotency key: deleted once, answered again', async (t) => {
  const { token } = await signUp(send)
  const headers = { 'idempotency-key': 'delete-me' }
  t.match((await send('mutation { deleteCustomer }', { token, headers })).data, { deleteCustomer: true })
  t.match((await send('mutation { deleteCustomer }', { token, headers })).data, { deleteCustomer: true })
})
