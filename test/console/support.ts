/** What the console's tests share: a console over a log of this process, people who are signed in, and a browser. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import type { Browser, Page } from 'playwright-core'
import type { Test } from 'tap'
import { type ConsoleConfiguration, loadConsoleConfiguration } from '../../console/configuration.ts'
import type { Role } from '../../console/people.ts'
import type { ConsoleOptions } from '../../console/routes.ts'
import { buildConsole } from '../../console/server.ts'
import { openLog } from '../../eventstore/open-event-store.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { partsOf } from '../../runtime/in-batches.ts'
import { lazily } from '../../runtime/lazily.ts'
import { loadEmailHashKey } from '../../runtime/service-keys.ts'
import { store } from '../../schema/store.ts'
import { streamOf } from '../../schema/streams.ts'
import { environment, temporaryFolder } from '../support/graph.ts'

export interface ConsoleFixture {
  readonly app: FastifyInstance
  readonly options: ConsoleOptions
  /** Signs a sample person in. */
  signIn(who: Who): Promise<Visitor>
}

/**
 * A console over the folder, in this process; closed with the test.
 * @param given.env variables of the console and of all processes
 */
export async function startConsole(
  t: Test,
  given: {
    readonly folder?: string
    readonly env?: Readonly<Record<string, string>>
    readonly now?: () => Date
    readonly logger?: FastifyServerOptions['logger']
  } = {},
): Promise<ConsoleFixture> {
  const folder = given.folder ?? (await temporaryFolder(t))
  const env = { ...environment(folder), ...given.env }
  const configuration = loadConfiguration(env)
  const settings: ConsoleConfiguration = loadConsoleConfiguration(env)
  const { eventStore, stored, keys } = await openLog(configuration)
  const readModel = await openReadModel(configuration.READMODEL_URL)
  const options: ConsoleOptions = {
    eventStore,
    stored,
    keys,
    readModel,
    emailHashKey: loadEmailHashKey(configuration),
    store: store(),
    configuration,
    settings,
    environment: env,
    ...(given.now && { now: given.now }),
  }
  const app = await buildConsole(options, given.logger === undefined ? {} : { logger: given.logger })
  t.teardown(async () => {
    await app.close()
    await readModel.close()
    await eventStore.close()
  })
  return { app, options, signIn: (who) => signIn(app, who) }
}

/** @returns how many reads of the log are under way */
export function countReads({ stored }: ConsoleOptions): () => number {
  const { readAll } = stored
  let underWay = 0
  async function* counted(...args: Parameters<typeof readAll>) {
    underWay++
    try {
      yield* readAll(...args)
    } finally {
      underWay--
    }
  }
  Object.assign(stored, { readAll: counted })
  return () => underWay
}

const SAMPLE_PEOPLE: Readonly<Record<Role, string>> = {
  auditor: 'anna.auditor',
  'privacy-officer': 'paul.privacy',
  operator: 'olga.operator',
}

/** Somebody of a role, or the second privacy officer. */
export type Who = Role | 'petra.privacy'

const nameOf = (who: Who): string => (who === 'petra.privacy' ? who : SAMPLE_PEOPLE[who])

interface Answered {
  readonly status: number
  readonly body: string
  readonly location: string | undefined
  readonly headers: Readonly<Record<string, string | number | string[] | undefined>>
}

/** A browser without scripts: it keeps cookies, and sends forms with the token of the page that it saw last. */
export interface Visitor {
  readonly cookies: Map<string, string>
  get(url: string, headers?: Readonly<Record<string, string>>): Promise<Answered>
  /** Sends a form. `token: false` leaves the token out. */
  post(
    url: string,
    fields?: Readonly<Record<string, string>>,
    options?: { readonly token?: string | false; readonly headers?: Readonly<Record<string, string>> },
  ): Promise<Answered>
  /** Gives a reason for personal data. */
  giveReason(text?: string): Promise<void>
}

const HOST = 'localhost:4005'

export function visitor(app: FastifyInstance): Visitor {
  const cookies = new Map<string, string>()
  let token: string | undefined
  async function send(
    method: 'GET' | 'POST',
    url: string,
    headers: Readonly<Record<string, string>>,
    payload?: string,
  ): Promise<Answered> {
    const response = await app.inject({
      method,
      url,
      headers: {
        host: HOST,
        ...(cookies.size > 0 && { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') }),
        ...(payload !== undefined && { 'content-type': 'application/x-www-form-urlencoded', origin: `http://${HOST}` }),
        ...headers,
      },
      ...(payload !== undefined && { payload }),
    })
    for (const { name, value, expires } of response.cookies) {
      if (value === '' || (expires && expires.getTime() <= 0)) cookies.delete(name)
      else cookies.set(name, value)
    }
    token = /name="token" value="([^"]+)"/.exec(response.body)?.[1] ?? token
    const { location } = response.headers
    return {
      status: response.statusCode,
      body: response.body,
      location: typeof location === 'string' ? location : undefined,
      headers: response.headers,
    }
  }
  const self: Visitor = {
    cookies,
    get: (url, headers = {}) => send('GET', url, headers),
    async post(url, fields = {}, { token: given, headers = {} } = {}) {
      const sent = given === false ? undefined : (given ?? token)
      const form = new URLSearchParams({ ...(sent !== undefined && { token: sent }), ...fields })
      return send('POST', url, headers, form.toString())
    },
    async giveReason(text = 'ticket 12') {
      await self.get('/')
      const { status } = await self.post('/reason', { reason: text })
      if (status !== 303) throw new Error(`The reason was refused with ${status}.`)
    },
  }
  return self
}

async function signIn(app: FastifyInstance, who: Who): Promise<Visitor> {
  const someone = visitor(app)
  const { status } = await someone.post('/sign-in', { person: nameOf(who) })
  if (status !== 303) throw new Error(`The sign-in was refused with ${status}.`)
  await someone.get('/')
  return someone
}

/** Appends records of access to a customer: a long log, which takes its time to be read. @param characters of each */
export async function appendAccess({ stored }: ConsoleOptions, count: number, characters: number): Promise<void> {
  const command = 'x'.repeat(characters)
  const events = Array.from({ length: count }, () => ({
    id: crypto.randomUUID(),
    type: 'AccessRecorded',
    data: { kind: 'signed-in', command },
    metadata: { actor: 'guest' },
  }))
  for (const part of partsOf(events, 20)) await stored.append(streamOf.access(7), part, { expected: 'any' })
}

/** A tab in which somebody is signed in. */
export interface Tab {
  readonly page: Page
  /** Errors of scripts, violations of the CSP, and requests to other origins: always empty. */
  readonly faults: readonly string[]
}

/** Opens a tab and signs a sample person in. @param url of the console, as `app.listen` gives it */
export async function openTab(
  t: Test,
  browser: Browser,
  url: string,
  who: Who,
  options: NonNullable<Parameters<Browser['newContext']>[0]> = {},
): Promise<Tab> {
  const context = await browser.newContext(options)
  t.teardown(() => context.close())
  const page = await context.newPage()
  page.setDefaultTimeout(60_000)
  const faults: string[] = []
  page.on('pageerror', (error) => faults.push(`script: ${error.message}`))
  page.on('console', (message) => {
    // A page of a fault is reported by its status, too; that is no fault of the page.
    if (message.type() === 'error' && !/status of [45]\d\d/.test(message.text()))
      faults.push(`console: ${message.text()}`)
  })
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) faults.push(`request to ${request.url()}`)
  })
  await page.goto(url)
  await page.locator(`button[value="${nameOf(who)}"]`).click()
  await page.waitForURL(`${url}/`)
  return { page, faults }
}

const axe = lazily(() => readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'))

const WCAG = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']

/** By far the slowest of axe's rules. */
const CONTRAST = 'color-contrast'

/**
 * Checks the page that the tab shows by WCAG 2.2 AA.
 * @param rules axe's rules: all of them by default, those of colours alone, or all others
 * @returns what is wrong, in lines
 */
export async function findBarriers(
  { page }: Tab,
  rules: 'all' | 'colours' | 'all but colours' = 'all',
): Promise<string[]> {
  // By the browser's own tools: the page's CSP does not hold for them.
  const session = await page.context().newCDPSession(page)
  await session.send('Page.setBypassCSP', { enabled: true })
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(axe())
  const violations = await page.evaluate(
    async (options) => {
      // biome-ignore lint/suspicious/noExplicitAny: axe puts itself there
      const { violations } = await (globalThis as any).axe.run({ ...options, resultTypes: ['violations'] })
      return violations as { id: string; help: string; nodes: { target: string[]; failureSummary: string }[] }[]
    },
    rules === 'colours'
      ? { runOnly: { type: 'rule', values: [CONTRAST] } }
      : { runOnly: { type: 'tag', values: WCAG }, rules: { [CONTRAST]: { enabled: rules === 'all' } } },
  )
  await session.detach()
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${help}: ${target.join(' ')}: ${failureSummary}`),
  )
}

/** The folder for pictures, to be looked at. They prove nothing, and each costs as much as the checks. */
const { SCREENSHOTS } = process.env

const SCREENS = [
  { width: 1280, height: 900 },
  { width: 380, height: 800 },
]

/**
 * Checks the page that the tab shows for barriers, light and dark, wide and narrow, and for content that is wider than the
 * page. Takes a picture of each, too, if SCREENSHOTS names a folder for them.
 * @param name of the pictures
 */
export async function photograph(t: Test, tab: Tab, name: string): Promise<void> {
  // A link was followed: its page is there, but perhaps not its style.
  await tab.page.waitForLoadState('load')
  for (const [index, viewport] of SCREENS.entries()) {
    await tab.page.setViewportSize(viewport)
    for (const colorScheme of ['light', 'dark'] as const) {
      // Colours are all that differs in the dark, and they are the same at each width.
      if (colorScheme === 'dark' && index > 0 && SCREENSHOTS === undefined) continue
      await tab.page.emulateMedia({ colorScheme })
      const at = `${name}, ${viewport.width} px, ${colorScheme}`
      const rules = colorScheme === 'dark' ? 'colours' : index === 0 ? 'all' : 'all but colours'
      t.same(await findBarriers(tab, rules), [], `${at}: no barriers`)
      if (SCREENSHOTS === undefined) continue
      const path = join(SCREENSHOTS, `${name}-${viewport.width}-${colorScheme}.png`)
      await tab.page.screenshot({ path, fullPage: true })
    }
    const tooWide = await tab.page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    )
    t.equal(tooWide, 0, `${name}, ${viewport.width} px: nothing is wider than the page`)
  }
  await tab.page.setViewportSize(SCREENS[0] ?? { width: 1280, height: 900 })
  await tab.page.emulateMedia({ colorScheme: 'light' })
  t.same(tab.faults, [], `${name}: no faults of scripts, CSP or origin`)
}
