/**
 * A process beside the test's own, on the same event-store file. Arguments: path, mode, stream, number. It says `ready`,
 * waits for a line on stdin, and then says one line for each thing that it has done:
 * - `open`: opens the store (after the line, not before) and says `open` or the error
 * - `once`: appends one event at the expected revision `number` and says `won` or the error's name
 * - `any`: appends `number` events, each with `any`, and says the id of each when it is acknowledged
 * - `lock`: takes the write lock, says `locked`, and gives it back at the next line
 */
import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import { openSqliteEventStore } from '../../eventstore/sqlite/event-store.ts'

const [path = '', mode = '', stream = '', number = '0'] = process.argv.slice(2)
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
/** Written at once: what was said is out even where the process is killed next. */
const say = (text: string) => writeSync(1, `${text}\n`)
const nameOf = (error: unknown) => `${(error as Error).name}: ${(error as Error).message}`
const anEvent = () => ({ id: crypto.randomUUID(), type: 'Happened', data: { pid: process.pid, pad: 'x'.repeat(200) } })

if (mode === 'lock') {
  const database = new DatabaseSync(path, { timeout: 1000 })
  say('ready')
  await lines.next()
  database.exec('BEGIN IMMEDIATE')
  say('locked')
  await lines.next()
  database.exec('ROLLBACK')
  database.close()
} else if (mode === 'open') {
  say('ready')
  await lines.next()
  try {
    await openSqliteEventStore({ path }).close()
    say('open')
  } catch (error) {
    say(nameOf(error))
  }
} else {
  const store = openSqliteEventStore({ path })
  say('ready')
  await lines.next()
  for (let index = 0; index < (mode === 'once' ? 1 : Number(number)); index++) {
    const event = anEvent()
    try {
      await store.append(stream, [event], { expected: mode === 'once' ? Number(number) : 'any' })
      say(mode === 'once' ? 'won' : event.id)
    } catch (error) {
      say(nameOf(error))
    }
  }
  await store.close()
}
process.exit()
