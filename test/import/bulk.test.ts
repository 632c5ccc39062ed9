/** An import writes most rows in bulk, where the store can; the log is the same either way. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { openLog } from '../../eventstore/open-event-store.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { store } from '../../schema/store.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { importFiles } from '../../subgraph/import/importer.ts'
import { environment, temporaryFolder } from '../support/graph.ts'
import { importedContent } from '../support/imported-content.ts'
import { aCustomer, addressesFile, anAddress, customersFile, sha256Hash } from '../support/magento-export.ts'

const password_hash = sha256Hash('Magent0-password')

/** Imports into a log in the folder. @param wrap wraps the stores below the log */
async function run(
  folder: string,
  files: { readonly customers: string; readonly addresses: string },
  wrap: (eventStore: EventStore) => EventStore = (each) => each,
) {
  const configuration = loadConfiguration(environment(folder))
  const paths = { customers: join(folder, 'customers.csv'), addresses: join(folder, 'addresses.csv') }
  await writeFile(paths.customers, files.customers)
  await writeFile(paths.addresses, files.addresses)
  const { eventStore } = await openLog(configuration, {}, wrap)
  const rejected: string[] = []
  try {
    const reports = await importFiles({
      ...paths,
      eventStore,
      emailHashKey: loadKeys(configuration).emailHashKey,
      store: store({ account: { confirmationRequired: true } }),
      onRejected: (file, line, reason) => void rejected.push(`${file.slice(folder.length + 1)}:${line}: ${reason}`),
    })
    return { ...reports, rejected: rejected.sort(), content: await importedContent(eventStore) }
  } finally {
    await eventStore.close()
  }
}

t.test('written in bulk or row by row, the log is the same, and so is what is rejected', async (t) => {
  const customers = customersFile([
    ...Array.from({ length: 30 }, (_, index) => aCustomer(index + 1, index % 3 ? { password_hash } : {})),
    aCustomer(31, { email: 'moved2@example.com' }),
    aCustomer(32, { email: 'none' }),
    aCustomer(5, { email: 'another5@example.com', password_hash }),
    aCustomer(33, { firstname: 'Zoë', lastname: '東京', password_hash }),
    aCustomer(34, { password: 'Pla1n-password' }),
    aCustomer(35, { email: 'zoë@bücher.example', password_hash }),
    aCustomer(36, { confirmation: 'x', lock_expires: '2099-01-01 00:00:00' }),
  ])
  const addresses = addressesFile([
    ...Array.from({ length: 60 }, (_, index) =>
      anAddress(index + 1, (index % 30) + 1, {
        _address_default_billing_: String(index % 2),
        _address_default_shipping_: '1',
        street: `${index} Main St\nFloor 2`,
      }),
    ),
    anAddress(7, 33),
    anAddress(61, 33),
    anAddress(61, 33),
    anAddress(62, 34, { country_id: 'XX' }),
    anAddress(63, 99),
    anAddress(64, 36),
  ])
  const inBulk = await temporaryFolder(t)
  const byRow = await temporaryFolder(t)
  const files = { customers, addresses }
  const some = await run(inBulk, files)
  let appends = 0
  // A copy of the store has no bulk appends.
  const others = await run(byRow, files, (inner) => ({
    ...inner,
    append(...args) {
      appends++
      return inner.append(...args)
    },
  }))
  t.ok(appends > 150, 'row by row')
  t.same(some.rejected, others.rejected)
  t.equal(some.rejected.length, 7)
  // The hash of a plain password is salted.
  const isSalted = (event: string) => event.startsWith('["customerCredentials-34"')
  const [content, expected] = [some, others].map(({ content }) => content.filter((event) => !isSalted(event)))
  t.same(content, expected)
  t.ok((content?.length ?? 0) > 200)

  const again = await run(inBulk, files)
  t.match(again, { customers: { imported: 0 }, addresses: { imported: 0 } })
  t.same(again.content, some.content, 'run again, it writes nothing')
})
