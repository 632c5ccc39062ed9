/** A log that is restored to before deletions, beside a key store that has gone on: what was erased stays erased. */

import { join } from 'node:path'
import t from 'tap'
import { createLetters } from '../../mail/letters.ts'
import { createMailTokens } from '../../schema/mail-tokens.ts'
import { store } from '../../schema/store.ts'
import { streamOf } from '../../schema/streams.ts'
import { builtIn, startEventStoreServer } from '../support/eventstore-server/server.ts'
import { startSubgraph, temporaryFolder } from '../support/graph.ts'
import { KEYS } from '../support/keys.ts'
import { backUp, register, rename, restore, whoAmI } from './support.ts'

t.test('erased since the backup', builtIn('it puts a backup into the server'), async (t) => {
  const folder = await temporaryFolder(t)
  const server = await startEventStoreServer(t)
  const env = { EVENTSTORE_URL: server.url, KEYS_URL: `sqlite:${join(folder, 'keys.db')}` }
  const [one, two] = [await startSubgraph(t, { folder, env }), await startSubgraph(t, { folder, env })]
  const [kept, erased] = [await register(one.send, 'Ann'), await register(one.send, 'Bea')]
  const backup = backUp(server)
  // Their ids are of a block that the backup does not have, and are given out again.
  const lost = [await register(two.send, 'Cyd'), await register(two.send, 'Dot')]
  for (const { token } of [erased, ...lost]) {
    t.same((await two.send('mutation { deleteCustomer }', { token })).data, { deleteCustomer: true })
  }
  await restore(server, backup)
  for (let left = 100; (await rename(one.send, kept.token, 'Toe')).errors && left > 0; left--);

  const later = [await register(two.send, 'Eve'), await register(two.send, 'Fay')]
  for (const { id, token, email } of later) {
    t.notOk(
      [kept, erased, ...lost].some((customer) => customer.id === id),
      'an id whose key is destroyed is nobody’s',
    )
    for (const { send } of [one, two]) t.equal((await whoAmI(send, token)).data.customer.email, email)
  }
  for (const { send, app } of [one, two]) {
    t.match((await whoAmI(send, erased.token)).errors, [{ extensions: { code: 'UNAUTHENTICATED' } }])
    const introspected = await app.inject({
      method: 'POST',
      url: '/introspect',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      payload: `token=${erased.token}`,
    })
    t.same(introspected.json(), { active: false })
  }
  t.ok((await register(one.send, 'Bea')).id, 'and may register once more')

  const tokens = createMailTokens(KEYS.EMAIL_HASH_KEY)
  const { compose } = createLetters({ eventStore: one.eventStore, store: store(), tokens })
  for await (const event of one.eventStore.readStream(streamOf.customer(erased.id), { maxCount: 1 })) {
    t.equal(await compose(event, 'welcome'), 'gone', 'no mail is sent to a placeholder')
  }
})
