/** Bench of what must not tell: whether anybody has an address, and by which hash, from the time of a refused sign-in. */

import { argon2Sync, createHash, randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import type { CustomerEvent } from '../../schema/events.ts'
import { store as storeSettings } from '../../schema/store.ts'
import { streamOf } from '../../schema/streams.ts'
import { createCommand, encodeAll } from '../../subgraph/commands/command.ts'
import { importFiles } from '../../subgraph/import/importer.ts'
import { buildSubgraph } from '../../subgraph/server.ts'
import { aCustomer, customersFile } from '../support/magento-export.ts'
import { median, type Ratio } from './compare.ts'
import type { Servers } from './servers.ts'
import { openStores } from './stores.ts'

/** Of the difference between two medians: a tenth. */
const AIM = 0.9
const PASSWORD = 'Str0ng-pass'
const SALT = 'DLX5pfEnbEFMlrY2DQBhzDhOxoUkCDv4'

const md5 = (text: string) => createHash('md5').update(text).digest('hex')
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const argon = (message: string) =>
  argon2Sync('argon2id', {
    message,
    nonce: Buffer.from(SALT).subarray(0, 16),
    memory: 65_536,
    passes: 2,
    parallelism: 1,
    tagLength: 32,
  }).toString('hex')

/** Rows as Magento exports them, by what is stored of the password. */
const IMPORTED: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'our own hash': { password: PASSWORD },
  md5: { password_hash: `${md5(SALT + PASSWORD)}:${SALT}:0` },
  'SHA-256': { password_hash: `${sha256(SALT + PASSWORD)}:${SALT}:1` },
  argon2id13: { password_hash: `${argon(PASSWORD)}:${SALT}:2` },
  'argon2id13 with its parameters': { password_hash: `${argon(PASSWORD)}:${SALT}:3_32_2_67108864` },
  'SHA-256, upgraded': { password_hash: `${argon(sha256(SALT + PASSWORD))}:${SALT}:1:2` },
  'no password': {},
  locked: { password: PASSWORD },
  unconfirmed: { password: PASSWORD },
}
const FORMS = Object.keys(IMPORTED)
/** Of whom a link to reset the password is asked for, too. */
const RESETS = ['nobody', 'our own hash', 'locked']
const STATES: Readonly<Record<string, CustomerEvent>> = {
  locked: { type: 'CustomerLocked', data: { until: '2999-01-01T00:00:00.000Z' } },
  unconfirmed: { type: 'EmailConfirmationRequested', data: {} },
}

/**
 * Each attempt is on an address of its own, in turn with those of the other forms.
 * @param attempts of each form
 */
export async function signInBench(servers: Servers, attempts: number): Promise<Ratio[]> {
  const folder = servers.folder()
  const { eventStore, readModel, keys } = await openStores({ folder })
  const store = storeSettings({ account: { confirmationRequired: true } })
  const idOf = (form: number, attempt: number) => 1 + form * attempts + attempt
  const rows = FORMS.flatMap((form, index) =>
    Array.from({ length: attempts }, (_, attempt) => aCustomer(idOf(index, attempt), IMPORTED[form])),
  )
  const customers = join(folder, 'customers.csv')
  writeFileSync(customers, customersFile(rows))
  await importFiles({ eventStore, customers, store, emailHashKey: keys.emailHashKey, onRejected: async () => {} })
  for (const [form, event] of Object.entries(STATES)) {
    for (let attempt = 0; attempt < attempts; attempt++) {
      const options = { operation: 'bench', arguments: {}, actor: 'bench', correlationId: randomUUID(), at: new Date() }
      const stream = streamOf.customer(idOf(FORMS.indexOf(form), attempt))
      await eventStore.append(stream, encodeAll(createCommand(options), [event]), { expected: 'any' })
    }
  }

  const app = await buildSubgraph({ eventStore, readModel, keys, store })
  const times = new Map<string, number[]>()
  const measure = async (name: string, query: string) => {
    const started = performance.now()
    await app.inject({ method: 'POST', url: '/graphql', payload: { query } })
    times.set(name, [...(times.get(name) ?? []), performance.now() - started])
  }
  await warmUp(app)
  for (let attempt = 0; attempt < attempts; attempt++) {
    // Each comes first and last as often as the others: whatever else the machine does meets all alike.
    for (let turn = 0; turn <= FORMS.length; turn++) {
      const index = ((turn + attempt) % (FORMS.length + 1)) - 1
      const form = FORMS[index] ?? 'nobody'
      const email = `${index < 0 ? `nobody${attempt}` : `moved${idOf(index, attempt)}`}@example.com`
      await measure(`sign-in, ${form}`, signIn(email))
      if (RESETS.includes(form)) {
        await measure(`reset, ${form}`, `mutation { requestPasswordResetEmail(email: "${email}") }`)
      }
    }
  }
  await app.close()
  await readModel.close()
  await eventStore.close()
  return [...times.keys()]
    .filter((name) => !name.endsWith(', nobody'))
    .map((name) => compared(name, times.get(`${name.split(',')[0]}, nobody`) ?? [], times.get(name) ?? []))
}

const signIn = (email: string) =>
  `mutation { generateCustomerToken(email: "${email}", password: "Wr0ng-password") { token } }`

async function warmUp(app: FastifyInstance): Promise<void> {
  for (let i = 0; i < 10; i++) {
    await app.inject({ method: 'POST', url: '/graphql', payload: { query: signIn(`warm${i}@example.com`) } })
  }
}

/** How near the medians are: 1 where they are the same; the lowest and the highest of four parts. */
function compared(name: string, nobody: readonly number[], somebody: readonly number[]): Ratio {
  const ratio = (part: number, parts: number) => {
    const of = (all: readonly number[]) =>
      median(all.slice((part * all.length) / parts, ((part + 1) * all.length) / parts))
    const pair = [of(nobody), of(somebody)]
    return Math.min(...pair) / Math.max(...pair)
  }
  const ratios = [0, 1, 2, 3].map((part) => ratio(part, 4))
  const figures = (all: readonly number[]) => ({ perSecond: 1_000 / median(all), p50: median(all) })
  return {
    name: `${name} / nobody`,
    ratio: ratio(0, 1),
    lowest: Math.min(...ratios),
    highest: Math.max(...ratios),
    aim: AIM,
    ours: figures(somebody),
    other: figures(nobody),
  }
}
