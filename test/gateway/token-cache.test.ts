/** How many verified tokens a gateway keeps. */
import { generateKeyPairSync } from 'node:crypto'
import { createSigner } from 'fast-jwt'
import t from 'tap'
import { createAuthentication } from '../../gateway/authentication/authentication.ts'
import { createIssuers } from '../../gateway/authentication/issuers.ts'

t.test('the tokens used last are kept, so many as configured', async (t) => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const pem = (key: typeof publicKey, type: 'spki' | 'pkcs8') => key.export({ type: type as 'spki', format: 'pem' })
  const sign = createSigner({ algorithm: 'EdDSA', key: pem(privateKey, 'pkcs8') as string, expiresIn: 60_000 })
  const checked: string[] = []
  const authenticate = createAuthentication(createIssuers({ own: { publicKey: pem(publicKey, 'spki') as string } }), {
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
