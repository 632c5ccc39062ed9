/** What a bench stands on: empty folders, a Redis and an event-store server of its own, gone when it ends. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { startNginx } from '../support/nginx.ts'
import { startRedis } from '../support/redis.ts'

export interface Servers {
  /** An empty folder. */
  folder(): string
  /** The URL of an empty Redis server. */
  redis(): Promise<string>
  /** The connection string of an empty event-store server (the one of the tests), a process of its own. */
  eventStore(): Promise<string>
  /** The URL of an nginx that stores the answers of a server. @throws Error if nginx is not installed */
  nginx(upstream: string): Promise<string>
  /** Stops the servers; folders stay. */
  stop(): Promise<void>
}

export function createServers(): Servers {
  const scratch = mkdtempSync(join(tmpdir(), 'customer-bench-'))
  process.on('exit', () => rmSync(scratch, { recursive: true, force: true, maxRetries: 5 }))
  let stops: (() => unknown)[] = []
  return {
    folder: () => mkdtempSync(join(scratch, 'stores-')),
    async redis() {
      const { url } = await startRedis({ teardown: (stop: () => unknown) => stops.push(stop) } as unknown as Test)
      return url
    },
    async eventStore() {
      const script = join(import.meta.dirname, '../support/eventstore-server/main.ts')
      const child = fork(script, [], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
      stops.push(() => child.kill('SIGKILL'))
      const [line] = await once(child.stdout as NonNullable<typeof child.stdout>, 'data')
      return String(line).split('\n')[0] as string
    },
    async nginx(upstream) {
      const { url, stop } = await startNginx(mkdtempSync(join(scratch, 'nginx-')), upstream)
      stops.push(stop)
      return url
    },
    async stop() {
      await Promise.all(stops.map((stop) => stop()))
      stops = []
    },
  }
}
