/**
 * `customers start`: subgraph, projection, mails, gateway and (outside production) the sample subgraphs in one process.
 * On the embedded stores by default; with EVENTSTORE_URL and READMODEL_URL set, the same on servers.
 *
 * The servers are loaded once the settings and keys are checked, so a wrong one is reported in less than half the time.
 */
import type { AddressInfo } from 'node:net'
import { resolve } from 'node:path'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { startConfiguredCheckpoints } from '../../audit/proof/signed-checkpoints.ts'
import { checkAuditKey, loadSigningKey } from '../../audit/proof/signing-key.ts'
import { loadConsoleConfiguration, signInKind } from '../../console/configuration.ts'
import { createLazyConsole } from '../../console/lazy.ts'
import type { ConsoleOptions } from '../../console/routes.ts'
import { checkKeys, checkKeysAtStart } from '../../eventstore/encryption/key-fingerprints.ts'
import { isEmbeddedLogEmpty, openLog } from '../../eventstore/open-event-store.ts'
import { type GatewayConfiguration, loadGatewayConfiguration } from '../../gateway/configuration.ts'
import { createMetrics, type Metrics } from '../../gateway/metrics.ts'
import { startMetrics } from '../../gateway/metrics-server.ts'
import { gatewayOptions } from '../../gateway/options.ts'
import type { Returned, Transport } from '../../gateway/subgraphs/client.ts'
import { type Mail, startMail } from '../../mail/start.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { traced } from '../../projections/worker/traced-observer.ts'
import { startProjection } from '../../projections/worker/worker.ts'
import { type Configuration, loadLimits } from '../../runtime/configuration.ts'
import { loggerOptions } from '../../runtime/log.ts'
import { startMetricsExport } from '../../runtime/metrics-export.ts'
import { endProcess, listen, type Running, runProcess } from '../../runtime/process.ts'
import { prepareDataFolder } from '../../runtime/service-keys.ts'
import { tokenNames } from '../../runtime/token-names.ts'
import { startTracing } from '../../runtime/tracing.ts'
import { loadStore } from '../../schema/store.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { createMetrics as createSubgraphMetrics, type SubgraphMetrics } from '../../subgraph/metrics.ts'
import { defaultSupergraph, START_DEFAULTS } from '../environment.ts'

const SAMPLE_CUSTOMER = { email: 'roni_cost@example.com', password: 'roni_cost3@example.com' }

/** The running parts, in the order of their start. */
type Added = <T extends Running>(part: T) => T

/** Starts all parts. */
export const start = (): Promise<void> =>
  runProcess(async (configuration) => {
    const parts: Running[] = []
    const close = async () => {
      for (const part of parts.reverse()) await part.close()
    }
    const added: Added = (part) => {
      parts.push(part)
      return part
    }
    try {
      await startParts(configuration, loadGatewayConfiguration(process.env), added)
      return { close }
    } catch (error) {
      await close()
      throw error
    }
  }, START_DEFAULTS)

async function startParts(configuration: Configuration, variables: GatewayConfiguration, added: Added): Promise<void> {
  const isProduction = configuration.NODE_ENV === 'production'
  const settings = { ...configuration, SUPERGRAPH: configuration.SUPERGRAPH ?? defaultSupergraph(isProduction) }
  // Reports wrong settings before any data are written.
  gatewayOptions(settings, variables)
  const consoleSettings = loadConsoleConfiguration(process.env)
  signInKind(consoleSettings, isProduction)
  const metrics = { gateway: createMetrics(), subgraph: createSubgraphMetrics() }
  const { subgraph, mail, forConsole } = await startCustomers(configuration, metrics.subgraph, added)
  const apps: Record<string, FastifyInstance> = { customers: subgraph }
  const subgraphUrls: Record<string, string> = { customers: `${address(subgraph)}/graphql` }
  if (!isProduction) {
    const { SAMPLES_PORT: port, HOST: host } = configuration
    const jwksUrl = `${address(subgraph)}/.well-known/jwks.json`
    const { buildSamples } = await import('../../examples/commerce/server.ts')
    const samples = added(
      await buildSamples({
        keys: { jwksUrl },
        names: tokenNames(configuration),
        logger: loggerOptions(configuration, 'samples'),
      }),
    )
    await listen(samples, { port, host }, 'SAMPLES_PORT')
    for (const name of ['catalog', 'orders']) {
      apps[name] = samples
      subgraphUrls[name] = `${address(samples)}/${name}/graphql`
    }
  }
  // Subgraphs of this process are called without a socket, unless their URL points elsewhere.
  const own = Object.entries(apps).filter(([name]) => variables.subgraphUrls[name.toUpperCase()] === undefined)
  const transports = Object.fromEntries(
    own.map(([name, app]) => [name, inject(app, new URL(subgraphUrls[name] ?? '').pathname)]),
  )
  const gateway = await startGateway(settings, variables, subgraphUrls, { transports, metrics: metrics.gateway }, added)
  const registries = [metrics.gateway.registry, metrics.subgraph.registry]
  added(await startMetricsExport(configuration, 'customers', registries, gateway.log))
  const consoleText = await startConsole(
    { ...forConsole, configuration, settings: consoleSettings },
    subgraph.log,
    added,
  )
  printPlaces(configuration, address(gateway), address(subgraph), mail.description, consoleText)
  if (isProduction) return
  await registerSampleCustomer(subgraph, configuration.SUBGRAPH_SECRET)
  printSession()
}

/** Starts the customer subgraph with everything that it needs: log, read model, projection, checkpoints, mails. */
async function startCustomers(
  configuration: Configuration,
  metrics: SubgraphMetrics,
  added: Added,
): Promise<{
  readonly subgraph: FastifyInstance
  readonly mail: Mail
  readonly forConsole: Omit<ConsoleOptions, 'configuration' | 'settings'>
}> {
  const { READMODEL_URL, HOST: host, SUBGRAPH_SECRET: secret, CAPTCHA_SECRET: captchaSecret } = configuration
  const store = loadStore(configuration.STORE_CONFIG)
  const prepared = prepareDataFolder(configuration, await isEmbeddedLogEmpty(configuration))
  const keys = loadKeys(configuration)
  const auditKey = loadSigningKey(configuration)
  added(await startTracing(configuration, 'customers'))
  const opened = await openLog(configuration)
  const { eventStore, stored } = opened
  added(eventStore)
  const check = async () => {
    await checkKeys(eventStore, keys, { record: true })
    await checkAuditKey(eventStore, configuration, { record: true })
  }
  await checkKeysAtStart(opened, check, endProcess)
  prepared()
  const readModel = added(await openReadModel(READMODEL_URL))
  const { buildSubgraph } = await import('../../subgraph/server.ts')
  const subgraph = added(
    await buildSubgraph({
      eventStore,
      readModel,
      keys,
      metrics,
      store,
      secret,
      captchaSecret,
      tokenNames: tokenNames(configuration),
      cachedTokens: configuration.TOKEN_CACHE_SIZE,
      introspection: configuration.NODE_ENV !== 'production',
      logger: loggerOptions(configuration, 'subgraph'),
      loadLimits: loadLimits(configuration),
    }),
  )
  const projected = added(await openReadModel(READMODEL_URL))
  const projection = startProjection({ eventStore, readModel: projected, log: subgraph.log, observer: traced({}) })
  added({ close: () => projection.stop() })
  // The read model of an earlier run may be behind or lost. It catches up before the first query.
  await projection.caughtUp()
  const checkpoints = startConfiguredCheckpoints(stored, auditKey, configuration.CHECKPOINT_MINUTES, subgraph.log)
  added({ close: () => checkpoints.stop() })
  const { emailHashKey } = keys
  const mail = added(startMail({ configuration, eventStore, emailHashKey, store, log: subgraph.log }))
  await listen(subgraph, { port: configuration.SUBGRAPH_PORT, host }, 'SUBGRAPH_PORT')
  return { subgraph, mail, forConsole: { eventStore, stored, keys: opened.keys, readModel, emailHashKey, store } }
}

/** Serves the console, which is loaded with its first request. @returns where it is, or why it is not served */
async function startConsole(options: ConsoleOptions, log: FastifyBaseLogger, added: Added): Promise<string> {
  const { configuration, settings } = options
  const kind = signInKind(settings, configuration.NODE_ENV === 'production')
  if (kind === 'none') return 'not served: set CONSOLE_OIDC_ISSUER or CONSOLE_PROXY_HEADER (docs/console.md)'
  const server = added(
    createLazyConsole(
      async () => {
        const { buildConsole } = await import('../../console/server.ts')
        return buildConsole(options, { logger: loggerOptions(configuration, 'console') })
      },
      (error) => log.error({ err: error }, 'the console could not be started'),
    ),
  )
  const url = await listen(server, { port: settings.CONSOLE_PORT, host: configuration.HOST }, 'CONSOLE_PORT')
  return `${settings.CONSOLE_URL ?? url}/${kind === 'samples' ? '   sign in as a sample auditor, privacy officer or operator' : ''}`
}

async function startGateway(
  configuration: Configuration,
  variables: GatewayConfiguration,
  ownUrls: Readonly<Record<string, string>>,
  own: { readonly transports: Readonly<Record<string, Transport>>; readonly metrics: Metrics },
  added: Added,
): Promise<FastifyInstance> {
  const { GATEWAY_PORT: port, HOST: host } = configuration
  const { buildGateway } = await import('../../gateway/server.ts')
  const gateway = added(
    await buildGateway({
      ...gatewayOptions(configuration, variables, ownUrls),
      ...own,
    }),
  )
  await listen(gateway, { port, host }, 'GATEWAY_PORT')
  added(await startMetrics(own.metrics, { port: variables.GATEWAY_METRICS_PORT, host }))
  return gateway
}

function printPlaces(
  configuration: Configuration,
  gatewayUrl: string,
  subgraphUrl: string,
  mail: string,
  consoleText: string,
): void {
  const { EVENTSTORE_URL, READMODEL_URL, NODE_ENV } = configuration
  const shown = (url: string) =>
    url.startsWith('sqlite:') ? resolve(url.slice('sqlite:'.length)) : url.replace(/\/\/[^/]*@/, '//')
  console.log(`
  Gateway    ${gatewayUrl}/graphql${NODE_ENV === 'production' ? '' : `   query editor: ${gatewayUrl}/`}
  Subgraph   ${subgraphUrl}/graphql
  Console    ${consoleText}
  Data       ${shown(EVENTSTORE_URL)} (events), ${shown(READMODEL_URL)} (read model)
  Mail       ${mail}`)
}

function printSession(): void {
  const { email, password } = SAMPLE_CUSTOMER
  console.log(`  Sample     customer ${email}, password ${password}

  Sign in:
    mutation { generateCustomerToken(email: "${email}", password: "${password}") { token } }
  Then, with the header  Authorization: Bearer <token>
    { customer { firstname email orders { number items { quantity product { name } } } } }
`)
}

/** Passes requests to a server in this process. */
function inject(app: FastifyInstance, url: string): Transport {
  return async (payload, list) => {
    const headers: Record<string, string> = {}
    for (let index = 0; index < list.length; index += 2) headers[list[index] as string] = list[index + 1] as string
    const { statusCode, body, headers: returned } = await app.inject({ method: 'POST', url, headers, payload })
    return { status: statusCode, text: body, headers: returned as Returned }
  }
}

function address(app: FastifyInstance): string {
  const { address, family, port } = app.server.address() as AddressInfo
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

/** Registers the sample customer like any client. If the address is taken, an earlier start has registered it. */
async function registerSampleCustomer(subgraph: FastifyInstance, secret: string | undefined): Promise<void> {
  const mutate = async (query: string, token?: string) => {
    const response = await subgraph.inject({
      method: 'POST',
      url: '/graphql',
      headers: { ...(secret && { 'x-subgraph-secret': secret }), ...(token && { authorization: `Bearer ${token}` }) },
      payload: { query },
    })
    return response.json()
  }
  const { email, password } = SAMPLE_CUSTOMER
  const created = await mutate(`mutation { createCustomer(input: {
    firstname: "Veronica", lastname: "Costello", email: "${email}", password: "${password}"
  }) { customer { id } } }`)
  if (created.errors) return
  const signedIn = await mutate(
    `mutation { generateCustomerToken(email: "${email}", password: "${password}") { token } }`,
  )
  await mutate(
    `mutation { createCustomerAddress(input: {
      firstname: "Veronica", lastname: "Costello", street: ["6146 Honey Bluff Parkway"], city: "Calder",
      region: { region_id: 33 }, postcode: "49628-7978", country_id: US, telephone: "(555) 229-3326",
      default_billing: true, default_shipping: true
    }) { id } }`,
    signedIn.data?.generateCustomerToken?.token,
  )
}
