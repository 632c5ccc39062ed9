/** Magento's own API tests of the customer's query, the availability of an address, and the newsletter, with default settings. */
import t from 'tap'
import { freshEmail, signUp, startGraph } from '../support/graph.ts'
import {
  alreadyExists,
  check,
  GUEST,
  input,
  LOCKED,
  type Operation,
  QUICK_STORE,
  signUpLocked,
} from '../support/magento.ts'

const { send } = await startGraph(t, { store: QUICK_STORE })
const other = await signUp(send)

t.test('customer', async (t) => {
  const { token, email, id } = await signUp(send)
  const locked = await signUpLocked(send)
  const query = '{ customer { id firstname lastname email } }'
  await check(t, send, [
    {
      name: 'one’s own',
      query,
      token,
      gives: { customer: { id, firstname: 'Ann', lastname: 'Lee', email } },
    },
    { name: 'as a guest', query, refused: GUEST },
    { name: 'as a guest, the subscription', query: '{ customer { is_subscribed } }', refused: GUEST },
    { name: 'a locked account', query, token: locked.token, refused: LOCKED },
    {
      name: 'a locked account, its addresses',
      query: '{ customer { addresses { id } } }',
      token: locked.token,
      refused: LOCKED,
    },
    {
      name: 'a new customer is not subscribed, and needed no confirmation',
      query: '{ customer { is_subscribed confirmation_status } }',
      token,
      gives: { customer: { is_subscribed: false, confirmation_status: 'ACCOUNT_CONFIRMATION_NOT_REQUIRED' } },
    },
    { name: 'as a guest, the confirmation', query: '{ customer { confirmation_status } }', refused: GUEST },
    {
      name: 'the group is not told',
      query: '{ customer { email group { uid } } }',
      token,
      gives: { customer: { email, group: null } },
    },
  ])
  t.type(id, 'number')
})

t.test('isEmailAvailable', (t) =>
  check(t, send, [
    ...([other.email, 'nobody@example.com'] as const).map((email) => ({
      name: `the store does not tell: ${email}`,
      query: `{ isEmailAvailable(email: "${email}") { is_email_available } }`,
      gives: { isEmailAvailable: { is_email_available: true } },
    })),
    {
      name: 'with a token',
      query: '{ isEmailAvailable(email: "nobody@example.com") { is_email_available } }',
      token: other.token,
      gives: { isEmailAvailable: { is_email_available: true } },
    },
    {
      name: 'an empty address',
      query: '{ isEmailAvailable(email: "") { is_email_available } }',
      refused: input('Email must be specified'),
    },
    {
      name: 'no address',
      query: '{ isEmailAvailable(email: "invalid-email") { is_email_available } }',
      refused: input('Email is invalid'),
    },
    {
      name: 'no argument',
      query: '{ isEmailAvailable { is_email_available } }',
      invalid: /Field "isEmailAvailable" argument "email" of type "String!" is required/,
    },
  ]),
)

t.test('subscribeEmailToNewsletter', async (t) => {
  const customer = await signUp(send)
  const locked = await signUpLocked(send)
  const subscribe = (email: string, token?: string): Operation => ({
    query: 'mutation($email: String!) { subscribeEmailToNewsletter(email: $email) { status } }',
    variables: { email },
    token,
  })
  const subscribed = { subscribeEmailToNewsletter: { status: 'SUBSCRIBED' } }
  const guest = freshEmail()
  await check(t, send, [
    { name: 'a guest', ...subscribe(guest), gives: subscribed },
    { name: 'a guest again', ...subscribe(guest), refused: alreadyExists('This email address is already subscribed.') },
    { name: 'a guest, no address', ...subscribe('guest.example.com'), refused: input('Enter a valid email address.') },
    {
      name: 'a guest, an empty address',
      ...subscribe(''),
      refused: input('You must specify an email address to subscribe to a newsletter.'),
    },
    { name: 'a customer', ...subscribe(customer.email, customer.token), gives: subscribed },
    {
      name: 'and the customer says so',
      query: '{ customer { is_subscribed } }',
      token: customer.token,
      gives: { customer: { is_subscribed: true } },
    },
    {
      name: 'a customer again',
      ...subscribe(customer.email, customer.token),
      refused: alreadyExists('This email address is already subscribed.'),
    },
    {
      name: 'a customer, no address',
      ...subscribe('customer.example.com', customer.token),
      refused: input('Enter a valid email address.'),
    },
    {
      name: 'the address of another customer',
      ...subscribe(other.email, customer.token),
      refused: input('Cannot create a newsletter subscription.'),
    },
    { name: 'a locked customer', ...subscribe(locked.email, locked.token), gives: subscribed },
  ])
})
