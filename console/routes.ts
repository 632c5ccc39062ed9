/**
 * How pages and actions are registered: {@link page} and {@link action}. They check who may, protect forms, and put the layout
 * around, so that a page can't forget it.
 */
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Masker, Shown } from '../audit/masking.ts'
import { recordExport } from '../audit/reveals.ts'
import type { CustomerKeys } from '../eventstore/encryption/customer-keys.ts'
import type { EventStore } from '../eventstore/port.ts'
import type { ReadModel } from '../projections/read-model.ts'
import type { Configuration } from '../runtime/configuration.ts'
import type { Log } from '../runtime/log.ts'
import type { Store } from '../schema/store.ts'
import type { ConsoleConfiguration } from './configuration.ts'
import { Refused } from './errors.ts'
import { describeFault } from './faults.ts'
import { type Html, html } from './html.ts'
import { layout, type Notice } from './layout.ts'
import type { LongReads } from './long-reads.ts'
import { actorOf, hasRole, mayReveal, type Person, ROLE_NAMES, type Role } from './people.ts'
import type { Look, Reason, Reasons } from './reasons.ts'
import type { SealedCookies } from './sign-in/sealed-cookies.ts'
import type { Session, Sessions } from './sign-in/sessions.ts'
import type { SignIn } from './sign-in/sign-in.ts'

/** What the console works on. The caller opens it, and closes it after the console. */
export interface ConsoleOptions {
  /** The log as the service reads it, with personal fields in clear. */
  readonly eventStore: EventStore
  /** The same as stored: what checkpoints and proofs are about. */
  readonly stored: EventStore
  readonly keys: CustomerKeys
  readonly readModel: ReadModel
  readonly emailHashKey: string
  /** The store's settings, such as how long access records are kept. */
  readonly store: Store
  /** Of all processes: keys (`loadSigningKey`), URLs, `NODE_ENV`. */
  readonly configuration: Configuration
  /** The console's own. */
  readonly settings: ConsoleConfiguration
  /** Whose settings the page of settings shows. Default: the environment of this process. */
  readonly environment?: Readonly<Record<string, string | undefined>>
  /** The time; default: the clock. Tests set it. */
  readonly now?: () => Date
}

/** The console while it is built: what {@link page} and {@link action} work on. */
export interface ConsoleApp {
  readonly fastify: FastifyInstance
  readonly options: ConsoleOptions
  readonly signIn: SignIn
  readonly cookies: SealedCookies
  readonly sessions: Sessions
  readonly reasons: Reasons
  /** Masks personal data. */
  readonly masker: Masker
  readonly now: () => Date
  /** Aborted when the console closes: reads end, so that it can. */
  readonly closing: AbortSignal
  readonly longReads: LongReads
  /** The pages of the navigation, in their order. */
  readonly nav: NavigationEntry[]
}

export interface NavigationEntry {
  readonly path: string
  /** One or two words. */
  readonly label: string
  /** What one finds there, in a sentence: on the home page. */
  readonly about: string
  readonly roles: readonly Role[]
}

/** What a handler is given: who asks, for what, and what they may see. */
export interface View {
  readonly options: ConsoleOptions
  readonly person: Person
  /** Of the person, for events. */
  readonly actor: string
  /** The path, with its query; nothing personal. */
  readonly url: string
  /** The parameters in the path (`/customers/:id`). */
  readonly params: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  /** The fields of an action's form; empty for a page. */
  readonly form: URLSearchParams
  /** Why the person sees personal data now; undefined: it is masked. */
  readonly reason: Reason | undefined
  /**
   * How personal data is shown, for the functions of `audit/masking.ts`: in clear to those who gave a reason, else masked. A
   * look in clear is recorded before this resolves, once for each reason, command and customer. Call it before reading.
   * @throws EventStoreUnavailable
   */
  reveal(look: Look): Promise<Shown>
  /**
   * The same for a file of events, which is recorded whether it is masked or not.
   * @throws EventStoreUnavailable
   */
  recordExport(look: Look): Promise<Shown>
  /** The hidden field that each form with `method="post"` needs. */
  readonly formToken: Html
  readonly now: Date
  /** Aborted when the person goes away, and when the console closes: for long reads. */
  readonly signal: AbortSignal
  /** Nothing personal goes in there. */
  readonly log: Log
}

/** What a page shows. HTML alone is its body under the page's own title. */
export interface Content {
  /** In place of the page's own; nothing personal, a customer's number is not. */
  readonly title?: string
  /** Parts are sent as they come. After a fault in the middle the page says that it is incomplete. */
  readonly body: Html | AsyncIterable<Html>
  /** Default 200. */
  readonly status?: number
  /** The command that does the same, such as `customers audit history 7`. */
  readonly command?: string
}

/** Sends the browser elsewhere. */
interface Redirect {
  /** A path of the console; nothing personal. */
  readonly redirect: string
  /** A sentence that is shown there once. */
  readonly notice?: Notice
}

/** A file to save. */
export interface Download {
  readonly filename: string
  /** Such as `text/csv; charset=utf-8`. */
  readonly type: string
  readonly content: string | AsyncIterable<string>
}

export type Answer = Html | Content | Redirect | Download

export interface PageOptions {
  /** As Fastify's: `/customers/:id`. */
  readonly path: string
  readonly title: string
  /** Who may see it: at least one role. */
  readonly roles: readonly Role[]
  /** The page is in the navigation: its label there, and what one finds there. */
  readonly nav?: { readonly label: string; readonly about: string }
  /** The path of the entry of the navigation that it belongs to. Default: the one that its own path is below. */
  readonly section?: string
  /** The page reads much of the log: only a few of them run at once. */
  readonly isLong?: boolean
  /** The page shows personal data to those who gave a reason: it has a form to give one. */
  readonly isPersonal?: boolean
}

/** Who may see a route; anything else is refused at start. `public`: also those who are not signed in. */
export type Access = readonly Role[] | 'public'

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
  }
}

/** Adds a page (GET). @throws Error for a page without roles */
export function page(app: ConsoleApp, options: PageOptions, handler: (view: View) => Promise<Answer> | Answer): void {
  const { path, roles, nav } = options
  if (nav) app.nav.push({ path, ...nav, roles })
  // HEAD would do all the work of a search, or record a look, and send nothing.
  app.fastify.get(path, { config: { access: roles }, exposeHeadRoute: false }, async (request, reply) => {
    const session = await sessionOf(app, request, reply)
    if (session === undefined) return askToSignIn(request, reply)
    const view = await viewOf(app, request, reply, session)
    return answer(app, reply, session, view, options, () => {
      checkRole(session.person, roles)
      if (options.isLong) app.longReads.begin(session.person.name, reply.raw)
      return handler(view)
    })
  })
}

/**
 * Adds an action: a form with `method="post"` and `view.formToken` in it. After a change redirect, so that a reload does not
 * repeat it. The handler's second argument is for the console's own cookies.
 * @throws Error for an action without roles
 */
export function action(
  app: ConsoleApp,
  options: Pick<PageOptions, 'path' | 'roles' | 'isLong'>,
  handler: (view: View, own: { readonly reply: FastifyReply; readonly session: Session }) => Promise<Answer> | Answer,
): void {
  const { path, roles } = options
  app.fastify.post(path, { config: { access: roles } }, async (request, reply) => {
    const session = await sessionOf(app, request, reply)
    if (session === undefined) throw new Refused(401, 'Your session has ended, and nothing was done. Sign in again.')
    const view = await viewOf(app, request, reply, session)
    return answer(app, reply, session, view, { title: 'Not done', path }, () => {
      checkOrigin(app, request)
      if (!app.sessions.isFormToken(session, view.form.get('token'))) {
        throw new Refused(
          403,
          'This form is of another session, and nothing was done. Go back, load the page again, and repeat it.',
        )
      }
      checkRole(session.person, roles)
      if (options.isLong) app.longReads.begin(session.person.name, reply.raw)
      return handler(view, { reply, session })
    })
  })
}

/**
 * Whether a form was sent by a page of the console: browsers say the origin of each POST.
 * @throws Refused 403 for another origin, and for none
 */
export function checkOrigin(app: ConsoleApp, { headers }: FastifyRequest): void {
  const { origin, host = '' } = headers
  const { CONSOLE_URL: own } = app.options.settings
  const isOwn =
    origin !== undefined && URL.canParse(origin) && (own === undefined ? new URL(origin).host === host : origin === own)
  if (!isOwn) throw new Refused(403, 'This request did not come from a page of the console, and nothing was done.')
}

/** The session; where a proxy signs people in, it is always of the person whom the request names. */
export async function sessionOf(
  app: ConsoleApp,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Session | undefined> {
  const session = await app.sessions.read(request, reply)
  const { personOf } = app.signIn
  if (personOf === undefined) return session
  const person = personOf(request)
  if (person === undefined) return undefined
  return session?.person.name === person.name ? { ...session, person } : app.sessions.begin(reply, person)
}

/** Browsers leave the session's cookie out when they come from another site's link; coming from the console itself, they send it. */
function askToSignIn(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const isFromElsewhere = request.headers['sec-fetch-site'] === 'cross-site'
  const target = isFromElsewhere ? request.url : `/sign-in?back=${encodeURIComponent(request.url)}`
  return isFromElsewhere ? sendHop(reply, target) : reply.redirect(target, 303)
}

/** A page that leads on to a path of the console: the browser's next request then comes from the console. */
export function sendHop(reply: FastifyReply, path: string): FastifyReply {
  return reply
    .type(HTML)
    .send(
      html`<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=${path}"><title>Console</title><p><a href="${path}">Continue</a></p></html>`
        .text,
    )
}

function checkRole(person: Person, roles: readonly Role[]): void {
  if (hasRole(person, roles)) return
  const names = roles.map((role) => ROLE_NAMES[role].toLowerCase()).join(' or ')
  throw new Refused(403, `This is for the role ${names}; you do not have it. Ask whoever manages your account.`)
}

async function viewOf(app: ConsoleApp, request: FastifyRequest, reply: FastifyReply, session: Session): Promise<View> {
  const { person } = session
  const gone = new AbortController()
  reply.raw.once('close', () => gone.abort())
  const given = mayReveal(person) ? await app.reasons.read(request, session) : undefined
  const { searchParams } = new URL(request.url, 'http://console')
  return {
    options: app.options,
    person,
    actor: actorOf(person),
    url: request.url,
    params: request.params as Readonly<Record<string, string>>,
    query: searchParams,
    form: request.body instanceof URLSearchParams ? request.body : new URLSearchParams(),
    reason: given,
    async reveal(look) {
      if (given === undefined) return app.masker
      await app.reasons.record(session, given, look)
      return 'revealed'
    },
    async recordExport({ command, customerId }) {
      const asked = { command: `console: ${command}`, customerId, actor: actorOf(person), reason: given?.text }
      await recordExport(app.options.eventStore, asked)
      return given === undefined ? app.masker : 'revealed'
    },
    formToken: html`<input type="hidden" name="token" value="${app.sessions.formToken(session)}">`,
    now: app.now(),
    signal: AbortSignal.any([gone.signal, app.closing]),
    log: request.log,
  }
}

export const HTML = 'text/html; charset=utf-8'

/** A link to the page of the navigation that a refused request belongs to, or home. */
function wayBack({ nav }: ConsoleApp, person: Person, path: string): Html {
  const { path: to, label } = nav.find(
    (entry) => hasRole(person, entry.roles) && (path === entry.path || path.startsWith(`${entry.path}/`)),
  ) ?? { path: '/', label: 'Home' }
  return html`<p class="actions"><a class="button" href="${to}">Back to ${label}</a></p>`
}

/** Sends what the handler gives, or a page that says what went wrong. */
async function answer(
  app: ConsoleApp,
  reply: FastifyReply,
  session: Session,
  view: View,
  options: Pick<PageOptions, 'title' | 'path' | 'section' | 'isPersonal'>,
  handle: () => Promise<Answer> | Answer,
): Promise<FastifyReply> {
  let given: Answer
  try {
    given = await handle()
  } catch (error) {
    const { status, title, text } = describeFault(error, view.log)
    given = {
      status,
      title,
      body: html`<p class="fault" role="alert">${text}</p>${wayBack(app, session.person, options.section ?? options.path)}`,
    }
  }
  if ('redirect' in given) {
    const { redirect, notice } = given
    if (notice !== undefined) {
      await app.cookies.set(reply, 'notice', { ...notice }, new Date(view.now.getTime() + NOTICE_MS))
    }
    return reply.redirect(redirect, 303)
  }
  if ('filename' in given) {
    const { filename, type, content } = given
    reply.type(type).header('content-disposition', `attachment; filename="${filename.replace(/[^\w.-]/g, '-')}"`)
    return typeof content === 'string' ? reply.send(content) : sendParts(reply, content)
  }
  const shown: Content = 'body' in given ? given : { body: given }
  const { body, status = 200, title = options.title, command } = shown
  const { before, after } = layout({
    title,
    path: options.section ?? options.path,
    nav: app.nav.filter(({ roles }) => hasRole(session.person, roles)),
    view,
    isPersonal: options.isPersonal === true && mayReveal(session.person),
    command,
    notice: await takeNotice(app, reply),
  })
  reply.code(status).type(HTML)
  if (Symbol.asyncIterator in body) return sendParts(reply, pageParts(before, body, after, view))
  return reply.send(`${before}${body.text}${after}`)
}

/** A reader that takes nothing of what waits for it for so long has gone away: what is read for it ends. */
const STALLED_MS = 60_000

function sendParts(reply: FastifyReply, parts: AsyncIterable<string>): FastifyReply {
  const { raw } = reply
  // It also comes when there is nothing to send yet.
  raw.setTimeout(STALLED_MS, () => raw.writableLength > 0 && raw.destroy())
  return reply.send(Readable.from(parts))
}

const NOTICE_MS = 60_000

async function takeNotice(app: ConsoleApp, reply: FastifyReply): Promise<Notice | undefined> {
  const notice = await app.cookies.get(reply.request, 'notice')
  if (notice === undefined) return undefined
  app.cookies.clear(reply, 'notice')
  return notice as unknown as Notice
}

async function* pageParts(
  before: Html,
  body: AsyncIterable<Html>,
  after: Html,
  { log, signal }: View,
): AsyncGenerator<string> {
  yield before.text
  try {
    for await (const part of body) yield part.text
  } catch (error) {
    if (signal.aborted) return
    yield html`<p class="fault" role="alert">This page is incomplete. ${describeFault(error, log).text}</p>`.text
  }
  yield after.text
}
