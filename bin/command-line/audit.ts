/** The audit commands: what happened, what is stored about a person, and whether the log is intact. */
import { Option } from 'commander'
import { ACCEPTED_MOMENTS, ACCEPTED_TIMES, parseMoment, parseTime } from '../../audit/moments.ts'
import type { AuditContext } from '../../audit/subcommands/context.ts'
import { ACCEPTED_ZONES, isZone } from '../../audit/zones.ts'
import { aReason, aRequest, type CliCommand, checked, NAME, repeated } from './cli-command.ts'

/** Runs work on the log and ends the process with its exit code. */
export type RunAudit = (work: (context: AuditContext) => Promise<number>) => Promise<void>

export const runAsProcess: RunAudit = async (work) => (await import('../commands/audit.ts')).runAudit(work)

const LOG = ['EVENTSTORE_URL', 'KEYS_URL', 'DATA_DIR', 'EMAIL_HASH_KEY', 'MASTER_KEY']
const STORED_LOG = ['EVENTSTORE_URL', 'DATA_DIR', 'AUDIT_SIGNING_KEY']
const STOPPED = { 130: 'stopped before the end' }

/** Adds the command `audit` with all of its own. @param run where they work; default: on the configured log */
export function addAudit(program: CliCommand, run: RunAudit = runAsProcess): void {
  program.commandsGroup('Audit:')
  const audit = program
    .command('audit')
    .summary('shows what happened, erases persons, proves that the log is whole')
    .description(
      'Reads the log for auditors: what happened, what is stored about a person, and whether anything was altered. Personal data is masked unless it is revealed, which is recorded.',
    )
    .withDetails({
      examples: {
        [`${NAME} audit history ann@example.com`]: 'what happened to a customer',
        [`${NAME} audit find --field city --since 2026-11-01`]: 'who changed a city',
        [`${NAME} audit verify`]: 'whether the log is whole',
      },
      exitCodes: { 1: 'failed, the customer is unknown, or a fault was found', ...STOPPED },
      variables: [...LOG, 'AUDIT_SIGNING_KEY'],
    })
  addReading(audit, run)
  addPersons(audit, run)
  addProofs(audit)
}

function addReading(audit: CliCommand, run: RunAudit): void {
  audit.commandsGroup('What happened:')
  filters(show(audit.command('history')))
    .description('Shows what happened to a customer: who, when, by which request, old and new values.')
    .argument('<customer>', 'a number or an e-mail address')
    .withDetails({
      examples: {
        [`${NAME} audit history 1`]: '',
        [`${NAME} audit history 1 --field city --since 2026-11-24 --until 2026-11-24 --zone Europe/Berlin`]:
          'who changed a city on that day',
        [`${NAME} audit history 1 --access any`]: 'sign-ins, lockouts and the like',
      },
      ...ofLog,
    })
    .action(async (customer, options) => {
      await run(async (context) =>
        (await import('../../audit/subcommands/history.ts')).history(context, customer, options),
      )
    })
  show(audit.command('state'))
    .description('Shows a customer as of a moment.')
    .argument('<customer>', 'a number or an e-mail address')
    .addOption(moment('--at <moment>', 'as of when; a date means its end').makeOptionMandatory())
    .addOption(zone())
    .withDetails({ examples: { [`${NAME} audit state 1 --at 2026-11-24T22:02:36`]: '' }, ...ofLog })
    .action(async (customer, options) => {
      await run(async (context) => (await import('../../audit/subcommands/state.ts')).state(context, customer, options))
    })
  show(audit.command('diff'))
    .description('Shows what changed of a customer between two moments.')
    .argument('<customer>', 'a number or an e-mail address')
    .addOption(moment('--from <moment>', 'since when; a date means its beginning').makeOptionMandatory())
    .addOption(moment('--to <moment>', 'until when; a date means its end; default: now'))
    .addOption(zone())
    .withDetails({ examples: { [`${NAME} audit diff 1 --from 3`]: 'from revision 3 to now' }, ...ofLog })
    .action(async (customer, options) => {
      await run(async (context) => (await import('../../audit/subcommands/state.ts')).diff(context, customer, options))
    })
  filters(ofCustomer(show(audit.command('find'))))
    .description('Finds events: in the whole log, or of one customer, whose streams alone are read then.')
    .withDetails({
      examples: {
        [`${NAME} audit find ann@example.com --field city --since 2026-11-24 --until 2026-11-24`]:
          "who changed Ann's city on that day",
        [`${NAME} audit find --request 00_6C_P1-4`]: 'everything that a request did',
        [`${NAME} audit find --actor 'operator:*'`]: 'what operators did',
      },
      ...ofLog,
    })
    .action(async (customer, options) => {
      await run(async (context) => (await import('../../audit/subcommands/find.ts')).find(context, customer, options))
    })
  filters(ofCustomer(show(audit.command('export'))))
    .description('Writes the events that `find` finds; without filters all of them.')
    .addOption(
      new Option(
        '--format <format>',
        'jsonl: a JSON object for each event (default), or csv: a row for each field with its old and new value',
      ).choices(['jsonl', 'csv']),
    )
    .option('--output <file>', 'a file for it; default: standard output')
    .withDetails({
      examples: {
        [`${NAME} audit export --format csv --output log.csv`]: '',
        [`${NAME} audit export --since 2026-11-01 --until 2026-11-01`]: 'one day: only that part of the log is read',
      },
      ...ofLog,
    })
    .action(async (customer, options) => {
      await run(async (context) =>
        (await import('../../audit/subcommands/export.ts')).exportEvents(context, customer, options),
      )
    })
}

const ofCustomer = (command: CliCommand): CliCommand =>
  command
    .argument('[customer]', 'a number or an e-mail address; default: the whole log')
    .option('--customer <customer>', 'the same as the argument')

/** The filters of every command that lists events. */
const filters = (command: CliCommand): CliCommand =>
  command
    .option(
      '--actor <actor>',
      'who did it, such as customer:1 or operator:*; may be repeated, as all filters',
      repeated,
    )
    .option('--type <type>', 'the type of event, such as CustomerLocked', repeated)
    .option('--field <field>', 'a field that was touched, such as city or addresses.city', repeated)
    .option('--request <id>', 'what was done on behalf of this request', repeated)
    .option(
      '--event <event>',
      "this event: its id, 2:1 (revision 1 of customer 2), or 'customer-2 revision 1'",
      repeated,
    )
    .option('--access <kind>', 'records of access: any, none, or a kind such as signed-in', repeated)
    .addOption(time('--since <time>', 'written then or later'))
    .addOption(time('--until <time>', 'written then or earlier'))
    .addOption(zone())

const ofLog = {
  exitCodes: { 1: 'failed, or the customer is unknown', ...STOPPED },
  variables: LOG,
}

function addPersons(audit: CliCommand, run: RunAudit): void {
  audit.commandsGroup('Rights of persons:')
  audit
    .command('subject')
    .description('Writes all data about one person to one JSON file, in clear text. The export is recorded.')
    .argument('<customer>', 'a number or an e-mail address')
    .option('--output <file>', 'the file, or - for standard output; default: customer-NUMBER.json')
    .option('--reason <text>', 'recorded with it; default: request for access')
    .withDetails({ examples: { [`${NAME} audit subject ann@example.com --output ann.json`]: '' }, ...ofLog })
    .action(async (customer, options) => {
      await run(async (context) =>
        (await import('../../audit/subcommands/subject.ts')).subject(context, customer, options),
      )
    })
  audit
    .command('erase')
    .description(
      'Erases a person for good, on an approved request (`customers privacy`) or in an emergency. The log stays whole.',
    )
    .argument('<customer>', 'a number or an e-mail address')
    .addOption(
      aRequest('--request <number>', 'the approved request that asks for it').conflicts(['emergency', 'reason']),
    )
    .option('--emergency', 'without an approved request; recorded with the reason', false)
    .option('--reason <text>', 'recorded with the deletion, where there is no request; without personal data', aReason)
    .option('--yes', 'do not ask; needed without a terminal', false)
    .option('--json', 'the outcome as one JSON object', false)
    .withDetails({
      examples: {
        [`${NAME} audit erase ann@example.com --request 7`]: '',
        [`${NAME} audit erase ann@example.com --emergency --reason 'ticket 7' --yes`]: '',
      },
      exitCodes: {
        1: 'failed, the person is unknown, it was not confirmed, the request is not approved or on legal hold, or events from before encryption still contain personal data',
      },
      variables: [...LOG, 'READMODEL_URL', 'STORE_CONFIG'],
    })
    .action(async (customer, options, command) => {
      if (options.request === undefined && options.reason === undefined) {
        command.error("error: required option '--reason <text>' not specified, or --request <number>")
      }
      await run(async (context) => (await import('../../audit/subcommands/erase.ts')).erase(context, customer, options))
    })
}

function addProofs(audit: CliCommand): void {
  const load = () => import('../commands/proof.ts')
  const found = { 1: 'failed, or a fault was found', ...STOPPED }
  audit.commandsGroup('Proofs:')
  audit
    .command('verify')
    .description('Reads the whole log and reports whether anything in it was altered, removed, inserted or moved.')
    .option(
      '--key <file>',
      'a trusted public key (PEM); may be repeated. Default: the key of AUDIT_SIGNING_KEY',
      repeated,
    )
    .option('--json', 'the outcome as one JSON object', false)
    .withDetails({ examples: { [`${NAME} audit verify`]: '' }, exitCodes: found, variables: STORED_LOG })
    .action(async (options) => (await load()).verify(options))
  audit
    .command('prove')
    .description('Prints the proof that an event is in the log, as JSON.')
    .argument('<event>', "an event's id, 7:3 (revision 3 of customer 7), or 'customer-7 revision 3'")
    .option('--content', 'includes the event itself', false)
    .option('--key <file>', 'a trusted public key (PEM). Default: the key of AUDIT_SIGNING_KEY')
    .withDetails({
      examples: { [`${NAME} audit prove 7:3 > proof.json`]: 'revision 3 of customer 7' },
      variables: STORED_LOG,
    })
    .action(async (event, options) => (await load()).prove(event, options))
  audit
    .command('check')
    .description('Checks a proof, with nothing but the file and the key.')
    .argument('<file>', 'the proof')
    .requiredOption('--key <file>', 'the trusted public key (PEM)')
    .option('--json', 'the outcome as one JSON object', false)
    .withDetails({
      examples: { [`${NAME} audit check proof.json --key public.pem`]: '' },
      exitCodes: { 0: 'the proof holds', 1: 'it does not hold, or cannot be read' },
    })
    .action(async (file, options) => (await load()).check(file, options))
  audit
    .command('checkpoint')
    .description('Signs a checkpoint of the log now.')
    .option('--json', 'the checkpoint as one JSON object', false)
    .withDetails({ examples: { [`${NAME} audit checkpoint`]: '' }, exitCodes: STOPPED, variables: STORED_LOG })
    .action(async (options) => (await load()).checkpoint(options))
  audit
    .command('key')
    .description('Prints the public key that checks the checkpoints.')
    .option('--json', 'as one JSON object', false)
    .withDetails({ examples: { [`${NAME} audit key > public.pem`]: '' }, variables: STORED_LOG })
    .action(async (options) => (await load()).key(options))
}

/** The options of every command that shows data. */
function show(command: CliCommand): CliCommand {
  return command
    .option('--json', 'one JSON object in each line', false)
    .option('--reveal', 'shows personal data, which is masked otherwise; this is recorded', false)
    .option('--reason <text>', 'why it is revealed; recorded too', aReason)
    .hook('preAction', () => {
      const { reveal, reason } = command.opts<{ reveal: boolean; reason?: string }>()
      if (reveal && reason === undefined) {
        command.error('error: --reveal needs --reason <text>: it is recorded with what is shown')
      }
      if (!reveal && reason !== undefined) command.error('error: --reason goes with --reveal')
    })
}

const moment = (flags: string, description: string) =>
  new Option(flags, `${description}: a revision, a date or a time`).argParser(
    checked((text) => parseMoment(text), ACCEPTED_MOMENTS),
  )

const time = (flags: string, description: string) =>
  new Option(flags, `${description}: a time, or a date for the whole day`).argParser(
    checked((text) => parseTime(text), ACCEPTED_TIMES),
  )

const zone = () =>
  new Option(
    '--zone <zone>',
    'the time zone of dates, and of times without an offset, such as Europe/Berlin; times are shown in it. Default: UTC',
  ).argParser(checked((text) => isZone(text) || undefined, ACCEPTED_ZONES))
