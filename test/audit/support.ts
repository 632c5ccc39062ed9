/** What the audit tests share: the command run in this process. */

import { type AuditContext, runAudit } from '../../audit/command-line.ts'
import type { EventStore } from '../../eventstore/port.ts'

export const EMAIL_HASH_KEY = 'k'.repeat(32)

/** `npm run audit` on the event store. */
export function auditor(eventStore: EventStore, options: Partial<AuditContext> = {}) {
  return async (...args: string[]) => {
    let output = ''
    let notes = ''
    const code = await runAudit(args, {
      openEventStore: () => eventStore,
      openReadModel: () => {
        throw new Error('This command needs no documents.')
      },
      confirm: async () => true,
      emailHashKey: () => EMAIL_HASH_KEY,
      accessRetentionDays: () => 365,
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
    })
    return { code, output, notes, lines: output.split('\n').filter((line) => line !== '') }
  }
}

/** What a command says as JSON, a line each. */
// biome-ignore lint/suspicious/noExplicitAny: a line has the shape of the command
export const json = ({ output }: { readonly output: string }): any[] =>
  output.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]))

/** A token's claims, unverified. */
export const decodeJwt = (token: string) => JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
