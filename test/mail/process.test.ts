/** `npm run mail` as a process: where mails go, health, metrics, its end. */
import { execFileSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { simpleParser } from 'mailparser'
import t, { type Test } from 'tap'
import { openEventStore } from '../../eventstore/open-event-store.ts'
import { runCommand } from '../support/commands.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'
import { temporaryFolder } from '../support/graph.ts'
import { freePort } from '../support/ports.ts'
import { startProcess, untilReady } from '../support/processes.ts'
import { until } from '../support/until.ts'
import {
  append,
  emailOf,
  filesIn,
  HASH_KEY,
  openEvents,
  RESET,
  registered,
  requestResets,
  startSmtp,
  startWorker,
  storedCheckpoint,
  tokens,
} from './support.ts'

async function startMailProcess(t: Test, folder: string, env: Record<string, string> = {}) {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  // Requests of resets alone are counted: no registration has a mail sent.
  const settings = join(folder, 'without-welcome.yaml')
  await writeFile(settings, 'mail: { welcome: false }')
  const own = { EMAIL_HASH_KEY: HASH_KEY, MAIL_PORT: String(port), STORE_CONFIG: settings }
  const started = startProcess(t, 'mail', folder, { ...own, ...env })
  const metrics = async () => (await fetch(`${url}/metrics`)).text()
  const metric = async (name: string) =>
    Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(await metrics())?.[1])
  const ready = async () => {
    const response = await fetch(`${url}/readyz`)
    return { status: response.status, ...((await response.json()) as object) }
  }
  return { started, url, metrics, metric, ready }
}

t.test('by SMTP: health, metrics, a server that goes away, the end', async (t) => {
  const folder = await temporaryFolder(t)
  const eventStore = openEvents(t, folder)
  const smtp = await startSmtp(t, { user: 'shop', password: 'hunter:2' })
  const { started, url, metrics, metric, ready } = await startMailProcess(t, folder, { SMTP_URL: smtp.url })
  await untilReady(started, `${url}/readyz`)
  t.equal((await fetch(`${url}/healthz`)).status, 200)
  smtp.refuse = (address) => (address === emailOf(3) ? { code: 550, text: `<${address}> unknown` } : undefined)
  await requestResets(eventStore, 1, 3)
  await append(eventStore, 'customer-4', [registered(4), RESET, { type: 'CustomerDeleted', data: {} }])
  await until('all are seen to', async () => (await metric('mail_skipped_total')) === 1)
  await until('all are sent', async () => (await metric('mail_sent_total')) === 2)
  t.equal(await metric('mail_failed_total'), 1)
  t.match(await metrics(), 'mail_sent_total{mail="reset-password"} 2')
  t.match(await metrics(), 'mail_delivery_seconds_count 2')
  t.match(await metrics(), 'mail_skipped_total{mail="reset-password",reason="gone"} 1')
  t.match(await metrics(), 'mail_lag_seconds 0')

  await smtp.stop()
  await requestResets(eventStore, 5, 5)
  await until('not ready without the mail server', async () => (await ready()).status === 503)
  t.match(await ready(), { ready: false, eventStore: true, mailServer: false })
  t.equal(await metric('mail_waiting'), 1)
  t.ok((await metric('mail_lag_seconds')) > 0)
  t.equal(await metric('mail_interruptions_total'), 1)
  t.ok((await metric('mail_retries_total')) > 0)
  await smtp.start()
  await untilReady(started, `${url}/readyz`)
  t.same(smtp.recipients(), [emailOf(1), emailOf(2), emailOf(5)])

  const { promise, resolve } = Promise.withResolvers<void>()
  let isHeld = false
  smtp.hold = () => {
    isHeld = true
    return promise
  }
  await requestResets(eventStore, 6, 6)
  await until('a mail is in hand', () => isHeld)
  started.child.kill('SIGTERM')
  await until('it listens no more', () =>
    fetch(`${url}/healthz`).then(
      () => false,
      () => true,
    ),
  )
  resolve()
  t.equal(await started.ended, 0)
  t.ok(smtp.recipients().includes(emailOf(6)), 'the mail in hand is finished')
  t.match(await storedCheckpoint(eventStore), { holder: null, unsent: [] }, 'and written down')

  const told = `${started.output()}${await metricsOf(t, folder, smtp.url)}`
  t.match(started.output(), `smtp://127.0.0.1:${smtp.port}`)
  t.notMatch(told, /hunter|example\.com/)
  t.notMatch(told, /Ann|Lee/)
  for (const mail of smtp.mails) {
    const [, token = 'none'] = /token=(\w+)/.exec(mail.text ?? '') ?? []
    t.notMatch(told, token)
  }
})

/** Of a process that is started once more: it sends nothing again. */
async function metricsOf(t: Test, folder: string, smtpUrl: string): Promise<string> {
  const { started, url, metrics, metric } = await startMailProcess(t, folder, { SMTP_URL: smtpUrl })
  await untilReady(started, `${url}/readyz`)
  const text = await metrics()
  t.equal(await metric('mail_waiting'), 0)
  t.equal(await started.end('SIGTERM'), 0)
  t.notMatch(text, /mail_sent_total\{/)
  return `${text}${started.output()}`
}

t.test('smtps, with a certificate of our own', async (t) => {
  const folder = await temporaryFolder(t)
  const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
  const args = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-keyout', keyFile, '-out', certFile]
  execFileSync('openssl', [...args, ...subject], { stdio: 'pipe' })
  const tls = { key: await readFile(keyFile), cert: await readFile(certFile) }
  const smtp = await startSmtp(t, { tls })
  await requestResets(openEvents(t, folder), 1, 1)
  const url = `smtps://localhost:${smtp.port}`
  // In this process, which does not have the certificate.
  const distrusting = startWorker(t, openEvents(t, folder), { smtp: { ...smtp, url } })
  await until('it is not trusted', () => distrusting.lines.some((line) => line.includes('ESOCKET')))
  await distrusting.stop()
  t.same(smtp.mails, [])
  const trusting = await startMailProcess(t, folder, { SMTP_URL: url, NODE_EXTRA_CA_CERTS: certFile })
  await until('it is', () => smtp.mails.length === 1)
  t.equal(await trusting.started.end('SIGTERM'), 0)
})

t.test('without a mail server: files, the same one for the same mail', async (t) => {
  const folder = await temporaryFolder(t)
  const eventStore = openEvents(t, folder)
  const first = await startMailProcess(t, folder)
  await untilReady(first.started, `${first.url}/readyz`)
  const [, id = ''] = await append(eventStore, 'customer-1', [registered(1), RESET])
  const files = () => filesIn(folder, 'reset-password')
  await until('it is there', async () => (await files()).length === 1)
  t.match((await files())[0], /^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z-reset-password-[\da-f-]{36}\.eml$/)
  await until('and written down', async () => (await storedCheckpoint(eventStore)).holder === null)
  t.equal(await first.started.end('SIGTERM'), 0)
  t.match(first.started.output(), join(folder, 'mail'))
  const mail = await simpleParser(await readFile(join(folder, 'mail', (await files())[0] ?? '')))
  t.match(mail.text, tokens.of('reset-password', id))

  await eventStore.deleteStream('mailCheckpoint-default', { expected: 'any' }) // as if it had never been written down
  const again = await startMailProcess(t, folder)
  await untilReady(again.started, `${again.url}/readyz`)
  await until('it is sent again', async () => (await again.metric('mail_sent_total')) >= 1)
  t.equal((await files()).length, 1)
  t.equal(await again.started.end('SIGTERM'), 0)
})

t.test('a settings file counts, and the event store’s absence is waited for', async (t) => {
  const folder = await temporaryFolder(t)
  const server = await startEventStoreServer(t)
  const eventStore = await openEventStore(server.url)
  t.teardown(() => eventStore.close())
  const settings = join(folder, 'store.yaml')
  await writeFile(settings, 'mail: { storeName: Tea House, resetPasswordUrl: "https://tea.example/{token}" }')
  const env = { EVENTSTORE_URL: server.url, STORE_CONFIG: settings }
  const { started, url, ready } = await startMailProcess(t, folder, env)
  await untilReady(started, `${url}/readyz`)
  await requestResets(eventStore, 1, 1)
  await until('the mail is there', async () => (await filesIn(folder, 'reset-password')).length === 1)
  const mail = await simpleParser(
    await readFile(join(folder, 'mail', (await filesIn(folder, 'reset-password'))[0] ?? '')),
  )
  t.equal(mail.subject, 'Reset your Tea House password')
  t.match(mail.text, /^https:\/\/tea\.example\/\w{32}$/m)
  await server.stop()
  await until('not ready', async () => (await ready()).status === 503)
  t.match(await ready(), { eventStore: false, mailServer: true })
  t.equal((await fetch(`${url}/healthz`)).status, 200)
  await server.start()
  await untilReady(started, `${url}/readyz`)
  t.equal(await started.end('SIGTERM'), 0)
})

t.test('what keeps it from starting is said in one line', async (t) => {
  const folder = await temporaryFolder(t)
  const say = (env: Record<string, string>) => runCommand(folder, ['mail'], { EMAIL_HASH_KEY: HASH_KEY, ...env })
  t.match(await say({ SMTP_URL: 'http://shop:hunter2@mail.example' }), {
    code: 1,
    output: "error: SMTP_URL: its value can't be used; accepted: smtp://user:password@host:port, or smtps://….\n",
  })
  // It listens by then.
  const { started } = await startMailProcess(t, folder, { SMTP_URL: 'smtp://shop:hunter%2@mail.example' })
  t.match(
    { code: await started.ended, output: started.output() },
    {
      code: 1,
      output: "error: SMTP_URL: its value can't be used: the user or the password is not URL-encoded.\n",
    },
  )
  t.match(await say({ STORE_CONFIG: join(folder, 'none.yaml') }), { code: 1, output: /^error: STORE_CONFIG: .*\n$/ })
  t.match(await say({ EVENTSTORE_URL: 'kurrentdb://127.0.0.1:1?tls=false', EMAIL_HASH_KEY: '' }), {
    code: 1,
    output:
      /^error: EMAIL_HASH_KEY is not set; it is required unless EVENTSTORE_URL is sqlite:PATH\. npm run secrets makes .*\n$/,
  })
})
