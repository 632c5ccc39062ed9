/** The store's settings: Magento's defaults, laid over by a file, checked at start. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { loadStore, store } from '../../schema/store.ts'
import { temporaryFolder } from '../support/graph.ts'

t.test("defaults are Magento's", async (t) => {
  t.match(loadStore(), {
    account: { confirmationRequired: false, defaultGroup: 1, shareGroup: false },
    password: { minimumLength: 8, requiredCharacterClasses: 3, resetLinkHours: 2, resetRequestsPerHour: 5 },
    lockout: { failures: 10, minutes: 10 },
    signInThrottle: { failures: 6, seconds: 1800 },
    token: { lifetimeMinutes: 60 },
    address: { streetLines: 2, telephone: 'required', company: 'optional', fax: 'optional' },
    newsletter: { active: true, confirmationRequired: false, allowGuests: true },
    countries: { allowed: 'all', postcodeOptional: ['HK', 'IE', 'MO', 'PA', 'GB'] },
    customAttributes: { customer: [], address: [] },
  })
  t.equal(loadStore().countries.regionRequired.length, 36)
})

t.test('a file says what is different', async (t) => {
  const file = join(await temporaryFolder(t), 'store.yaml')
  await writeFile(
    file,
    `
password: { minimumLength: 12 }
customAttributes:
  customer:
    - { code: club, label: Club, type: select, options: [{ value: "1", label: Gold }] }
`,
  )
  const loaded = loadStore(file)
  t.match(loaded.password, { minimumLength: 12, requiredCharacterClasses: 3 }, 'the rest stays')
  t.match(loaded.customAttributes, { customer: [{ code: 'club', required: false }], address: [] })
  await writeFile(file, '')
  t.same(loadStore(file), loadStore(), 'an empty file changes nothing')
})

t.test('what can not be used is named', async (t) => {
  const folder = await temporaryFolder(t)
  const file = join(folder, 'store.yaml')
  const refused = async (text: string, message: RegExp) => {
    await writeFile(file, text)
    t.throws(() => loadStore(file), { name: 'StoreSettingsError', message })
  }
  await refused('password: { minimumLength: long }', /^STORE_CONFIG: .*store\.yaml: password\.minimumLength: .*number/)
  await refused('pasword: {}', /pasword: there is no such setting/)
  await refused('lockout: { failurs: 3 }', /lockout\.failurs: there is no such setting/)
  await refused('account: { defaultGroup: 9 }', /account\.defaultGroup: the id of one of the groups/)
  await refused('countries: { allowed: [usa] }', /countries\.allowed/)
  await refused(
    'customAttributes: { customer: [{ code: a, label: A, type: select }] }',
    /customAttributes\.customer\.0\.options: options go with/,
  )
  await refused('- a list', /accepted: settings as in schema\/store\.yaml/)
  await refused('{', /can't be read/)
  t.throws(() => loadStore(join(folder, 'none.yaml')), { message: /none\.yaml" can't be read \(ENOENT\)/ })
  t.throws(() => store({ token: { lifetimeMinutes: 0 } }), { message: /token\.lifetimeMinutes/ })
})
