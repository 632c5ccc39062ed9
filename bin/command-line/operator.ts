/** The commands for operators, except the audit. */
import { Argument, Option } from 'commander'
import { type CliCommand, checked, NAME, refuseArguments, repeated } from './cli-command.ts'

const LOG = ['EVENTSTORE_URL', 'KEYS_URL', 'DATA_DIR', 'MASTER_KEY']
const STOPPED = { 130: 'stopped; the same command resumes from there' }

export function addOperatorCommands(program: CliCommand): void {
  program.commandsGroup('Operation:')
  addConfig(program)
  addRebuild(program)
  addParked(program)
  addBackup(program)
  addImport(program)
  addToken(program)
  addKeys(program)
  addSecrets(program)
}

function addConfig(program: CliCommand): void {
  program
    .command('config')
    .summary('shows every setting, where it comes from and what is wrong with it')
    .description(
      'Shows every environment variable: its value (secrets are hidden), where it comes from and what is wrong with it. Starts nothing and connects to nothing.',
    )
    .option('--json', 'as one JSON object', false)
    .addOption(
      new Option('--for <process>', 'the process whose keys must be set')
        .choices(['start', 'gateway', 'subgraph', 'projections', 'mail'])
        .default('start'),
    )
    .withDetails({
      examples: {
        [`${NAME} config`]: 'the settings of this environment',
        [`NODE_ENV=production ${NAME} config --json`]: 'as a program reads it',
      },
      exitCodes: { 1: 'something is wrong' },
    })
    .action(async (options) => (await import('../commands/config.ts')).config(options))
}

/** One of several mutually exclusive actions of a command. */
const action = (flag: string, description: string, ...others: string[]) =>
  new Option(flag, description).default(false).conflicts([...others, 'acceptDifferences'])

function addRebuild(program: CliCommand): void {
  program
    .command('rebuild')
    .summary('rebuilds the read model, compares it and switches to it')
    .description(
      'Fills a new generation of the read model from the log, compares it with the live one and switches to it. The service keeps running meanwhile.',
    )
    .option('--accept-differences', 'switches even where documents differ', false)
    .addOption(
      new Option('--ignore-memory', 'starts even where there may be too little room for the new generation')
        .default(false)
        .conflicts(['verify', 'rollBack', 'drop', 'status']),
    )
    .addOption(action('--verify', 'only compares the live documents with the log', 'rollBack', 'drop', 'status'))
    .addOption(action('--roll-back', 'goes back to the generation before', 'verify', 'drop', 'status'))
    .addOption(action('--drop', 'deletes all generations that are not live', 'verify', 'rollBack', 'status'))
    .addOption(action('--status', 'shows the generations', 'verify', 'rollBack', 'drop'))
    .withDetails({
      examples: {
        [`${NAME} rebuild`]: 'the whole of it',
        [`${NAME} rebuild --verify`]: 'whether the documents are those of the log',
        [`${NAME} rebuild --drop`]: 'frees the space of older generations',
      },
      exitCodes: { 1: 'failed, or documents differ', ...STOPPED },
      variables: [...LOG, 'READMODEL_URL'],
    })
    .action(async (options) => (await import('../commands/rebuild.ts')).rebuild(options))
}

const customerArgument = (name: '<customer>' | '[customer]') =>
  new Argument(name, "a customer's number").argParser(
    checked((text) => (/^[1-9]\d*$/.test(text) ? text : undefined), "a customer's number"),
  )

function addParked(program: CliCommand): void {
  const load = () => import('../commands/parked.ts')
  const variables = [...LOG, 'READMODEL_URL']
  const parked = program
    .command('parked')
    .summary('lists, shows, replays or drops events that cannot be applied')
    .description('The events that the projection could not apply. Without a command it lists them.')
    .withDetails({ examples: { [`${NAME} parked`]: 'lists them' }, variables })
  parked
    .command('list', { isDefault: true })
    .description('Lists the parked events.')
    .withDetails({ examples: { [`${NAME} parked list`]: 'one line each' }, variables })
    .allowExcessArguments()
    .action(async (_options, command) => {
      refuseArguments(command)
      await (await load()).list()
    })
  parked
    .command('show')
    .description("Shows a customer's parked event and what can be done.")
    .addArgument(customerArgument('<customer>'))
    .withDetails({
      examples: { [`${NAME} parked show 42`]: 'the event and its error' },
      exitCodes: { 1: 'failed, or the customer has no parked event' },
      variables,
    })
    .action(async (customer) => (await load()).show(customer))
  parked
    .command('replay')
    .description('Applies parked events again, once a release can.')
    .addArgument(customerArgument('[customer]'))
    .option('--all', 'of all customers', false)
    .withDetails({
      examples: { [`${NAME} parked replay 42`]: 'of one customer', [`${NAME} parked replay --all`]: 'of all' },
      exitCodes: { 1: 'failed, or an event is still parked', ...STOPPED },
      variables,
    })
    .action(async (customer, options, command) => {
      if ((customer === undefined) !== options.all) command.error('error: accepted: a customer, or --all')
      await (await load()).replay(customer)
    })
  parked
    .command('drop')
    .description('Skips a parked event. The decision and its reason are recorded in the log.')
    .addArgument(customerArgument('<customer>'))
    .requiredOption('--reason <text>', 'recorded with the decision', checked(nonBlank, 'a text'))
    .withDetails({
      examples: { [`${NAME} parked drop 42 --reason 'written by a release that was withdrawn'`]: '' },
      exitCodes: { 1: 'failed, or another event is parked now' },
      variables,
    })
    .action(async (customer, options) => (await load()).drop(customer, options))
}

/** Where the keys of a backup are. */
const keysOption = () => new Option('--keys <folder>', 'the folder of the keys; default: keys, in the folder')

function addBackup(program: CliCommand): void {
  const variables = [...LOG, 'EMAIL_HASH_KEY', 'TOKEN_SIGNING_KEY', 'AUDIT_SIGNING_KEY']
  program
    .command('backup')
    .summary('backs up the embedded stores and their keys, while the service runs')
    .description(
      'Copies the embedded log, then its key store and the key files, as they are at one moment; the service keeps running. Nothing is overwritten. Stores on servers have backups of their own.',
    )
    .argument('<folder>', 'a new or an empty folder')
    .addOption(keysOption())
    .option('--check', 'only checks the backup in the folder: files, signatures, and that its keys read its log', false)
    .withDetails({
      examples: {
        [`${NAME} backup /backups/2026-11-26 --keys /vault/2026-11-26`]: 'the keys apart from the log',
        [`${NAME} backup --check /backups/2026-11-26 --keys /vault/2026-11-26`]: 'before it is needed',
      },
      exitCodes: { 1: 'failed, or the backup has a fault', 130: 'stopped; what was begun is removed' },
      variables,
    })
    .action(async (folder, options) => (await import('../commands/backup.ts')).backup(folder, options))
  program
    .command('restore')
    .summary('restores the embedded stores and their keys from a backup')
    .description(
      'Checks a backup of the embedded stores and copies it to where the settings expect the stores and the key files. Stop the service before, and move away what is there: nothing is overwritten.',
    )
    .argument('<folder>', 'the folder of the backup')
    .addOption(keysOption())
    .withDetails({
      examples: { [`DATA_DIR=restored ${NAME} restore /backups/2026-11-26 --keys /vault/2026-11-26`]: '' },
      exitCodes: {
        1: 'failed, or the backup has a fault: nothing is restored',
        130: 'stopped; what was begun is removed',
      },
      variables,
    })
    .action(async (folder, options) => (await import('../commands/backup.ts')).restore(folder, options))
}

function addImport(program: CliCommand): void {
  program
    .command('import')
    .summary("imports customers from Magento's export files")
    .description("Imports customers from Magento's export files. Run again, it resumes where it stopped.")
    .argument('[customers]', 'the file of customers (CSV)')
    .argument('[addresses]', 'the file of addresses (CSV)')
    .option('--addresses <file>', 'the file of addresses, without one of customers')
    .option('--encoding <name>', 'of the files; default: detected')
    .option('--rejected <file>', 'where rejected rows go; default: beside the first file')
    .option('--timezone <zone>', 'of times without one', checked(timeZone, 'UTC, Europe/Berlin and so on'), 'UTC')
    .option('--dry-run', 'only checks', false)
    .withDetails({
      examples: {
        [`${NAME} import customers.csv addresses.csv --dry-run`]: 'what would be done',
        [`${NAME} import customers.csv addresses.csv`]: '',
      },
      exitCodes: { 1: 'failed, or rows were rejected', ...STOPPED },
      variables: [...LOG, 'EMAIL_HASH_KEY', 'STORE_CONFIG'],
    })
    .action(async (customers, addresses, options, command) => {
      if ((customers ?? addresses ?? options.addresses) === undefined) command.missingArgument('customers')
      await (await import('../commands/import.ts')).importCustomers(customers, addresses, options)
    })
}

function addToken(program: CliCommand): void {
  const load = () => import('../commands/token.ts')
  const variables = ['EVENTSTORE_URL', 'DATA_DIR', 'TOKEN_SIGNING_KEY']
  const token = program
    .command('token')
    .summary('signs, lists and ends tokens of services')
    .description('The tokens of services. Without a command it signs one: the options are those of `issue`.')
    .withDetails({
      examples: {
        [`${NAME} token --scope customers:audit --subject back-office --hours 8`]: '',
        [`${NAME} token list`]: 'what was issued, to whom, until when',
      },
      variables,
    })
  token
    .command('issue', { isDefault: true })
    .description('Signs a token for a service and prints it. The issue is recorded first.')
    .requiredOption('--subject <name>', "the service's name, of letters, digits and . _ -")
    .requiredOption(
      '--scope <scope>',
      'customers:read, customers:audit or tokens:introspect; may be repeated',
      repeated,
    )
    .option('--hours <number>', 'how long it is valid, up to 720', '1')
    .withDetails({
      examples: { [`${NAME} token issue --scope customers:audit --subject back-office --hours 8`]: '' },
      variables,
    })
    .allowExcessArguments()
    .action(async (options, command) => {
      refuseArguments(command)
      await (await load()).token(options)
    })
  token
    .command('list')
    .description('Lists the tokens that are valid: their ids, services, scopes, who asked for them, until when.')
    .option('--all', 'also those that expired or were ended', false)
    .option('--json', 'one JSON object in each line', false)
    .withDetails({ examples: { [`${NAME} token list --all`]: '' }, variables: ['EVENTSTORE_URL', 'DATA_DIR'] })
    .action(async (options) => (await load()).list(options))
  token
    .command('end')
    .description('Ends a token before it expires. Subgraphs and gateways refuse it within a second.')
    .argument('<id>', "the token's id (claim jti), as `token list` shows it")
    .requiredOption('--reason <text>', 'recorded with it', checked(nonBlank, 'a text'))
    .withDetails({
      examples: { [`${NAME} token end 6f1c4a52-8f6e-4b0a-9d3c-0f4f6f0a7f11 --reason 'ticket 7'`]: '' },
      exitCodes: { 1: 'failed, there is no such token, or it expired' },
      variables: ['EVENTSTORE_URL', 'DATA_DIR'],
    })
    .action(async (id, options) => (await load()).end(id, options))
}

function addKeys(program: CliCommand): void {
  const load = () => import('../commands/keys.ts')
  const keys = program
    .command('keys')
    .summary("shows and rotates what encrypts customers' data")
    .description('The keys of customers and what has wrapped them. Without a command it shows them.')
    .withDetails({ examples: { [`${NAME} keys`]: 'which master keys have wrapped how many blocks' }, variables: LOG })
  keys
    .command('status', { isDefault: true })
    .description('Shows which master keys have wrapped how many blocks of keys, and how many keys are destroyed.')
    .withDetails({ examples: { [`${NAME} keys status`]: '' }, variables: LOG })
    .allowExcessArguments()
    .action(async (_options, command) => {
      refuseArguments(command)
      await (await load()).status()
    })
  keys
    .command('rotate')
    .description('Wraps all keys with MASTER_KEY. No event of the log is rewritten.')
    .withDetails({
      examples: { [`${NAME} keys rotate`]: '' },
      exitCodes: STOPPED,
      variables: [...LOG, 'MASTER_KEY_PREVIOUS'],
    })
    .action(async () => (await load()).rotate())
  keys
    .command('accept')
    .description(
      'Records that the token or audit key was changed on purpose: restart every instance with it. `store` gives up the customers whose keys an older backup of the key store lacks.',
    )
    .addArgument(new Argument('<key>', 'which one').choices(['token', 'audit', 'store']))
    .withDetails({
      examples: { [`${NAME} keys accept token`]: 'everybody has to sign in again' },
      variables: [...LOG, 'TOKEN_SIGNING_KEY', 'AUDIT_SIGNING_KEY'],
    })
    .action(async (key) => {
      const { accept, acceptStore } = await load()
      await (key === 'store' ? acceptStore() : accept(key))
    })
}

function addSecrets(program: CliCommand): void {
  program
    .command('secrets')
    .summary('creates the secrets of a new service')
    .description('Creates the secrets that docker-compose.yml reads, in ./secrets. Existing ones are kept.')
    .withDetails({ examples: { [`${NAME} secrets`]: 'once for a new service' } })
    .action(async () => (await import('../commands/secrets.ts')).secrets())
}

const nonBlank = (text: string) => (text.trim() === '' ? undefined : text)

function timeZone(text: string): string | undefined {
  try {
    new Intl.DateTimeFormat('en', { timeZone: text })
    return text
  } catch {
    return undefined
  }
}
