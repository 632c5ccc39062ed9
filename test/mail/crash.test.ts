/** A mail worker killed at any moment: its successor sends what it had not, and at most the mail that was in hand twice. */
import { join } from 'node:path'
import t from 'tap'
import { temporaryFolder } from '../support/graph.ts'
import { startScript } from '../support/processes.ts'
import { emailOf, openEvents, requestResets, startSmtp, startWorker, storedCheckpoint } from './support.ts'

const MAILS = 5

t.test('kill -9', async (t) => {
  const moments = [
    ['sending', 1, 0],
    ['sending', 3, 1],
    ['sent', 1, 1],
    ['sent', 3, 1],
    ['written', 1, 1],
    ['written', 2, 1],
    ['written', 4, 1],
  ] as const
  await Promise.all(
    moments.map(async ([moment, number, mostTwice]) => {
      const name = `${moment} ${number}`
      const folder = await temporaryFolder(t)
      const eventStore = openEvents(t, folder)
      const smtp = await startSmtp(t)
      await requestResets(eventStore, 1, MAILS)
      const args = [join(folder, 'events.db'), smtp.url, moment, String(number)]
      t.equal(await startScript(t, 'test/mail/crash-process.ts', folder, {}, args).ended, 'SIGKILL', name)
      if (moment !== 'written') t.equal(smtp.mails.length, moment === 'sent' ? number : number - 1, name)

      // An attempt may take half of the lease. On a busy machine, many at once take long.
      const successor = startWorker(t, eventStore, { smtp, leaseMs: 10_000, concurrency: 1 })
      await requestResets(eventStore, MAILS + 1, MAILS + 1)
      await successor.caughtUp()
      const ids = smtp.mails.map(({ messageId }) => messageId)
      t.equal(new Set(ids).size, MAILS + 1, `${name}: all are sent`)
      t.ok(ids.length - new Set(ids).size <= mostTwice, `${name}: ${ids.length} mails`)
      if (moment === 'sent') t.equal(ids.length, MAILS + 2, `${name}: known as the same by its Message-ID`)
      t.ok(smtp.recipients().includes(emailOf(MAILS + 1)))
      t.match(await storedCheckpoint(eventStore), { holder: null, unsent: [] }, name)
    }),
  )
})
