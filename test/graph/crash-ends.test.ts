/** A process killed between any two writes of one command leaves nothing stuck: locked, deleted and recovered accounts. */
import { isDeepStrictEqual } from 'node:util'
import t, { type Test } from 'tap'
import { keysOf } from '../../eventstore/encryption/customer-keys.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { orNone } from '../../eventstore/read.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { emailKeyOf } from '../../schema/email-key.ts'
import { createMailTokens } from '../../schema/mail-tokens.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { environment, signIn, signUp } from '../support/graph.ts'
import { REVOKED, refusesToken } from '../support/magento.ts'
import { until } from '../support/until.ts'
import { email, killEverywhere } from './crash-support.ts'

/** Waits until all that follows from the deletion is done, by whoever does it. */
async function assertErased(t: Test, eventStore: EventStore, customerId: number, emailKey: string): Promise<void> {
  const newest = async (stream: string) => {
    for await (const { type } of orNone(eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 }))) {
      return type
    }
    return 'none'
  }
  const look = async () => ({
    customer: await newest(`customer-${customerId}`),
    credentials: await newest(`customerCredentials-${customerId}`),
    signIns: await newest(`customerSignIns-${customerId}`),
    claim: await newest(`customerEmail-${emailKey}`),
    subscriber: await newest(`newsletterSubscriber-${emailKey}`),
    isKeyDestroyed: await keysOf(eventStore).isDestroyed(String(customerId)),
    isGuestKeyDestroyed: await keysOf(eventStore).isDestroyed(emailKey),
  })
  const expected = {
    customer: 'CustomerDeleted',
    credentials: 'none',
    signIns: 'none',
    claim: 'EmailReleased',
    subscriber: 'GuestErased',
    isKeyDestroyed: true,
    isGuestKeyDestroyed: true,
  }
  let found: object = {}
  const isErased = async () => {
    found = await look()
    return isDeepStrictEqual(found, expected)
  }
  await until('all is erased', isErased).catch(() => {})
  t.same(found, expected)
}

t.test('a failed sign-in that locks: locked by the next attempt at the latest', (t) =>
  killEverywhere(t, {
    atLeast: 2, // the failure, the lock
    answers: 'The account is locked.',
    prepare: async (send) => {
      const { token } = await signUp(send, email)
      const query = 'mutation { changeCustomerPassword(currentPassword: "guess", newPassword: "N3w-password") { id } }'
      for (let i = 0; i < 9; i++) await send(query, { token })
      return { query, token }
    },
    check: async (t, send, request) => {
      t.match((await send(request.query, request)).errors, [{ message: 'The account is locked.' }])
      t.match((await send('{ customer { id } }', request)).errors, [{ message: 'The account is locked.' }])
    },
  }),
)

t.test('deleteCustomer: deleted, and all that follows from it is done by whoever comes next', (t) => {
  let emailKey = ''
  return killEverywhere(t, {
    // The deletion, the guest's end and key, the password, the record of sign-ins, the claim, the key (and what was before).
    atLeast: 8,
    outages: (t, { data, errors }) => {
      t.equal(errors, undefined, 'it was decided')
      t.same(data, { deleteCustomer: true })
    },
    prepare: async (send, _, folder) => {
      emailKey = emailKeyOf(loadKeys(loadConfiguration(environment(folder))).emailHashKey, email)
      await send(`mutation { subscribeEmailToNewsletter(email: "${email}") { status } }`)
      return { query: 'mutation { deleteCustomer }', token: (await signUp(send, email)).token }
    },
    check: async (t, send, request, eventStore) => {
      refusesToken(t, await send('{ customer { email } }', { token: request.token }), REVOKED)
      await assertErased(t, eventStore, 1, emailKey)
      t.notOk(await signIn(send, email))
      t.ok((await signUp(send, email)).token, 'the address is free')
    },
  })
})

t.test('resetPassword: one of the passwords is right, and the link holds until it was used', (t) => {
  const request = (token: string) =>
    `mutation { resetPassword(email: "${email}", resetPasswordToken: "${token}", newPassword: "N3w-password") }`
  return killEverywhere(t, {
    atLeast: 3, // credentials, the fact, failures forgiven
    outages: (t, { errors }) => {
      if (errors) t.match(errors, [{ extensions: { code: 'SERVICE_UNAVAILABLE' } }])
    },
    prepare: async (send, eventStore, folder) => {
      await signUp(send, email)
      await send(`mutation { requestPasswordResetEmail(email: "${email}") }`)
      const { emailHashKey } = loadKeys(loadConfiguration(environment(folder)))
      let eventId = ''
      for await (const event of eventStore.readStream('customer-1')) eventId = event.id
      return { query: request(createMailTokens(emailHashKey).of('reset-password', eventId)) }
    },
    check: async (t, send, { query }) => {
      const reset = await signIn(send, email, 'N3w-password')
      t.equal(reset !== undefined, (await signIn(send, email)) === undefined, 'one of them')
      const again = await send(query)
      if (reset) t.match(again.errors, [{ message: 'The password token is mismatched. Reset and try again.' }])
      else t.match(again.data, { resetPassword: true })
      t.ok(await signIn(send, email, 'N3w-password'))
    },
  })
})
