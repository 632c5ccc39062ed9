/** The mail worker on a log that was restored from a backup or copied to another server. */
import t, { type Test } from 'tap'
import { openEventStore } from '../../eventstore/open-event-store.ts'
import { backUp, restore } from '../restore/support.ts'
import { builtIn, startEventStoreServer } from '../support/eventstore-server/server.ts'
import { until } from '../support/until.ts'
import { emailOf, requestResets, startSmtp, startWorker, storedCheckpoint } from './support.ts'

async function openServer(t: Test) {
  const [server, smtp] = await Promise.all([startEventStoreServer(t), startSmtp(t)])
  const eventStore = await openEventStore(server.url)
  t.teardown(() => eventStore.close())
  return { server, smtp, eventStore }
}

/** What a backup of before the mails were settled has of the worker's checkpoint. */
const CHECKPOINTS = { 'the checkpoint of before': false, 'a checkpoint that lists them as unsent': true }

for (const [name, hasUnsent] of Object.entries(CHECKPOINTS)) {
  t.test(
    `a server restored under a running worker, with ${name}: nothing is sent twice, and what is new is sent`,
    builtIn('it puts a backup into the server'),
    async (t) => {
      const { server, smtp, eventStore } = await openServer(t)
      const worker = startWorker(t, eventStore, { smtp })
      await requestResets(eventStore, 1, 1)
      await worker.caughtUp()
      const before = server.log.records.length
      await requestResets(eventStore, 2, 3)
      await worker.caughtUp()
      // The backup has the requests, but not that their mails were sent.
      const records = backUp(server)
      const listing = records.findLastIndex(({ data }) => /"unsent":\[\{/.test(data.toString()))
      const backup = hasUnsent
        ? records.slice(0, listing + 1)
        : records.filter(({ stream }, index) => index < before || !/mailCheckpoint/.test(stream))
      if (hasUnsent) t.ok(listing >= before)
      await requestResets(eventStore, 4, 9)
      await worker.caughtUp()
      t.equal(smtp.mails.length, 9)

      await restore(server, backup)
      if (!hasUnsent) await until('it has looked', () => worker.lines.some((line) => /another log/.test(line)))
      await until('the store is back', async () => {
        const failure = await eventStore.ping().catch((error) => error)
        return failure === undefined
      })
      await requestResets(eventStore, 4, 5)
      await worker.caughtUp()
      await until('the new ones are sent', () => smtp.mails.length >= 11)
      const recipients = smtp.recipients()
      for (const id of [1, 2, 3]) t.equal(recipients.filter((each) => each === emailOf(id)).length, 1, `once to ${id}`)
      for (const id of [4, 5])
        t.equal(recipients.filter((each) => each === emailOf(id)).length, 2, `to the new ${id}, too`)
      t.equal(smtp.mails.length, 11)
      await until('it is stored', async () => {
        const { holder, unsent } = (await storedCheckpoint(eventStore)) ?? {}
        return holder === null && unsent?.length === 0
      })
      t.same(await eventStore.getStreamMetadata('mailCheckpoint-default'), { $maxCount: 1 })
    },
  )
}

t.test(
  'a log that was copied, so that events stand elsewhere: the worker goes on where it was',
  builtIn('it puts a backup into the server'),
  async (t) => {
    const { server, smtp, eventStore } = await openServer(t)
    await eventStore.append('others', [{ id: crypto.randomUUID(), type: 'Other', data: {} }], { expected: 'any' })
    const first = startWorker(t, eventStore, { smtp })
    await requestResets(eventStore, 1, 3)
    await first.caughtUp()
    await first.stop()
    await restore(
      server,
      backUp(server).filter(({ stream }) => stream !== 'others'),
    )
    const second = startWorker(t, eventStore, { smtp })
    await requestResets(eventStore, 4, 4)
    await second.caughtUp()
    t.same(smtp.recipients(), [1, 2, 3, 4].map(emailOf))
  },
)
