/** CAPTCHA as Magento 2.4.9 has it in GraphQL, with a provider of our own. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { store } from '../../schema/store.ts'
import { createCaptcha } from '../../subgraph/http/captcha.ts'
import { freshEmail, PASSWORD, signUp, startGraph } from '../support/graph.ts'
import { QUICK_STORE } from '../support/magento.ts'

const FAILED = 'ReCaptcha validation failed, please try again'

/** A provider that knows the token `good`, and scores `low` low. */
async function startProvider(t: Test) {
  const asked: URLSearchParams[] = []
  const provider = { asked, answer: undefined as undefined | { status: number; body: string }, hang: false, url: '' }
  const server = createServer(async (request, response) => {
    const given = new URLSearchParams(await text(request))
    asked.push(given)
    if (provider.hang) return
    const success = given.get('secret') === 's3cret' && ['good', 'low'].includes(given.get('response') ?? '')
    const { status = 200, body = JSON.stringify({ success, score: given.get('response') === 'low' ? 0.1 : 0.9 }) } =
      provider.answer ?? {}
    response.writeHead(status, { 'content-type': 'application/json' }).end(body)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  provider.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/siteverify`
  return provider
}

t.test('off by default', async (t) => {
  const { send } = await startGraph(t, { store: QUICK_STORE })
  t.ok((await signUp(send)).token)
  const { data } = await send(
    '{ recaptchaV3Config { is_enabled forms } recaptchaFormConfig(formType: CUSTOMER_LOGIN) { is_enabled configurations { website_key } } }',
  )
  t.same(data, {
    recaptchaV3Config: { is_enabled: false, forms: [] },
    recaptchaFormConfig: { is_enabled: false, configurations: null },
  })
})

t.test('what it protects, and what passes', async (t) => {
  const provider = await startProvider(t)
  const forms = [
    'CUSTOMER_LOGIN',
    'CUSTOMER_CREATE',
    'CUSTOMER_EDIT',
    'CUSTOMER_FORGOT_PASSWORD',
    'NEWSLETTER',
    'RESEND_CONFIRMATION_EMAIL',
  ] as const
  const captcha = { provider: 'recaptcha', websiteKey: 'site-key', verifyUrl: provider.url, forms: [...forms] } as const
  const { send } = await startGraph(t, { store: { ...QUICK_STORE, captcha }, env: { CAPTCHA_SECRET: 's3cret' } })
  const email = freshEmail()
  const create = `mutation { createCustomer(input: { firstname: "A", lastname: "B", email: "${email}", password: "${PASSWORD}" }) { customer { id } } }`
  const solved = (token: string) => ({ headers: { 'x-recaptcha': token } })

  const without = await send(create)
  t.match(without.errors, [{ message: FAILED, extensions: { category: 'graphql-input' } }])
  t.equal(provider.asked.length, 0, 'nobody is asked about no token')
  for (const token of ['bad', 'low', 'x'.repeat(9_000)])
    t.equal((await send(create, solved(token))).errors?.[0]?.message, FAILED, token.slice(0, 9))
  t.match(
    (await send(create, solved('good'))).data,
    { createCustomer: { customer: {} } },
    'the gateway passes the header on',
  )
  t.same([...(provider.asked.at(-1)?.keys() ?? [])].toSorted(), ['response', 'secret'], 'nothing else is told')

  const signIn = `mutation { generateCustomerToken(email: "${email}", password: "${PASSWORD}") { token } }`
  t.equal((await send(signIn)).errors?.[0]?.message, FAILED)
  const { token } = (await send(signIn, { headers: { 'x-captcha': 'good' } })).data.generateCustomerToken
  for (const mutation of [
    'updateCustomer(input: { firstname: "C" }) { customer { id } }',
    'updateCustomerV2(input: { firstname: "C" }) { customer { id } }',
    'createCustomerV2(input: { firstname: "A", lastname: "B", email: "z@example.com" }) { customer { id } }',
    `changeCustomerPassword(currentPassword: "${PASSWORD}", newPassword: "${PASSWORD}2") { id }`,
    `requestPasswordResetEmail(email: "${email}")`,
    'subscribeEmailToNewsletter(email: "n@example.com") { status }',
    `resendConfirmationEmail(email: "${email}")`,
  ]) {
    t.equal((await send(`mutation { ${mutation} }`, { token })).errors?.[0]?.message, FAILED, mutation)
  }
  const open = await send('mutation { createCustomerAddress(input: {}) { id } }', { token })
  t.equal(open.errors?.[0]?.message, '"input" value should be specified', 'the others are open')

  const { data } = await send(
    `{ recaptchaV3Config { is_enabled website_key minimum_score badge_position theme language_code failure_message forms }
       login: recaptchaFormConfig(formType: CUSTOMER_LOGIN) { is_enabled configurations { re_captcha_type website_key minimum_score } }
       order: recaptchaFormConfig(formType: PLACE_ORDER) { is_enabled configurations { re_captcha_type } } }`,
  )
  t.match(data, {
    recaptchaV3Config: {
      is_enabled: true,
      website_key: 'site-key',
      minimum_score: 0.5,
      failure_message: FAILED,
      forms,
    },
    login: { is_enabled: true, configurations: { re_captcha_type: 'RECAPTCHA_V3', website_key: 'site-key' } },
    order: { is_enabled: false, configurations: null },
  })

  const technical = /^Something went wrong with reCAPTCHA/
  for (const answer of [
    { status: 500, body: '' },
    { status: 200, body: 'x' },
    { status: 200, body: 'null' },
  ]) {
    provider.answer = answer
    t.match((await send(signIn, solved('good'))).errors?.[0]?.message, technical, JSON.stringify(answer))
  }
  provider.answer = undefined
  provider.hang = true
  t.match((await send(signIn, solved('good'))).errors?.[0]?.message, technical, 'a provider that hangs')
})

t.test('settings that can not be used', async (t) => {
  const captcha = { provider: 'turnstile', websiteKey: 'k' } as const
  t.throws(() => createCaptcha(store({ captcha }), undefined, undefined as never), {
    message: /^CAPTCHA_SECRET is not set; it is required where captcha\.provider is turnstile/,
  })
  t.throws(() => store({ captcha: { provider: 'hcaptcha' } }), { message: /captcha\.websiteKey/ })
  t.throws(() => store({ captcha: { provider: 'other' as never } }), { message: /captcha\.provider/ })
})
