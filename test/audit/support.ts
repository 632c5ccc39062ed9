/** What the audit tests share: the command run in this process. */

import type { AuditContext } from '../../audit/subcommands/context.ts'
import { addAudit } from '../../bin/command-line/audit.ts'
import { CliCommand } from '../../bin/command-line/cli-command.ts'
import { addPrivacy } from '../../bin/command-line/privacy.ts'
import type { EventStore } from '../../eventstore/port.ts'

export const EMAIL_HASH_KEY = 'k'.repeat(32)

/** `npm run audit` on the event store. */
export const auditor = (eventStore: EventStore, options: Partial<AuditContext> = {}) =>
  commands('audit', eventStore, options)

/** `customers privacy` on the event store. */
export const privacyOfficer = (eventStore: EventStore, options: Partial<AuditContext> = {}) =>
  commands('privacy', eventStore, options)

function commands(group: 'audit' | 'privacy', eventStore: EventStore, options: Partial<AuditContext>) {
  return async (...args: string[]) => {
    let output = ''
    let notes = ''
    const context: AuditContext = {
      openEventStore: () => eventStore,
      openReadModel: () => {
        throw new Error('This command needs no documents.')
      },
      confirm: async () => true,
      emailHashKey: () => EMAIL_HASH_KEY,
      accessRetentionDays: () => 365,
      requestRules: () => ({ secondPerson: true, approvalDays: 14 }),
      places: () => ({ isServer: true, isRedis: true, hasKeysInLog: false }),
      operator: 'olga',
      write: (text) => {
        output += text
      },
      note: (line) => {
        notes += `${line}\n`
      },
      progress: () => ({ report() {}, stop() {} }),
      styled: false,
      ...options,
    }
    let code: number | undefined
    const program = new CliCommand('customers').exitOverride().configureOutput({ writeErr: () => {} })
    const add = group === 'audit' ? addAudit : addPrivacy
    add(program, async (work) => {
      code = await work(context)
    })
    await program.parseAsync([group, ...args], { from: 'user' })
    return { code, output, notes, lines: output.split('\n').filter((line) => line !== '') }
  }
}

/** What a command says as JSON, a line each. */
// biome-ignore lint/suspicious/noExplicitAny: a line has the shape of the command
export const json = ({ output }: { readonly output: string }): any[] =>
  output.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]))

/** A token's claims, unverified. */
export const decodeJwt = (token: string) => JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
