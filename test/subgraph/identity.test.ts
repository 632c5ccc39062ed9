/** Passwords, tokens, keys, and the brakes on sign-in. */
import { execFileSync } from 'node:child_process'
import { argon2Sync, generateKeyPairSync, sign, verify } from 'node:crypto'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Recorded } from '../../eventstore/codec.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { prepareDataFolder } from '../../runtime/service-keys.ts'
import type { SignInEvent } from '../../schema/events.ts'
import { store as defaultStore } from '../../schema/store.ts'
import { streamOf } from '../../schema/streams.ts'
import { hashPassword, verifyPassword } from '../../subgraph/identity/passwords.ts'
import { failuresToLock, isThrottled } from '../../subgraph/identity/sign-in-history.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { createTokens } from '../../subgraph/identity/tokens.ts'
import { environment, PASSWORD, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'

t.test('password hashes', async (t) => {
  const hash = await hashPassword('pässword')
  t.match(hash, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/)
  t.not(await hashPassword('pässword'), hash, 'salted')
  t.equal(await verifyPassword('pässword', hash), true)
  t.equal(await verifyPassword('password', hash), false)
  t.equal(await verifyPassword('pässword', undefined), false)
  await t.rejects(verifyPassword('x', '$2b$10$abc'), { message: /not in the argon2id PHC format/ })
  // argon2 of the reference implementation: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1
  const reference = '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc'
  t.equal(await verifyPassword('password', reference), true)
})

t.test('a password hash is what it says: argon2id with these parameters', async (t) => {
  const passwords = join(import.meta.dirname, '../../subgraph/identity/passwords.ts')
  const script = `const { hashPassword } = await import(${JSON.stringify(passwords)}); console.log(await hashPassword('pässword'))`
  // A process as in production: in those of tests, hashes are cheap (test/support/cheap-passwords.cjs).
  const hash = execFileSync(process.execPath, ['--input-type=module', '--eval', script], {
    encoding: 'utf8',
    env: { ...process.env, TEST_REAL_PASSWORDS: '1' },
  }).trim()
  const [, , , , nonce = '', tag] = hash.split('$')
  const message = 'pässword'.normalize('NFC')
  const parameters = { message, nonce: Buffer.from(nonce, 'base64'), memory: 19_456, passes: 2, parallelism: 1 }
  const expected = argon2Sync('argon2id', { ...parameters, tagLength: 32 })
  t.equal(tag, expected.toString('base64').replace(/=+$/, ''))
})

t.test('tokens', async (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const pem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  const tokens = createTokens(pem)
  const token = tokens.issue({ customerId: 7, generation: 2 })
  const { jti } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
  const caller = { customerId: 7, generation: 2, tokenId: jti }
  t.same(tokens.verify(`Bearer ${token}`), caller)
  t.same(tokens.verify(`bearer ${token}`), caller)
  t.not(tokens.issue(caller), token)
  for (const header of [
    undefined,
    '',
    token,
    `Bearer  ${token}`,
    `Bearer ${token} `,
    `Basic ${token}`,
    'Bearer x.y.z',
  ]) {
    t.equal(tokens.verify(header), null, String(header).slice(0, 10))
  }
  const [head = '', body = '', signature = ''] = token.split('.')
  t.ok(verify(null, Buffer.from(`${head}.${body}`), publicKey, Buffer.from(signature, 'base64url')), 'Ed25519')
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString())
  t.match(claims, { sub: '7', gen: 2 })
  t.equal(claims.exp - claims.iat, 3600)
  const forged = Buffer.from(JSON.stringify({ ...claims, sub: '8' })).toString('base64url')
  t.equal(tokens.verify(`Bearer ${head}.${forged}.${signature}`), null)
  const withClaims = (changed: object) => {
    const own = `${head}.${Buffer.from(JSON.stringify({ ...claims, ...changed })).toString('base64url')}`
    return `Bearer ${own}.${sign(null, Buffer.from(own), privateKey).toString('base64url')}`
  }
  t.same(tokens.verify(withClaims({})), caller)
  for (const sub of ['07', '+7', '7e0', ' 7 ', '0x7', '7.0', '-0', '7\n', '', '1e999', '9007199254740993']) {
    t.equal(tokens.verify(withClaims({ sub })), null, `the subject ${JSON.stringify(sub)} is another text`)
  }
  const service = { sub: 'service:shop', gen: undefined, scope: 'audit:read' }
  t.match(tokens.verify(withClaims(service)), { service: 'shop', scopes: ['audit:read'] })
  for (const [what, changed] of Object.entries({
    'without an end': { exp: undefined },
    'of another issuer': { iss: 'others' },
    'for another audience': { aud: 'others' },
    'of a customer with scopes': { scope: 'audit:read' },
    'of a customer without a generation': { gen: undefined },
    'registered at no time': { reg: 'now' },
    'of a service without scopes': { ...service, scope: undefined },
    'of a service with a generation': { ...service, gen: 2 },
  })) {
    t.equal(tokens.verify(withClaims(changed)), null, `a token ${what}`)
  }
  const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url')
  t.equal(tokens.verify(`Bearer ${none}.${body}.`), null)
  const others = createTokens(
    generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  )
  t.equal(tokens.verify(`Bearer ${others.issue(caller)}`), null)

  t.match(tokens.jwks, { keys: [{ kty: 'OKP', crv: 'Ed25519', alg: 'EdDSA', use: 'sig' }] })
  t.equal(JSON.parse(Buffer.from(head, 'base64url').toString()).kid, tokens.jwks.keys[0]?.kid)
  t.notOk('d' in (tokens.jwks.keys[0] ?? {}), 'without the private part')
  const jwk = JSON.stringify(privateKey.export({ format: 'jwk' }))
  t.same(createTokens(jwk).verify(`Bearer ${token}`), caller, 'the key as JWK is the same key')
  t.same(createTokens(pem.replaceAll('\n', '\\n')).verify(`Bearer ${token}`), caller, 'and the PEM on one line')
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'pem', type: 'pkcs8' })
  for (const bad of ['secret-nonsense', '{"kty":"OKP"}', String(rsa)]) {
    t.throws(() => createTokens(bad), {
      name: 'ConfigurationError',
      message: /^TOKEN_SIGNING_KEY: its value can't be used; accepted: an Ed25519/,
    })
  }
})

t.test('an expired token is refused', async (t) => {
  const { send } = await startSubgraph(t)
  const { token } = await signUp(send)
  t.ok((await send('{ customer { id } }', { token })).data.customer)
  // The clock goes on by an hour; the token has been verified and cached before.
  const real = Date.now
  t.teardown(() => {
    Date.now = real
  })
  Date.now = () => real() + 3_601_000
  t.match((await send('{ customer { id } }', { token })).errors, [{ message: 'Consumer key has expired' }])
})

t.test('a token counts for the customer that it was issued to, and not after the deletion', async (t) => {
  const folder = await temporaryFolder(t)
  const { send } = await startSubgraph(t, { folder })
  const { id, token } = await signUp(send)
  const tokens = createTokens(loadKeys(loadConfiguration(environment(folder))).tokenSigningKey)
  const customer = { customerId: Number(id), generation: 0 }
  const old = tokens.issue(customer) // as earlier releases did, which did not say when the customer was registered
  const another = tokens.issue({ ...customer, registeredAt: 1 })
  const assertRevoked = async (token: string) => {
    for (const query of ['{ customer { id } }', '{ isEmailAvailable(email: "a@example.com") { is_email_available } }'])
      t.match((await send(query, { token })).errors, [{ message: 'User token has been revoked' }], query)
  }
  t.same((await send('{ customer { id } }', { token: old })).data, { customer: { id } })
  await assertRevoked(another)
  await assertRevoked(tokens.issue({ ...customer, customerId: Number(id) + 1_000 })) // lost with a log that was restored
  t.same((await send('mutation { deleteCustomer }', { token })).data, { deleteCustomer: true })
  for (const each of [token, old]) await assertRevoked(each)
})

const at = (seconds: number, type: SignInEvent['type'], reason = 'sign-in') =>
  ({
    type,
    data: { reason },
    metadata: { at: new Date(seconds * 1000).toISOString() },
  }) as unknown as Recorded<SignInEvent>
const { signInThrottle } = defaultStore()
const wrong = (seconds: number, reason?: string) => at(seconds, 'WrongPasswordGiven', reason)

t.test('the throttle: six failures, half an hour from the last, ended by a success or a reset', async (t) => {
  const now = (seconds: number) => new Date(seconds * 1000)
  const six = [1, 2, 3, 4, 5, 6].map((second) => wrong(second))
  t.equal(isThrottled(six.slice(1), now(7), signInThrottle), false)
  t.equal(isThrottled(six, now(7), signInThrottle), true)
  t.equal(isThrottled(six, now(1805), signInThrottle), true)
  t.equal(isThrottled(six, now(1806), signInThrottle), false)
  t.equal(isThrottled([...six, wrong(1900)], now(1901), signInThrottle), false, 'after it the count starts over')
  t.equal(isThrottled([...six.slice(0, 3), at(4, 'SignInSucceeded'), ...six.slice(3)], now(7), signInThrottle), false)
  t.equal(isThrottled([...six, at(7, 'FailuresForgiven')], now(8), signInThrottle), false, 'or by a reset')
  t.equal(
    isThrottled([...six.slice(1), wrong(6, 'change')], now(7), signInThrottle),
    false,
    'a password change is no sign-in',
  )
})

t.test('the lock: all wrong passwords since the last success and the last lock', async (t) => {
  const mixed = [wrong(1), wrong(2, 'change'), wrong(3), at(4, 'SignInSucceeded'), wrong(5), wrong(6, 'change')]
  t.equal(failuresToLock(mixed, null, 600_000), 2)
  t.equal(
    failuresToLock([...mixed, wrong(7, 'locked')], null, 600_000),
    2,
    'who tries while it is locked prolongs nothing',
  )
  t.equal(failuresToLock(mixed, new Date((5 + 600) * 1000).toISOString(), 600_000), 1, 'the lock was set at second 5')
})

t.test('guesses sent at once are counted one by one', async (t) => {
  const { send } = await startSubgraph(t)
  const { email } = await signUp(send)
  const query =
    'mutation($email: String!, $password: String!) { generateCustomerToken(email: $email, password: $password) { token } }'
  const guesses = Array.from({ length: 20 }, (_, i) => (i === 19 ? PASSWORD : `guess ${i}`))
  const answers = await Promise.all(guesses.map((password) => send(query, { variables: { email, password } })))
  t.ok(
    answers.every(({ errors }) => errors),
    'the right one came too late',
  )
  const { token } = await signUp(send)
  const change =
    'mutation($password: String!) { changeCustomerPassword(currentPassword: $password, newPassword: "N3w-password") { id } }'
  const changes = await Promise.all(guesses.map((password) => send(change, { variables: { password }, token })))
  t.ok(
    changes.every(({ errors }) => errors),
    'also where a token was stolen',
  )
})

t.test('a hash is kept no longer than its password', async (t) => {
  const { send, eventStore } = await startSubgraph(t)
  const { id, token } = await signUp(send)
  const hashes = async () => {
    const found: unknown[] = []
    for await (const { data } of eventStore.readStream(streamOf.credentials(Number(id)))) found.push(data)
    return found
  }
  const [before] = await hashes()
  const change = `mutation { changeCustomerPassword(currentPassword: "${PASSWORD}", newPassword: "N3w-password") { id } }`
  t.ok((await send(change, { token })).data)
  const after = await hashes()
  t.equal(after.length, 1)
  t.notSame(after[0], before)
})

t.test('keys are made once, for the owner alone, and kept', async (t) => {
  const folder = await temporaryFolder(t)
  const configuration = loadConfiguration({ ...environment(folder), TOKEN_SIGNING_KEY: '', EMAIL_HASH_KEY: '' })
  t.throws(() => loadKeys(configuration), { message: /token-signing-key.pem is missing: put it back/ })
  t.same(await readdir(folder), [], 'nothing is made in passing')
  prepareDataFolder(configuration, false)()
  t.same(await readdir(folder), [], 'nor beside a log')
  prepareDataFolder(configuration, true)()
  const keys = loadKeys(configuration)
  prepareDataFolder(configuration, true)()
  t.same(loadKeys(configuration), keys)
  t.equal((await stat(join(folder, 'token-signing-key.pem'))).mode & 0o777, 0o600)
  t.equal(await readFile(join(folder, 'email-hash-key'), 'utf8'), keys.emailHashKey)
  const configured = loadConfiguration({ ...environment(folder), EMAIL_HASH_KEY: 'x'.repeat(32) })
  t.equal(loadKeys(configured).emailHashKey, 'x'.repeat(32))
  const server = { ...configuration, EVENTSTORE_URL: 'esdb://localhost:2113' }
  t.throws(() => loadKeys(server), {
    name: 'ConfigurationError',
    message: /^TOKEN_SIGNING_KEY is not set; it is required unless .* npm run secrets/,
  })
  await writeFile(join(folder, 'file'), '')
  t.throws(() => loadKeys({ ...configuration, DATA_DIR: join(folder, 'file') }))
})
