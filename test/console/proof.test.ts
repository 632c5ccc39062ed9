/** The pages Proof, Keys and access, Who looked and Settings: without scripts, and in a real browser. */
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { newestLooks } from '../../audit/looks.ts'
import { type InclusionProof, proveInclusion } from '../../audit/proof/inclusion.ts'
import { writeCheckpoint } from '../../audit/proof/signed-checkpoints.ts'
import { loadSigningKey, publicPem, readAuditKey, type SigningKey } from '../../audit/proof/signing-key.ts'
import { lastVerification } from '../../audit/proof/verifications.ts'
import { recordExport, recordReveal } from '../../audit/reveals.ts'
import { serviceTokens } from '../../audit/service-tokens.ts'
import type { ConsoleOptions } from '../../console/routes.ts'
import { acceptKeys } from '../../eventstore/encryption/key-fingerprints.ts'
import type { ReadAllOptions, RecordedEvent } from '../../eventstore/port.ts'
import { orNone } from '../../eventstore/read.ts'
import { STREAM_NAMES } from '../../schema/streams.ts'
import { issueServiceToken } from '../../subgraph/identity/service-tokens.ts'
import { createTokens } from '../../subgraph/identity/tokens.ts'
import { aKey } from '../audit/proof/support.ts'
import { collect } from '../projections/support.ts'
import { startBrowser } from '../support/browser.ts'
import { signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { KEYS } from '../support/keys.ts'
import { until } from '../support/until.ts'
import { openTab, photograph, startConsole, type Tab } from './support.ts'

/** A service with a few customers, a checkpoint over them, and something newer. */
async function start(t: Test, env: Readonly<Record<string, string>> = {}) {
  const folder = await temporaryFolder(t)
  const { send, eventStore } = await startSubgraph(t, { folder })
  const { id, token } = await signUp(send)
  await signUp(send)
  const console = await startConsole(t, { folder, env })
  const key = loadSigningKey(console.options.configuration) as SigningKey
  await writeCheckpoint(console.options.stored, key)
  await send('mutation { updateCustomerV2(input: { lastname: "Smith" }) { customer { id } } }', { token })
  return { ...console, folder, eventStore, key, id }
}

/** Asks again until the job has ended. */
const ended = (get: (url: string) => Promise<{ readonly body: string }>, url: string) =>
  until('the job has ended', async () => {
    const { body } = await get(url)
    return !/is running/.test(body) && body
  })

t.test('proof, without scripts', async (t) => {
  const { signIn, options, folder, id, key } = await start(t)
  const auditor = await signIn('auditor')
  const first = (await auditor.get('/proof')).body
  t.match(first, /The log has not been verified yet/)
  t.match(first, /covers the first \d+ events/)
  t.match(first, /<strong>1 newer event is not covered yet<\/strong>/)
  t.match(first, /customers audit verify/)

  t.match(await auditor.post('/proof/verify'), { status: 303, location: '/proof#verification' })
  const whole = await ended(auditor.get, '/proof')
  t.match(whole, /<span class="badge good">whole<\/span>/)
  t.match(whole, /operator:anna\.auditor/)
  t.match(await lastVerification(options.stored), {
    by: 'operator:anna.auditor',
    faults: 0,
    uncovered: 1,
    checkpoints: 1,
  })

  const early = await auditor.post('/proof/of-event', { event: `${id}:1` })
  t.match(early, { status: 303, location: `/proof?event=${id}%3A1#checkpoints` }, 'where a checkpoint is signed')
  t.match((await auditor.get('/proof')).body, /No checkpoint covers this event yet/)
  t.match(await auditor.post('/proof/checkpoint'), { status: 303, location: '/proof#checkpoints' })
  const covered = (await auditor.get('/proof')).body
  t.match(covered, /A checkpoint of \d+ events is signed/)
  t.match(covered, /There are no newer ones/)
  t.equal((await auditor.get('/proof/public.pem')).body, publicPem(key))

  const file = await auditor.post('/proof/of-event', { event: `${id}:0` })
  t.match(file.headers, { 'content-disposition': `attachment; filename="proof-customer-${id}-0.json"` })
  t.same(JSON.parse(file.body), await proveInclusion(options.stored, key, { stream: `customer-${id}`, revision: 0 }))
  t.match(await auditor.post('/proof/of-event', { event: 'nonsense' }), {
    status: 400,
    body: /accepted: its id, or 2:1/,
  })
  const unknown = (await auditor.post('/proof/of-event', { event: '99:1' })).body
  t.match(unknown, /There is no such event/)
  t.match(unknown, /href="\/proof">Back to Proof</)
  const { event } = JSON.parse(
    (await auditor.post('/proof/of-event', { event: `customer-${id} revision 0`, content: 'on' })).body,
  )
  t.match(event, { type: 'CustomerRegistered', data: { encrypted: String } }, 'as it is stored')
  const exports = await collect(orNone(options.stored.readStream('auditExports')))
  t.match(exports, [{ data: { customerId: id, command: 'console: prove --content', revealed: false } }])
  const operator = await signIn('operator')
  t.match(await operator.post('/proof/of-event', { event: `${id}:0`, content: 'on' }), { status: 403 })
  t.equal((await operator.post('/proof/of-event', { event: `${id}:0` })).status, 200)

  const database = new DatabaseSync(join(folder, 'events.db'))
  t.teardown(() => database.close())
  database.exec("UPDATE events SET type = 'CustomerKnighted' WHERE type = 'CustomerDetailsChanged'")
  await operator.post('/proof/verify')
  const faulty = await ended(operator.get, '/proof')
  t.match(faulty, /<span class="badge bad">\d+ faults?<\/span>/)
  t.match(faulty, new RegExp(`Changed: customer-${id} revision \\d \\(position \\d+ of the log\\)`))
  t.match(faulty, /Earlier verifications/)
})

/** Holds reads of the log at their third event until they are released. */
function holdReads(console: { readonly options: ConsoleOptions }): () => void {
  let release = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const { stored } = console.options
  async function* held(events: AsyncIterable<RecordedEvent>) {
    let count = 0
    for await (const event of events) {
      if (++count === 3) await released
      yield event
    }
  }
  const verified = {
    ...stored,
    readAll: (given?: ReadAllOptions) =>
      given?.filter || given?.direction ? stored.readAll(given) : held(stored.readAll(given)),
  }
  Object.assign(console.options, { stored: verified })
  return release
}

t.test('one verification at a time, which can be stopped; a console with the public key alone', async (t) => {
  const pem = join(await temporaryFolder(t), 'public.pem')
  const key = readAuditKey(KEYS.AUDIT_SIGNING_KEY)
  await writeFile(pem, publicPem(key))
  const console = await start(t, { CONSOLE_AUDIT_KEY: pem })
  const auditor = await console.signIn('auditor')
  const page = (await auditor.get('/proof')).body
  t.notMatch(page, /Sign a checkpoint now/)
  t.match(page, /signature valid/)
  t.match(await auditor.post('/proof/checkpoint'), { status: 409, body: /no key that signs/ })

  const release = holdReads(console)
  await auditor.post('/proof/verify')
  t.match((await auditor.get('/proof')).body, /A verification is running[\s\S]*by operator:anna\.auditor[\s\S]*>Stop</)
  const operator = await console.signIn('operator')
  await operator.post('/proof/verify')
  t.match((await operator.get('/proof')).body, /A verification is running already/)
  await operator.post('/proof/verify/stop')
  release()
  t.match(await ended(auditor.get, '/proof'), /has not been verified yet/)
  t.equal(await lastVerification(console.options.stored), undefined, 'a stopped one is not recorded')
  await auditor.post('/proof/verify')
  t.match(await ended(auditor.get, '/proof'), /badge good/)
})

t.test("nothing is verified with a key that is not the log's", async (t) => {
  const pem = join(await temporaryFolder(t), 'public.pem')
  await writeFile(pem, publicPem(aKey()))
  const console = await start(t, { CONSOLE_AUDIT_KEY: pem })
  await acceptKeys(console.options.eventStore, { auditSigningKey: KEYS.AUDIT_SIGNING_KEY })
  const auditor = await console.signIn('auditor')
  const page = (await auditor.get('/proof')).body
  t.match(page, /not of this key/)
  t.match(page, /The console’s key is not the one of this log/)
  t.notMatch(page, /BEGIN PUBLIC KEY/, 'nor is it given to those who check proofs')
  t.match(await auditor.post('/proof/verify'), { status: 409, body: /is not the one of this log/ })
  t.equal(await lastVerification(console.options.stored), undefined)
  await writeFile(pem, 'no key')
  await t.rejects(startConsole(t, { env: { CONSOLE_AUDIT_KEY: pem } }), /accepted: an Ed25519 public key/)
})

t.test('keys, tokens, looks and settings, without scripts', async (t) => {
  const { signIn, options, eventStore, id } = await start(t, {
    CONSOLE_OIDC_CLIENT_SECRET: 'a secret that nobody sees',
  })
  const tokens = createTokens(KEYS.TOKEN_SIGNING_KEY)
  const { jti, token } = await issueServiceToken(eventStore, tokens, {
    subject: 'crm',
    scopes: ['customers:read'],
    hours: 2,
    actor: 'operator:olga',
  })
  const operator = await signIn('operator')
  const page = (await operator.get('/keys')).body
  t.match(page, /<span class="badge good">current<\/span>/)
  t.match(page, /The current master key has wrapped everything/)
  t.match(page, new RegExp(`<strong>crm</strong><br><code>${jti}</code>`))
  t.notOk(page.includes(token))
  t.match(await operator.post('/keys/tokens/end', { id: jti, reason: ' ' }), { status: 400, body: /Write why/ })
  t.match((await operator.post('/keys/tokens/end', { id: 'nobody', reason: 'x' })).body, /There is no such token/)
  t.match(await operator.post('/keys/tokens/end', { id: jti, reason: 'ticket 7' }), { status: 303 })
  t.match(await serviceTokens(options.stored), [{ jti, ended: { by: 'operator:olga.operator', reason: 'ticket 7' } }])
  t.match((await operator.get('/keys')).body, /ended<\/span>[\s\S]*operator:olga\.operator: <q>ticket 7<\/q>/)

  await recordReveal(eventStore, {
    customerId: id,
    command: 'history',
    reason: 'a <b>reason</b>',
    actor: 'operator:olga',
  })
  await recordReveal(eventStore, { customerId: null, command: 'export', reason: 'report', actor: 'service:crm' })
  await recordExport(eventStore, { customerId: 99, command: 'export 99', reason: undefined, actor: 'operator:olga' })
  const auditor = await signIn('auditor')
  const looks = (await auditor.get('/looks')).body
  for (const shown of [/a &lt;b&gt;reason&lt;\/b&gt;/, /service:crm/, /masked export/, />several</])
    t.match(looks, shown)
  const of = (await auditor.get(`/looks?customer=${id}`)).body
  t.match(of, /service:crm/, 'a look at several may have been at this one')
  t.notMatch(of, /masked export/)
  const by = (await auditor.get('/looks?actor=service%3Acrm')).body
  t.notMatch(by, /masked export/)
  t.match(by, /--actor &#39;service:crm&#39;/)
  t.match(await auditor.get('/looks?customer=ann'), { status: 400 })
  const reveals = await collect(eventStore.readStream(STREAM_NAMES.reveals))
  const again = reveals.map(({ type, data, metadata = {} }) => ({ id: crypto.randomUUID(), type, data, metadata }))
  await eventStore.append(STREAM_NAMES.reveals, again, { expected: 'any' })
  const paged: string[] = []
  let before: Date | undefined
  do {
    const part = await newestLooks(options.stored, { most: 1, before })
    paged.push(...part.looks.map(({ stream, revision }) => `${stream} ${revision}`))
    if (part.looks.length === 0) break
    before = part.before
  } while (before)
  const all = ['auditExports 0', ...[0, 1, 2, 3].map((revision) => `auditReveals ${revision}`)]
  t.same(paged.toSorted(), all, 'page by page, each once, also those of one millisecond')
  t.match((await auditor.get('/looks?before=2020-01-01')).body, /Nobody looked/)

  const settings = (await operator.get('/settings')).body
  t.match(settings, /EVENTSTORE_URL/)
  t.notMatch(settings, new RegExp(KEYS.EMAIL_HASH_KEY))
  t.notMatch(settings, /a secret that nobody sees/)
  for (const path of ['/keys', '/settings']) t.equal((await auditor.get(path)).status, 403)
  t.equal((await operator.get('/looks')).status, 403)
})

t.test('the rotation of master keys', async (t) => {
  const folder = await temporaryFolder(t)
  const { send } = await startSubgraph(t, { folder })
  await signUp(send)
  const env = { MASTER_KEY: randomBytes(32).toString('hex'), MASTER_KEY_PREVIOUS: KEYS.MASTER_KEY }
  const { signIn, options } = await startConsole(t, { folder, env })
  const operator = await signIn('operator')
  t.match((await operator.get('/keys')).body, /1 block is wrapped by an older master key/)
  t.match(await operator.post('/keys/rotate'), { status: 303 })
  const rotated = await ended(operator.get, '/keys')
  t.match(rotated, /The last rotation wrapped 1 of 1 blocks anew/)
  t.match(rotated, /Take <code>MASTER_KEY_PREVIOUS<\/code> away/, 'what to do next')
  t.equal((await options.keys.status()).blocks.size, 1)
})

const browser = await startBrowser(t)

/** The text with another first letter. */
const another = (text: string) => `${text.startsWith('A') ? 'B' : 'A'}${text.slice(1)}`

/** Fills in the page that checks proofs, and returns what it says. */
async function check(page: Page, pem: string, proof: unknown): Promise<string> {
  await page.getByLabel('Public key').fill(pem)
  const text = typeof proof === 'string' ? proof : JSON.stringify(proof)
  await page
    .getByLabel('Proof file')
    .setInputFiles({ name: 'proof.json', mimeType: 'application/json', buffer: Buffer.from(text) })
  await page.getByRole('button', { name: 'Check', exact: true }).click()
  return page.locator('#outcome > *').innerText()
}

/** Requests that the page makes while the work runs. */
async function requestsDuring({ page }: Tab, work: () => Promise<void>): Promise<string[]> {
  const urls: string[] = []
  const listen = (request: { url(): string }) => void urls.push(request.url())
  page.on('request', listen)
  await work()
  page.off('request', listen)
  return urls
}

t.test('a proof is checked in the browser alone', async (t) => {
  const { app, options, key, id } = await start(t)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const tab = await openTab(t, browser, url, 'auditor')
  const { page } = tab
  await page.goto(`${url}/proof/check`, { waitUntil: 'networkidle' })
  const pem = publicPem(key)
  const streams = [
    { stream: `customer-${id}`, revision: 0 },
    { stream: `customer-${id + 1}`, revision: 0 },
  ]
  const proofs = await Promise.all(
    streams.map((event, index) => proveInclusion(options.stored, key, event, { content: index === 0 })),
  )
  const [proof, without] = proofs as [InclusionProof, InclusionProof]
  const foreign = generateKeyPairSync('ed25519').publicKey.export({ format: 'pem', type: 'spki' }).toString()
  const requests = await requestsDuring(tab, async () => {
    t.match(
      await check(page, pem, proof),
      /^The proof holds\.\s+The event in the file \(CustomerRegistered\) was customer-\d+ revision 0, one of the \d+ events that were signed at /,
    )
    t.match(await check(page, pem, without), /^The proof holds\.\s+An event with the hash in the file was customer-/)
    const tampered: Record<string, [unknown, RegExp]> = {
      'another key': [proof, /another key than the one you pasted/],
      'the content': [
        { ...proof, event: { ...proof.event, type: 'CustomerDeleted' } },
        /not what its hash was made of/,
      ],
      'the event of another leaf': [{ ...without, event: proof.event }, /not the one that is proved/],
      'an id in other letters': [
        { ...proof, event: { ...proof.event, id: proof.event?.id.toUpperCase() } },
        /not what its hash/,
      ],
      'the leaf': [{ ...without, leaf: without.leaf.replace('customer-', 'customer-9') }, /not part of the log/],
      'the index': [{ ...without, index: without.index + 1 }, /not part of the log|does not fit/],
      'the size': [
        { ...proof, checkpoint: { ...proof.checkpoint, size: proof.checkpoint.size + 1 } },
        /forged, or changed/,
      ],
      'the time': [
        { ...proof, checkpoint: { ...proof.checkpoint, time: '2020-01-01T00:00:00.000Z' } },
        /forged, or changed/,
      ],
      'the root': [{ ...proof, checkpoint: { ...proof.checkpoint, root: proof.path[0] } }, /forged, or changed/],
      'the signature': [{ ...proof, signature: another(proof.signature) }, /forged, or changed/],
      'a shorter path': [{ ...proof, path: proof.path.slice(1) }, /not part of the log|does not fit/],
      'a longer path': [{ ...proof, path: [...proof.path, proof.path[0]] }, /does not fit/],
      'a path of other things': [{ ...proof, path: proof.path.map(() => 'AA') }, /does not fit/],
      'another version': [{ ...proof, version: 2 }, /another version/],
      'an event that is none': [{ ...without, event: null }, /not a proof of this service/],
      'an event of other types': [{ ...proof, event: { ...proof.event, id: 7 } }, /not a proof of this service/],
      'a deep event': [
        JSON.stringify({ ...proof, event: { ...proof.event, data: 'DEEP' } }).replace(
          '"DEEP"',
          `${'['.repeat(100_000)}${']'.repeat(100_000)}`,
        ),
        /not a proof of this service|not what its hash was made of/,
      ],
      'a long path': [{ ...proof, path: Array(100_000).fill(proof.path[0]) }, /does not fit/],
      'no proof': ['{}', /not a proof of this service/],
      'no JSON': ['PK', /not JSON/],
    }
    for (const [name, [changed, message]] of Object.entries(tampered)) {
      const said = await check(page, name === 'another key' ? foreign : pem, changed)
      t.match(said, /^The proof does not hold\./, name)
      t.match(said, message, name)
    }
    t.match(await check(page, KEYS.AUDIT_SIGNING_KEY.replaceAll('\\n', '\n'), proof), /This is a private key/)
    t.match(await check(page, 'ssh-ed25519 AAAA', proof), /not a public key in PEM/)
  })
  t.same(requests, [], 'nothing leaves the page')
  await check(page, pem, proof)
  await photograph(t, tab, 'proof-check')
  await page.getByLabel('Public key').focus()
  await page.keyboard.press('Tab')
  t.ok(await page.getByLabel('Proof file').evaluate((field) => field === document.activeElement), 'by keyboard')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await page.getByText('The proof holds.').waitFor()
})

t.test('an auditor verifies the log and takes a proof with her, by mouse and by keyboard', async (t) => {
  const console = await start(t)
  const { app, eventStore, id } = console
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const tab = await openTab(t, browser, url, 'auditor', { acceptDownloads: true })
  const { page } = tab
  await page.getByRole('link', { name: 'Proof', exact: true }).first().click()
  await page.getByRole('button', { name: 'Verify the log now' }).focus()
  const release = holdReads(console)
  await page.keyboard.press('Enter')
  await page.getByText('A verification is running').waitFor()
  await photograph(t, tab, 'proof-running')
  release()
  // The page finds out by itself that it has ended.
  await page.getByText('Nothing in the log was changed').waitFor()
  await page.getByText('The newest checkpoints').click()
  await page.getByText('The public key, for those').click()
  await photograph(t, tab, 'proof')
  await page.getByLabel('Event', { exact: true }).fill(`${id}:0`)
  const [download] = await Promise.all([page.waitForEvent('download'), page.keyboard.press('Enter')])
  t.equal(download.suggestedFilename(), `proof-customer-${id}-0.json`)
  t.match(JSON.parse(await readFile((await download.path()) ?? '', 'utf8')), { version: 1 })

  await recordReveal(eventStore, { customerId: id, command: 'history', reason: 'ticket 12', actor: 'operator:olga' })
  await page.getByRole('link', { name: 'Who looked' }).first().click()
  await photograph(t, tab, 'looks')
  await page.getByLabel('Customer', { exact: true }).fill(String(id))
  await page.keyboard.press('Enter')
  await page.waitForURL(/customer=/)
  t.equal(await page.locator('q').innerText(), 'ticket 12')
})

t.test('an operator ends a token', async (t) => {
  const { app, eventStore, options } = await start(t)
  const tokens = createTokens(KEYS.TOKEN_SIGNING_KEY)
  const issued = { subject: 'crm', scopes: ['customers:read' as const], hours: 2, actor: 'operator:olga' }
  await issueServiceToken(eventStore, tokens, issued)
  await issueServiceToken(eventStore, tokens, { ...issued, subject: 'search' })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const tab = await openTab(t, browser, url, 'operator')
  const { page } = tab
  await page.getByRole('link', { name: 'Keys', exact: true }).first().click()
  await page.getByLabel('Why the token of crm is ended').fill('ticket 7')
  await page.keyboard.press('Enter')
  await page.getByText('is ended. It is refused').waitFor()
  t.match(await serviceTokens(options.stored), [{ ended: undefined }, { ended: { reason: 'ticket 7' } }])
  await page.getByText('1 expired or ended').click()
  await photograph(t, tab, 'keys')
  await page.getByRole('link', { name: 'Settings', exact: true }).first().click()
  await photograph(t, tab, 'settings')
})
