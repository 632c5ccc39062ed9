/** A process killed between any two writes of one command leaves nothing stuck. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import t, { type Test } from 'tap'
import { keysOf } from '../../eventstore/encryption/customer-keys.ts'
import { type EventStore, EventStoreUnavailable } from '../../eventstore/port.ts'
import { orNone } from '../../eventstore/read.ts'
import { registerStream } from '../../projections/fence/register.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { emailKeyOf } from '../../schema/email-key.ts'
import { createMailTokens } from '../../schema/mail-tokens.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import {
  CREATE_ADDRESS,
  environment,
  type GraphQLAnswer,
  PASSWORD,
  type Send,
  signIn,
  signUp,
  startSubgraph,
  TEXAN,
  temporaryFolder,
} from '../support/graph.ts'
import { REVOKED, refusesToken } from '../support/magento.ts'

interface Request {
  readonly query: string
  readonly variables?: object
  readonly token?: string | undefined
}

/**
 * Prepares data once; then runs the command, copies the data after each write that it makes, before anybody is told of it,
 * and lets `check` do on each copy what a customer would do next. A copy holds what SIGKILL would leave at that moment:
 * the files as the system has them, with an open write-ahead log.
 */
async function killEverywhere(
  t: Test,
  options: {
    readonly prepare: (send: Send, eventStore: EventStore, folder: string) => Promise<Request>
    readonly check: (t: Test, send: Send, request: Request, eventStore: EventStore) => Promise<void>
    readonly atLeast: number
    /** The error that the command is to answer with when nothing kills it; default: none. */
    readonly answers?: string
    /** Also for outages of the stores after each write, through which the process lives: what it may answer then. */
    readonly outages?: (t: Test, answer: GraphQLAnswer) => void | Promise<void>
  },
) {
  const folder = await temporaryFolder(t)
  const prepared = await temporaryFolder(t)
  let request: Request | undefined
  let before = ''
  await t.test('prepare', async (t) => {
    const { send, eventStore } = await startSubgraph(t, { folder })
    request = await options.prepare(send, eventStore, folder)
    before = await trustedIn(eventStore)
  })
  const command = request as unknown as Request
  execFileSync('cp', ['-R', `${folder}/.`, prepared])

  const copies = await temporaryFolder(t)
  const left: string[] = []
  /** Copies at once, in a process of its own: to close a file of SQLite here would release the locks on it. */
  function copied<A extends unknown[], R>(write: (...args: A) => Promise<R>) {
    return async (...args: A): Promise<R> => {
      const result = await write(...args)
      if (args[0] === 'readModelFence') return result // beside the command, at its own times
      const copy = join(copies, String(left.length + 1))
      execFileSync('cp', ['-R', folder, copy])
      left.push(copy)
      return result
    }
  }
  const copying = (store: EventStore): EventStore => ({
    ...store,
    append: copied(store.append),
    setStreamMetadata: copied(store.setStreamMetadata),
    deleteStream: copied(store.deleteStream),
  })
  await t.test('the command', async (t) => {
    const wrapped = { wrapEventStore: copying, wrapKeyStore: copying }
    const { send } = await startSubgraph(t, { folder, projection: false, ...wrapped })
    const answer = await send(command.query, command)
    t.equal(answer.errors?.[0].message, options.answers, 'left alone, it answers')
  })
  const writes = left.length
  t.ok(writes >= options.atLeast, `it makes ${writes} writes`)
  for (const [index, folder] of left.entries()) {
    await t.test(`killed after write ${index + 1} of ${writes}`, async (t) => {
      const { send, eventStore } = await startSubgraph(t, { folder })
      await options.check(t, send, command, eventStore)
    })
  }
  if (!options.outages) return
  for (let write = 1; write <= writes; write++) {
    await t.test(`the stores are away after write ${write} of ${writes}, and come back`, async (t) => {
      const folder = join(copies, `outage-${write}`)
      execFileSync('cp', ['-R', prepared, folder])
      const outage = startOutage(write)
      const { send, eventStore } = await startSubgraph(t, {
        folder,
        wrapEventStore: outage.wrap,
        wrapKeyStore: outage.wrap,
      })
      // A copied read model is another one: until it is trusted instead, a write needs the event store once more.
      await trustedIn(eventStore, before)
      await options.outages?.(t, await send(command.query, command))
      outage.end()
      await options.check(t, send, command, eventStore)
    })
  }
}

/** The read model that the instances believe, once it is another one than `before`; where it stays away, nothing. */
async function trustedIn(eventStore: EventStore, before?: string): Promise<string> {
  for (let round = 0; round < 100; round++) {
    const [trusted] = (await registerStream(eventStore).load()).trusted
    if (trusted !== undefined && trusted !== before) return trusted
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return ''
}

/** Stores that fail together, for reads and writes, once so many writes have been made. */
function startOutage(after: number) {
  let writes = 0
  let isOver = false
  const isAway = () => !isOver && writes >= after
  const away = () => new EventStoreUnavailable('away')
  const failing =
    <A extends unknown[], R>(work: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      if (isAway()) throw away()
      const result = await work(...args)
      // The lease's register is written beside the command, and at its own times.
      if (args[0] !== 'readModelFence') writes++
      return result
    }
  return {
    wrap: (store: EventStore): EventStore => ({
      ...store,
      append: failing(store.append),
      setStreamMetadata: failing(store.setStreamMetadata),
      deleteStream: failing(store.deleteStream),
      async *readStream(stream, options) {
        if (isAway()) throw away()
        yield* store.readStream(stream, options)
      },
    }),
    end() {
      isOver = true
    },
  }
}

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
  let found = await look()
  for (let round = 0; round < 500 && !isDeepStrictEqual(found, expected); round++) {
    await new Promise((resolve) => setTimeout(resolve, 10))
    found = await look()
  }
  t.same(found, expected)
}

const email = 'ann@example.com'

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
