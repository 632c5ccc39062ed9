/**
 * The console as a Fastify instance: pages for auditors, privacy officers and operators (docs/console.md).
 *
 * To add a page: make a folder in `pages/` with a function that takes a {@link ConsoleApp} and registers what belongs to it, and
 * put that function into the list of `pages/index.ts`, whose order is that of the navigation.
 *
 *     export function parked(app: ConsoleApp): void {
 *       page(app, { path: '/parked', title: 'Parked events', roles: ['operator'], nav: { label: 'Parked', about: '…' } },
 *         async (view) => html`<p>${await count(view.options.readModel)} events wait.</p>`)
 *       action(app, { path: '/parked/replay', roles: ['operator'] }, async (view) => {
 *         await replay(view.form.get('customer'), view.actor)
 *         return { redirect: '/parked', notice: { kind: 'done', text: 'Replayed.' } }
 *       })
 *     }
 *
 * - `page` is a GET, `action` a POST of a form: `<form method="post" action="/parked/replay">${view.formToken}…</form>`. Roles,
 *   sign-in, the form's token and origin, headers, layout and faults are theirs. A route without roles is refused at start.
 * - A handler gives HTML, `{ title, body, command, status }`, `{ redirect, notice }` or `{ filename, type, content }`; a body or a
 *   content may be an async iterable, which is sent as it comes. See `Answer` in routes.ts.
 * - Write HTML with the tag `html` (html.ts): it escapes everything. components.ts has tables, times, facts, badges and empty
 *   states; charts.ts has charts. There are no inline styles or scripts: the CSP blocks them. A page's own script or style is a
 *   file in `assets/`, served as `/assets/NAME`; link a script with `<script type="module" src="/assets/NAME.js"></script>`.
 * - Personal data: set `isPersonal`, call `await view.reveal({ command, customerId })` before reading, and pass the result to
 *   `audit/masking.ts`. Nothing personal may stand in a URL, a title or a log line.
 * - To refuse, throw `Refused(status, 'plain words')`. AuditError, UsageError and EventStoreUnavailable become pages by themselves.
 */

import { hkdfSync } from 'node:crypto'
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance, type FastifyServerOptions, LogController } from 'fastify'
import { createMasker } from '../audit/masking.ts'
import { endingConnections } from '../runtime/ending-connections.ts'
import { ConfigurationError } from '../runtime/errors.ts'
import { lazily } from '../runtime/lazily.ts'
import { createRegistry } from '../runtime/metrics.ts'
import { logOutages } from '../runtime/outages.ts'
import { REQUEST_TIMEOUTS } from '../runtime/request-timeouts.ts'
import { answersProbe } from '../runtime/time-limits.ts'
import { serveAssets } from './assets.ts'
import { signInKind } from './configuration.ts'
import { describeFault } from './faults.ts'
import { html } from './html.ts'
import { plainPage } from './layout.ts'
import { createLongReads } from './long-reads.ts'
import { registerPages } from './pages/index.ts'
import { createReasons } from './reasons.ts'
import { type Access, type ConsoleApp, type ConsoleOptions, HTML } from './routes.ts'
import { oidcSignIn } from './sign-in/oidc.ts'
import { proxySignIn } from './sign-in/proxy.ts'
import { serveReasons, serveSignIn } from './sign-in/routes.ts'
import { samplePeople } from './sign-in/sample-people.ts'
import { createSealedCookies } from './sign-in/sealed-cookies.ts'
import { createSessions } from './sign-in/sessions.ts'
import type { SignIn } from './sign-in/sign-in.ts'

/** The largest form: texts of people, or a proof. */
const BODY_LIMIT = 1_048_576

const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  // Not no-referrer: browsers would then leave the origin out of forms, by which they are checked.
  'referrer-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=(), payment=(), usb=()',
  'cache-control': 'no-store',
}

/**
 * Builds the console: its pages, `/assets/…`, `/healthz`, `/readyz`, `/metrics`. The caller closes the stores, after it.
 * @param server.logger Fastify's logger option; default: no log
 * @throws ConfigurationError for a sign-in that is not set up
 */
export async function buildConsole(
  options: ConsoleOptions,
  server: { readonly logger?: FastifyServerOptions['logger'] } = {},
): Promise<FastifyInstance> {
  const { configuration, settings, eventStore, now = () => new Date() } = options
  const isProduction = configuration.NODE_ENV === 'production'
  const fastify = Fastify({
    logger: server.logger ?? false,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_LIMIT,
    ...REQUEST_TIMEOUTS,
    routerOptions: { maxParamLength: 200 },
  })
  requireAccess(fastify)
  await fastify.register(fastifyCookie)
  readForms(fastify)
  protect(fastify, isProduction)

  const closing = new AbortController()
  const endConnections = endingConnections(fastify.server)
  fastify.addHook('preClose', async () => {
    closing.abort()
    endConnections()
  })

  const key = settings.CONSOLE_SESSION_KEY ?? derivedKey(options.emailHashKey)
  const cookies = createSealedCookies({ key, isSecure: isProduction, now })
  const app: ConsoleApp = {
    fastify,
    options,
    cookies,
    sessions: createSessions({ cookies, key, now }),
    reasons: createReasons({ cookies, eventStore, now }),
    signIn: chooseSignIn(options, isProduction, { cookies, now }),
    masker: createMasker(options.emailHashKey),
    now,
    closing: closing.signal,
    longReads: createLongReads(),
    nav: [],
  }
  serveSignIn(app)
  serveReasons(app)
  serveAssets(fastify)
  serveProbes(app)
  registerPages(app)
  const stopLogging = logOutages(eventStore, fastify.log, {
    away: 'the event store is unavailable; pages show nothing of the log until it is back',
    back: 'the event store is available again',
  })
  fastify.addHook('onClose', async () => stopLogging())
  return fastify
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Who may use each route: `GET /find`. */
    readonly routeAccess?: ReadonlyMap<string, Access>
  }
}

/** Refuses routes that do not say who may use them. */
function requireAccess(fastify: FastifyInstance): void {
  const routes = new Map<string, Access>()
  fastify.decorate('routeAccess', routes)
  fastify.addHook('onRoute', ({ method, url, config }) => {
    const access = config?.access
    if (access !== 'public' && !(access && access.length > 0)) {
      throw new Error(`The route ${url} names no roles: register it with page() or action().`)
    }
    for (const each of [method].flat()) routes.set(`${each} ${url}`, access)
  })
}

function readForms(fastify: FastifyInstance): void {
  fastify.removeAllContentTypeParsers()
  fastify.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_, body, done) =>
    done(null, new URLSearchParams(String(body))),
  )
}

/** Headers of every answer, and faults outside pages. */
function protect(fastify: FastifyInstance, isProduction: boolean): void {
  fastify.addHook('onRequest', async (_, reply) => {
    reply.headers(HEADERS)
    if (isProduction) reply.header('strict-transport-security', 'max-age=31536000')
  })
  fastify.setNotFoundHandler((_, reply) =>
    reply
      .code(404)
      .type(HTML)
      .send(plainPage('Not found', html`<p>There is no such page. <a href="/">To the first page</a></p>`)),
  )
  fastify.setErrorHandler((error, request, reply) => {
    const { status, title, text } = describeFault(error, request.log)
    return reply
      .code(status)
      .type(HTML)
      .send(plainPage(title, html`<p role="alert">${text}</p><p><a href="/">To the first page</a></p>`))
  })
}

/** Another key than that of the addresses, which tells nothing about it. */
const derivedKey = (emailHashKey: string): string =>
  Buffer.from(hkdfSync('sha256', emailHashKey, '', 'sessions of the console', 32)).toString('hex')

function chooseSignIn(
  { settings }: ConsoleOptions,
  isProduction: boolean,
  parts: Pick<ConsoleApp, 'cookies' | 'now'>,
): SignIn {
  const kind = signInKind(settings, isProduction)
  if (kind === 'oidc') return oidcSignIn(settings, { ...parts, isProduction })
  if (kind === 'proxy') return proxySignIn(settings, settings.CONSOLE_PROXY_HEADER ?? '')
  if (kind === 'samples') return samplePeople(isProduction)
  throw new ConfigurationError(
    'The console needs a sign-in in production: set CONSOLE_OIDC_ISSUER, or CONSOLE_PROXY_HEADER (docs/console.md).',
  )
}

function serveProbes({ fastify, options: { eventStore } }: ConsoleApp): void {
  const metrics = lazily(() => createRegistry('console'))
  const config = { access: 'public' } as const
  fastify.get('/healthz', { config }, async () => ({ status: 'ok' }))
  fastify.get('/readyz', { config }, async (_, reply) => {
    const ready = await answersProbe(eventStore.ping())
    return reply.code(ready ? 200 : 503).send({ ready, eventStore: ready })
  })
  fastify.get('/metrics', { config }, async (_, reply) =>
    reply.type(metrics().contentType).send(await metrics().metrics()),
  )
}
