/** The commands for requests of data subjects (docs/privacy.md). */
import { Argument, Option } from 'commander'
import { ACCEPTED_DAYS, parseDay } from '../../audit/requests/deadlines.ts'
import type { RequestCommand } from '../../audit/requests/decide.ts'
import {
  ERASURE_STEPS,
  EXTENSION_GROUNDS,
  HOLD_GROUNDS,
  IDENTITY_CHECKS,
  REFUSAL_GROUNDS,
  REQUEST_CHANNELS,
  REQUEST_KINDS,
} from '../../schema/privacy-requests.ts'
import { type RunAudit, runAsProcess } from './audit.ts'
import { aReason, type CliCommand, checked, NAME, refuseArguments, requestNumber } from './cli-command.ts'

const LOG = ['EVENTSTORE_URL', 'KEYS_URL', 'DATA_DIR', 'EMAIL_HASH_KEY', 'MASTER_KEY', 'STORE_CONFIG']
const REFUSED = { 1: 'failed, there is no such request, or its state does not allow it' }

/** Adds the command `privacy` with all of its own. @param run where they work; default: on the configured log */
export function addPrivacy(program: CliCommand, run: RunAudit = runAsProcess): void {
  program.commandsGroup('Audit:')
  const privacy = program
    .command('privacy')
    .summary('handles the requests of data subjects')
    .description(
      'The register of requests of data subjects (GDPR art. 15 to 21): received, identity checked, approved by a second person, executed, with a receipt. Without a command it lists the open ones.',
    )
    .withDetails({
      examples: {
        [`${NAME} privacy`]: 'the open requests, the most urgent first',
        [`${NAME} privacy receive erasure ann@example.com --channel letter`]: 'enters one',
      },
      exitCodes: REFUSED,
      variables: LOG,
    })
  addLooking(privacy, run)
  addDeciding(privacy, run)
  addEnding(privacy, run)
}

function addLooking(privacy: CliCommand, run: RunAudit): void {
  privacy.commandsGroup('Looking:')
  privacy
    .command('list', { isDefault: true })
    .description('Lists the requests that are open, the most urgent first.')
    .option('--all', 'also those that are done or refused', false)
    .option('--json', 'one JSON object in each line', false)
    .withDetails({ examples: { [`${NAME} privacy list --all --json`]: '' }, variables: LOG })
    .allowExcessArguments()
    .action(async (options, command) => {
      refuseArguments(command)
      await run(async (context) => (await load()).list(context, options))
    })
  privacy
    .command('show')
    .description('Shows a request: its steps, what is held of the person by which store, what an erasure would do.')
    .addArgument(aNumber())
    .option('--json', 'as one JSON object', false)
    .option('--reveal', 'with the notes; this is recorded', false)
    .option('--reason <text>', 'why they are revealed; recorded too', aReason)
    .withDetails({ examples: { [`${NAME} privacy show 7`]: '' }, exitCodes: REFUSED, variables: LOG })
    .action(async (number, options, command) => {
      if (options.reveal !== (options.reason !== undefined)) command.error('error: --reveal and --reason go together')
      await run(async (context) => (await load()).show(context, number, options))
    })
  privacy
    .command('receipt')
    .description('Prints what came of a request, once it is done or refused. It has no personal data.')
    .addArgument(aNumber())
    .option('--json', 'as one JSON object', false)
    .withDetails({ examples: { [`${NAME} privacy receipt 7`]: '' }, exitCodes: REFUSED, variables: LOG })
    .action(async (number, options) => {
      await run(async (context) => (await load()).receipt(context, number, options))
    })
}

function addDeciding(privacy: CliCommand, run: RunAudit): void {
  privacy.commandsGroup('Deciding:')
  privacy
    .command('receive')
    .description('Enters a request. It is due a month after the day it came in.')
    .addArgument(new Argument('<kind>', 'what is asked for').choices(REQUEST_KINDS))
    .argument('<customer>', 'a number, or an e-mail address, also of somebody who is no customer')
    .addOption(choice('--channel <channel>', 'how it came in', REQUEST_CHANNELS))
    .option('--received-on <date>', 'the day it came in (UTC); default: today', aDay)
    .option('--note <text>', NOTE, aReason)
    .option('--json', 'the request as one JSON object', false)
    .withDetails({
      examples: {
        [`${NAME} privacy receive access 7 --channel e-mail`]: '',
        [`${NAME} privacy receive erasure ann@example.com --channel letter --received-on 2026-01-31`]: '',
      },
      exitCodes: { 1: 'failed, or there is no such customer' },
      variables: LOG,
    })
    .action(async (kind, customer, options) => {
      await run(async (context) => (await load()).receive(context, kind, customer, options))
    })
  step(privacy, run, 'identify', 'Records how the identity of the person was checked. It ends an approval.', {
    options: [choice('--how <check>', 'how it was checked', IDENTITY_CHECKS)],
    example: '--how mailed-link',
    command: ({ how }) => ({ type: 'identify', how }) as RequestCommand,
  })
  step(privacy, run, 'approve', 'Approves a request that another person entered and identified.', {
    command: () => ({ type: 'approve' }),
  })
  step(
    privacy,
    run,
    'extend',
    'Extends the time limit by two months, once. The person has to be told before it ends.',
    {
      options: [
        choice('--ground <ground>', 'why it takes longer', EXTENSION_GROUNDS),
        new Option('--told-on <date>', 'the day on which the person was told (UTC)')
          .argParser(aDay)
          .makeOptionMandatory(),
      ],
      example: '--ground complexity --told-on 2026-02-20',
      command: ({ ground, toldOn }) => ({ type: 'extend', ground, toldOn }) as RequestCommand,
    },
  )
  step(privacy, run, 'hold', 'Places a legal hold: nothing of the person is erased until it is released.', {
    options: [choice('--ground <ground>', 'why', HOLD_GROUNDS)],
    example: "--ground legal-claim --reason 'file 12'",
    needsReason: true,
    command: ({ ground }) => ({ type: 'hold', ground }) as RequestCommand,
  })
  step(privacy, run, 'release', 'Releases a legal hold.', {
    example: "--reason 'file 12 is closed'",
    needsReason: true,
    command: () => ({ type: 'release' }),
  })
}

function addEnding(privacy: CliCommand, run: RunAudit): void {
  privacy.commandsGroup('Ending:')
  step(privacy, run, 'refuse', 'Refuses a request.', {
    options: [choice('--ground <ground>', 'why', REFUSAL_GROUNDS)],
    example: "--ground excessive --reason 'the fifth this month'",
    needsReason: true,
    command: ({ ground }) => ({ type: 'refuse', ground }) as RequestCommand,
  })
  privacy
    .command('execute')
    .description(
      'Executes an approved request: erases, or writes the file of an access or a portability request. For the other kinds it records that people carried them out. After an interruption the same command resumes it.',
    )
    .addArgument(aNumber())
    .option('--output <file>', 'the file, or - for standard output; default: request-NUMBER.json')
    .option('--note <text>', NOTE, aReason)
    .option('--yes', 'do not ask before an erasure; needed without a terminal', false)
    .option('--json', 'the request as one JSON object', false)
    .withDetails({
      examples: { [`${NAME} privacy execute 7`]: '', [`${NAME} privacy execute 8 --yes --json`]: '' },
      exitCodes: {
        1: 'failed, it is not approved, the approval has expired, it is on legal hold, or events from before encryption still contain personal data',
      },
      variables: [...LOG, 'READMODEL_URL'],
    })
    .action(async (number, options) => {
      await run(async (context) => (await load()).execute(context, number, options))
    })
  const recorded = 'Records that people did what an erasure leaves for them to do.'
  privacy
    .command('step')
    .description(recorded)
    .addArgument(aNumber())
    .addArgument(new Argument('<step>', 'which one: see the receipt').choices(ERASURE_STEPS))
    .option('--json', 'the request as one JSON object', false)
    .withDetails({ examples: { [`${NAME} privacy step 7 backups`]: '' }, exitCodes: REFUSED, variables: LOG })
    .action(async (number, which, options) => {
      const command = { type: 'record-step', step: which } as RequestCommand
      await run(async (context) => (await load()).change(context, number, command, options))
    })
}

interface StepDetails {
  readonly options?: readonly Option[]
  /** What stands behind the number in the example. */
  readonly example?: string
  readonly needsReason?: boolean
  readonly command: (options: Readonly<Record<string, string>>) => RequestCommand
}

/** Adds a command that takes one step of a request. */
function step(
  privacy: CliCommand,
  run: RunAudit,
  name: string,
  description: string,
  { options = [], example = '', needsReason = false, command }: StepDetails,
): void {
  const added = privacy.command(name).description(description).addArgument(aNumber())
  for (const option of options) added.addOption(option)
  if (needsReason) added.requiredOption('--reason <text>', NOTE, aReason)
  else added.option('--note <text>', NOTE, aReason)
  added
    .option('--json', 'the request as one JSON object', false)
    .withDetails({
      examples: { [`${NAME} privacy ${name} 7 ${example}`.trim()]: '' },
      exitCodes: REFUSED,
      variables: LOG,
    })
    .action(async (number, given) => {
      const note = given.reason ?? given.note
      await run(async (context) => (await load()).change(context, number, command(given), { json: given.json, note }))
    })
}

const NOTE = "in your words; encrypted with the person's key, and erased with it"

const load = () => import('../../audit/subcommands/privacy.ts')

const aNumber = () => new Argument('<number>', 'of the request').argParser(requestNumber)

const aDay = checked(parseDay, ACCEPTED_DAYS)

const choice = (flags: string, description: string, choices: readonly string[]) =>
  new Option(flags, description).choices(choices).makeOptionMandatory()
