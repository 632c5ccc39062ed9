/** Starts the mail worker with all its parts, in a process of its own or beside others. */
import type { EventStore } from '../eventstore/port.ts'
import type { Configuration } from '../runtime/configuration.ts'
import type { Log } from '../runtime/log.ts'
import { createMailTokens } from '../schema/mail-tokens.ts'
import type { Store } from '../schema/store.ts'
import { createLetters } from './letters.ts'
import { openOutbox } from './outbox.ts'
import type { MailObserver } from './queue.ts'
import { type MailStatus, startMailWorker } from './worker.ts'

export interface Mail {
  /** Where the mails go, for the operator. */
  readonly description: string
  status(): MailStatus
  /** Finishes the mails in hand and stores the checkpoint. */
  close(): Promise<void>
}

/** Sends mails by SMTP_URL, or writes them under DATA_DIR. */
export function startMail(options: {
  readonly configuration: Pick<Configuration, 'SMTP_URL' | 'DATA_DIR'>
  readonly eventStore: EventStore
  readonly emailHashKey: string
  readonly store: Store
  readonly log: Log
  readonly observer?: Partial<MailObserver>
}): Mail {
  const { configuration, eventStore, emailHashKey, store, log, observer = {} } = options
  const letters = createLetters({ eventStore, tokens: createMailTokens(emailHashKey), store })
  const outbox = openOutbox({ smtpUrl: configuration.SMTP_URL, dataFolder: configuration.DATA_DIR })
  const worker = startMailWorker({ eventStore, letters, outbox, log, observer })
  return {
    description: outbox.description,
    status: worker.status,
    async close() {
      await worker.stop()
      outbox.close()
    },
  }
}
