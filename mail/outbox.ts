/** Where mails go: to a mail server, or into files. */

import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { LRUCache } from 'lru-cache'
import { createTransport, type SendMailOptions } from 'nodemailer'
import { ConfigurationError } from '../runtime/errors.ts'
import { MailDeferred, MailRefused, MailServerUnavailable } from './errors.ts'
import type { Letter } from './letters.ts'

export interface Outbox {
  /** Where the mails go, for the operator: without credentials. */
  readonly description: string
  /**
   * Resolves once the mail has been handed over.
   * @param signal cancels the attempt
   * @throws MailRefused | MailDeferred for this mail; any other Error means that the server is unavailable
   */
  send(letter: Letter, signal: AbortSignal): Promise<void>
  /** Removes the mails of these events, if this outbox keeps mails. */
  forget?(eventIds: ReadonlySet<string>): Promise<void>
  /** Closes the connections; attempts under way fail. */
  close(): void
}

/** Time limits for the steps of a session. */
const CONNECT_MS = 10_000
const ANSWER_MS = 15_000
/** How long a connection is kept for the next mail. */
const IDLE_MS = 5_000

/**
 * @param options.smtpUrl if it is undefined, mails are written into the folder `mail` in the data folder
 * @throws ConfigurationError
 */
export function openOutbox(options: {
  readonly smtpUrl: string | undefined
  readonly dataFolder: string
  readonly connections?: number
}): Outbox {
  const { smtpUrl, dataFolder, connections = 5 } = options
  return smtpUrl === undefined ? openFolder(join(dataFolder, 'mail')) : openServer(smtpUrl, connections)
}

function openServer(url: string, maxConnections: number): Outbox {
  const { protocol, hostname, port, username, password } = new URL(url)
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const isOwnMachine = /^(localhost|127\.[\d.]+|::1)$/.test(host)
  const transport = createTransport({
    pool: true,
    maxConnections,
    maxRequeues: 1, // for a connection that the server closed while it was idle
    idleTimeout: IDLE_MS,
    host,
    ...(port !== '' && { port: Number(port) }),
    secure: protocol === 'smtps:',
    // A password must never be sent in clear text because an attacker in between stripped STARTTLS.
    requireTLS: username !== '' && !isOwnMachine,
    ...(username !== '' && { auth: { user: decoded(username), pass: decoded(password) } }),
    dnsTimeout: CONNECT_MS,
    connectionTimeout: CONNECT_MS,
    greetingTimeout: CONNECT_MS,
    socketTimeout: ANSWER_MS,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  transport.on('error', () => {}) // each error also rejects the mail that it concerns
  return {
    description: `${protocol}//${hostname}${port && `:${port}`}`,
    async send(letter, signal) {
      try {
        await transport.sendMail({ ...message(letter), signal })
      } catch (error) {
        throw explain(error as SmtpError)
      }
    },
    close: () => transport.close({ force: true }),
  }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    throw new ConfigurationError("SMTP_URL: its value can't be used: the user or the password is not URL-encoded.")
  }
}

interface SmtpError {
  readonly code?: string
  readonly responseCode?: number
  /** The step that failed. */
  readonly command?: string
}

/** What an answer of the server means for this mail and for all others. */
function explain({ code, responseCode = 0, command }: SmtpError): Error {
  const codes = [code, command, responseCode || undefined].filter((each) => each !== undefined).join(' ')
  const isAboutMail = code === 'EENVELOPE' || code === 'EMESSAGE'
  // The sender is the same for all mails, and 421 means that the server is shutting down.
  if (!isAboutMail || responseCode === 421 || (command === 'MAIL FROM' && responseCode !== 0)) {
    return new MailServerUnavailable(codes)
  }
  // Not even sent to the server: the text is not an address. 503 is the session's fault, not the mail's.
  const isForGood = command === 'API' || (responseCode >= 500 && responseCode !== 503)
  return isForGood ? new MailRefused(codes) : new MailDeferred(codes)
}

/** How many events of erased persons are remembered: their mails may still be in hand. */
const FORGOTTEN = 10_000

function openFolder(folder: string): Outbox {
  const composer = createTransport({ streamTransport: true, buffer: true, newline: 'unix' })
  const forgotten = new LRUCache<string, true>({ max: FORGOTTEN })
  return {
    description: `${resolve(folder)} (.eml files)`,
    async send(letter, signal) {
      if (forgotten.has(letter.eventId)) return
      const { message: content } = await composer.sendMail({ ...readable(letter), signal })
      await mkdir(folder, { recursive: true, mode: 0o700 })
      // The same name each time, so a mail that is sent again exists once.
      const name = `${letter.at.toISOString().replaceAll(':', '-')}-${letter.purpose}-${letter.eventId}.eml`
      const draft = join(folder, `.${name}.${process.pid}`)
      await writeFile(draft, content, { mode: 0o600, flush: true })
      await rename(draft, join(folder, name))
      // The erasure may have been seen meanwhile.
      if (forgotten.has(letter.eventId)) await rm(join(folder, name), { force: true })
    },
    async forget(eventIds) {
      for (const id of eventIds) forgotten.set(id, true)
      const names = await readdir(folder).catch(() => [])
      // Drafts, too, that a crash has left.
      const theirs = names.filter((name) => eventIds.has(/([\da-f-]{36})\.eml(\.\d+)?$/.exec(name)?.[1] ?? ''))
      await Promise.all(theirs.map((name) => rm(join(folder, name), { force: true })))
    },
    close() {},
  }
}

/**
 * The mail as a file that a person can read and copy a link from: its lines are as they are, in 7 bit where they are
 * all ASCII. A mail server is sent quoted-printable instead, as lines are long.
 */
function readable(letter: Letter): SendMailOptions {
  const { text: _, html: __, ...rest } = message(letter)
  const part = (contentType: string, content: string) => {
    const encoding = /^[\x20-\x7e\n]*$/.test(content) ? '7bit' : '8bit'
    return {
      raw: `Content-Type: ${contentType}; charset=utf-8\nContent-Transfer-Encoding: ${encoding}\n\n${content}\n`,
    }
  }
  return { ...rest, alternatives: [part('text/plain', letter.text), part('text/html', letter.html)] }
}

function message(letter: Letter): SendMailOptions {
  const { from, to, subject, text, html, messageId } = letter
  // Asks auto-responders not to answer.
  const headers = { 'Auto-Submitted': 'auto-generated', 'X-Auto-Response-Suppress': 'All' }
  return { from, to, subject, text, html, messageId, headers }
}
