/** How many verified tokens a gateway keeps, and for how long. */
import { generateKeyPairSync } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { createSigner } from 'fast-jwt'
import t from 'tap'
import { createAuthentication } from '../../gateway/authentication/authentication.ts'
import { createIssuers } from '../../gateway/authentication/issuers.ts'

const { publicKey, privateKey } = generateKeyPairSync('ed25519')
const pem = (key: typeof publicKey, type: 'spki' | 'pkcs8') => key.export({ type: type as 'spki', format: 'pem' })
const sign = createSigner({ algorithm: 'EdDSA', key: pem(privateKey, 'pkcs8') as string, expiresIn: 60_000 })
const issuers = () => createIssuers({ own: { publicKey: pem(publicKey, 'spki') as string } })

t.test('the tokens used last are kept, so many as configured', async (t) => {
  const checked: string[] = []
  const authenticate = createAuthentication(issuers(), {
    cachedTokens: 2,
    // A token that is no longer kept is checked as if it had never been seen.
    isActive: async (token) => {
      checked.push(token)
      return true
    },
  })
  const [a, b, c] = ['1', '2', '3'].map((sub) => sign({ sub })) as [string, string, string]
  const use = async (token: string) => (await (await authenticate(`Bearer ${token}`)).settled)?.isAllowed
  for (const token of [a, b, a, b]) await use(token)
  t.same(checked, [a, b])
  await use(c)
  await use(b)
  t.same(checked, [a, b, c], 'b is still there')
  await use(a)
  t.same(checked, [a, b, c, a], 'a gave way to c')
})

t.test('a clock that is set back lets no revoked token count for longer', async (t) => {
  let isRevoked = false
  const authenticate = createAuthentication(issuers(), { isActive: async () => !isRevoked })
  const header = `Bearer ${sign({ sub: '1' })}`
  const verdict = async () => {
    const first = await authenticate(header)
    return ((await first.settled) ?? first).isAllowed
  }
  t.equal(await verdict(), true)
  const { now } = Date
  t.intercept(Date, 'now', { value: () => now() - 3_600_000, configurable: true })
  isRevoked = true
  await delay(1_000)
  t.equal(await verdict(), false)
})
