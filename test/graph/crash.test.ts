/** A process killed between any two writes of one command leaves nothing stuck: new customers, and their changes. */
import t from 'tap'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { createMailTokens } from '../../schema/mail-tokens.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { CREATE_ADDRESS, environment, PASSWORD, signIn, signUp, TEXAN } from '../support/graph.ts'
import { email, killEverywhere } from './crash-support.ts'

t.test('createCustomer: the address can be registered, once', (t) =>
  killEverywhere(t, {
    atLeast: 5, // ids, claim, metadata and credentials, the customer
    outages: (t, { errors }) => {
      if (errors) t.match(errors, [{ extensions: { code: 'SERVICE_UNAVAILABLE' } }])
    },
    prepare: async () => ({
      query: 'mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id email } } }',
      variables: { input: { firstname: 'Ann', lastname: 'Lee', email, password: PASSWORD } },
    }),
    check: async (t, send, request) => {
      const again = await send(request.query, request)
      // Either the first one came about, though nobody was told, or the second one does.
      if (again.errors) t.match(again.errors, [{ message: /^A customer with the same email address already exists/ }])
      else t.match(again.data, { createCustomer: { customer: { email } } })
      t.ok(await signIn(send, email), 'the customer can sign in')
      t.match((await send(request.query, request)).errors, [{ message: /^A customer with the same email/ }])
    },
  }),
)

t.test('updateCustomer: the customer has one of the two addresses, and the other is free', (t) =>
  killEverywhere(t, {
    atLeast: 3, // claim, change, release
    outages: (t, { errors }) => {
      if (errors) t.match(errors, [{ extensions: { code: 'SERVICE_UNAVAILABLE' } }])
    },
    prepare: async (send) => {
      const { token } = await signUp(send, email)
      return {
        query: 'mutation($input: CustomerInput!) { updateCustomer(input: $input) { customer { email } } }',
        variables: { input: { email: 'new@example.com', password: PASSWORD } },
        token,
      }
    },
    check: async (t, send, { token }) => {
      const { data } = await send('{ customer { email } }', { token })
      const has = data.customer.email as string
      const other = has === email ? 'new@example.com' : email
      t.ok(await signIn(send, has), `signs in as ${has}`)
      const create = 'mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { email } } }'
      const taken = await send(create, { variables: { input: { firstname: 'B', lastname: 'C', email: has } } })
      t.match(taken.errors, [{ message: /^A customer with the same email/ }])
      const free = await send(create, { variables: { input: { firstname: 'B', lastname: 'C', email: other } } })
      t.equal(free.errors, undefined, `${other} is free`)
      // The first customer can't get at it any more, and keeps its own.
      t.match((await send('{ customer { email } }', { token })).data, { customer: { email: has } })
    },
  }),
)

t.test('changeCustomerPassword: exactly one of the passwords is right, and the record says so', (t) =>
  killEverywhere(t, {
    atLeast: 2, // credentials, the fact
    outages: (t, { errors }) => {
      if (errors) t.match(errors, [{ extensions: { code: 'SERVICE_UNAVAILABLE' } }])
    },
    prepare: async (send) => {
      const { token } = await signUp(send, email)
      return {
        query: `mutation { changeCustomerPassword(currentPassword: "${PASSWORD}", newPassword: "N3w-password") { id } }`,
        token,
      }
    },
    check: async (t, send, _, eventStore) => {
      const [before, after] = [await signIn(send, email), await signIn(send, email, 'N3w-password')]
      t.notOk(before)
      t.ok(after)
      const types: string[] = []
      for await (const { type } of eventStore.readStream('customer-1')) types.push(type)
      t.same(types, ['CustomerRegistered', 'CustomerPasswordChanged', 'CustomerTokensRevoked'])
      const change =
        'mutation { changeCustomerPassword(currentPassword: "N3w-password", newPassword: "Th1rd-password") { id } }'
      t.equal((await send(change, { token: after })).errors, undefined)
    },
  }),
)

t.test('createCustomerAddress', (t) =>
  killEverywhere(t, {
    atLeast: 2, // ids, the address
    outages: (t, { errors }) => {
      if (errors) t.match(errors, [{ extensions: { code: 'SERVICE_UNAVAILABLE' } }])
    },
    prepare: async (send) => ({
      query: CREATE_ADDRESS,
      variables: { input: { ...TEXAN, default_billing: true } },
      token: (await signUp(send, email)).token,
    }),
    check: async (t, send, request) => {
      const again = await send(request.query, request)
      t.equal(again.errors, undefined)
      const { data } = await send('{ customer { default_billing addresses { id } } }', { token: request.token })
      t.equal(data.customer.default_billing, String(again.data.createCustomerAddress.id))
      const ids = data.customer.addresses.map(({ id }: { id: number }) => id)
      t.equal(new Set(ids).size, ids.length)
    },
  }),
)

const SUBSCRIBE = `mutation { subscribeEmailToNewsletter(email: "${email}") { status } }`

t.test('a guest subscribes: once, and can be erased', (t) =>
  killEverywhere(t, {
    atLeast: 4, // log and key store name each other, the key, the subscription
    prepare: async () => ({ query: SUBSCRIBE }),
    check: async (t, send, request, eventStore) => {
      const again = await send(request.query, request)
      if (again.errors) t.match(again.errors, [{ message: /already subscribed/ }])
      else t.match(again.data, { subscribeEmailToNewsletter: { status: 'SUBSCRIBED' } })
      const { token } = await signUp(send, email)
      const { data } = await send('{ customer { is_subscribed } }', { token })
      t.equal(data.customer.is_subscribed, true, 'the subscription is theirs')
      t.match((await send('mutation { deleteCustomer }', { token })).data, { deleteCustomer: true })
      const next = await signUp(send, email)
      const free = await send('{ customer { is_subscribed } }', { token: next.token })
      t.equal(free.data.customer.is_subscribed, false, 'and ends with them')
      for await (const { stream, data } of eventStore.readAll()) {
        if (stream.startsWith('newsletterSubscriber-')) t.notMatch(JSON.stringify(data), email)
      }
    },
  }),
)

t.test('a subscribed guest registers, and does not want letters', (t) =>
  killEverywhere(t, {
    atLeast: 4, // claim, credentials, the customer, the guest's end
    prepare: async (send) => {
      await send(SUBSCRIBE)
      const input = { firstname: 'Ann', lastname: 'Lee', email, password: PASSWORD, is_subscribed: false }
      const query = 'mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { is_subscribed } } }'
      return { query, variables: { input } }
    },
    check: async (t, send, request) => {
      const again = await send(request.query, request)
      if (again.errors) t.match(again.errors, [{ message: /^A customer with the same email/ }])
      const token = await signIn(send, email)
      t.same((await send('{ customer { is_subscribed } }', { token })).data, { customer: { is_subscribed: false } })
      t.match((await send(SUBSCRIBE)).data, { subscribeEmailToNewsletter: { status: 'SUBSCRIBED' } })
      t.same((await send('{ customer { is_subscribed } }', { token })).data, { customer: { is_subscribed: true } })
    },
  }),
)

t.test('a guest’s link subscribes the customer that the guest has become', (t) =>
  killEverywhere(t, {
    atLeast: 2, // the subscription, the guest's end
    store: { newsletter: { confirmationRequired: true } },
    prepare: async (send, eventStore, folder) => {
      await send(SUBSCRIBE)
      let id = ''
      for await (const event of eventStore.readAll()) if (event.type === 'GuestConfirmationRequested') id = event.id
      await signUp(send, email)
      const { emailHashKey } = loadKeys(loadConfiguration(environment(folder)))
      const key = createMailTokens(emailHashKey).of('confirm-newsletter', id)
      return {
        query:
          'mutation($email: String!, $key: String!) { confirmNewsletterSubscription(email: $email, confirmation_key: $key) { status } }',
        variables: { email, key },
      }
    },
    check: async (t, send, request) => {
      const again = await send(request.query, request)
      if (again.errors) t.match(again.errors, [{ extensions: { category: 'graphql-input' } }])
      const token = await signIn(send, email)
      t.same((await send('{ customer { is_subscribed } }', { token })).data, { customer: { is_subscribed: true } })
    },
  }),
)
