/**
 * A mail worker that is killed (SIGKILL) at its n-th mail or write. Arguments: the event store's file, the mail server's
 * URL, the moment (`sending`: before the mail is handed over; `sent`: after, before that is written down; `written`:
 * right after a write of the checkpoint), n.
 */
import { openSqliteEventStore } from '../../eventstore/sqlite/event-store.ts'
import { createLetters } from '../../mail/letters.ts'
import { openOutbox } from '../../mail/outbox.ts'
import { startMailWorker } from '../../mail/worker.ts'
import { createMailTokens } from '../../schema/mail-tokens.ts'
import { store } from '../../schema/store.ts'

const [path = '', smtpUrl = '', moment = '', number = '1'] = process.argv.slice(2)
let count = 0
const pass = (what: string) => {
  if (what === moment && ++count === Number(number)) process.kill(process.pid, 'SIGKILL')
}

const opened = openSqliteEventStore({ path })
const eventStore = {
  ...opened,
  async append(...args: Parameters<typeof opened.append>) {
    const result = await opened.append(...args)
    pass('written')
    return result
  },
}
const outbox = openOutbox({ smtpUrl, dataFolder: '' })
startMailWorker({
  eventStore,
  letters: createLetters({
    eventStore,
    tokens: createMailTokens('k'.repeat(32)),
    store: store({ mail: { welcome: false } }),
  }),
  outbox: {
    ...outbox,
    async send(...args) {
      pass('sending')
      await outbox.send(...args)
      pass('sent')
    },
  },
  concurrency: 1,
})
