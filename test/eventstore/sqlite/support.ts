/** What the tests of the embedded event store share. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { EventStore } from '../../../eventstore/port.ts'
import { openSqliteEventStore } from '../../../eventstore/sqlite/event-store.ts'

export async function temporaryFolder(t: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'eventstore-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

/** A store on a file of its own, closed at the end of the test. */
export async function openStore(
  t: Test,
  path?: string,
): Promise<{ readonly path: string; readonly store: EventStore }> {
  const file = path ?? join(await temporaryFolder(t), 'events.db')
  const store = openSqliteEventStore({ path: file })
  t.teardown(() => store.close())
  return { path: file, store }
}

/** A process beside this one (see test/support/event-process.ts). `limit`: a shell command that it starts under. */
export async function startProcess(t: Test, path: string, mode: string, stream = 's', number = 0, limit = '') {
  const script = join(import.meta.dirname, '../../support/event-process.ts')
  const command = [process.execPath, script, path, mode, stream, String(number)]
  const [program = '', ...rest] = limit ? ['sh', '-c', `${limit} exec "$@"`, 'sh', ...command] : command
  const child = spawn(program, rest, {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const ended = once(child, 'close')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  let output = ''
  let heard: () => void = () => {}
  child.stdin.on('error', () => {}) // it may be gone
  child.stdout.on('data', (chunk) => {
    output += chunk
    heard()
  })
  child.on('close', () => heard())
  /** What it has said so far, whole lines only, after `ready`. */
  const said = () => output.split('\n').slice(1, -1)
  const until = async (condition: () => boolean) => {
    while (!condition()) {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`The process has ended: ${output}`)
      await new Promise<void>((resolve) => {
        heard = resolve
      })
    }
  }
  await until(() => output.startsWith('ready\n'))
  return {
    said,
    ended,
    go: () => child.stdin.write('\n'),
    untilSaid: (count: number) => until(() => said().length >= count),
    kill: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
}

export const startProcesses = (t: Test, count: number, ...rest: [string, string, string?, number?]) =>
  Promise.all(Array.from({ length: count }, () => startProcess(t, ...rest)))

/** Transactions in the write-ahead log since it was last restarted (https://sqlite.org/fileformat2.html#walformat). */
export async function commits(path: string): Promise<number> {
  const wal = await readFile(`${path}-wal`)
  if (wal.length === 0) return 0
  const frame = 24 + wal.readUInt32BE(8)
  let count = 0
  for (let at = 32; at + frame <= wal.length; at += frame) {
    const current = wal.subarray(at + 8, at + 16).equals(wal.subarray(16, 24))
    if (current && wal.readUInt32BE(at + 4) > 0) count++
  }
  return count
}

/** Whether the text stands anywhere in the files beside and at the path. */
export async function isOnDisk(path: string, text: string): Promise<boolean> {
  const folder = join(path, '..')
  const files = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name))))
  return files.some((bytes) => bytes.includes(text))
}
