/** The processes of the service, and the check of their health. */
import { Option } from 'commander'
import { type CliCommand, NAME } from './cli-command.ts'

const STORES = ['EVENTSTORE_URL', 'KEYS_URL', 'READMODEL_URL', 'DATA_DIR']
const SERVER = ['HOST', 'LOG_LEVEL', 'NODE_ENV']

/** A process that has drained after SIGTERM exits with 0. */
const PROCESS_CODES = { 0: 'drained after SIGTERM or SIGINT', 1: 'could not start, or could not drain within 10 s' }

export function addProcesses(program: CliCommand): void {
  program.commandsGroup('Processes:')
  addServers(program)
  addWorkers(program)
  addConsole(program)
  addHelpers(program)
}

function addServers(program: CliCommand): void {
  program
    .command('start')
    .summary('runs the whole service in one process')
    .description(
      'Runs gateway, subgraph, projection and mail worker in one process, and outside production the sample subgraphs. Without settings, its data is in the folder data.',
    )
    .withDetails({
      examples: {
        [`${NAME} start`]: 'the gateway is on http://127.0.0.1:4000/graphql',
        [`GATEWAY_PORT=8080 ${NAME} start`]: 'on another port',
      },
      exitCodes: PROCESS_CODES,
      variables: [...STORES, 'GATEWAY_PORT', 'SUBGRAPH_PORT', 'SAMPLES_PORT', 'SUPERGRAPH', 'STORE_CONFIG', ...SERVER],
    })
    .action(async () => (await import('../commands/start.ts')).start())
  program
    .command('gateway')
    .summary('runs the gateway')
    .description('Runs the gateway in front of the subgraphs that the supergraph names.')
    .withDetails({
      examples: {
        [`SUBGRAPH_URL_CUSTOMERS=http://127.0.0.1:4001/graphql ${NAME} gateway`]: 'with the customer subgraph there',
      },
      exitCodes: PROCESS_CODES,
      variables: [
        'SUPERGRAPH',
        'SUBGRAPH_URL_<NAME>',
        'SUBGRAPH_SECRET',
        'SUBGRAPH_SETTINGS',
        'GATEWAY_PLUGIN',
        'TRUSTED_ISSUERS',
        'CORS_ORIGINS',
        'TRUST_PROXY',
        'GATEWAY_PORT',
        'GATEWAY_METRICS_PORT',
        ...SERVER,
      ],
    })
    .action(async () => (await import('../commands/gateway.ts')).gateway())
  program
    .command('subgraph')
    .summary('runs the customer subgraph')
    .description('Runs the customer subgraph. Several may share their stores.')
    .withDetails({
      examples: { [`${NAME} subgraph`]: 'on http://127.0.0.1:4001/graphql' },
      exitCodes: PROCESS_CODES,
      variables: [
        ...STORES,
        'TOKEN_SIGNING_KEY',
        'EMAIL_HASH_KEY',
        'MASTER_KEY',
        'SUBGRAPH_SECRET',
        'SUBGRAPH_PORT',
        'STORE_CONFIG',
        ...SERVER,
      ],
    })
    .action(async () => (await import('../commands/subgraph.ts')).subgraph())
}

function addWorkers(program: CliCommand): void {
  program
    .command('projections')
    .summary('runs the projection that keeps the read model up to date')
    .description('Runs the projection that keeps the read model up to date, and signs checkpoints of the log.')
    .addOption(
      new Option(
        '--mode <mode>',
        'catch-up: one process follows the log; group: several share one persistent subscription of EventStoreDB',
      )
        .choices(['catch-up', 'group'])
        .default('catch-up'),
    )
    .withDetails({
      examples: {
        [`${NAME} projections`]: 'follows the log from its checkpoint',
        [`${NAME} projections --mode group`]: 'beside others',
      },
      exitCodes: PROCESS_CODES,
      variables: [
        ...STORES,
        'MASTER_KEY',
        'AUDIT_SIGNING_KEY',
        'CHECKPOINT_MINUTES',
        'PROJECTION_GROUP',
        'PROJECTION_MAX_LAG_SECONDS',
        'PROJECTIONS_PORT',
        ...SERVER,
      ],
    })
    .action(async (options) => (await import('../commands/projections.ts')).projections(options))
  program
    .command('mail')
    .summary('runs the worker that sends mails')
    .description('Runs the worker that sends mails. Without SMTP_URL they become files in DATA_DIR.')
    .withDetails({
      examples: { [`SMTP_URL=smtp://127.0.0.1:1025 ${NAME} mail`]: 'to a mail server of this machine' },
      exitCodes: PROCESS_CODES,
      variables: [
        'EVENTSTORE_URL',
        'KEYS_URL',
        'EMAIL_HASH_KEY',
        'MASTER_KEY',
        'SMTP_URL',
        'DATA_DIR',
        'STORE_CONFIG',
        'MAIL_PORT',
        ...SERVER,
      ],
    })
    .action(async () => (await import('../commands/mail.ts')).mail())
}

function addConsole(program: CliCommand): void {
  program
    .command('console')
    .summary('runs the console')
    .description('Runs the console: web pages for auditors, privacy officers and operators.')
    .withDetails({
      examples: { [`${NAME} console`]: 'on http://127.0.0.1:4005' },
      exitCodes: PROCESS_CODES,
      variables: [
        ...STORES,
        'EMAIL_HASH_KEY',
        'MASTER_KEY',
        'AUDIT_SIGNING_KEY',
        'CONSOLE_PORT',
        'CONSOLE_URL',
        'CONSOLE_SESSION_KEY',
        'CONSOLE_OIDC_ISSUER',
        'CONSOLE_PROXY_HEADER',
        'CONSOLE_ROLES',
        'STORE_CONFIG',
        ...SERVER,
      ],
    })
    .action(async () => (await import('../commands/console.ts')).serveConsole())
}

function addHelpers(program: CliCommand): void {
  program
    .command('samples')
    .summary('runs the sample subgraphs, catalog and orders')
    .description('Runs the sample subgraphs, catalog and orders, beside a customer subgraph.')
    .withDetails({
      examples: { [`${NAME} samples`]: 'on port 4003' },
      exitCodes: PROCESS_CODES,
      variables: ['SUBGRAPH_URL_CUSTOMERS', 'SAMPLES_PORT', 'SUBGRAPH_PORT', 'HOST', 'LOG_LEVEL'],
    })
    .action(async () => (await import('../commands/samples.ts')).samples())
  program
    .command('healthcheck')
    .summary("checks a process's health, for containers")
    .description('Checks whether a URL answers 200 within three seconds.')
    .argument('<url>', 'of /healthz or /readyz')
    .withDetails({
      examples: { [`${NAME} healthcheck http://127.0.0.1:4000/readyz`]: 'whether the gateway is ready' },
      exitCodes: { 0: 'it answers 200', 1: 'it does not' },
    })
    .action(async (url) => (await import('../commands/healthcheck.ts')).healthcheck(url))
}
